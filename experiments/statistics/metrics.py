"""Continual metrics: estimates over runs with their intervals, and the loss of plasticity.

The exchangeable unit is the run (one seed of one arm): all tasks of a run share one agent. All
intervals are of 95 % and over runs, from closed forms that hold with few runs: Student's t for
means, the same for trimmed means, Fieller's for ratios and Wilson's for probabilities. Their
coverage is measured in tests/experiments/statistics/test_metrics.py. NaN marks a missing score
everywhere and is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Array = NDArray[np.float64]

CONFIDENCE = 0.95
FEWEST_KEPT = 3
"""Runs that an interquartile mean must rest on to have an interval."""


class Estimate(NamedTuple):
    """A number with its 95 % interval, whose ends are NaN where none can be given."""

    value: float
    low: float = np.nan
    high: float = np.nan

    def columns(self, name: str) -> dict[str, float]:
        """The estimate as three columns: the name, and with ``_low`` and ``_high``."""
        return dict(zip((name, f"{name}_low", f"{name}_high"), self, strict=True))

    def text(self, sign: str = "", unknown: str = "unknown") -> str:
        """The estimate for people, such as ``+0.31 [+0.12, +0.50]`` with the sign ``"+"``."""
        if not np.isfinite(self.value):
            return unknown
        ends = f" [{self.low:{sign}.2f}, {self.high:{sign}.2f}]"
        return f"{self.value:{sign}.2f}{ends if np.isfinite([self.low, self.high]).all() else ''}"


UNKNOWN = Estimate(np.nan)


def iqm(scores: Array, axis: int | None = None) -> Array:
    """Interquartile mean: the mean without the lowest and highest quarter.

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


def mean_over_tasks(scores: Array, *, interquartile: bool = False) -> Estimate:
    """Mean over runs within each task, then mean over tasks.

    Args:
        scores: (R, T) scores of R runs on T tasks.
        interquartile: reduce the runs of a task by `iqm`, so that a failed run counts little; the
            tasks count alike in either case.

    Returns:
        The mean and its interval, from Student's t with whole runs as units: a run's share of the
        error is summed over its tasks. Of an interquartile mean it is the interval of a trimmed
        mean, from winsorised scores, with one degree of freedom less than the runs kept; NaN where
        a task keeps fewer than `FEWEST_KEPT` of more.

    Source:
        Tukey & McLaughlin, "Less vulnerable confidence and significance procedures", Sankhya 1963.
    """
    values = np.asarray(scores, np.float64)
    values = values[:, np.isfinite(values).any(axis=0)]
    if not values.size:
        return UNKNOWN
    counts = np.isfinite(values).sum(axis=0)
    cuts = counts // 4 if interquartile else np.zeros_like(counts)
    kept = counts - 2 * cuts
    each = iqm(values, axis=0) if interquartile else mean(values, axis=0)
    middle = float(each.mean())
    if kept.min() < 2 or (cuts.any() and kept.min() < FEWEST_KEPT):
        return Estimate(middle)
    ranked = np.sort(values, axis=0)
    columns = np.arange(values.shape[1])
    limited = np.clip(values, ranked[cuts, columns], ranked[counts - 1 - cuts, columns])
    errors = (limited - mean(limited, axis=0)) / np.sqrt(kept * (kept - 1))
    spread = np.sqrt((np.where(np.isfinite(errors), errors, 0.0).mean(axis=1) ** 2).sum())
    reach = float(_t(kept.min() - 1) * spread)
    return Estimate(middle, middle - reach, middle + reach)


def mean_of_runs(values: Array) -> Estimate:
    """Mean of one value a run, with Student's t interval.

    Args:
        values: (R,) values.

    Returns:
        The mean and its interval, NaN with fewer than two runs.
    """
    return mean_over_tasks(np.asarray(values, np.float64).reshape(-1, 1))


def mean_curve(curves: Array) -> tuple[Array, Array, Array]:
    """Mean over runs at every point of a common grid, with Student's t interval.

    Args:
        curves: (R, P) one row a run, NaN where a run has no value.

    Returns:
        Mean, lower and upper end, each (P,); the ends are NaN where fewer than two runs have
        a value.
    """
    count = np.isfinite(curves).sum(axis=0)
    middle = mean(curves, axis=0)
    squares = np.where(np.isfinite(curves), (curves - middle) ** 2, 0.0).sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        reach = _t(np.maximum(count - 1, 1)) * np.sqrt(squares / (count * (count - 1)))
    reach = np.where(count >= 2, reach, np.nan)
    return middle, middle - reach, middle + reach


def ratio_of_means(numerators: Array, denominators: Array) -> Estimate:
    """Ratio of two means over the same runs, such as what was lost over what there was.

    Args:
        numerators: (R,) one value a run.
        denominators: (R,) one value for each of the same runs.

    Returns:
        The ratio and its interval. All NaN where the mean of the denominators is not above zero by
        two of its standard errors: the ratio could have any value. The ends are NaN with one run,
        and where the interval is unbounded.

    Source:
        Fieller, "Some problems in interval estimation", JRSS B 1954: all θ for which Student's t
        does not refuse that the mean of (numerator - θ denominator) is zero.
    """
    pairs = np.stack([numerators, denominators]).astype(np.float64)
    pairs = pairs[:, np.isfinite(pairs).all(axis=0)]
    runs = pairs.shape[1]
    if not runs:
        return UNKNOWN
    above, below = pairs.mean(axis=1)
    if below <= 0:
        return UNKNOWN
    ratio = float(above / below)
    if runs < 2:
        return Estimate(ratio)
    (var_above, covariance), (_, var_below) = np.cov(pairs) / runs
    if below**2 < 4 * var_below:
        return UNKNOWN
    square = _t(runs - 1) ** 2
    first = below**2 - square * var_below
    if first <= 0:
        return Estimate(ratio)
    half = above * below - square * covariance
    root = np.sqrt(max(half**2 - first * (above**2 - square * var_above), 0.0))
    return Estimate(ratio, float((half - root) / first), float((half + root) / first))


