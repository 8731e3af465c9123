"""Observations of every type give the same agent; spaces that an agent cannot take are refused."""

from functools import cache

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete, MultiBinary, MultiDiscrete

import neoteny.envs
from neoteny.agents.distributions import action_distribution
from neoteny.agents.dqn import DQN
from neoteny.agents.dqn_loss import DQNConfig
from neoteny.agents.ppo import PPO
from neoteny.agents.ppo_loss import PPOConfig
from neoteny.envs.base import TensorEnv
from neoteny.plasticity.interventions import make_interventions
from neoteny.plasticity.networks import NetworkSpec

PPO_CONFIG = PPOConfig(num_envs=4, num_steps=8, num_epochs=2, num_minibatches=2)
DQN_CONFIG = DQNConfig(
    num_envs=4,
    num_steps=16,
    batch_size=8,
    train_frequency=8,
    learning_starts=16,
    replay_size=64,
    replay_parts=2,
    target_frequency=16,
    epsilon_steps=100,
)
TYPES = [
    np.uint8,
    np.uint16,
    np.uint32,
    np.uint64,
    np.int8,
    np.int16,
    np.int32,
    np.int64,
    np.float16,
    np.float64,
]


class TypedEnv(TensorEnv):
    """Whole numbers up to 100 in any type, cut off after 3 steps; action 1 is paid."""

    slots = 1

    def __init__(self, kind, members=1, shape=(4,), actions=None, observations=None):
        space = Box(0, 100, shape, kind) if observations is None else observations
        self.kind = getattr(torch, np.dtype(kind).name)
        super().__init__(space, actions or Discrete(2), 4, members, "cpu", 0, 3)

    def _initial(self, draws):
        return {"seen": draws[0] % 101}

    def _transition(self, state, actions, draws):
        over = torch.zeros(len(actions), dtype=torch.bool)
        return {"seen": (state["seen"] * 7 + actions + 1) % 101}, actions.float(), over

    def _observe(self, state):
        size = int(np.prod(self.single_observation_space.shape))
        whole = (state["seen"].unsqueeze(1) * (torch.arange(size) + 1)) % 101
        return whole.view(-1, *self.single_observation_space.shape).to(self.kind)


def make(algorithm, env, spec=None, **changes):
    config = PPO_CONFIG if algorithm is PPO else DQN_CONFIG
    config = type(config)(**{**vars(config), **changes})
    seeds = range(env.members)
    spec = spec or NetworkSpec(hidden=(8,))
    return algorithm(env, config, spec, make_interventions(["none"]), seeds)


def weights(algorithm, kind, spec=None, members=1, shape=(4,), iterations=2, **changes):
    env = TypedEnv(kind, members, shape)
    agent = make(algorithm, env, spec, **changes)
    start = [p.detach().clone() for p in agent.network.parameters()]
    for _ in range(iterations):
        agent.learn(agent.collect(env)) if algorithm is PPO else agent.iterate(env)
    assert any(
        not torch.equal(a, b) for a, b in zip(start, agent.network.parameters(), strict=True)
    )
    return [p.detach() for p in agent.network.parameters()]


VARIANTS = {
    "ppo": (PPO, {}),
    "dqn": (DQN, {}),
    "n-steps": (DQN, {"n_steps": 3, "dueling": True}),
    "partition": (DQN, {"replay_policy": "partition"}),
    "reservoir": (DQN, {"replay_policy": "reservoir"}),
    "conv": (PPO, {"spec": NetworkSpec(hidden=(8,), torso="conv", channels=(2,))}),
}


@cache
def trained(variant, kind):
    algorithm, changes = VARIANTS[variant]
    shape = (3, 3, 2) if variant == "conv" else (4,)
    return weights(algorithm, kind, members=2, shape=shape, **changes)


