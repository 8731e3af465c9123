"""Common part of the peers written in JAX: a compiled scan over actions drawn beforehand."""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle
from typing import Any

import jax
import jax.numpy as jnp

#: Takes states (lanes, ...), actions (lanes,) and keys (lanes, 2) to states, to what is kept of
#: every step, and to which lanes (lanes,) did step rather than start over.
Step = Callable[[Any, jax.Array, jax.Array], tuple[Any, Any, jax.Array]]


def scanned(
    start: Any, step: Step, actions: int, lanes: int, steps: int, chunks: int
) -> Callable[[], int]:
    """Calls that step all lanes with random actions.

    Args:
        start: States of all lanes, their observations among them: one that nothing carries would
            be compiled away.
        step: One step of all lanes.
        actions: Number of actions.
        lanes: Parallel environments.
        steps: Steps of all lanes a call.
        chunks: Calls after which the actions repeat.

    Returns:
        A function that returns how many environment steps it did.
    """
    shape = (chunks, steps, lanes)
    drawn = list(jax.random.randint(jax.random.PRNGKey(1), shape, 0, actions))
    turns = cycle(drawn)

    def advance(carry: Any, action: jax.Array) -> Any:
        key, states, amount = carry
        key, drawn_key = jax.random.split(key)
        states, kept, stepped = step(states, action, jax.random.split(drawn_key, lanes))
        return (key, states, amount + stepped.sum()), kept

    def play(carry: Any, drawn: jax.Array) -> Any:
        key, states, _ = carry
        return jax.lax.scan(advance, (key, states, jnp.int32(0)), drawn)

    # Copies: a constant in several places could not be handed over.
    carry = jax.tree.map(jnp.array, (jax.random.PRNGKey(2), start, jnp.int32(0)))
    compiled = jax.jit(play, donate_argnums=0).lower(carry, drawn[0]).compile()

    def call() -> int:
        nonlocal carry
        carry, _ = jax.block_until_ready(compiled(carry, next(turns)))
        return int(carry[2])

    return call
