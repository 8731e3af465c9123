"""PPO of rejax on a game of gymnax, padded as the isometry paper pads it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnax
import jax
import jax.numpy as jnp
import rejax
from gymnax.environments import spaces

CHANNELS = 10


class Padded:
    """A MinAtar game whose observations are padded to ten channels and flattened."""

    def __init__(self, env: Any) -> None:
        self._env = env

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # copying asks before there is a game
            raise AttributeError(name)
        return getattr(self._env, name)

    def _pad(self, obs: jax.Array) -> jax.Array:
        missing = CHANNELS - obs.shape[-1]
        return jnp.pad(obs.astype(jnp.float32), ((0, 0), (0, 0), (0, missing))).reshape(-1)

    def reset(self, key: jax.Array, params: Any = None) -> tuple[jax.Array, Any]:
        """Padded first observation, and state."""
        obs, state = self._env.reset(key, params)
        return self._pad(obs), state

    def step(self, key: jax.Array, state: Any, action: jax.Array, params: Any = None) -> Any:
        """Padded observation, and the rest of the game's answer."""
        obs, *rest = self._env.step(key, state, action, params)
        return self._pad(obs), *rest

    def observation_space(self, params: Any) -> spaces.Box:
        """Ten by ten cells of ten channels, flat."""
        return spaces.Box(0, 1, (10 * 10 * CHANNELS,))


def prepare(
    game: str, width: int, depth: int, lanes: int, steps: int, minibatches: int
) -> Callable[[], int]:
    """One iteration of the preset `paper`: collect, then four epochs of minibatches.

    Clipping is by element and Adam's epsilon its default, which rejax fixes; both cost the same.
    """
    env, params = gymnax.make(f"{game}-MinAtar")
    algorithm = rejax.PPO.create(
        env=Padded(env),
        env_params=params,
        agent_kwargs={"hidden_layer_sizes": (width,) * depth, "activation": "relu"},
        num_envs=lanes,
        num_steps=steps,
        num_epochs=4,
        num_minibatches=minibatches,
        learning_rate=2.5e-4,
        max_grad_norm=0.5,
        gamma=0.99,
        gae_lambda=0.95,
        clip_eps=0.2,
        ent_coef=0.01,
        vf_coef=0.5,
    )
    state = jax.jit(algorithm.init_state)(jax.random.PRNGKey(0))
    iterate = jax.jit(algorithm.train_iteration).lower(state).compile()

    def window() -> int:
        nonlocal state
        state = jax.block_until_ready(iterate(state))
        return lanes * steps

    return window
