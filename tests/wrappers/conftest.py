"""A small tensor environment, the same one as single Gymnasium environments, and a rollout."""

from types import SimpleNamespace

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete

from neoteny.envs import TensorEnv, rng


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


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


class Single(gymnasium.Env):
    """One lane of a Counter as an ordinary Gymnasium environment."""

    def __init__(self, seed, lane=0, max_steps=None, offset=0.0):
        self.lanes = Counter(lane + 1, 1, seed=seed, max_steps=max_steps)
        self.lane = lane
        self.offset = offset
        self.observation_space = self.lanes.single_observation_space
        self.action_space = self.lanes.single_action_space
        self.fresh = None

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        if self.fresh is None:
            mask = torch.arange(self.lane + 1) == self.lane
            masked = {"reset_mask": mask} if self.lanes.state else None
            self.fresh = self.lanes.reset(options=masked)[0][self.lane].numpy()
        obs, self.fresh = self.fresh, None
        return obs, {}

    def step(self, action):
        actions = torch.full((self.lane + 1,), int(action))
        obs, reward, terminated, truncated, info = self.lanes.step(actions)
        terminated, truncated = bool(terminated[self.lane]), bool(truncated[self.lane])
        self.fresh = obs[self.lane].numpy() if terminated or truncated else None
        final = info["final_obs"][self.lane].numpy()
        return final, float(reward[self.lane]) + self.offset, terminated, truncated, {}


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


@pytest.fixture
def toy():
    """Counter, Single and record, as `toy.Counter` and so on."""
    return SimpleNamespace(Counter=Counter, Single=Single, record=record)
