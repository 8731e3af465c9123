"""Games of gymnax stepped with random actions, observation and autoreset included."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnax
import jax
import jax.numpy as jnp


def prepare(env: str, lanes: int, steps: int) -> Callable[[], int]:
    """A scan over steps of all lanes; the actions were drawn before, as on our side."""
    game, params = gymnax.make(env)
    space = game.action_space(params)
    key, reset_key, action_key = jax.random.split(jax.random.PRNGKey(0), 3)
    draw = jax.vmap(jax.vmap(space.sample))
    actions = draw(jax.random.split(action_key, (steps, lanes)))
    start = jax.vmap(game.reset, in_axes=(0, None))
    step = jax.vmap(game.step, in_axes=(0, 0, 0, None))

    def advance(carry: Any, action: jax.Array) -> Any:
        key, _, state = carry
        key, step_key = jax.random.split(key)
        obs, state, reward, done, _ = step(jax.random.split(step_key, lanes), state, action, params)
        # An observation that nothing carries would be compiled away.
        return (key, obs, state), (reward, done)

    def play(carry: Any, actions: jax.Array) -> Any:
        return jax.lax.scan(advance, carry, actions)

    obs, state = start(jax.random.split(reset_key, lanes), params)
    carry = jax.tree.map(jnp.asarray, (key, obs, state))
    compiled = jax.jit(play).lower(carry, actions).compile()

    def window() -> int:
        nonlocal carry
        carry, _ = jax.block_until_ready(compiled(carry, actions))
        return lanes * steps

    return window
