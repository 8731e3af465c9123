"""The summary: one row an arm, with interval estimates over runs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from neoteny.experiments.options.arms import ORACLE, Arm, arms_of, baseline_of, oracle_of
from neoteny.experiments.statistics.metrics import (
    UNKNOWN,
    Estimate,
    mean,
    mean_of_runs,
    mean_over_tasks,
    probability_of_improvement,
    ratio_of_means,
    slope_within,
)
from neoteny.experiments.statistics.visits import visit_values

PER_TASK = {
    "final": "over the last 10 % of a visit",
    "evaluation": "in evaluation at the end of a visit",
}
"""Columns of `visit_values` that are summarised for each task, and where they are taken."""
THIN = 0.25
"""A visit rests on few episodes if less than this share of its steps was in iterations in which an
episode ended."""


def summary(frame: pd.DataFrame) -> pd.DataFrame:
    """Summarise every arm, from the rows of `statistics.runs.read_runs`.

    Returns:
        As `summary_of_visits`.
    """
    return summary_of_visits(visit_values(frame))


def summary_of_visits(visits: pd.DataFrame) -> pd.DataFrame:
    """Summarise every arm; ``_low`` and ``_high`` are the ends of 95 % intervals over runs.

    Only finished visits count, unless an arm has finished none. A span is a cycle through the
    tasks; where all tasks are variants of one environment and none comes twice, or all bear one
    name, it is a tenth of the visits, or a visit of fewer than twenty (``span`` says which).

    Args:
        visits: the result of `statistics.visits.visit_values`, or a visits.csv read back.

    Returns:
        One row per arm:

        - ``arm``; ``unit`` of what follows (see `statistics.visits.add_values`); ``span``;
          ``seeds``; ``visits`` (finished by the slowest seed); ``complete`` (all visits that were
          begun are finished);
        - ``blank``: visits of all seeds in which no episode ended, which count nowhere; ``thin``:
          those that rest on episodes of less than a quarter of their steps; ``dead``: seeds that
          were frozen for gradients that are not finite, which count like any other;
        - ``score``: mean over runs within a task, then over tasks; ``iqm``: the same with
          interquartile means over runs;
        - ``first_span``, ``last_span``, ``change``: mean values and last minus first. Tasks grow
          harder or easier by chance, for fresh networks too: this is no loss of plasticity;
        - ``is_oracle``: True if the arm has `fresh`; ``oracle``: the arm that the gaps are to;
          ``like_for_like``: True if the oracle is the same arm with `fresh`, so that the gap
          has no part of the arm's own cost; ``gap_seeds``:
          seeds that both have; ``gap``: what is missing to the oracle's gain, as a share of it,
          from sums over all visits; ``gap_first_visit``, which no plasticity lost can explain,
          ``gap_first_span``, ``gap_last_span``; ``gap_slope``: growth of the gap in a span,
          the loss of plasticity: the slope of the paired difference within each environment over
          the oracle's mean gain;
        - ``baseline`` and ``improvement``: the probability of improvement over it;
        - ``final/<task>``, the mean return over the last 10 % of the visits of a task;
          ``evaluation/<task>``, that of evaluations after the visits if there were any;
          ``gap/<environment>``, ``gap_slope/<environment>`` where there are several.
    """
    arms = arms_of(visits)
    visits, complete = _countable(visits)
    visits, span, length = _spans(visits)
    what = {"unit": visits["unit"].iloc[0], "span": span}
    rows = []
    for arm in arms:
        mine = visits[visits["arm"] == arm.name]
        scores = run_matrix(mine).to_numpy(np.float64)
        rows.append(
            {
                "arm": arm.name,
                **what,
                **_counts(mine, complete[arm.name]),
                **mean_over_tasks(scores).columns("score"),
                **mean_over_tasks(scores, interquartile=True).columns("iqm"),
                **_change(mine),
                **_gap(visits, arm, arms, length),
                **_improvement(visits, arm, arms),
                **_per_task(mine),
            }
        )
    return pd.DataFrame(rows)


def _counts(mine: pd.DataFrame, complete: bool) -> dict[str, Any]:
    counts = mine.groupby("seed").size()
    return {
        "seeds": len(counts),
        "visits": int(counts.min()),
        "complete": complete,
        "blank": int(mine["auc"].isna().sum()),
        "thin": int((mine["auc"].notna() & (mine["measured"] < THIN)).sum()),
        "dead": int(mine.loc[mine["dead"].astype(bool), "seed"].nunique()),
    }


def countable_visits(visits: pd.DataFrame) -> pd.DataFrame:
    """The visits that count: the finished ones, or all of an arm that has finished none."""
    return _countable(visits)[0]


def _countable(visits: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, bool]]:
    """Keep the finished visits, or all of an arm that has none."""
    kept, complete = [], {}
    for arm, group in visits.groupby("arm", sort=False):
        finished = group[group["complete"].astype(bool)]
        complete[str(arm)] = len(finished) == len(group)
        kept.append(finished if finished["seed"].nunique() == group["seed"].nunique() else group)
    return pd.concat(kept, ignore_index=True), complete


def _spans(visits: pd.DataFrame) -> tuple[pd.DataFrame, str, int]:
    """The visits with the column ``span``, what a span is, and how many visits it has."""
    variants = visits["family"].nunique() == 1
    if not variants or (visits["task_name"].nunique() > 1 and visits["cycle"].nunique() > 1):
        length = int(visits.groupby(["arm", "seed", "cycle"]).size().max())
        return visits.assign(span=visits["cycle"]), "cycle", length
    tenth = max(1, (int(visits["visit"].max()) + 1) // 10)
    spans = visits["visit"] // tenth
    return visits.assign(span=spans), "tenth" if tenth > 1 else "visit", tenth


def run_matrix(visits: pd.DataFrame, column: str = "value", by: str = "task_name") -> pd.DataFrame:
    """(R, T) means over the visits of a task, a row a run; NaN without a value.

    Args:
        visits: the visits of one arm.
        column: the values that are averaged.
        by: the column of tasks, or of other groups of visits.
    """
    return visits.pivot_table(index="seed", columns=by, values=column, aggfunc="mean")


def _whole_spans(mine: pd.DataFrame) -> list[int]:
    """The spans that all runs went through whole."""
    sizes = mine.groupby(["seed", "span"]).size().unstack()
    return [int(span) for span in sizes.columns[(sizes == sizes.max().max()).all()]]


def _change(mine: pd.DataFrame) -> dict[str, float]:
    whole = mine[mine["span"].isin(_whole_spans(mine))]
    spans = run_matrix(whole, by="span").to_numpy(np.float64)
    if spans.shape[1] < 2:
        names = ("first_span", "last_span", "change", "change_low", "change_high")
        return dict.fromkeys(names, np.nan)
    return {
        "first_span": float(mean(spans[:, 0])),
        "last_span": float(mean(spans[:, -1])),
        **mean_of_runs(spans[:, -1] - spans[:, 0]).columns("change"),
    }


def _gap(visits: pd.DataFrame, arm: Arm, arms: list[Arm], length: int) -> dict[str, Any]:
    """Plasticity gap of an arm: of sums over visits, not a mean of ratios.

    A visit in which fresh hardly learns has a ratio of any size; the sums weigh it by what
    there was to learn.
    """
    oracle = oracle_of(arm, arms)
    pairs = paired_visits(visits, arm, oracle)
    spans = _whole_spans(pairs) if len(pairs) else []
    found: dict[str, Any] = {
        "is_oracle": arm.role == ORACLE,
        "oracle": oracle.name if oracle else None,
        "like_for_like": bool(oracle and oracle.beside_oracle == arm.beside_oracle),
        "gap_seeds": pairs["seed"].nunique(),
        **pooled_gap(pairs).columns("gap"),
        "gap_first_visit": pooled_gap(pairs[pairs["visit"] == 0]).value,
        "gap_first_span": pooled_gap(pairs[pairs["span"].isin(spans[:1])]).value,
        "gap_last_span": pooled_gap(pairs[pairs["span"].isin(spans[-1:])]).value,
        **_growth(pairs, length).columns("gap_slope"),
    }
    if visits["family"].nunique() > 1 and oracle:
        for name, group in pairs.groupby("family"):
            found |= pooled_gap(group).columns(f"gap/{name}")
            found |= _growth(group, length).columns(f"gap_slope/{name}")
    return found


def paired_visits(visits: pd.DataFrame, arm: Arm, oracle: Arm | None) -> pd.DataFrame:
    """The visits that an arm and its oracle both have, with ``missing`` and ``gain_fresh``."""
    keys = ["seed", "visit"]
    mine = visits[visits["arm"] == arm.name]
    fresh = visits.loc[visits["arm"] == (oracle.name if oracle else None), [*keys, "gain"]]
    pairs = mine.merge(fresh, on=keys, suffixes=("", "_fresh"))
    pairs = pairs.dropna(subset=["gain", "gain_fresh"])
    return pairs.assign(missing=pairs["gain_fresh"] - pairs["gain"])


def pooled_gap(pairs: pd.DataFrame) -> Estimate:
    """Gap of pooled runs and visits, from the result of `paired_visits`."""
    runs = pairs.groupby("seed")[["missing", "gain_fresh"]].sum().to_numpy(np.float64)
    return ratio_of_means(runs[:, 0], runs[:, 1])


def _growth(pairs: pd.DataFrame, length: int) -> Estimate:
    """Growth of the gap in a span, within each environment."""
    if pairs.empty:
        return UNKNOWN
    slopes, gains = [], []
    for _, run in pairs.groupby("seed"):
        position = run["visit"].to_numpy(np.float64) / length
        missing = run["missing"].to_numpy(np.float64)
        slopes.append(slope_within(position, missing, run["family"].to_numpy()))
        gains.append(run["gain_fresh"].mean())
    return ratio_of_means(np.array(slopes), np.array(gains))


def _improvement(visits: pd.DataFrame, arm: Arm, arms: list[Arm]) -> dict[str, Any]:
    other = baseline_of(arm, arms)
    if other is None:
        return {"baseline": None, **UNKNOWN.columns("improvement")}
    mine = run_matrix(visits[visits["arm"] == arm.name])
    base = run_matrix(visits[visits["arm"] == other.name])
    tasks = mine.columns.intersection(base.columns)
    values = probability_of_improvement(
        mine[tasks].to_numpy(np.float64), base[tasks].to_numpy(np.float64)
    )
    return {"baseline": other.name, **values.columns("improvement")}


def _per_task(mine: pd.DataFrame) -> dict[str, float]:
    return {
        f"{kind}/{name}": float(mean(group[kind].to_numpy(np.float64)))
        for kind in PER_TASK
        for name, group in mine.groupby("task_name")
        if group[kind].notna().any()
    }
