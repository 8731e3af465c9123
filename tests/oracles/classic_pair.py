"""Classic control beside Gymnasium: one step from the same state, over and over."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import gymnasium
import numpy as np
import torch
from oracles.tally import Tally

from neoteny.envs import TensorEnv, make

# Differences of the last bit in sine and cosine, and what division makes of them.
DOUBLE, SINGLE = 1e-12, 2.0**-23
REWARD = 1e-5


def sample(env: TensorEnv, steps: int, seed: int = 0) -> torch.Tensor:
    """Random actions (steps, L, ...), continuous ones out of bounds too."""
    generator = np.random.default_rng(seed)
    space = env.single_action_space
    if isinstance(space, gymnasium.spaces.Discrete):
        return torch.from_numpy(generator.integers(space.n, size=(steps, env.num_envs)))
    actions = generator.uniform(-1.5, 1.5, size=(steps, env.num_envs, 1)) * space.high
    return torch.from_numpy(actions.astype(np.float32))


def oracle(id: str, parameters: Mapping[str, float]) -> Callable[[Any, Any], tuple[Any, ...]]:
    """Gymnasium's environment without its time limit, as a function of (state, action)."""
    env: Any = gymnasium.make(id, disable_env_checker=True).unwrapped
    env.reset(seed=0)
    for name, value in parameters.items():
        setattr(env, name, value)
    if "CartPole" in id:
        env.total_mass = env.masspole + env.masscart
        env.polemass_length = env.masspole * env.length

    def step(state: Any, action: Any) -> tuple[Any, ...]:
        env.state = tuple(state) if id == "MountainCar-v0" else state
        env.steps_beyond_terminated = None
        obs, reward, terminated, *_ = env.step(action)
        return obs, np.float32(reward), terminated, np.asarray(env.state, np.float64)

    return step


def scattered(env: TensorEnv, seed: int = 1) -> torch.Tensor:
    """States over all that an episode can reach, ends included."""
    generator = np.random.default_rng(seed)
    name = type(env).__name__
    spans = {
        "CartPole": [2.5, 3.0, 0.22, 3.0],
        "MountainCar": [0.85, 0.07],
        "MountainCarContinuous": [0.85, 0.07],
        "Acrobot": [np.pi, np.pi, 4 * np.pi, 9 * np.pi],
        "Pendulum": [12.0, 8.0],
    }[name]
    states = generator.uniform(-1, 1, size=(env.num_envs, len(spans))) * spans
    if "Car" in name:
        states[:, 0] -= 0.3
    if name == "MountainCarContinuous":
        states = states.astype(np.float32).astype(np.float64)
    return torch.from_numpy(states)


def tolerance(id: str) -> float:
    """Gymnasium rounds the continuous car's arithmetic, not just its state, to float32."""
    return SINGLE if id == "MountainCarContinuous-v0" else DOUBLE


class Pair:
    """Our environment, every lane of which is put into Gymnasium's state by state.

    Args:
        id: An id of classic control.
        lanes: Parallel environments.
        seed: Of our environment.
        parameters: Attributes to change, on both sides.
        anywhere: Whether to start scattered rather than where episodes start.

    Attributes:
        worst: Largest difference so far of state (relative where it is above 1), obs and reward.
        terminations: Steps that terminated.
    """

    def __init__(
        self,
        id: str,
        lanes: int,
        seed: int = 5,
        parameters: Mapping[str, float] | None = None,
        anywhere: bool = False,
    ) -> None:
        self.env = make(id, lanes, seed=seed, parameters=parameters)
        self.env.reset()
        if anywhere:
            self.env.state |= {"physics": scattered(self.env)}
        self.tally, self.terminations = Tally(lanes), 0
        self.bounds = {"state": tolerance(id), "obs": SINGLE, "reward": REWARD}
        self.worst = dict.fromkeys(self.bounds, 0.0)
        self._step = oracle(id, parameters or {})

    def run(self, steps: int) -> None:
        """Steps both with random actions."""
        for action in sample(self.env, steps):
            self.step(action)

    def step(self, action: torch.Tensor) -> None:
        """Step ours, and the reference from the states that ours were in."""
        env = self.env
        before = env.state["physics"].numpy().copy()
        after, reward, terminated = env._transition(
            env.state, action, env._draw(env.state["t_env"])
        )
        found = env._observe(env.state | after).numpy()
        expected = [self._step(*pair) for pair in zip(before, action.numpy(), strict=True)]
        obs, rewards, ends, states = (np.stack(column) for column in zip(*expected, strict=True))
        errors = {
            "state": np.abs(states - after["physics"].numpy()) / np.maximum(np.abs(states), 1.0),
            "obs": np.abs(obs - found),
            "reward": np.abs(rewards - reward.numpy()),
        }
        for name, error in errors.items():
            largest = error.reshape(len(error), -1).max(1)
            self.tally.bound(name, largest, self.bounds[name])
            self.worst[name] = max(self.worst[name], float(largest.max()))
        self.tally.compare("terminated", terminated, ends)
        self.tally.injected += self.tally.lanes
        self.tally.step()
        self.terminations += int(terminated.sum())
        env.step(action)
