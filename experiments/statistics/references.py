"""Reference scores by which returns of MinAtar's games are normalised."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from neoteny.experiments.statistics.metrics import Array


@dataclass(frozen=True)
class Reference:
    """The two scores by which a game's returns are normalised."""

    random: float
    """Mean return of uniformly random actions."""
    trained: float
    """Mean return of policies trained on this game alone."""
    spread: float = 0.0
    """Standard deviation of these policies' mean returns over seeds."""
    seeds: int = 0
    """Number of these seeds."""


REFERENCES = {
    "MinAtar-Breakout": Reference(0.41, 16.90, 2.02, 6),
    "MinAtar-Asterix": Reference(0.49, 4.91, 0.61, 5),
    "MinAtar-SpaceInvaders": Reference(4.10, 79.83, 6.26, 5),
    "MinAtar-Freeway": Reference(0.37, 37.94, 1.40, 5),
}
"""Measured with this package: mean return of 128 episodes of each of five final PPO policies (six
in Breakout) after 5.24 M steps of one game, Adam, 4x64 ReLU (results/single-games), and of at
least 2,000 episodes of random minimal actions. No sticky actions; episodes end after 1,000 steps,
in Freeway after 2,500, as in the stream `minatar-continual`."""

SHORT_FREEWAY = Reference(0.15, 15.14, 0.92, 5)
"""Freeway's scores where episodes are limited to 1,000 steps."""


def reference(name: str, limit: int | None = None) -> Reference | None:
    """The reference scores of a task.

    Args:
        name: an environment id, with or without the namespace ``neoteny/`` and a version, or a
            MinAtar game's bare name: ``"neoteny/MinAtar-Breakout-v0"``, ``"Breakout"``.
        limit: steps that episodes were limited to, if a run's options set it.

    Returns:
        Its scores; None for other tasks, such as another package's Breakout.
    """
    short = re.sub(r"-v\d+$", "", name.removeprefix("neoteny/"))
    known = short if short in REFERENCES else f"MinAtar-{name}"
    if known == "MinAtar-Freeway" and limit == 1000:
        return SHORT_FREEWAY
    return REFERENCES.get(known)


def normalise(returns: Array | float, name: str, limit: int | None = None) -> Array | float:
    """Put returns on the scale where an untrained policy has 0 and a trained one 1.

    Args:
        returns: mean returns of any shape.
        name: the task, as for `reference`.
        limit: steps that episodes were limited to, if a run's options set it.

    Returns:
        (return - random) / (trained - random), of the same shape; NaN without reference.
    """
    ends = reference(name, limit)
    if ends is None:
        return returns * np.nan
    return (returns - ends.random) / (ends.trained - ends.random)
