"""One environment of the `minatar` package stepped with random actions, observation included."""

from __future__ import annotations

from collections.abc import Callable

import minatar
import numpy as np


def prepare(env: str, steps: int) -> Callable[[], int]:
    """Steps in a Python loop, with the game's own actions and none of them sticky."""
    game = minatar.Environment(env, sticky_action_prob=0.0)
    game.seed(0)
    game.reset()
    drawn = np.random.default_rng(0).choice(game.minimal_action_set(), steps).tolist()

    def call() -> int:
        for action in drawn:
            _, terminal = game.act(action)
            if terminal:
                game.reset()
            game.state()
        return steps

    return call
