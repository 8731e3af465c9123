"""Continual metrics: interval estimates over runs, and what one visit of a task was worth.

The exchangeable unit is the run (one seed of one arm): all tasks of a run share one agent, so
the bootstrap resamples whole runs. NaN marks a missing score everywhere and is left out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class Statistic(Protocol):
    """A reduction of the scores along one axis."""

    def __call__(self, scores: Array, /, axis: int) -> Array:
        """Reduce."""
        ...


MEASURES = {"charts/episodic_return": "return", "charts/online_accuracy": "accuracy"}
"""What a run is judged by, whichever of these it has recorded, and what people call it."""

DRAWS = 5000
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Reference:
    """The two scores that a game's returns are put between."""

    random: float
    """Mean return of an untrained policy."""
    trained: float
    """Mean return of a policy trained on this game alone."""


REFERENCES = {
    "MinAtar-Breakout": Reference(0.6, 19.8),
    "MinAtar-Asterix": Reference(0.4, 5.0),
    "MinAtar-SpaceInvaders": Reference(3.0, 50.4),
    "MinAtar-Freeway": Reference(0.1, 32.7),
}
"""Returns of PPO with Adam (4x64 ReLU, one seed) before training and after 5.24 M steps of one
game, measured with the JAX code of "Preserving Plasticity … via Dynamical Isometry": no sticky
actions, padded observations, episodes of at most 1,000 steps (Freeway 2,500)."""


def reference(name: str) -> Reference | None:
    """The reference scores of a task.

    Args:
        name: an environment id, with or without the namespace ``neoteny/`` and a version, or a
            MinAtar game's bare name: ``"neoteny/MinAtar-Breakout-v0"``, ``"Breakout"``.

    Returns:
        Its scores; None for anything else, such as another package's Breakout.
    """
    short = re.sub(r"-v\d+$", "", name.removeprefix("neoteny/"))
    return REFERENCES.get(short) or REFERENCES.get(f"MinAtar-{name}")


def normalise(returns: Array | float, name: str) -> Array | float:
    """Put returns on the scale where an untrained policy has 0 and a trained one 1.

    Args:
        returns: mean returns of any shape.
        name: the task, as for `reference`.

    Returns:
        (return - random) / (trained - random), of the same shape; NaN without reference.
    """
    ends = reference(name)
    if ends is None:
        return returns * np.nan
    return (returns - ends.random) / (ends.trained - ends.random)


def iqm(scores: Array, axis: int | None = None) -> Array:
    """Interquartile mean: the mean of what is left without the lowest and highest quarter.

    Args:
        scores: scores of any shape.
        axis: reduce over this axis; None reduces over all.

    Returns:
        The mean of the scores ranked from ⌊n/4⌋ to n - ⌊n/4⌋ of the n that are not NaN; NaN if
        there are none.

    Source:
        Agarwal et al., "Deep RL at the Edge of the Statistical Precipice", 2021 (rliable);
        equals ``scipy.stats.trim_mean(scores, 0.25)`` without NaN.
    """
    values = np.asarray(scores, np.float64)
    ranked = np.sort(values.ravel() if axis is None else np.moveaxis(values, axis, -1), axis=-1)
    count = np.isfinite(ranked).sum(-1, keepdims=True)  # sort puts NaN last
    cut = count // 4
    rank = np.arange(ranked.shape[-1])
    kept = (rank >= cut) & (rank < count - cut)
    return _nan_divide(np.where(kept, ranked, 0.0).sum(-1), kept.sum(-1))


def mean(scores: Array, axis: int | None = None) -> Array:
    """Mean of the scores that are not NaN; NaN if there are none (arguments as for `iqm`)."""
    values = np.asarray(scores, np.float64)
    there = np.isfinite(values)
    return _nan_divide(np.where(there, values, 0.0).sum(axis), there.sum(axis))