def contrast_of_ratios(groups: Sequence[Sequence[tuple[Array, Array]]]) -> Estimate:
    """Mean ratio of one group minus that of another, each ratio with a denominator of its own.

    Args:
        groups: Two groups of pairs, numerators and denominators as of `ratio_of_means`, all of
            the same runs.

    Returns:
        The difference and Student's t interval of its linear terms in the runs. All NaN where a
        denominator is not above zero by two of its standard errors; the ends are NaN with one run.

    Source:
        The delta method, as in Casella & Berger, "Statistical Inference", 2002, section 5.5.4.
    """
    stacked = np.stack([np.stack(pair) for group in groups for pair in group]).astype(np.float64)
    stacked = stacked[..., np.isfinite(stacked).all(axis=(0, 1))]  # (pairs, 2, R)
    runs = stacked.shape[-1]
    if not runs:
        return UNKNOWN
    above, below = stacked[:, 0], stacked[:, 1]
    middle = below.mean(axis=1)
    if (middle <= 0).any():
        return UNKNOWN
    left, right = map(len, groups)
    weights = np.r_[np.full(left, 1 / left), np.full(right, -1 / right)]
    ratios = above.mean(axis=1) / middle
    value = float(weights @ ratios)
    if runs < 2:
        return Estimate(value)
    if (middle**2 < 4 * below.var(axis=1, ddof=1) / runs).any():
        return UNKNOWN
    terms = weights @ ((above - ratios[:, None] * below) / middle[:, None])
    reach = float(_t(runs - 1) * terms.std(ddof=1) / np.sqrt(runs))
    return Estimate(value, value - reach, value + reach)


def probability_of_improvement(scores: Array, others: Array) -> Estimate:
    """Probability that a run of one arm beats a run of another on a task, averaged over tasks.

    Args:
        scores: (R, T) scores of R runs on T tasks.
        others: (S, T) scores of the other arm on the same tasks.

    Returns:
        The probability (ties count half) over all pairs of runs, and Wilson's interval with as many
        trials as the smaller arm has runs. That is the greatest variance that such an estimate can
        have, so the interval is cautious, and it keeps a width where one arm wins always. Its ends
        are NaN with fewer than two runs in an arm.

    Source:
        Agarwal et al. 2021, "probability of improvement" (Mann-Whitney U over R·S); Birnbaum &
        Klose, "Bounds for the variance of the Mann-Whitney statistic", 1957; Wilson, JASA 1927.
    """
    left, right = scores[:, None, :], others[None, :, :]
    won = np.where(np.isnan(left + right), np.nan, (left > right) + 0.5 * (left == right))
    wins = mean(won, axis=2)  # (R, S)
    share = float(mean(wins))
    known = np.isfinite(wins)
    trials = min(int(known.any(axis=1).sum()), int(known.any(axis=0).sum()))
    if trials < 2:
        return Estimate(share)
    square = stats.norm.ppf(0.5 + CONFIDENCE / 2) ** 2 / trials
    centre = (share + square / 2) / (1 + square)
    reach = np.sqrt(square * share * (1 - share) + square**2 / 4) / (1 + square)
    return Estimate(share, float(max(centre - reach, 0.0)), float(min(centre + reach, 1.0)))


def plasticity_gap(gains: Array, fresh: Array) -> Array:
    """Plasticity gap Π = 1 - gain / gain of fresh, visit by visit.

    Args:
        gains: mean online returns above those of an untrained policy.
        fresh: those of the matched runs that start every visit with a new network.

    Returns:
        Π, of the same shape: 0 learns like new, 1 learns nothing; NaN where fresh itself did
        not beat an untrained policy.

    Source:
        The ratio form of forward transfer (Wołczyk et al., "Continual World", 2021), taken
        against a fresh agent on every visit.
    """
    useful = np.where(fresh > 0, fresh, np.nan)
    return np.asarray(1 - gains / useful, np.float64)


def slope_within(position: Array, values: Array, groups: Array) -> float:
    """Least-squares slope of values over position, each group with an intercept of its own.

    Args:
        position: (n,) where each value was taken.
        values: (n,) values; NaN are left out.
        groups: (n,) group of each value, such as its task.

    Returns:
        The slope that all groups share; NaN if no group has values at two positions.
    """
    there = np.isfinite(values)
    x, y, group = position[there].astype(np.float64), values[there].copy(), groups[there]
    for name in set(group.tolist()):
        mine = group == name
        x[mine] -= x[mine].mean()
        y[mine] -= y[mine].mean()
    spread = float((x**2).sum())
    return float((x * y).sum() / spread) if spread > 0 else np.nan


def _t(freedom: Array | int) -> Array:
    """Quantile of Student's t that a two-sided interval reaches out to."""
    return np.asarray(stats.t.ppf(0.5 + CONFIDENCE / 2, freedom), np.float64)


def _nan_divide(total: Array, count: Array) -> Array:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(total / np.where(count > 0, count, np.nan), np.float64)
