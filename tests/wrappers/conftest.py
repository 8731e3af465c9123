"""Small tensor environments, one also as single Gymnasium environments, and a rollout."""

from itertools import product
from types import SimpleNamespace

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete

from neoteny.core import rng
from neoteny.envs import TensorEnv
from neoteny.wrappers import (
    ActionPermutation,
    Asynchronous,
    At,
    Cyclic,
    Dynamics,
    GoalSwitch,
    LinearDrift,
    ObservationDropout,
    ObservationNoise,
    ObservationOffset,
    ObservationPermutation,
    Periodic,
    Poisson,
    RandomOrder,
    RewardFlip,
    RewardScale,
    Sinusoidal,
    StickyActions,
)


class Counter(TensorEnv):
    """Counts up to a random length; observes (count, length, rank of the reset); pays a count."""

    slots = 1

    def __init__(
        self, num_envs=1, members=1, device="cpu", seed=0, *, max_steps=None, offset=0.0, actions=3
    ):
        space = Box(-np.inf, np.inf, (3,), np.float32)
        super().__init__(space, Discrete(actions), num_envs, members, device, seed, max_steps)
        self.offset = offset

    def _persistent(self):
        return {"episodes": torch.zeros(1, dtype=torch.int64, device=self.device)}

    def _initial(self, draws):
        length = 3 + rng.integer(draws[0], 9)
        return {"count": torch.zeros_like(length), "length": length}

    def _transition(self, state, actions, draws):
        count = state["count"] + 1
        reward = (count * (1 + actions)).float() + self.offset
        terminated = count >= state["length"]
        return {"count": count, "episodes": state["episodes"] + terminated}, reward, terminated

    def _observe(self, state):
        return torch.stack([state["count"], state["length"], state["episodes"]], -1).float()


def record(env, steps, actions=3, seed=0):
    """Everything that `steps` random steps return, stacked over time, as NumPy arrays."""
    generator = np.random.default_rng(seed)
    keys = ("obs", "reward", "terminated", "truncated", "final_obs", "task", "cut", "lane_task")
    rows = {key: [] for key in keys}
    for _ in range(steps):
        action = torch.from_numpy(generator.integers(actions, size=env.num_envs))
        obs, reward, terminated, truncated, info = env.step(action)
        cut = info.get("cut", torch.zeros(env.num_envs, dtype=torch.bool))
        values = dict(zip(keys, (obs, reward, terminated, truncated), strict=False))
        values |= {"final_obs": info["final_obs"], "cut": cut}
        values |= {key: info.get(key, torch.zeros(0)) for key in ("task", "lane_task")}
        for key in keys:
            rows[key].append(np.asarray(values[key]).copy())
    return SimpleNamespace(**{key: np.stack(values) for key, values in rows.items()})


def assert_bounded(env, steps=60):
    """Truncations (steps, lanes), in no window more than was said at its beginning."""
    horizons = (1, 2, 5, 16, 40)
    bounds, truncated = [], []
    for _ in range(steps):
        bounds.append([env.max_truncations(horizon) for horizon in horizons])
        truncated.append(record(env, 1).truncated[0])
    seen = np.concatenate([np.zeros((1, env.num_envs)), np.cumsum(truncated, 0)])
    for start in range(steps - max(horizons)):
        for horizon, bound in zip(horizons, bounds[start], strict=True):
            assert (seen[start + horizon] - seen[start]).max() <= bound <= horizon
    return np.array(truncated)


@pytest.fixture
def toy():
    """Counter and what plays it, as `toy.Counter` and so on."""
    return SimpleNamespace(Counter=Counter, record=record, assert_bounded=assert_bounded)


class Track(TensorEnv):
    """Walks for a length fixed by lane and episode; takes an offset and a goal as parameters."""

    def __init__(self, num_envs=1, members=1, device="cpu", seed=0, *, max_steps=None):
        space = Box(0, 99, (3,), np.float32)
        super().__init__(space, Discrete(3), num_envs, members, device, seed, max_steps)
        zeros = torch.zeros(self.num_envs, dtype=torch.float64, device=self.device)
        self.parameters = {"offset": zeros, "goal": zeros.long()}
        self.lane = torch.arange(self.lanes, device=self.device).repeat(self.members)

    def set_parameters(self, **values):
        for name, value in values.items():
            self.parameters[name] = self.parameters[name] * 0 + value

    def _persistent(self):
        return {"episodes": torch.zeros(1, dtype=torch.int64, device=self.device)}

    def _initial(self, draws):
        return {"count": torch.zeros(1, dtype=torch.int64, device=self.device)}

    def _length(self, state):
        return 3 + (7 * self.lane + 5 * state["episodes"]) % 9

    def _transition(self, state, actions, draws):
        count = state["count"] + 1
        goal, offset = self.parameters["goal"], self.parameters["offset"]
        reward = count * (1 + (actions - goal).abs()) + offset
        terminated = count >= self._length(state)
        after = {"count": count, "episodes": state["episodes"] + terminated}
        return after, reward.float(), terminated

    def _observe(self, state):
        parts = [state["count"], self._length(state), state["episodes"]]
        return torch.stack(parts, -1).float()


