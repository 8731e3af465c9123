"""Results of a comparison in the result format, as a long table, and as arrays of rliable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

import neoteny
from neoteny.experiments.exchange.result_format import FORMAT, VERSION
from neoteny.experiments.options.arms import NEUTRAL, RECORDED, arms_of, oracle_of
from neoteny.experiments.statistics.metrics import Array
from neoteny.experiments.statistics.runs import Run
from neoteny.experiments.statistics.summary import countable_visits, run_matrix
from neoteny.experiments.statistics.visits import untrained

__all__ = ["long_table", "result_content", "rliable_arrays"]

KEYS = ["arm", "seed", "visit", "task", "start", "end"]
SCORES = ("auc", "first", "final", "evaluation", "score", "final_score", "value", "gain", "gap")
"""Columns of `statistics.visits.visit_values` that are metrics."""
_STREAM = ("env", "env_option", "stream_definition", "task_steps")
"""Fields of a configuration that say what is played."""
_FOLLOWS = ("intervention_settings", "strengths", "task_aware")
"""Fields that follow from others."""


def long_table(frame: pd.DataFrame, visits: pd.DataFrame, runs: Sequence[Run]) -> pd.DataFrame:
    """One row a number: every score of a visit and the mean of every recorded column over it.

    Args:
        frame: Rows of `statistics.runs.frame_of`.
        visits: Result of `statistics.visits.visit_values`.
        runs: The members that were read.

    Returns:
        The columns ``arm``, ``seed``, ``visit``, ``task``, ``start``, ``end`` (steps),
        ``complete``, those of the configuration that differ between runs, ``metric`` and
        ``value``. Numbers that do not exist have no row.
    """
    recorded = [column for column in frame.columns if "/" in str(column)]
    keys = ["arm", "seed", "visit"]
    means = frame.groupby(keys, sort=False)[recorded].mean()
    named = visits.drop(columns="task").rename(columns={"task_name": "task"})
    wide = named.join(means, on=keys)
    differing = _differing(runs)
    about = wide[[*KEYS, "complete"]].join(
        pd.DataFrame(
            [differing[arm, seed] for arm, seed in wide[["arm", "seed"]].itertuples(index=False)],
            index=wide.index,
        )
    )
    metrics = [*SCORES, *recorded]
    long = about.join(wide[metrics]).melt(
        list(about.columns), metrics, var_name="metric", value_name="number"
    )  # a metric is called value, too
    long = long.dropna(subset="number").reset_index(drop=True)
    return long.rename(columns={"number": "value"})


def rliable_arrays(visits: pd.DataFrame) -> dict[str, Array]:
    """Scores of `statistics.visits.visit_values` as rliable's functions take them.

    Returns:
        Arm to (runs, tasks) means over the finished visits of a task, tasks in alphabetic order
        and the same for all arms; NaN where a run has no score of a task.
    """
    counted = countable_visits(visits)
    tasks = sorted(counted["task_name"].unique())
    return {
        arm.name: run_matrix(counted[counted["arm"] == arm.name])
        .reindex(columns=tasks)
        .to_numpy(np.float64)
        for arm in arms_of(visits)
    }


def result_content(name: str, visits: pd.DataFrame, runs: Sequence[Run]) -> dict[str, Any]:
    """A comparison in the result format.

    Args:
        name: Name of the comparison.
        visits: Result of `statistics.visits.visit_values`.
        runs: The members that were read.

    Returns:
        What `neoteny.experiments.exchange.result_format` describes.
    """
    arms = arms_of(visits)
    firsts = {run.arm: run.config for run in reversed(runs)}
    first = firsts[arms[0].name]
    known = first.get("versions", {})
    oracles = {arm.name: oracle_of(arm, arms) for arm in arms}
    return {
        "format": FORMAT,
        "version": VERSION,
        "name": name,
        "suite": {
            "name": "neoteny",
            "version": str(known.get("neoteny") or neoteny.__version__),
            "commit": known.get("commit"),
        },
        "protocol": {
            "environment": str(first.get("env", name)),
            "options": {key: first[key] for key in _STREAM[1:] if first.get(key)},
            "steps": max(int(visits["end"].max()), first.get("steps", 0)),
            "visits": max(int(visits["visit"].max()), len(first.get("boundaries", ()))) + 1,
            "measure": str(visits["measure"].iloc[0]),
            "unit": str(visits["unit"].iloc[0]),
        },
        "tasks": _tasks(visits),
        "arms": [
            {
                "name": arm.name,
                "role": arm.role,
                "oracle": found.name if (found := oracles[arm.name]) else None,
                "settings": _settings(firsts[arm.name]),
            }
            for arm in arms
        ],
        "runs": [
            {
                "arm": str(arm),
                "seed": int(str(seed)),
                "visits": [_visit(row) for row in mine.to_dict("records") if row["complete"]],
            }
            for (arm, seed), mine in visits.groupby(["arm", "seed"], sort=False)
        ],
    }


def _tasks(visits: pd.DataFrame) -> list[dict[str, Any]]:
    """Names of the tasks, with the score of an untrained policy where it is known."""
    families = visits.drop_duplicates("task_name").set_index("task_name")["family"]
    zero = untrained(visits)
    return [
        {"name": str(task), "untrained": _number(zero[family])} for task, family in families.items()
    ]


def _visit(row: Mapping[Any, Any]) -> dict[str, Any]:
    return {
        "task": row["task_name"],
        "score": _number(row["value"]),
        "final": _number(row["final"]),
        "end": int(row["end"]),
    }


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _settings(config: Mapping[str, Any], also: Sequence[str] = ()) -> dict[str, Any]:
    skip = {*also, *RECORDED, *NEUTRAL, *_STREAM, "arm", "named", "task_names"}
    return {key: value for key, value in config.items() if key not in skip}


def _differing(runs: Sequence[Run]) -> dict[tuple[str, int], dict[str, str]]:
    """Fields of the configuration that differ between runs, as texts; nested ones by their path."""
    flat = {(run.arm, run.seed): _flat(_settings(run.config, _FOLLOWS)) for run in runs}
    names = dict.fromkeys(name for fields in flat.values() for name in fields)
    varied = [name for name in names if len({fields.get(name) for fields in flat.values()}) > 1]
    return {
        key: {f"config/{name}": fields.get(name, "") for name in varied}
        for key, fields in flat.items()
    }


def _flat(fields: Mapping[str, Any], before: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in fields.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{before}{name}/")
        elif isinstance(value, list | tuple):
            found[before + name] = "+".join(map(str, value))
        else:
            found[before + name] = "" if value is None else str(value)
    return found
