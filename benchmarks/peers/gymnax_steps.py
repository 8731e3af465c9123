"""Games of gymnax stepped with random actions, observation and autoreset included."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnax
import jax
import jax.numpy as jnp
from scan import scanned


def prepare(env: str, lanes: int, steps: int, chunks: int) -> Callable[[], int]:
    """A scan over steps of all lanes, which start over in the step that ends them."""
    game, params = gymnax.make(env)
    reset = jax.vmap(game.reset, in_axes=(0, None))
    advance = jax.vmap(game.step, in_axes=(0, 0, 0, None))
    continuous = not hasattr(game.action_space(params), "n")

    def step(states: Any, actions: jax.Array, keys: jax.Array) -> Any:
        if continuous:
            actions = actions.astype(jnp.float32)[:, None] - 1
        obs, state, reward, done, _ = advance(keys, states[1], actions, params)
        return (obs, state), (reward, done), jnp.ones_like(done)

    start = jax.jit(reset)(jax.random.split(jax.random.PRNGKey(0), lanes), params)
    count = 3 if continuous else int(game.action_space(params).n)
    return scanned(start, step, count, lanes, steps, chunks)
