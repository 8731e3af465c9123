"""Failures of a comparison: what stopped, froze, is missing or was never measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pandas as pd

from neoteny.experiments.options.arms import arms_of, labels
from neoteny.experiments.statistics.runs import Run, display_name
from neoteny.experiments.statistics.summary import THIN, countable_visits
from neoteny.experiments.statistics.visits import ALIVE

__all__ = ["failures"]

MOST = 6
"""Seeds or tasks that are named in a row."""


def failures(runs: Sequence[Run], frame: pd.DataFrame, visits: pd.DataFrame) -> pd.DataFrame:
    """Failures in a comparison, arm by arm.

    Args:
        runs: The members that were read.
        frame: Rows of `statistics.runs.frame_of`.
        visits: The result of `statistics.visits.visit_values`.

    Returns:
        One row a failure with the texts ``arm`` (its label), ``failure`` and ``where``; none if
        all went well.
    """
    order = [arm.name for arm in arms_of(frame)]
    order += [run.arm for run in runs if run.arm not in order]
    names = list(dict.fromkeys(order))
    short = labels(names)
    counted = countable_visits(visits)
    most = frame.groupby("arm")["seed"].nunique().max()
    rows = [
        (short[name], failure, where)
        for name in names
        for failure, where in (
            *_stopped([run for run in runs if run.arm == name], frame[frame["arm"] == name], most),
            *_unmeasured(counted[counted["arm"] == name]),
        )
    ]
    return pd.DataFrame(rows, columns=["arm", "failure", "where"])


def _stopped(runs: list[Run], rows: pd.DataFrame, most: int) -> Iterator[tuple[str, str]]:
    """Seeds that froze, are not finished, have recorded nothing, or are fewer than others'."""
    last = rows.groupby("seed")["step"].max()
    if ALIVE in rows:
        frozen = rows[rows[ALIVE] < 1].groupby("seed")["step"].min()
        if len(frozen):
            what = "all its seeds were" if len(frozen) == len(runs) else "seeds were"
            yield (
                f"{what} frozen for gradients that are not finite; their returns count",
                _listed([f"seed {seed} from step {step:,}" for seed, step in frozen.items()]),
            )
    short = [
        f"seed {run.seed} at {last[run.seed]:,} of {run.config['steps']:,}"
        for run in runs
        if run.seed in last.index and last[run.seed] < run.config.get("steps", 0)
    ]
    if short:
        yield "runs are not finished; only finished visits count", _listed(short)
    if silent := [run.seed for run in runs if run.seed not in last.index]:
        yield "runs have recorded nothing", _listed([f"seed {seed}" for seed in silent])
    if 0 < len(last) < most:
        yield "fewer seeds than other arms", f"{len(last)} of {most}"


def _unmeasured(visits: pd.DataFrame) -> Iterator[tuple[str, str]]:
    """Visits without an episode that ended, and those that rest on few."""
    blank = visits[visits["auc"].isna()]
    thin = visits[visits["auc"].notna() & (visits["measured"] < THIN)]
    if len(blank):
        yield (
            f"in {len(blank)} of {len(visits)} visits no episode ended: they count nowhere",
            _by_task(blank),
        )
    if len(thin):
        yield (
            f"in {len(thin)} of {len(visits)} visits episodes ended in less than a quarter of the "
            "iterations",
            _by_task(thin),
        )


def _by_task(visits: pd.DataFrame) -> str:
    counts = visits["task_name"].value_counts(sort=False)
    return _listed([f"{count} of {display_name(str(task))}" for task, count in counts.items()])


def _listed(items: list[str]) -> str:
    more = f" and {len(items) - MOST} more" if len(items) > MOST else ""
    return ", ".join(items[:MOST]) + more
