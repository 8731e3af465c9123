"""MinAtar of pgx stepped with random actions, observation and autoreset included."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import pgx
from pgx.experimental import auto_reset
from scan import scanned


def prepare(env: str, lanes: int, steps: int, chunks: int) -> Callable[[], int]:
    """A scan over steps of all lanes, which start over in the step that ends them.

    Actions are the game's own, none of them sticky. The state holds the observation.
    """
    game = type(pgx.make(env))(sticky_action_prob=0.0)
    advance = jax.vmap(auto_reset(game.step, game.init))

    def step(states: Any, actions: jax.Array, keys: jax.Array) -> Any:
        states = advance(states, actions, keys)
        return states, (states.rewards, states.terminated), jnp.ones(lanes, bool)

    start = jax.jit(jax.vmap(game.init))(jax.random.split(jax.random.PRNGKey(0), lanes))
    return scanned(start, step, game.num_actions, lanes, steps, chunks)