@pytest.mark.parametrize(
    ("variant", "kind"),
    [
        pytest.param(name, kind, marks=pytest.mark.slow if (place + number) % 6 else ())
        for place, name in enumerate(VARIANTS)
        for number, kind in enumerate(TYPES)
    ],
)
def test_the_type_of_observations_changes_nothing(variant, kind):
    pairs = zip(trained(variant, np.float32), trained(variant, kind), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize(
    ("kind", "changes"),
    [(np.uint16, {}), (np.uint32, {"replay_policy": "reservoir", "n_steps": 3}), (np.int64, {})],
)
def test_a_resumed_dqn_goes_on_bit_for_bit(kind, changes):
    env = TypedEnv(kind)
    agent = make(DQN, env, **changes)
    agent.iterate(env)
    other_env = TypedEnv(kind)
    other = make(DQN, other_env, **changes)
    other.load_state_dict(agent.state_dict())
    other_env.load_state_dict(env.state_dict())
    for one, one_env in ((agent, env), (other, other_env)):
        one.iterate(one_env)
    pairs = zip(agent.network.parameters(), other.network.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("algorithm", [PPO, DQN])
@pytest.mark.parametrize(
    ("observations", "message"),
    [
        (Discrete(5), "observations that are a Box"),
        (MultiDiscrete([3, 3]), "observations that are a Box"),
        (MultiBinary(4), "observations that are a Box"),
        (gymnasium.spaces.Dict({"a": Box(0, 1, (2,))}), "observations that are a Box"),
        (Box(0, 1, ()), "have no axis"),
    ],
)
def test_observations_that_are_no_vector_are_refused(algorithm, observations, message):
    env = TypedEnv(np.float32)
    env.single_observation_space = observations
    with pytest.raises(ValueError, match=message):
        make(algorithm, env)


@pytest.mark.parametrize("algorithm", [PPO, DQN])
@pytest.mark.parametrize(
    ("actions", "message"),
    [
        (Discrete(3, start=1), "count from 1: let the environment count them from 0"),
        (MultiDiscrete([2, 2]), "needs discrete actions"),
        (MultiBinary(3), "needs discrete actions"),
        (Box(0, 5, (2,), np.int32), "needs discrete actions"),
    ],
)
def test_actions_that_an_agent_cannot_choose_are_refused(algorithm, actions, message):
    env = TypedEnv(np.float32)
    env.single_action_space = actions
    with pytest.raises(ValueError, match=message):
        make(algorithm, env)


LARGEST = float(np.finfo(np.float32).max)


@pytest.mark.parametrize(
    ("space", "low", "high"),
    [
        (Box(-np.inf, np.inf, (2,), np.float32), -np.inf, np.inf),
        (Box(-np.inf, 1.0, (2,), np.float64), -np.inf, 1.0),
        (Box(0.0, np.inf, (2,), np.float16), 0.0, np.inf),
        (Box(-1e300, 1e300, (2,), np.float64), -LARGEST, LARGEST),
    ],
)
def test_actions_are_clipped_to_bounds_of_every_kind(space, low, high):
    distribution = action_distribution(space)
    action = torch.tensor([[[-3e38, 3e38], [-0.5, 0.5]]])
    expected = action.view(2, 2).clamp(low, high)
    assert torch.equal(distribution.to_env(action), expected)
    assert space.contains(distribution.to_env(action)[1].numpy().astype(space.dtype))


def test_a_minibatch_of_one_sample_needs_its_advantage_as_it_is():
    with pytest.raises(ValueError, match=r"num_minibatches 32 leaves one sample .*: lower it"):
        PPOConfig(num_envs=4, num_steps=8, num_minibatches=32)
    options = {"iterations": 1, "num_minibatches": 32, "normalize_advantage": False}
    for found in weights(PPO, np.float32, **options):
        assert found.isfinite().all()


@pytest.mark.parametrize(("kind", "config"), [(PPO, PPOConfig), (DQN, DQNConfig)])
def test_lanes_that_are_not_those_of_the_members_are_refused(kind, config):
    envs = neoteny.envs.make("CartPole-v1", 6, members=2)
    message = "environment has 12 lanes, but 2 seeds with num_envs=8 need 16"
    with pytest.raises(ValueError, match=message):
        kind(envs, config(num_envs=8), NetworkSpec((8,)), make_interventions(["none"]), [0, 1])
