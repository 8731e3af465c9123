"""MiniGrid of navix stepped with random actions, observation and autoreset included."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import navix
from scan import scanned


def prepare(env: str, lanes: int, steps: int, chunks: int) -> Callable[[], int]:
    """A scan over steps of all lanes, which start over in the step after the one that ends them.

    Observations are navix's nearest to MiniGrid's, 7 x 7 x 3 of what lies ahead, behind walls too.
    """
    game = navix.make(env, observation_fn=navix.observations.symbolic_first_person)
    advance = jax.vmap(game.step)

    def step(states: Any, actions: jax.Array, keys: jax.Array) -> Any:
        stepped = states.step_type == 0
        states = advance(states, actions)
        return states, (states.reward, states.step_type), stepped

    start = jax.jit(jax.vmap(game.reset))(jax.random.split(jax.random.PRNGKey(0), lanes))
    return scanned(start, step, int(game.action_space.n), lanes, steps, chunks)
