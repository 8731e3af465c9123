"""PPO with continuous actions: known answers, Pendulum, clipping, truncation."""

from dataclasses import replace
from types import SimpleNamespace

import gymnasium
import pytest
import torch

from neoteny import envs
from neoteny.agents.dqn import DQN
from neoteny.agents.dqn_loss import DQNConfig
from neoteny.agents.ppo_loss import PPOConfig
from neoteny.agents.rollout import gae
from neoteny.core import rng
from neoteny.envs.base import TensorEnv
from neoteny.plasticity.interventions import make_interventions
from neoteny.plasticity.networks import NetworkSpec

CONFIG = PPOConfig(num_envs=8, num_steps=16, num_epochs=2, num_minibatches=4, clip_range_vf=None)


class Reach(TensorEnv):
    """Pays minus the squared distance of a vector in [-1, 1] from a target with random signs."""

    slots = 1

    def __init__(self, num_envs, members=1, device="cpu", seed=0):
        space = gymnasium.spaces.Box(-1.0, 1.0, (1,))
        vectors = gymnasium.spaces.Box(-1.0, 1.0, (2, 1))
        super().__init__(space, vectors, num_envs, members, device, seed)
        self.target = torch.tensor([0.5, -0.25])

    def _initial(self, draws):
        return {"sign": (draws[0] & 1).float() * 2 - 1}

    def _transition(self, state, actions, draws):
        assert actions.shape == (self.num_envs, 2, 1)
        distance = actions.flatten(1) - self.target * state["sign"].unsqueeze(1)
        return state, -distance.square().sum(1), torch.ones_like(state["sign"], dtype=torch.bool)

    def _observe(self, state):
        return state["sign"].unsqueeze(1)


def test_it_finds_the_best_vectors_and_explores_ever_less(make_agent):
    config = PPOConfig(
        num_envs=64,
        num_steps=8,
        num_epochs=4,
        num_minibatches=4,
        learning_rate=1e-2,
        clip_range_vf=None,
        ent_coef=0.0,
        log_std_init=-0.5,
    )
    env = Reach(64)
    agent = make_agent(env, config)
    for _ in range(18):
        metrics = agent.learn(agent.collect(env))
    signs = torch.tensor([[[-1.0], [1.0]]])
    mean = agent.network.branch("policy", signs)[..., :2]
    torch.testing.assert_close(mean, signs * env.target, atol=0.1, rtol=0)
    assert metrics["losses/std"] < 0.2
    assert metrics["losses/std"] == agent.network.branches["policy"].log_std.exp().mean()
    # The expected reward of the best policy is minus its variances.
    expected = -agent.network.branches["policy"].log_std.exp().square().sum()
    assert agent.collect(env).value.mean() == pytest.approx(expected.item(), abs=0.05)


class Watched(gymnasium.vector.VectorWrapper):
    """Keeps the actions that an environment is given, and what it answers."""

    def __init__(self, env):
        super().__init__(env)
        self.device, self.max_truncations = env.device, env.max_truncations
        self.actions, self.answers = [], []

    def step(self, actions):
        self.actions.append(actions.clone())
        self.answers.append(self.env.step(actions))
        return self.answers[-1]


def test_actions_are_stored_as_drawn_and_played_within_the_bounds(make_agent):
    env = Watched(envs.make("Pendulum-v1", 8, members=2))
    agent = make_agent(env, replace(CONFIG, log_std_init=1.0), seeds=(0, 1))
    rollout = agent.collect(env)
    assert rollout.action.shape == (16, 2, 8, 1)
    played = torch.stack(env.actions).view_as(rollout.action)
    assert torch.equal(played, rollout.action.clamp(-2.0, 2.0))
    assert 0.2 < (played != rollout.action).float().mean() < 0.7
    obs = rollout.obs.view(16, 2, 8, 3).transpose(0, 1).flatten(1, 2)
    mean, log_std = agent.network.branch("policy", obs).unbind(-1)  # each (M, T N)
    drawn = rollout.action.squeeze(-1).transpose(0, 1).flatten(1)
    expected = torch.distributions.Normal(mean, log_std.exp()).log_prob(drawn)
    log_prob = rollout.log_prob.transpose(0, 1).flatten(1)
    torch.testing.assert_close(log_prob, expected, rtol=1e-4, atol=1e-4)


def test_pendulums_time_limit_is_bootstrapped_from_its_final_observations(make_agent):
    env = Watched(envs.make("Pendulum-v1", 8, max_steps=5))
    agent = make_agent(env, CONFIG)
    agent.learn(agent.collect(env))  # values are no longer near 0
    env.answers.clear()
    rollout = agent.collect(env)
    assert not rollout.terminated.any()
    assert rollout.truncated.sum() == 8 * 3
    following = torch.stack([info["final_obs"] for *_, info in env.answers])  # (T, N, 3)
    with torch.no_grad():
        next_value = agent.network.branch("value", following.unsqueeze(0).flatten(1, 2))
    next_value = next_value.view_as(rollout.value)
    expected = gae(
        rollout.reward,
        rollout.value,
        next_value,
        rollout.terminated,
        rollout.truncated,
        CONFIG.gamma,
        CONFIG.gae_lambda,
    )
    torch.testing.assert_close(agent.advantages(rollout), expected, rtol=1e-4, atol=1e-4)
    ended = rollout.reward + CONFIG.gamma * next_value - rollout.value
    cut = rollout.truncated
    torch.testing.assert_close(expected[cut], ended[cut])


def test_a_frozen_member_explores_as_before(make_agent):
    env = envs.make("Pendulum-v1", 8, members=2)
    agent = make_agent(env, CONFIG, seeds=(0, 1))
    agent.learn(agent.collect(env))
    log_std = agent.network.branches["policy"].log_std
    with torch.no_grad():
        agent.network.branches["value"].head.weight[1] = torch.nan
    before = log_std.detach().clone()
    agent.learn(agent.collect(env))
    agent.learner.freeze(agent.learner.alive.tolist())
    kept = log_std.detach().clone()
    agent.learn(agent.collect(env))
    assert agent.learner.alive.tolist() == [True, False]
    assert kept[1].isfinite()
    assert torch.equal(log_std[1], kept[1])
    assert log_std[0] != before[0]


def test_evaluation_plays_within_the_bounds_by_the_lanes_numbers(make_agent):
    env = envs.make("Pendulum-v1", 8, members=2)
    agent = make_agent(env, replace(CONFIG, log_std_init=1.0), seeds=(0, 1))
    obs = env.reset()[0].view(2, 8, 3)
    keys = rng.lane_keys([0, 1], 8, "evaluation")
    action = agent.play(obs, keys, 3)
    assert action.shape == (16, 1)
    assert action.abs().max() == 2
    assert torch.equal(agent.play(obs, keys, 3), action)
    assert not torch.equal(agent.play(obs, keys, 4), action)


def test_what_agents_cannot_take_is_refused(make_agent):
    env = envs.make("Pendulum-v1", 4)
    with pytest.raises(ValueError, match=r"DQN needs discrete actions, the environment has Box"):
        DQN(env, DQNConfig(), NetworkSpec(hidden=(8,)), make_interventions(("none",)), (0,))
    several = SimpleNamespace(
        device="cpu", single_action_space=gymnasium.spaces.MultiDiscrete([2, 3])
    )
    with pytest.raises(ValueError, match="discrete actions or a Box of floats"):
        make_agent(several)
