"""Continual metrics of one run, as functions of arrays.

Of its visits: time to recover, dip at a switch, savings, regret, forward transfer. Of its matrix,
the returns (V + 1, T) of T tasks evaluated before training and at the end of each of V visits, NaN
where a task was not evaluated, with ``played``, the task (V,) of each visit: average performance,
forgetting, zero-shot transfer and jump start. The plasticity gap and its slope are in
`statistics.metrics`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from neoteny.experiments.statistics.metrics import Array, mean

Tasks = NDArray[np.int64]


def recovery_time(steps: Array, values: Array, target: float, window: float = 0.0) -> float:
    """Steps since the switch until the return reaches a target.

    Args:
        steps: (n,) ascending steps since the switch, one a row.
        values: (n,) returns; NaN where no episode ended.
        target: the return to reach, such as half of what fresh networks reach.
        window: steps over which returns are averaged, up to each row.

    Returns:
        The steps of the first row at which the mean of the window is not below the target; infinite
        if there is none: the time is censored. NaN if no episode ended, or of a target NaN.
    """
    there = np.isfinite(values)
    at, seen = np.asarray(steps, np.float64)[there], np.asarray(values, np.float64)[there]
    if not len(seen) or np.isnan(target):
        return np.nan
    total = np.concatenate([[0.0], np.cumsum(seen)])
    last = np.arange(1, len(at) + 1)
    first = np.minimum(np.searchsorted(at, at - window, side="right"), last - 1)
    smooth = (total[last] - total[first]) / (last - first)
    reached = np.flatnonzero(smooth >= target - 1e-12 * abs(target))
    return float(at[reached[0]]) if len(reached) else np.inf


def restricted_mean(times: Array, horizon: Array | float) -> float:
    """Mean of times that may be censored, each cut off at the end of its visit.

    Args:
        times: times; infinite where censored, NaN where unknown.
        horizon: the lengths of the visits.

    Returns:
        The mean; a mean of the visits that recovered would leave out the worst.

    Source:
        Irwin, "The standard error of an estimate of expectation of life", 1949 (restricted mean
        survival time).
    """
    return float(mean(np.minimum(times, horizon)))


def share_recovered(times: Array) -> float:
    """Share of the known times that are not censored."""
    known = np.asarray(times, np.float64)
    known = known[~np.isnan(known)]
    return float(np.isfinite(known).mean()) if len(known) else np.nan


def switch_dip(before: Array, after: Array) -> float:
    """Mean of what the return changes by at a switch.

    Args:
        before: (V - 1,) returns at the end of each visit but the last, on a scale of all tasks.
        after: (V - 1,) first returns of the visits that follow.

    Returns:
        Mean of after minus before, below zero for a dip.
    """
    return float(mean(np.asarray(after, np.float64) - before))


def savings(times: Array, tasks: Tasks, horizon: float = np.inf) -> float:
    """Time that a task takes less when it comes again.

    Args:
        times: (V,) recovery times of visits in order; infinite where censored.
        tasks: (V,) task of each.
        horizon: length of a visit, at which times are cut off.

    Returns:
        Time of the first visit minus the mean of the later ones, averaged over the tasks that
        came again; NaN if none did.

    Source:
        Ebbinghaus's method of savings, 1885.
    """
    cut = np.minimum(times, horizon)
    found = [
        cut[tasks == task][0] - mean(cut[tasks == task][1:])
        for task in np.unique(tasks)
        if (tasks == task).sum() > 1
    ]
    return float(mean(np.array(found))) if found else np.nan


def regret(values: Array, final: float, width: Array) -> float:
    """Mean of what is missing to the level that fresh networks end at.

    Args:
        values: (n,) returns of a visit's rows.
        final: the return of fresh networks at the end of the visit.
        width: (n,) steps that each row stands for.

    Returns:
        Σ width (final - value) / Σ width over the rows that have a value.
    """
    there = np.isfinite(values)
    total = float(width[there].sum())
    missing = float((width[there] * (final - values[there])).sum())
    return missing / total if total > 0 else np.nan


def forward_transfer(auc: Array, fresh: Array) -> Array:
    """Forward transfer of visits whose returns lie in [0, 1], such as accuracies.

    Args:
        auc: mean online returns of the visits.
        fresh: those of fresh networks in the same visits.

    Returns:
        (auc - fresh) / (1 - fresh), NaN where fresh networks leave nothing to gain. Where returns
        have another scale, minus the plasticity gap is the form that is left.

    Source:
        Wołczyk et al., "Continual World", NeurIPS 2021.
    """
    room = 1 - np.asarray(fresh, np.float64)
    return np.asarray((auc - fresh) / np.where(room > 0, room, np.nan), np.float64)


def average_performance(returns: Array, played: Tasks) -> float:
    """Mean return at the end over the tasks that were played.

    Source:
        Wołczyk et al. 2021, P(T).
    """
    return float(mean(returns[-1, np.unique(played)]))


def forgetting(returns: Array, played: Tasks) -> float:
    """Return lost between the last visit of a task and the end, averaged over tasks.

    The task of the last visit, which has forgotten nothing, is left out; Continual World counts it.

    Args:
        returns: (V + 1, T) matrix.
        played: (V,) tasks.

    Source:
        Wołczyk et al. 2021; Tomilin et al., "COOM", NeurIPS 2023.
    """
    lost = [
        returns[np.flatnonzero(played == task)[-1] + 1, task] - returns[-1, task]
        for task in np.unique(played)
        if task != played[-1]
    ]
    return float(mean(np.array(lost))) if lost else np.nan


def isolated_forgetting(returns: Array, played: Tasks, scale: Array) -> float:
    """Return that tasks lose in each visit of another one.

    Args:
        returns: (V + 1, T) matrix.
        played: (V,) tasks.
        scale: (T,) what returns of each task are divided by. CORA takes the largest return of the
            same agent, which puts agents on different scales: give one for all.

    Returns:
        Mean over visits j and the tasks i that were played before, but not in j, of
        (return at the start - return at the end of j) / scale.

    Source:
        Powers et al., "CORA", CoLLAs 2022, isolated forgetting.
    """
    seen, playing = _seen(returns, played)
    return _mean_change(-np.diff(returns, axis=0) / scale, seen & ~playing)


def zero_shot_transfer(returns: Array, played: Tasks, scale: Array) -> float:
    """Return that tasks gain in each visit before their first.

    Args:
        returns: (V + 1, T) matrix.
        played: (V,) tasks.
        scale: as for `isolated_forgetting`.

    Source:
        Powers et al. 2022.
    """
    seen, playing = _seen(returns, played)
    return _mean_change(np.diff(returns, axis=0) / scale, ~seen & ~playing)


def jump_start(returns: Array, played: Tasks, untrained: Array) -> float:
    """Return of tasks just before their first visit, above that of an untrained policy.

    Args:
        returns: (V + 1, T) matrix.
        played: (V,) tasks.
        untrained: (T,) returns of untrained policies.

    Returns:
        Mean over the tasks but the first.

    Source:
        Lopez-Paz & Ranzato, "Gradient Episodic Memory", NeurIPS 2017, "forward transfer".
    """
    tasks, first = np.unique(played, return_index=True)
    later = first > 0
    before = returns[first[later], tasks[later]] - untrained[tasks[later]]
    return float(mean(before)) if later.any() else np.nan


def _seen(returns: Array, played: Tasks) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """(V, T) tasks that were played before each visit, and in it."""
    playing = np.arange(returns.shape[1]) == np.asarray(played)[:, None]
    return np.cumsum(playing, axis=0) - playing > 0, playing


def _mean_change(changes: Array, counted: NDArray[np.bool_]) -> float:
    return float(mean(np.where(counted, changes, np.nan)))
