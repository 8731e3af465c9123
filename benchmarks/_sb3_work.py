"""Stable-Baselines3's PPO on the work that benchmarks time."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium
import torch
from _work import CHANNELS, LIMIT, Training
from stable_baselines3 import PPO as SB3PPO
from stable_baselines3.common.vec_env import DummyVecEnv


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


def sb3_training(training: Training, lanes: int = 8) -> Callable[[], int]:
    """Stable-Baselines3's PPO on the `minatar` package's Breakout in the process's own loop.

    Network, padding, minibatch size, epochs and losses are those of `training`; the rollout is as
    short as four minibatches, which changes neither the updates nor the samples a step.
    """
    size = training.ppo.minibatch_size
    steps = 4 * size // lanes
    config = training.ppo
    agent = SB3PPO(
        "MlpPolicy",
        DummyVecEnv([_host_breakout] * lanes),
        learning_rate=config.learning_rate,
        n_steps=steps,
        batch_size=size,
        n_epochs=config.num_epochs,
        gamma=config.gamma,
        gae_lambda=config.gae_lambda,
        clip_range=config.clip_range,
        clip_range_vf=config.clip_range_vf,
        ent_coef=config.ent_coef,
        vf_coef=config.vf_coef,
        max_grad_norm=config.max_grad_norm,
        policy_kwargs={
            "net_arch": [training.width] * training.depth,
            "activation_fn": torch.nn.ReLU,
        },
        device="cpu",
    )
    learn = partial(agent.learn, steps * lanes, reset_num_timesteps=False)

    def window() -> int:
        learn()
        return steps * lanes

    return window
