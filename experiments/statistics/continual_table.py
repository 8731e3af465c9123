"""Continual metrics of every arm: one row an arm, with intervals over runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from neoteny.experiments.options.arms import ORACLE, Arm, arms_of, oracle_of
from neoteny.experiments.run.folders import EVALUATED
from neoteny.experiments.statistics.continual import (
    average_performance,
    forgetting,
    forward_transfer,
    isolated_forgetting,
    jump_start,
    recovery_time,
    regret,
    restricted_mean,
    savings,
    share_recovered,
    switch_dip,
    zero_shot_transfer,
)
from neoteny.experiments.statistics.matrices import matrix_of
from neoteny.experiments.statistics.metrics import (
    Estimate,
    mean_of_runs,
    mean_over_tasks,
    ratio_of_means,
)
from neoteny.experiments.statistics.resampling import pooled_iqm
from neoteny.experiments.statistics.summary import (
    countable_visits,
    paired_visits,
    pooled_gap,
    run_matrix,
)
from neoteny.experiments.statistics.visits import untrained, values_of, weighted_mean

__all__ = ["LEVELS", "continual_table"]

LEVELS = (0.5, 0.9)
"""Shares of the level that fresh networks end at, to which the time of recovery is taken."""
WINDOW = 0.05
"""Share of a visit over which returns are averaged before they count as recovered."""
LATE = 0.1
"""Share of a visit whose mean is its final return."""
KEYS = ["arm", "seed", "visit"]
FRESH = ["seed", "visit", "final_value", "value"]
"""Columns by which a visit is compared with that of fresh networks."""


def continual_table(
    frame: pd.DataFrame, visits: pd.DataFrame, matrices: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Continual metrics of every arm, over its finished visits.

    Args:
        frame: rows of `statistics.runs.read_runs`.
        visits: the result of `statistics.visits.visit_values`.
        matrices: the result of `statistics.matrices.read_matrices`, if there are any.

    Returns:
        One row an arm, in the unit of `summary`; ``_low`` and ``_high`` are the ends of 95 %
        intervals over runs. Columns without data in any arm are left out.

        - ``arm``, ``unit``, ``seeds``, ``visits`` of all seeds; ``blank``: those in which no
          episode ended, which count nowhere; ``oracle``: the fresh networks that it is compared
          with; ``untaught``: visits in which these did not end above an untrained policy, or are
          missing, so that there is no recovery;
        - ``final``: the last 10 % of the visits; ``pooled_iqm``: rliable's interquartile mean;
        - ``recovery_50``: time until the return, averaged over a twentieth of the visit, has come
          half of the way from an untrained policy to where fresh networks end, as a share of the
          visit; 1 where it never does; ``recovered_50``: share of the visits where it does;
          ``recovery_90``, ``recovered_90`` alike; ``savings``: how much less ``recovery_50`` is
          when a task comes again;
        - ``dip``: first return of a visit minus the last of the one before;
        - ``regret``: what is missing, on average over time, to where fresh networks end, as a share
          of that way;
        - ``forward_transfer``: of accuracies that of Continual World, else minus the gap to fresh
          networks (``forward_transfer_form`` says which);
        - from evaluations of all tasks: ``evaluated``, the seeds that have any;
          ``average_performance``, ``forgetting`` (the task of the last visit left out),
          ``isolated_forgetting`` and ``zero_shot`` (per visit, as a share of the largest value of
          each task in any arm), ``jump_start``.
    """
    arms = arms_of(visits)
    counted = countable_visits(visits)
    facts = _visit_facts(frame, counted)
    rows = [_row(facts, visits, arm, arms) for arm in arms]
    found = pd.DataFrame(rows)
    if matrices is not None and len(matrices):
        evaluated = matrices.assign(value=values_of(matrices, EVALUATED, visits))
        found = found.merge(_matrix_table(evaluated, counted, visits, arms), on="arm", how="left")
    return found.dropna(axis="columns", how="all")


def _visit_facts(frame: pd.DataFrame, counted: pd.DataFrame) -> pd.DataFrame:
    """The counted visits with their rows: steps, values, and what follows from them alone."""
    value = values_of(frame, "online_return", counted).to_numpy(np.float64)
    seen = np.where(frame["return"].notna(), value, np.nan)
    steps, width = (frame[name].to_numpy(np.float64) for name in ("task_step", "width"))
    found = {}
    for key, at in frame.groupby(KEYS, sort=False).indices.items():
        late = np.where(steps[at] > (1 - LATE) * steps[at[-1]], value[at], np.nan)
        first = seen[at][np.isfinite(seen[at])][:1]
        found[key] = {
            "steps": steps[at],
            "seen": seen[at],
            "values": value[at],
            "width": width[at],
            "first_value": first[0] if len(first) else np.nan,
            "final_value": weighted_mean(late, width[at]),
        }
    extra = pd.DataFrame.from_dict(found, orient="index")
    extra.index = extra.index.set_names(KEYS)
    zero = counted["family"].map(untrained(counted))
    return counted.assign(zero=zero).join(extra, on=KEYS).sort_values(KEYS, ignore_index=True)


