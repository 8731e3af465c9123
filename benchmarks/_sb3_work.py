"""Stable-Baselines3's PPO on the work that benchmarks time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import gymnasium
import torch
from _work import CHANNELS, LIMIT, Training
from stable_baselines3.common.vec_env import DummyVecEnv

from neoteny.agents import NetworkSpec
from neoteny.sb3.agents import build_agent

LANES = 8


class _Padded(gymnasium.ObservationWrapper[Any, Any, Any]):
    """A MinAtar game padded to ten channels."""

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        super().__init__(env)
        height, width, self._channels = env.observation_space.shape
        self._obs = torch.zeros(height, width, CHANNELS, dtype=torch.bool).numpy()
        self.observation_space = gymnasium.spaces.Box(0, 1, self._obs.shape, bool)

    def observation(self, observation: Any) -> Any:
        padded = self._obs.copy()
        padded[..., : self._channels] = observation
        return padded


def _host_breakout() -> gymnasium.Env[Any, Any]:
    from minatar.gym import register_envs

    if "MinAtar/Breakout-v1" not in gymnasium.registry:
        register_envs()
    game = gymnasium.make("MinAtar/Breakout-v1", max_episode_steps=LIMIT, disable_env_checker=True)
    return _Padded(game)


def sb3_training(training: Training) -> Callable[[], int]:
    """Stable-Baselines3's PPO on the `minatar` package's Breakout in the process's own loop.

    Network, padding, minibatch size, epochs and losses are those of `training`; the rollout is as
    short as four minibatches, which changes neither the updates nor the samples a step.
    """
    size = training.ppo.minibatch_size
    steps = 4 * size // LANES
    config = replace(training.ppo, num_envs=LANES, num_steps=steps, num_minibatches=4)
    spec = NetworkSpec((training.width,) * training.depth)
    envs = DummyVecEnv([_host_breakout] * LANES)
    agent = build_agent(envs, config, spec, 0, torch.device("cpu"))
    learn = partial(agent.learn, steps * LANES, reset_num_timesteps=False)

    def window() -> int:
        learn()
        return steps * LANES

    return window
