"""Rank correlations over runs: their intervals, a control with shuffled arms, and corrections.

Arrays are (V, A, S): V switches, A arms, S seeds, the same for all arms; NaN where a run has no
value. A correlation is Spearman's over all runs at one switch, averaged over switches, so that
neither time nor the difficulty of tasks adds to it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from neoteny.experiments.statistics.metrics import CONFIDENCE, Array, mean

__all__ = [
    "Correlation",
    "adjusted",
    "correlate",
    "rank_correlation",
    "rank_correlation_within",
]

FEWEST_RUNS = 4
"""Runs at a switch from which on there is a correlation."""


@dataclass(frozen=True)
class Correlation:
    """A rank correlation with its interval and control."""

    value: float
    low: float
    high: float
    """Of a 95 % percentile interval, by resampling whole runs."""
    within: float
    """Correlation of what is left of the ranks after the mean of each arm: of runs of one arm."""
    within_low: float
    within_high: float
    shuffled: Array
    """(draws,) correlations after whole arms were shuffled."""
    runs: int
    """Runs that have both quantities."""


def rank_correlation(x: Array, y: Array) -> Array:
    """Spearman's correlation along the last axis; pairs with NaN are left out.

    Args:
        x: (..., R).
        y: (..., R), or what broadcasts with x.

    Returns:
        (...); NaN with fewer than 4 pairs, or if either is constant.
    """
    left, right, _ = _ranks(x, y)
    return _correlation(left, right)


def rank_correlation_within(x: Array, y: Array, arms: NDArray[np.int64]) -> Array:
    """Correlation of the ranks, each less the mean rank of its arm.

    Args:
        x: (..., R).
        y: (..., R).
        arms: (..., R) number of each run's arm.

    Returns:
        (...); NaN with fewer than 4 pairs, or if nothing varies within arms.
    """
    left, right, hole = _ranks(x, y)
    return _correlation(_less_means(left, hole, arms), _less_means(right, hole, arms))


def correlate(x: Array, y: Array, draws: int, seed: int) -> Correlation:
    """Correlation of two quantities of runs.

    Args:
        x: (V, A, S) a diagnostic.
        y: (V, A, S) what it may predict.
        draws: of the interval and of the control.
        seed: of the draws.

    Source: the interval is Efron's percentile bootstrap; the control moves the runs of an arm
    together, as runs of one arm resemble each other in both quantities whatever causes what.
    """
    rng, shuffles = np.random.default_rng([seed, 0]), np.random.default_rng([seed, 1])
    switches, count, seeds = x.shape
    flat_x, flat_y = x.reshape(switches, -1), y.reshape(switches, -1)
    there = np.flatnonzero((np.isfinite(_bounded(flat_x)) & np.isfinite(flat_y)).any(axis=0))
    arms = np.repeat(np.arange(count), seeds)
    drawn = there[rng.integers(0, max(len(there), 1), (draws, len(there)))]
    some_x, some_y, some_arms = flat_x[:, drawn], flat_y[:, drawn], arms[drawn]
    orders = shuffles.permuted(np.tile(np.arange(count), (draws, 1)), axis=1)
    moved = y[:, orders].reshape(switches, draws, -1)
    value = float(mean(rank_correlation(flat_x, flat_y), axis=0))
    within = float(mean(rank_correlation_within(flat_x, flat_y, arms), axis=0))
    return Correlation(
        value,
        *_interval(mean(rank_correlation(some_x, some_y), axis=0)),
        within,
        *_interval(mean(rank_correlation_within(some_x, some_y, some_arms[None]), axis=0)),
        mean(rank_correlation(flat_x[:, None], moved), axis=0),
        len(there),
    )


def adjusted(values: Array, shuffled: Array) -> tuple[Array, Array]:
    """Values p of correlations, and p values corrected for their number.

    Args:
        values: (D,) correlations.
        shuffled: (draws, D) after shuffling, each row with one shuffle for all.

    Returns:
        (D,) share of shuffles with as large an absolute correlation, and the share of shuffles in
        which any of the D has as small a p value.

    Source: Westfall & Young, "Resampling-based multiple testing", 1993 (single-step min-P), which
    counts measures that rise and fall together once and not each on its own.
    """
    size = np.nan_to_num(np.abs(np.vstack([values, shuffled])), nan=-1.0)
    # Share of all rows, the observed one among them, that are as large, up to round-off.
    p = stats.rankdata(-np.round(size, 12), method="max", axis=0) / len(size)
    smallest = np.sort(p.min(axis=1))
    corrected = np.searchsorted(smallest, p[0], side="right") / len(size)
    known = np.isfinite(values)
    return np.where(known, p[0], np.nan), np.where(known, corrected, np.nan)


def _bounded(values: Array) -> Array:
    """Infinite values as the largest finite ones, which have the same ranks."""
    largest = np.finfo(np.float64).max
    return np.clip(values, -largest, largest)


def _ranks(x: Array, y: Array) -> tuple[Array, Array, NDArray[np.bool_]]:
    """Ranks among the pairs without NaN, less their mean; 0 for the others, which are told."""
    left, right = np.broadcast_arrays(_bounded(x), _bounded(y))
    hole = np.isnan(left) | np.isnan(right)
    count = (~hole).sum(-1, keepdims=True)
    found = []
    for values in (left, right):
        ranks = stats.rankdata(np.where(hole, np.inf, values), axis=-1)
        found.append(np.where(hole, 0.0, ranks - (count + 1) / 2))
    few = np.broadcast_to(count < FEWEST_RUNS, hole.shape)
    return np.where(few, np.nan, found[0]), np.where(few, np.nan, found[1]), hole


def _less_means(ranks: Array, hole: NDArray[np.bool_], arms: NDArray[np.int64]) -> Array:
    """Ranks less the mean rank of each arm."""
    mine = np.broadcast_to(arms, ranks.shape)
    left = ranks.copy()
    for arm in np.unique(arms):
        own = (mine == arm) & ~hole
        total = np.where(own, ranks, 0.0).sum(-1, keepdims=True)
        left -= np.where(own, total / np.maximum(own.sum(-1, keepdims=True), 1), 0.0)
    return left


def _correlation(left: Array, right: Array) -> Array:
    product = (left * right).sum(-1)
    size = np.sqrt((left**2).sum(-1) * (right**2).sum(-1))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(size > 1e-9, product / size, np.nan))


def _interval(values: Array) -> tuple[float, float]:
    known = values[np.isfinite(values)]
    if not len(known):
        return np.nan, np.nan
    low, high = np.quantile(known, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)