def bootstrap(
    scores: Array,
    statistic: Statistic = iqm,
    draws: int = DRAWS,
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile interval from resampling whole runs (cluster bootstrap).

    Args:
        scores: (R, ...) scores of R runs.
        statistic: a reduction of all scores, called as ``statistic(scores, axis=1)`` on
            (draws, n): `iqm` or `mean`.
        draws: number of resamples.
        confidence: coverage aimed at, in (0, 1).
        seed: seed of the resampling.

    Returns:
        The lower and the upper end; NaN with fewer than two runs.

    Source:
        Agarwal et al. 2021, with whole runs in place of (run, task) cells: the tasks of a
        continual run are not independent.
    """
    values = np.asarray(scores, np.float64)
    runs = len(values)
    if runs < 2:
        return np.nan, np.nan
    values = values.reshape(runs, -1)
    picked = np.random.default_rng(seed).integers(runs, size=(draws, runs))
    block = max(1, 4_000_000 // values.size)  # draws at a time: keeps a resample below 32 MB
    estimates = np.concatenate(
        [
            statistic(values[picked[start : start + block]].reshape(-1, values.size), axis=1)
            for start in range(0, draws, block)
        ]
    )
    return _interval(estimates, confidence)


def mean_curve(
    curves: Array, draws: int = 2000, confidence: float = CONFIDENCE, seed: int = 0
) -> tuple[Array, Array, Array]:
    """Mean over runs at every point of a common grid, with its bootstrap interval.

    Args:
        curves: (R, P) one row a run, NaN where a run has no value.
        draws: number of resamples of whole runs.
        confidence: coverage aimed at, pointwise.
        seed: seed of the resampling.

    Returns:
        Mean, lower and upper end, each (P,); the ends are NaN where fewer than two runs have
        a value.
    """
    there = np.isfinite(curves)
    filled = np.where(there, curves, 0.0)
    middle = mean(curves, axis=0)
    runs = len(curves)
    low, high = np.full_like(middle, np.nan), np.full_like(middle, np.nan)
    enough = there.sum(0) >= 2
    if not enough.any():
        return middle, low, high
    # How often each resample holds each run: a matrix product replaces the gather.
    held = _resamples(np.random.default_rng(seed), runs, draws)
    means = _nan_divide(held @ filled[:, enough], held @ there[:, enough])
    tail = (1 - confidence) / 2
    low[enough], high[enough] = np.nanquantile(means, [tail, 1 - tail], axis=0)
    return middle, low, high


def probability_of_improvement(
    scores: Array,
    others: Array,
    paired: bool = False,
    draws: int = DRAWS,
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> tuple[float, float, float]:
    """How likely a run of one arm beats a run of another on a task, averaged over tasks.

    Args:
        scores: (R, T) scores of R runs on T tasks.
        others: (S, T) scores of the other arm on the same tasks.
        paired: row i of both arms has the same seed and task sequence, so that a resample
            takes the same rows of both.
        draws: number of resamples.
        confidence: coverage aimed at.
        seed: seed of the resampling.

    Returns:
        The probability (ties count half) over all pairs of runs, and its interval (NaN with
        fewer than two runs in an arm).

    Source:
        Agarwal et al. 2021, "probability of improvement" (Mann-Whitney U over R·S).
    """
    left, right = scores[:, None, :], others[None, :, :]
    won = np.where(np.isnan(left + right), np.nan, (left > right) + 0.5 * (left == right))
    wins = mean(won, axis=2)  # (R, S)
    known = np.isfinite(wins)
    filled = np.where(known, wins, 0.0)
    estimate = float(mean(wins))
    if min(wins.shape) < 2:
        return estimate, np.nan, np.nan
    rng = np.random.default_rng(seed)
    rows = _resamples(rng, len(wins), draws)
    columns = rows if paired else _resamples(rng, wins.shape[1], draws)
    total = np.einsum("dr,rs,ds->d", rows, filled, columns, optimize=True)
    weight = np.einsum("dr,rs,ds->d", rows, known.astype(np.float64), columns, optimize=True)
    return estimate, *_interval(_nan_divide(total, weight), confidence)


def plasticity_gap(scores: Array, fresh: Array) -> Array:
    """Plasticity gap Π = 1 - AUC / AUC_fresh.

    Args:
        scores: normalised online returns (AUC over the visit's length).
        fresh: those of the matched runs that start every visit with a new network.

    Returns:
        Π, of the same shape: 0 learns like new, 1 learns nothing; NaN where fresh itself did
        not beat an untrained policy.

    Source:
        The ratio form of forward transfer (Wołczyk et al., "Continual World", 2021), taken
        against a fresh agent on every visit.
    """
    useful = np.where(fresh > 0, fresh, np.nan)
    return np.asarray(1 - scores / useful, np.float64)


def _resamples(rng: np.random.Generator, runs: int, draws: int) -> Array:
    """(draws, runs) how often each resample of the runs holds each of them."""
    return rng.multinomial(runs, np.full(runs, 1 / runs), size=draws).astype(np.float64)


def _interval(estimates: Array, confidence: float) -> tuple[float, float]:
    """Percentile interval; NaN where so many resamples have no value that its ends are unknown."""
    tail = (1 - confidence) / 2
    if np.isnan(estimates).mean() > tail:
        return np.nan, np.nan
    low, high = np.nanquantile(estimates, [tail, 1 - tail])
    return float(low), float(high)


def _nan_divide(total: Array, count: Array) -> Array:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(total / np.where(count > 0, count, np.nan), np.float64)