class Walk(gymnasium.Env):
    """One lane of a Track as an ordinary Gymnasium environment."""

    observation_space = Box(0, 99, (3,), np.float32)
    action_space = Discrete(3)

    def __init__(self, lane=0, max_steps=None):
        self.lane, self.max_steps = lane, max_steps
        self.episodes, self.offset, self.goal = 0, 0.0, 0

    def _observe(self):
        return np.array([self.count, self.length, self.episodes], np.float32)

    @property
    def length(self):
        return 3 + (7 * self.lane + 5 * self.episodes) % 9

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.count = 0
        return self._observe(), {}

    def step(self, action):
        self.count += 1
        reward = self.count * (1 + abs(int(action) - self.goal)) + self.offset
        terminated = bool(self.count >= self.length)
        self.episodes += terminated
        truncated = not terminated and self.count == self.max_steps
        reward = float(np.float32(reward))  # what a Track pays
        return self._observe(), reward, terminated, truncated, {}


CHANGES = {
    "flip": [RewardFlip()],
    "scale": [RewardScale((1, 0.3, -2))],
    "dynamics": [Dynamics("offset", (0, 0.3, 2))],
    "goal": [GoalSwitch((0, 2, 1))],
    "permutation": [ObservationPermutation((3,), 5, seed=3)],
    "offset": [ObservationOffset((3,), 3, std=0.7, seed=1)],
    "dropout": [ObservationDropout((3,), 4, 0.5, seed=1)],
    "noise": [ObservationNoise((3,), (0, 0.3, 1), seed=2)],
    "actions": [ActionPermutation(3, 4, seed=1)],
    "sticky": [StickyActions((0, 0.3, 0.9), seed=5)],
    "abrupt": [
        ActionPermutation(3, 4, seed=2),
        ObservationDropout((3,), 4, 0.5, seed=1),
        GoalSwitch((0, 2)),
        RewardFlip(),
        ObservationPermutation((3,), 5, seed=8),
    ],
    "gradual": [
        StickyActions(0.3),
        ObservationOffset((3,), 3, std=0.7, seed=1),
        RewardScale((1, 0.5)),
        ObservationNoise((3,), (0, 0.3, 1), seed=2),
        StickyActions((0, 0.5), seed=4),
        Dynamics("offset", (0, 0.25, 2)),
    ],
}
SCHEDULES = {
    "periodic": Periodic(10),
    "at": At((5, 30, 31, 60), tasks=3),
    "cyclic": Cyclic(10, 3),
    "random": RandomOrder(8, 3, seed=1),
    "poisson": Poisson(12, 3, seed=2),
    "lanes": Asynchronous(Cyclic(20, 3), 45),
    "linear": LinearDrift(150, tasks=3, start=10),
    "sinus": Sinusoidal(70, tasks=3),
    "sinus-lanes": Asynchronous(Sinusoidal(70, tasks=3), 45),
}


def fitting(change, schedule):
    """True unless the schedule is gradual and a change has no values between two tasks."""
    return not SCHEDULES[schedule].gradual or all(c.gradual for c in CHANGES[change])


MODES = ("reset", "latch", "now")


def usual(change, schedule, mode):
    """True for cases of every run: all changes, each schedule, and both in every mode."""
    if schedule == "cyclic":
        return change in ("abrupt", "gradual")  # which between them have every kind
    return change == "gradual" and mode == MODES[list(SCHEDULES).index(schedule) % len(MODES)]


@pytest.fixture
def tracks():
    """Track, Walk and what to try on them."""
    return SimpleNamespace(Track=Track, Walk=Walk, changes=CHANGES, schedules=SCHEDULES)


def pytest_generate_tests(metafunc):
    """`case`: names of changes and of a schedule that fit each other, and a mode."""
    if "case" in metafunc.fixturenames:
        cases = [
            pytest.param(case, id="-".join(case), marks=() if usual(*case) else pytest.mark.slow)
            for case in product(CHANGES, SCHEDULES, MODES)
            if fitting(*case[:2])
        ]
        metafunc.parametrize("case", cases)
