"""Paired comparisons of two arms over the seeds that both have."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import stats

from neoteny.experiments.statistics.metrics import (
    CONFIDENCE,
    UNKNOWN,
    Array,
    Estimate,
    mean_of_runs,
)

POWER = 0.8
"""Probability with which a difference is to be found by the number of seeds that is recommended."""
MOST_RUNS = 100_000
"""Numbers of seeds above this are not told from infinity."""
NORMAL_FROM = 1000
"""Runs above which the power is that of a normal test, which it equals to the fourth digit."""


class Difference(NamedTuple):
    """The difference of two arms, paired by seed."""

    estimate: Estimate
    p: float
    """Two-sided p-value of Student's paired t test; NaN with fewer than two pairs."""
    pairs: int
    """Seeds that both arms have."""
    needed: float
    """Seeds with which the difference seen is found with the probability `POWER`; NaN if unknown,
    infinite above `MOST_RUNS`."""


def paired_difference(values: Array, others: Array) -> Difference:
    """Mean difference of two arms over the seeds that both have.

    Args:
        values: (R,) one value a seed; NaN where a seed has none.
        others: (R,) those of the other arm for the same seeds.

    Returns:
        The difference with Student's t interval, of which its p-value is below 0.05 exactly where
        it does not hold zero.

    Source:
        Student, "The probable error of a mean", Biometrika 1908.
    """
    found = np.asarray(values, np.float64) - np.asarray(others, np.float64)
    found = found[np.isfinite(found)]
    if not len(found):
        return Difference(UNKNOWN, np.nan, 0, np.nan)
    estimate = mean_of_runs(found)
    if len(found) < 2:
        return Difference(estimate, np.nan, len(found), np.nan)
    error = float(found.std(ddof=1) / np.sqrt(len(found)))
    if error == 0:  # pairs that all differ alike: certain, or no difference at all
        same = estimate.value == 0
        return Difference(estimate, float(same), len(found), np.inf if same else 2.0)
    p = float(2 * stats.t.sf(abs(estimate.value) / error, len(found) - 1))
    needed = runs_needed(estimate.value / (error * np.sqrt(len(found))))
    return Difference(estimate, p, len(found), needed)


def runs_needed(effect: float) -> float:
    """Fewest pairs with which a paired t test finds an effect, with the probability `POWER`.

    Args:
        effect: mean difference in standard deviations of the differences (Cohen's d of pairs).

    Returns:
        The number, at least 2; infinite above `MOST_RUNS`, as for no effect; NaN of NaN. It is no
        better known than the effect, which few seeds put anywhere within its interval.

    Source:
        Cohen, "Statistical Power Analysis", 1988, section 2; the power is that of the noncentral t.
    """
    if not np.isfinite(effect):
        return np.nan
    if _power(abs(effect), MOST_RUNS) < POWER:
        return np.inf
    few, enough = 1, MOST_RUNS
    while enough - few > 1:
        middle = (few + enough) // 2
        few, enough = (few, middle) if _power(abs(effect), middle) >= POWER else (middle, enough)
    return float(enough)


def holm(p: Array) -> Array:
    """P-values of several tests, adjusted so that one false positive among all is rare.

    Args:
        p: (K,) p-values; NaN is no test.

    Returns:
        (K,) adjusted ones: below 0.05, the test stands in the presence of the others.

    Source:
        Holm, "A simple sequentially rejective multiple test procedure", Scand. J. Stat. 1979.
    """
    values = np.asarray(p, np.float64)
    adjusted = np.full(len(values), np.nan)
    tests = np.flatnonzero(np.isfinite(values))
    order = tests[np.argsort(values[tests], kind="stable")]
    scaled = values[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return adjusted


def _power(effect: float, runs: int) -> float:
    """Probability that a paired two-sided t test of that many pairs finds an effect."""
    critical = stats.t.ppf(0.5 + CONFIDENCE / 2, runs - 1)
    shift = effect * np.sqrt(runs)
    if runs > NORMAL_FROM or shift > 2 * critical + 8:  # where SciPy's noncentral t gives out
        return float(stats.norm.sf(critical - shift) + stats.norm.cdf(-critical - shift))
    upper = stats.nct.sf(critical, runs - 1, shift)
    return float(upper + np.nan_to_num(stats.nct.cdf(-critical, runs - 1, shift)))
