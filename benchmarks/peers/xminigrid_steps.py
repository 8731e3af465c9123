"""MiniGrid of XLand-MiniGrid stepped with random actions, observation and autoreset included."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import xminigrid
from scan import scanned
from xminigrid.wrappers import GymAutoResetWrapper


def prepare(env: str, lanes: int, steps: int, chunks: int) -> Callable[[], int]:
    """A scan over steps of all lanes, which start over in the step that ends them.

    Observations are its own, 7 x 7 x 2 of what lies ahead, behind walls too.
    """
    game, params = xminigrid.make(env)
    game = GymAutoResetWrapper(game)
    advance = jax.vmap(game.step, in_axes=(None, 0, 0))

    def step(states: Any, actions: jax.Array, keys: jax.Array) -> Any:
        states = advance(params, states, actions)
        return states, (states.reward, states.step_type), jnp.ones(lanes, bool)

    keys = jax.random.split(jax.random.PRNGKey(0), lanes)
    start = jax.jit(jax.vmap(game.reset, in_axes=(None, 0)), static_argnums=0)(params, keys)
    return scanned(start, step, game.num_actions(params), lanes, steps, chunks)
