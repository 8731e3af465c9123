"""The bootstrap over runs, and what is compared by it: interquartile means and profiles.

Beside the closed forms of `statistics.metrics` for those who compare with rliable, whose
numbers these are. With few runs their intervals are too narrow: docs/statistics.md has by how much.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from neoteny.experiments.statistics.metrics import CONFIDENCE, UNKNOWN, Array, Estimate, iqm, mean

DRAWS = 2000
"""Bootstrap samples."""


def bootstrap(
    scores: Array,
    statistic: Callable[[Array], Array],
    *,
    whole_runs: bool = True,
    draws: int = DRAWS,
) -> Array:
    """Values of a statistic on samples of the runs, drawn with replacement.

    Args:
        scores: (R, T) scores of R runs on T tasks.
        statistic: (draws, R, T) samples to (draws, ...) values.
        whole_runs: draw runs with all their tasks, which share one agent. If false, the runs of
            each task are drawn by themselves, as rliable's stratified bootstrap does: it takes the
            tasks of a run for independent.
        draws: number of samples; they are the same at every call.

    Returns:
        (draws, ...) values.

    Source:
        Agarwal et al., "Deep RL at the Edge of the Statistical Precipice", 2021, section 4.
    """
    values = np.asarray(scores, np.float64)
    runs, tasks = values.shape
    picked = np.random.default_rng(0).integers(runs, size=(draws, runs, 1 if whole_runs else tasks))
    return statistic(values[picked, np.arange(tasks)])


def pooled_iqm(scores: Array, *, whole_runs: bool = True) -> Estimate:
    """Interquartile mean over all runs and tasks at once, with the percentile bootstrap's interval.

    Args:
        scores: (R, T) scores of R runs on T tasks; NaN are left out.
        whole_runs: see `bootstrap`.

    Returns:
        The mean of the middle half of all scores: the best and the worst task may count for
        nothing. The ends are NaN with fewer than two runs.

    Source:
        rliable's ``aggregate_iqm`` and ``get_interval_estimates``.
    """
    values = np.asarray(scores, np.float64)
    if not np.isfinite(values).any():
        return UNKNOWN
    middle = float(iqm(values))
    if len(values) < 2:
        return Estimate(middle)
    drawn = bootstrap(values, lambda x: iqm(x.reshape(len(x), -1), axis=1), whole_runs=whole_runs)
    return Estimate(middle, *map(float, _ends(drawn)))


def performance_profile(
    scores: Array, levels: Array, *, whole_runs: bool = True
) -> tuple[Array, Array, Array]:
    """Share of the runs and tasks whose score is above each of several levels.

    Args:
        scores: (R, T) scores of R runs on T tasks; NaN are left out.
        levels: (P,) levels of the score.
        whole_runs: see `bootstrap`.

    Returns:
        Share, lower and upper end of its 95 % band, each (P,); the ends are NaN with fewer than
        two runs.

    Source:
        Agarwal et al. 2021, the score distribution of section 4.2; rliable's
        ``create_performance_profile``.
    """
    values, at = np.asarray(scores, np.float64), np.asarray(levels, np.float64)
    share = np.array([_above(values[None], level)[0] for level in at])
    if len(values) < 2:
        return share, share * np.nan, share * np.nan
    drawn = bootstrap(
        values,
        lambda x: np.stack([_above(x, level) for level in at], axis=1),
        whole_runs=whole_runs,
    )
    return share, *_ends(drawn)


def _above(samples: Array, level: float) -> Array:
    """(draws,) share of the scores (draws, R, T) above a level, of those that are there."""
    won = np.where(np.isfinite(samples), samples > level, np.nan)
    return mean(won.reshape(len(samples), -1), axis=1)


def _ends(drawn: Array) -> tuple[Array, Array]:
    """Lower and upper end of the percentile interval."""
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.nanpercentile(drawn, [tail, 100 - tail], axis=0)
    return low, high
