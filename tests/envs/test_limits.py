"""Limits of steps: whatever says when an episode ends holds, in `spec` and in `max_truncations`."""

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.wrappers import TimeAwareObservation

from neoteny import envs

NOTHING = torch.zeros(1, dtype=torch.int64)


def length(env, action, most):
    """Steps of the first episode; None if it has more than `most`."""
    env.reset(seed=0)
    for step in range(1, most + 1):
        *_, terminated, truncated, _ = env.step(action)
        if terminated or truncated:
            return step
    return None


def vector_length(env, most, action=NOTHING):
    env.reset(seed=0)
    for step in range(1, most + 1):
        if env.step(action)[3]:
            return step
    return None


SINGLE = {
    "MountainCar-v0": (200, 1),
    "Pendulum-v1": (200, np.zeros(1, np.float32)),
    "MiniGrid-Empty-5x5-v0": (100, 0),
}


@pytest.mark.parametrize("id", SINGLE)
def test_a_single_environment_ends_when_gymnasium_is_told(id):
    registered, action = SINGLE[id]
    more = registered + 10
    for limit, expected in ((None, registered), (30, 30), (more, more), (-1, None)):
        env = gymnasium.make(f"neoteny/{id}", max_episode_steps=limit)
        assert env.spec.max_episode_steps == expected
        assert length(env, action, registered + 20) == expected
        again = gymnasium.make(env.spec)
        assert again.spec.max_episode_steps == expected or limit == -1
    aware = TimeAwareObservation(gymnasium.make(f"neoteny/{id}"), flatten=False)
    assert aware.observation_space["time"].high.item() == registered


@pytest.mark.parametrize("id", SINGLE)
@pytest.mark.parametrize("numpy", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_vector_environment_ends_when_gymnasium_is_told(id, numpy):
    registered, action = SINGLE[id]
    action = torch.as_tensor(action)[None]
    more = registered + 10
    for limit, expected in ((None, registered), (30, 30), (more, more), (-1, None)):
        options = {} if limit is None else {"max_episode_steps": limit}
        env = gymnasium.make_vec(f"neoteny/{id}", 1, numpy=numpy, **options)
        again = gymnasium.make_vec(env.spec)
        for made in (env, again):
            assert made.spec.max_episode_steps == expected
            assert made.unwrapped.max_steps == expected
        assert vector_length(env, registered + 20, action) == expected
        assert limit != 30 or vector_length(again, 40, action) == 30
        bound = 300 if expected is None else -(-1_000 // expected)
        assert env.unwrapped.max_truncations(1_000) == (0 if expected is None else bound)


def test_every_id_is_registered_with_its_limit():
    for id in envs.registered():
        quick = {"layouts": 1} if "MultiRoom" in id else {}
        env = envs.make(id, 1, **quick)
        assert gymnasium.spec(id).max_episode_steps == env.max_steps
        reference = gymnasium.registry.get(id.removeprefix("neoteny/"))
        if reference is not None and reference.max_episode_steps:
            assert env.max_steps == reference.max_episode_steps


def test_a_longer_episode_of_minigrid_pays_what_is_left_at_the_familys_limit():
    for single in (False, True):
        id = "neoteny/MiniGrid-Empty-5x5-v0"
        if single:
            env, turn = gymnasium.make(id, max_episode_steps=200), 0
        else:
            env, turn = (
                gymnasium.make_vec(id, 1, max_episode_steps=200),
                np.zeros(1, int),
            )
        env.reset(seed=0)
        for _ in range(120):  # turns on the spot
            reward = env.step(turn)[1]
            assert reward == 0
        for action in (2, 2, 1, 2, 2):  # to the goal, in the opposite corner
            reward = env.step(action if single else np.array([action]))[1]
        assert float(np.ravel(reward)[0]) == pytest.approx(0.1)


@pytest.mark.parametrize("none", [-1, None])
def test_no_limit_of_a_device_environment(none):
    env = envs.make("MountainCar", 1, max_steps=none)
    assert env.max_steps is None
    assert env.max_truncations(10_000) == 0
    assert vector_length(env, 250, NOTHING + 1) is None


class Limited(gymnasium.Env):
    """Has an attribute `max_steps`, after which it truncates where that is above 0."""

    observation_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, own, at_reset=()):
        self.max_steps, self.at_reset, self.episodes = own, at_reset, 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        if self.at_reset:
            self.max_steps = self.at_reset[self.episodes % len(self.at_reset)]
        self.episodes += 1
        return np.zeros(2, np.float32), {}

    def step(self, action):
        self.steps += 1
        truncated = type(self.max_steps) is int and 0 < self.max_steps <= self.steps
        return np.zeros(2, np.float32), 1.0, False, truncated, {}


@pytest.fixture
def register():
    made = []

    def add(limit):
        made.append(f"Limited{len(made)}-v0")
        gymnasium.register(made[-1], Limited, max_episode_steps=limit)
        return made[-1]

    yield add
    for id in made:
        del gymnasium.registry[id]


@pytest.mark.parametrize("own", [0, -1, None, True, 2.5])
def test_an_attribute_that_is_no_limit_counts_for_nothing(register, own):
    env = envs.make(register(5), 1, own=own)
    env.reset()
    assert env.max_steps == env.spec.max_episode_steps == 5
    assert env.max_truncations(4) == 1
    assert vector_length(env, 9) == 5
    unlimited = envs.make(register(None), 1, own=own)
    unlimited.reset()
    assert unlimited.max_steps is unlimited.spec.max_episode_steps is None
    assert unlimited.max_truncations(4) == 4
    lifted = envs.make(register(5), 1, max_steps=-1, own=own)
    assert lifted.max_steps is lifted.spec.max_episode_steps is None
    assert vector_length(lifted, 9) is None


@pytest.mark.parametrize(("own", "registered", "asked", "holds"), [
    (4, 6, None, 4), (6, 4, None, 4), (4, None, None, 4), (4, 6, 5, 4), (4, 6, 3, 3), (4, 6, -1, 4),
])  # fmt: skip
def test_the_smallest_limit_holds(register, own, registered, asked, holds):
    env = envs.make(register(registered), 1, own=own, max_steps=asked)
    assert env.max_steps == env.spec.max_episode_steps == holds
    assert vector_length(env, 9) == holds
    assert env.max_truncations(holds) == 1


@pytest.mark.parametrize("vectorization", ["sync", "async"])
@pytest.mark.parametrize("at_reset", [(3,), (8, 2, 3)])
def test_a_limit_that_resets_set_is_not_relied_on(register, vectorization, at_reset):
    env = envs.make(register(7), 1, own=0, at_reset=at_reset, vectorization=vectorization)
    env.reset()
    bound = env.max_truncations(20)
    seen = sum(bool(env.step(NOTHING)[3]) for _ in range(20))
    assert seen >= 4
    assert bound >= seen
    saved = env.state_dict()
    resumed = envs.make(env.id, 1, own=0, at_reset=at_reset)
    resumed.load_state_dict(saved)
    assert resumed.max_truncations(20) == 20
    env.close()
