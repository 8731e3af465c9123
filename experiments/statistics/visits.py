"""Scores of each visit of a task."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neoteny.experiments.options.arms import ORACLE, Arm, arms_of, oracle_of
from neoteny.experiments.statistics.metrics import Array, plasticity_gap

Places = NDArray[np.integer[Any]]

EVALUATION = "eval/episodic_return"
"""Mean return of evaluation episodes, recorded in the last row of a visit."""
ALIVE = "charts/alive"
"""1 as long as a member's gradients are finite."""

CONSTANT = ("task", "task_name", "family", "interventions", "setup", "measure", "cycle", "complete")
"""Columns of `statistics.runs.read_runs` with one value a visit."""
NORMALISED, RELATIVE = "normalised", "relative to fresh"
SCALES = {
    NORMALISED: "0 random actions, 1 trained on that game alone",
    RELATIVE: "0 an untrained policy, 1 the mean visit of fresh networks",
}
"""Units that are not those of the returns themselves."""


def visit_values(frame: pd.DataFrame) -> pd.DataFrame:
    """Scores of each visit of a task.

    Args:
        frame: rows of `statistics.runs.read_runs`.

    Returns:
        One row per (arm, seed, visit) with the columns `CONSTANT` of the frame and

        - ``start`` and ``end`` (steps); ``dead``: whether the member was frozen by its end for
          gradients that are not finite; ``measured``: share of the steps in iterations in which an
          episode ended;
        - ``auc``, the mean online return over the visit, weighted by steps; ``first``, the first
          return of the visit; ``final``, the mean over its last 10 %; ``evaluation``, the visit's
          last evaluation, NaN without; ``score`` and ``final_score``, normalised;
        - ``unit`` and ``value``: what is comparable over all visits (see `add_values`); ``gain``:
          how much of it is above an untrained policy; ``gap``: the plasticity gap to the arm's
          oracle in the same visit of the same seed (NaN without one, or where that learnt
          nothing).
    """
    keys = ["arm", "seed", "visit"]
    groups = frame.groupby(keys, sort=False)
    visit, count = groups.ngroup().to_numpy(), groups.ngroups
    row = np.arange(len(frame))
    last = _last(visit, row, count)
    width = frame["width"].to_numpy(np.float64)
    step = frame["step"].to_numpy()
    end = step[last]
    start = end - frame["task_step"].to_numpy()[last]
    late = step > (end - 0.1 * (end - start))[visit]
    ended = frame["return"].notna().to_numpy()
    first = _last(visit[ended][::-1], frame["return"].to_numpy()[ended][::-1], count)
    values, scores = frame["online_return"].to_numpy(), frame["score"].to_numpy()
    table = frame.loc[frame.index[last], [*keys, *CONSTANT]].reset_index(drop=True)
    table = table.assign(
        start=start,
        end=end,
        dead=_any_dead(frame, visit, count),
        measured=np.bincount(visit, width * ended, count)
        / np.maximum(np.bincount(visit, width, count), 1),
        auc=_weighted(values, width, visit, count),
        first=first,
        final=_weighted(np.where(late, values, np.nan), width, visit, count),
        evaluation=_evaluations(frame, visit, count),
        score=_weighted(scores, width, visit, count),
        final_score=_weighted(np.where(late, scores, np.nan), width, visit, count),
    )
    return add_values(table)


def add_values(table: pd.DataFrame) -> pd.DataFrame:
    """Add the columns ``unit``, ``value``, ``gain`` and ``gap``, which look at all arms at once.

    - Where every task has reference scores the unit is ``normalised`` and the value the score.
    - Where all tasks are variants of one environment, the value is the return or the accuracy. An
      untrained policy has the mean of the first returns in the visits of fresh networks.
    - Otherwise returns of different environments are not averaged: the unit is relative to fresh,
      so that in each environment an untrained policy has 0 and the mean visit of the fresh networks
      1. Without fresh networks there is no value.

    Args:
        table: the visits, with ``auc``, ``first``, ``score``, ``family`` and what names the arms.

    Returns:
        The table with these columns.
    """
    scored = table["score"].notna()
    unit = " or ".join(table["measure"].unique())
    if scored.any() and scored[table["auc"].notna()].all():
        unit = NORMALISED
    elif table["family"].nunique() > 1 and len(fresh_scale(table)):
        unit = RELATIVE
    table = table.assign(unit=unit)
    value = values_of(table, "auc", table).astype(float)
    gain = (value - table["family"].map(untrained(table))).astype(float)
    table = table.assign(value=value, gain=gain)
    return table.assign(gap=_gaps(table, arms_of(table)))


