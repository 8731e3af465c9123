"""The summary: one row an arm, with interval estimates over runs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from neoteny.experiments.metrics import (
    Array,
    bootstrap,
    iqm,
    mean,
    plasticity_gap,
    probability_of_improvement,
)
from neoteny.experiments.visits import BASELINE, ORACLE, in_order, matched, visit_values

PER_TASK = {
    "final": "over the last 10 % of a visit",
    "evaluation": "in evaluation at the end of a visit",
}
"""Columns of `visit_values` that are summarised for each task, and where they are taken."""


def summary(frame: pd.DataFrame) -> pd.DataFrame:
    """Summarise every arm; brackets in the names below are 95 % bootstrap intervals over runs.

    Scores are normalised online returns (0 untrained, 1 trained on that game alone) where every
    task has reference scores, and raw returns or accuracies otherwise (``unit`` says which). Only
    finished visits count, unless an arm has finished none. Where all tasks bear one name, as those
    of a supervised stream do, a cycle is a tenth of the visits (``span`` says which).

    Args:
        frame: rows of `neoteny.experiments.runs.read_runs`.

    Returns:
        One row per arm: ``arm``, ``unit``, ``span``, ``seeds``, ``visits`` (finished by the slowest
        seed), ``complete`` (all visits that were begun are finished), ``blank`` (visits of all
        seeds in which no episode ended: they count nowhere), ``score`` (mean over tasks and runs),
        ``iqm`` ``iqm_low`` ``iqm_high`` (over runs x tasks), ``first_cycle``,
        ``last_cycle``, ``change`` ``change_low`` ``change_high`` (last minus first, mean over
        runs; negative is a loss of plasticity), ``gap`` ``gap_low`` ``gap_high`` and
        ``gap_last_cycle`` (plasticity gap to `fresh` with the same seeds), ``improvement``
        ``improvement_low`` ``improvement_high`` (probability of improvement over `none`), and
        ``final/<task>``, the mean return over the last 10 % of the visits of a task, and
        ``evaluation/<task>``, that of evaluations after the visits if there were any.
    """
    visits = visit_values(frame)
    visits, complete = _countable(visits)
    known = visits["score"].notna().any() and _all_known(visits)
    unit = "normalised" if known else " or ".join(frame["measure"].unique())
    visits["value"] = visits["score"] if known else visits["auc"]
    tenth = (int(visits["visit"].max()) + 1) // 10
    span = "tenth" if visits["task_name"].nunique() == 1 and tenth > 1 else "cycle"
    if span == "tenth":
        visits["cycle"] = visits["visit"] // tenth
    arms = in_order(list(dict.fromkeys(frame["arm"])))
    what = {"unit": unit, "span": span}
    return pd.DataFrame([_row(visits, arm, what, complete[arm]) for arm in arms])


def _row(visits: pd.DataFrame, arm: str, what: dict[str, str], complete: bool) -> dict[str, Any]:
    """The summary of one arm."""
    mine = visits[visits["arm"] == arm]
    counts = mine.groupby("seed").size()
    return {
        "arm": arm,
        **what,
        "seeds": len(counts),
        "visits": int(counts.min()),
        "complete": complete,
        "blank": int(mine["auc"].isna().sum()),
        **_level(mine),
        **_change(mine),
        **_gap(visits, arm),
        **_improvement(visits, arm),
        **{
            f"{kind}/{name}": float(mean(group[kind].to_numpy()))
            for kind in PER_TASK
            for name, group in mine.groupby("task_name")
            if group[kind].notna().any()
        },
    }


def _countable(visits: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, bool]]:
    """Keep the finished visits, or all of an arm that has none."""
    kept, complete = [], {}
    for arm, group in visits.groupby("arm", sort=False):
        finished = group[group["complete"]]
        complete[str(arm)] = len(finished) == len(group)
        kept.append(finished if finished["seed"].nunique() == group["seed"].nunique() else group)
    return pd.concat(kept, ignore_index=True), complete


def _all_known(visits: pd.DataFrame) -> bool:
    return bool(visits.loc[visits["auc"].notna(), "score"].notna().all())


def _matrix(visits: pd.DataFrame, column: str = "value", by: str = "task_name") -> pd.DataFrame:
    """(runs, tasks) means over the visits of a task."""
    return visits.pivot_table(index="seed", columns=by, values=column, aggfunc="mean")


def _level(mine: pd.DataFrame) -> dict[str, float]:
    scores = _matrix(mine).to_numpy(np.float64)
    low, high = bootstrap(scores, iqm) if scores.size else (np.nan, np.nan)
    return {
        "score": float(mean(scores)) if scores.size else np.nan,
        "iqm": float(iqm(scores)) if scores.size else np.nan,
        "iqm_low": low,
        "iqm_high": high,
    }


def _cycles(mine: pd.DataFrame) -> pd.DataFrame:
    """(runs, cycles) mean over the visits of a cycle; cycles that all runs went through whole."""
    sizes = mine.groupby(["seed", "cycle"]).size().unstack()
    whole = sizes.columns[(sizes == sizes.max().max()).all()]
    return _matrix(mine[mine["cycle"].isin(whole)], by="cycle")


def _change(mine: pd.DataFrame) -> dict[str, float]:
    cycles = _cycles(mine).to_numpy(np.float64)
    names = ("first_cycle", "last_cycle", "change", "change_low", "change_high")
    if cycles.shape[1] < 2:
        return dict.fromkeys(names, np.nan)
    change = cycles[:, -1] - cycles[:, 0]
    low, high = bootstrap(change, mean)
    return {
        "first_cycle": float(mean(cycles[:, 0])),
        "last_cycle": float(mean(cycles[:, -1])),
        "change": float(mean(change)),
        "change_low": low,
        "change_high": high,
    }


def _gap(visits: pd.DataFrame, arm: str) -> dict[str, float]:
    """Plasticity gap of an arm: of sums over visits, not a mean of ratios.

    A visit in which fresh hardly learns has a ratio of any size; the sums weigh it by what
    there was to learn.
    """
    keys = ["seed", "visit"]
    mine = visits[visits["arm"] == arm]
    oracle = matched(arm, list(visits["arm"].unique()), ORACLE)
    fresh = visits.loc[visits["arm"] == oracle, [*keys, "value"]]
    pairs = mine.merge(fresh, on=keys, suffixes=("", "_fresh"))
    if pairs.empty:
        return dict.fromkeys(("gap", "gap_low", "gap_high", "gap_last_cycle"), np.nan)
    low, high = bootstrap(_sums(pairs), _ratio_gap)
    last = pairs[pairs["cycle"] == _last_whole_cycle(pairs)]
    return {
        "gap": float(_ratio_gap(_sums(pairs).reshape(1, -1), axis=1)[0]),
        "gap_low": low,
        "gap_high": high,
        "gap_last_cycle": float(_ratio_gap(_sums(last).reshape(1, -1), axis=1)[0]),
    }


def _sums(pairs: pd.DataFrame) -> Array:
    """(runs, 2) sums of the values of the arm and of fresh over the visits that both have."""
    both = pairs.dropna(subset=["value", "value_fresh"])
    return both.groupby("seed")[["value", "value_fresh"]].sum().to_numpy(np.float64)


def _ratio_gap(sums: Array, axis: int) -> Array:
    """Plasticity gap of pooled runs, from rows of (value, fresh value) pairs."""
    pooled = sums.reshape(len(sums), -1, 2).sum(axis)
    return plasticity_gap(pooled[:, 0], pooled[:, 1])


def _last_whole_cycle(pairs: pd.DataFrame) -> int:
    cycles = _cycles(pairs).columns
    return int(cycles[-1]) if len(cycles) else int(pairs["cycle"].max())


def _improvement(visits: pd.DataFrame, arm: str) -> dict[str, float]:
    names = ("improvement", "improvement_low", "improvement_high")
    other = matched(arm, list(visits["arm"].unique()), BASELINE)
    if other is None:
        return dict.fromkeys(names, np.nan)
    mine = _matrix(visits[visits["arm"] == arm])
    base = _matrix(visits[visits["arm"] == other])
    tasks = mine.columns.intersection(base.columns)
    paired = mine.index.equals(base.index)
    values = probability_of_improvement(
        mine[tasks].to_numpy(np.float64), base[tasks].to_numpy(np.float64), paired
    )
    return dict(zip(names, values, strict=True))