def _row(facts: pd.DataFrame, visits: pd.DataFrame, arm: Arm, arms: list[Arm]) -> dict[str, Any]:
    mine = facts[facts["arm"] == arm.name]
    oracle = oracle_of(arm, arms)
    fresh = arm if arm.role == ORACLE else oracle
    other = facts.loc[facts["arm"] == (fresh.name if fresh else None), FRESH]
    pairs = mine.merge(other, on=["seed", "visit"], how="left", suffixes=("", "_fresh"))
    pairs["rise"] = pairs["final_value_fresh"] - pairs["zero"]
    pairs.loc[~(pairs["rise"] > 0), "rise"] = np.nan
    scores, finals = (run_matrix(mine, by).to_numpy(np.float64) for by in ("value", "final_value"))
    return {
        "arm": arm.name,
        "unit": visits["unit"].iloc[0],
        "seeds": mine["seed"].nunique(),
        "visits": len(mine),
        "blank": int(mine["auc"].isna().sum()),
        "oracle": oracle.name if oracle else None,
        "untaught": int((pairs["rise"].isna() & pairs["auc"].notna()).sum()),
        **mean_over_tasks(finals).columns("final"),
        **pooled_iqm(scores).columns("pooled_iqm"),
        **_recovery(pairs),
        **_over_runs(mine, "dip", _dip),
        **_regret(pairs).columns("regret"),
        **_forward(facts, pairs, arm, oracle),
    }


def _over_runs(
    rows: pd.DataFrame, name: str, metric: Callable[[pd.DataFrame], float]
) -> dict[str, float]:
    """Mean over runs of a number of each."""
    values = [float(metric(run)) for _, run in rows.groupby("seed")]
    return mean_of_runs(np.array(values)).columns(name)


def _recovery(pairs: pd.DataFrame) -> dict[str, float]:
    """Recovery at each level, and savings at the first."""
    found: dict[str, float] = {}
    for level in LEVELS:
        columns = pairs[["steps", "seen", "zero", "rise"]].itertuples(index=False)
        shares = [
            recovery_time(steps, seen, zero + level * rise, WINDOW * steps[-1]) / steps[-1]
            for steps, seen, zero, rise in columns
        ]
        timed = pairs.assign(time=np.array(shares, np.float64))
        percent = round(100 * level)
        found |= _over_runs(
            timed, f"recovery_{percent}", lambda run: restricted_mean(run["time"].to_numpy(), 1.0)
        )
        found |= _over_runs(
            timed, f"recovered_{percent}", lambda run: share_recovered(run["time"].to_numpy())
        )
        if level == LEVELS[0]:
            saved = _over_runs(
                timed,
                "savings",
                lambda run: savings(run["time"].to_numpy(), run["task"].to_numpy(), 1.0),
            )
    return found | saved


def _dip(run: pd.DataFrame) -> float:
    return switch_dip(run["final_value"].to_numpy()[:-1], run["first_value"].to_numpy()[1:])


def _regret(pairs: pd.DataFrame) -> Estimate:
    """Mean regret over the mean rise of fresh networks, in the visits that have both."""
    columns = pairs[["values", "final_value_fresh", "width"]].itertuples(index=False)
    missed = pairs.assign(missed=[regret(*row) for row in columns]).dropna(
        subset=["missed", "rise"]
    )
    runs = missed.groupby("seed")[["missed", "rise"]].sum().to_numpy(np.float64)
    return ratio_of_means(runs[:, 0], runs[:, 1])


def _forward(
    facts: pd.DataFrame, pairs: pd.DataFrame, arm: Arm, oracle: Arm | None
) -> dict[str, Any]:
    """Forward transfer, in the form that the unit allows."""
    name, form = "forward_transfer", "forward_transfer_form"
    if oracle is None:
        return {}
    if pairs["unit"].iloc[0] != "accuracy":
        gap = pooled_gap(paired_visits(facts, arm, oracle))
        return {form: "ratio", **Estimate(-gap.value, -gap.high, -gap.low).columns(name)}
    transfer = forward_transfer(pairs["value"].to_numpy(), pairs["value_fresh"].to_numpy())
    of_runs = _over_runs(pairs.assign(transfer=transfer), name, lambda run: run["transfer"].mean())
    return {form: "continual world", **of_runs}


def _matrix_table(
    matrices: pd.DataFrame, counted: pd.DataFrame, visits: pd.DataFrame, arms: list[Arm]
) -> pd.DataFrame:
    """The metrics of the matrices, a row an arm that has any."""
    largest = matrices["value"].abs().groupby(matrices["task"]).max()
    zero = untrained(visits)
    finished = counted.groupby(["arm", "seed"]).size()
    rows = []
    for arm in arms:
        runs = [
            _matrix_metrics(run, int(finished.get((arm.name, seed), 0)), largest, zero)
            for seed, run in matrices[matrices["arm"] == arm.name].groupby("seed")
        ]
        runs = [run for run in runs if run]
        if runs:
            row: dict[str, Any] = {"arm": arm.name, "evaluated": len(runs)}
            for name in runs[0]:
                row |= mean_of_runs(np.array([run[name] for run in runs])).columns(name)
            rows.append(row)
    return pd.DataFrame(rows, columns=None if rows else ["arm"])


def _matrix_metrics(
    rows: pd.DataFrame, finished: int, largest: pd.Series, zero: pd.Series
) -> dict[str, float]:
    """The metrics of one run's matrix; empty if it has no visit."""
    values, played, families = matrix_of(rows, finished)
    if not len(played):
        return {}
    tasks = np.sort(rows.loc[rows["visit"] < finished, "task"].unique())
    scale = largest.where(largest > 0).reindex(tasks).to_numpy(np.float64)
    return {
        "average_performance": average_performance(values, played),
        "forgetting": forgetting(values, played),
        "isolated_forgetting": isolated_forgetting(values, played, scale),
        "zero_shot": zero_shot_transfer(values, played, scale),
        "jump_start": jump_start(values, played, zero.reindex(families).to_numpy(np.float64)),
    }