def values_of(rows: pd.DataFrame, column: str, visits: pd.DataFrame) -> pd.Series:
    """Returns in the unit of a comparison.

    Args:
        rows: with ``score`` and ``family``.
        column: the returns or accuracies themselves, of which ``score`` is made.
        visits: the visits, with ``unit``.

    Returns:
        The values; NaN where returns of different environments have no common scale.
    """
    unit = visits["unit"].iloc[0]
    if unit == NORMALISED:
        return rows["score"]
    if visits["family"].nunique() == 1:
        return rows[column]
    scale, family = fresh_scale(visits), rows["family"]
    zero = family.map(scale["zero"])
    return (rows[column] - zero) / family.map(scale["one"] - scale["zero"])


def untrained(visits: pd.DataFrame) -> pd.Series:
    """Values of an untrained policy in each environment, in the unit of a comparison.

    Args:
        visits: the visits, with ``unit``.

    Returns:
        Family to value; NaN where nothing is known of it.
    """
    families = visits["family"].unique()
    if visits["unit"].iloc[0] in SCALES:
        return pd.Series(0.0, families)
    return fresh_scale(visits)["zero"].reindex(families)


def fresh_scale(table: pd.DataFrame) -> pd.DataFrame:
    """Scores of an untrained policy and of the fresh networks in each environment.

    Returns:
        ``zero``, the mean of the first values in the visits of fresh networks, and ``one``, the
        mean of those visits, NaN where it is not above; a row a family, none without such an arm.
    """
    oracles = [arm.name for arm in arms_of(table) if arm.role == ORACLE]
    groups = table[table["arm"].isin(oracles)].groupby("family")
    scale = groups.agg(zero=("first", "mean"), one=("auc", "mean"))
    return scale.assign(one=scale["one"].where(scale["one"] > scale["zero"]))


def _any_dead(frame: pd.DataFrame, visit: Places, count: int) -> NDArray[np.bool_]:
    dead = frame[ALIVE].to_numpy() < 1 if ALIVE in frame else np.zeros(len(frame), bool)
    return np.bincount(visit[dead], minlength=count) > 0


def _evaluations(frame: pd.DataFrame, visit: Places, count: int) -> Array:
    if EVALUATION not in frame:
        return np.full(count, np.nan)
    found = frame[EVALUATION].to_numpy(np.float64)
    there = np.isfinite(found)
    return _last(visit[there], found[there], count)


def _gaps(table: pd.DataFrame, arms: list[Arm]) -> Array:
    oracles = {arm.name: oracle_of(arm, arms) for arm in arms}
    partner = table["arm"].map({arm: found and found.name for arm, found in oracles.items()})
    gains = table.set_index(["arm", "seed", "visit"])["gain"]
    keys = pd.MultiIndex.from_arrays([partner, table["seed"], table["visit"]])
    fresh = gains.reindex(keys).to_numpy(np.float64)
    return plasticity_gap(table["gain"].to_numpy(np.float64), fresh)


def _last(visit: Places, values: NDArray[Any], count: int) -> NDArray[Any]:
    """The last value of each visit; NaN where floats have none."""
    found = np.full(count, np.nan if values.dtype.kind == "f" else 0, values.dtype)
    found[visit] = values  # of those with one index, the last stays
    return found


def _weighted(values: Array, width: Array, visit: Places, count: int) -> Array:
    """Means of the values of each visit, weighted by steps; NaN without any."""
    there = np.isfinite(values)
    total = np.bincount(visit[there], width[there], count)
    sums = np.bincount(visit[there], (values * width)[there], count)
    return sums / np.where(total > 0, total, np.nan)


def in_last_third(visits: pd.Series) -> pd.Series:
    """True in the last third of the visits, of which there is one at least."""
    count = int(visits.max()) + 1
    late: pd.Series = visits >= count - max(1, count // 3)
    return late


def weighted_mean(values: Array, width: Array) -> float:
    """Mean of the values that are not NaN, weighted by the steps that each stands for."""
    there = np.isfinite(values)
    total = width[there].sum()
    return float((values[there] * width[there]).sum() / total) if total > 0 else np.nan
