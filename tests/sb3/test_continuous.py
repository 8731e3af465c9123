"""Agents of Stable-Baselines3 with continuous actions behind our gateway."""

import pytest
import torch
from gymnasium.spaces import Box
from stable_baselines3 import PPO

from neoteny import envs
from neoteny.agents.distributions import Gaussian
from neoteny.plasticity.interventions import OptimizerSettings, make_interventions
from neoteny.sb3.bridge import attach
from neoteny.sb3.vec_env import SB3VecEnv

SETTINGS = OptimizerSettings(3e-3, 1e-5, updates_per_step=0.1)


def build(**options):
    kwargs = {
        "net_arch": [16, 16],
        "activation_fn": torch.nn.ReLU,
        "log_std_init": 0.3,
        "optimizer_class": torch.optim.Adam,
        "optimizer_kwargs": {"eps": 1e-5, "fused": True},
    }
    options |= {"policy_kwargs": kwargs, "learning_rate": 3e-3, "seed": 3, "device": "cpu"}
    vec_env = SB3VecEnv(envs.make("Pendulum-v1", 4, max_steps=20))
    return PPO("MlpPolicy", vec_env, n_steps=16, batch_size=32, n_epochs=2, **options)


def test_without_interventions_the_agent_is_bit_for_bit_its_own():
    plain = build()
    plain.learn(256)
    behind = build()
    learner = attach(behind, "relu", make_interventions(["none"]), SETTINGS, 3)
    behind.learn(256)
    assert learner.updates > 10
    pairs = zip(plain.policy.parameters(), behind.policy.parameters(), strict=True)
    assert all(torch.equal(one, two) for one, two in pairs)
    assert behind.policy.log_std != 0.3


def test_the_mirror_holds_the_policys_standard_deviations():
    agent = build()
    learner = attach(agent, "relu", make_interventions(["head_reset:period=160"]), SETTINGS, 3)
    branch = learner.network.branches["policy"]
    assert branch.log_std.data_ptr() == agent.policy.log_std.data_ptr()
    assert isinstance(branch.distribution, Gaussian)
    assert (branch.distribution.low, branch.distribution.high) == (-2, 2)
    assert learner.network.branches["value"].distribution is None
    obs = torch.randn(1, 5, 3)
    mean, log_std = learner.network.branch("policy", obs).unbind(-1)
    theirs = agent.policy.get_distribution(obs[0]).distribution
    torch.testing.assert_close(mean[0], theirs.mean.squeeze(-1))
    torch.testing.assert_close(log_std[0].exp(), theirs.stddev.squeeze(-1))
    agent.learn(256)  # 16 updates, the last of which resets the heads
    assert agent.policy.log_std.item() == pytest.approx(0.3)


def test_actions_reach_the_environment_clipped():
    vec_env = SB3VecEnv(envs.make("Pendulum-v1", 4, max_steps=20))
    assert isinstance(vec_env.action_space, Box)
    given = []
    step = vec_env.step_async
    vec_env.step_async = lambda actions: (given.append(actions.copy()), step(actions))
    agent = PPO("MlpPolicy", vec_env, n_steps=16, batch_size=32, device="cpu", seed=0)
    agent.policy.log_std.data.fill_(1.5)
    agent.learn(64)
    assert max(abs(actions).max() for actions in given) == 2


def test_observations_that_are_no_box_are_refused():
    agent = PPO("MlpPolicy", "FrozenLake-v1", n_steps=16, batch_size=16, device="cpu")
    with pytest.raises(ValueError, match=r"observations that are a Box, the environment has Disc"):
        attach(agent, "tanh", make_interventions(["none"]), SETTINGS, 3)


def test_exploration_that_depends_on_the_state_is_refused():
    with pytest.raises(ValueError, match="use_sde is True"):
        attach(build(use_sde=True), "relu", make_interventions(["none"]), SETTINGS, 3)
