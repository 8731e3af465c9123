"""DQN of rejax on a MinAtar game of gymnax."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnax
import jax
import rejax


def prepare(
    game: str,
    hidden: list[int],
    lanes: int,
    steps: int,
    updates: int,
    batch_size: int,
    replay_size: int,
    learning_starts: int,
    target_frequency: int,
) -> Callable[[], int]:
    """Steps in every lane, each followed by its gradient steps, without any evaluation.

    `rejax.DQN.train` evaluates between blocks of such iterations; those blocks alone are run here,
    in the same compiled loop. The replay is changed in place, as it is there.

    Args:
        game: Name in gymnax, without `-MinAtar`.
        hidden: Widths of the hidden layers.
        lanes: Parallel environments.
        steps: Steps in every lane that a window has.
        updates: Gradient steps after each step of all lanes.
        batch_size: Transitions in a minibatch.
        replay_size: Transitions that are kept.
        learning_starts: Transitions in the replay before the first gradient step.
        target_frequency: Environment steps between two copies to the target network.
    """
    env, params = gymnax.make(f"{game}-MinAtar")
    algorithm = rejax.DQN.create(
        env=env,
        env_params=params,
        agent_kwargs={"activation": "relu"},
        num_envs=lanes,
        num_epochs=updates,
        batch_size=batch_size,
        buffer_size=replay_size,
        fill_buffer=learning_starts,
        target_update_freq=target_frequency,
        polyak=0.0,
        ddqn=True,
        learning_rate=5e-4,
        gamma=0.99,
        max_grad_norm=10.0,
    )
    # Its DQN has no option for the widths, which are 64 and 64.
    agent = algorithm.agent.clone(hidden_layer_sizes=tuple(hidden))
    algorithm = algorithm.replace(agent=agent)
    state = jax.jit(algorithm.init_state)(jax.random.PRNGKey(0))

    def play(state: Any) -> Any:
        return jax.lax.fori_loop(0, steps, lambda _, now: algorithm.train_iteration(now), state)

    run = jax.jit(play, donate_argnums=0).lower(state).compile()

    def window() -> int:
        nonlocal state
        state = jax.block_until_ready(run(state))
        return lanes * steps

    return window
