"""Games of EnvPool stepped with random actions, observation and autoreset included."""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import cycle

import envpool
import numpy as np


def prepare(env: str, lanes: int, steps: int, chunks: int) -> Callable[[], int]:
    """Steps of all lanes at once, which start over in the step after the one that ends them."""
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    game = envpool.make_gymnasium(env, num_envs=lanes, num_threads=threads, seed=0)
    space, generator = game.action_space, np.random.default_rng(0)
    if hasattr(space, "n"):
        drawn = generator.integers(space.n, size=(chunks, steps, lanes)).astype(np.int32)
    else:
        shape = (chunks, steps, lanes, *space.shape)
        drawn = generator.uniform(space.low, space.high, shape).astype(np.float32)
    turns = cycle(drawn)
    game.reset()
    done = np.zeros(lanes, bool)

    def call() -> int:
        nonlocal done
        amount = 0
        for actions in next(turns):
            amount += lanes - int(done.sum())
            *_, terminated, truncated, _ = game.step(actions)
            done = terminated | truncated
        return amount

    return call
