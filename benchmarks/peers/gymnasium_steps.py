"""One environment of Gymnasium stepped with random actions: MiniGrid's and classic control's."""

from __future__ import annotations

from collections.abc import Callable

import gymnasium
import minigrid  # noqa: F401 - registers its ids
import numpy as np


def prepare(env: str, steps: int) -> Callable[[], int]:
    """Steps in a Python loop."""
    game = gymnasium.make(env, disable_env_checker=True)
    game.action_space.seed(0)
    drawn = [game.action_space.sample() for _ in range(steps)]
    if isinstance(game.action_space, gymnasium.spaces.Discrete):
        drawn = np.array(drawn).tolist()
    game.reset(seed=0)

    def call() -> int:
        for action in drawn:
            *_, terminated, truncated, _ = game.step(action)
            if terminated or truncated:
                game.reset()
        return steps

    return call
