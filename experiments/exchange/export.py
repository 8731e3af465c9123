"""The command `export`: a comparison's results in the result format, as a table or as arrays."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pandas as pd
import tyro
from rich.console import Console

import neoteny
from neoteny.core.console import caution
from neoteny.core.errors import InputError
from neoteny.core.options import check_fields
from neoteny.core.text import shortened, visible
from neoteny.experiments.exchange.result_format import FORMAT, VERSION
from neoteny.experiments.options.arms import NEUTRAL, RECORDED, arms_of, oracle_of
from neoteny.experiments.options.extras import imported
from neoteny.experiments.report.report import require_one_environment
from neoteny.experiments.run.folders import atomic_file
from neoteny.experiments.statistics.metrics import Array
from neoteny.experiments.statistics.runs import Run, find_runs, frame_of
from neoteny.experiments.statistics.summary import countable_visits, run_matrix
from neoteny.experiments.statistics.visits import untrained, visit_values

__all__ = ["ExportConfig", "export", "long_table", "result_content", "rliable_arrays"]

_KINDS = {
    ".csv": "a long table",
    ".parquet": "the same as Parquet",
    ".json": "the result format, which leaderboard reads",
    ".npz": "arrays of rliable",
}
KEYS = ["arm", "seed", "visit", "task", "start", "end"]
SCORES = ("auc", "first", "final", "evaluation", "score", "final_score", "value", "gain", "gap")
"""Columns of `statistics.visits.visit_values` that are metrics."""
_STREAM = ("env", "env_option", "stream_definition", "task_steps")
"""Fields of a configuration that say what is played."""
_FOLLOWS = ("intervention_settings", "strengths", "task_aware")
"""Fields that follow from others."""


@dataclass(frozen=True)
class ExportConfig:
    """Write results for other programs: CSV, Parquet, rliable's arrays, the result format."""

    folder: tyro.conf.Positional[Path]
    """Folder that holds runs of one environment, at any depth."""
    out: Path
    """File to write, by its ending: .csv, a row for each arm, seed, visit and metric; .parquet, the
    same; .json, the result format that `leaderboard` ranks; .npz, an array (runs, tasks) for each
    arm, as rliable takes them."""

    def __post_init__(self) -> None:
        check_fields(self)
        if self.out.suffix not in _KINDS:
            kinds = ", ".join(f"{ending} ({what})" for ending, what in _KINDS.items())
            raise InputError(f"--out is {self.out}: its ending must be one of {kinds}")


def export(config: ExportConfig, console: Console) -> None:
    """Write the file and say what is in it.

    Raises:
        InputError: If there are no runs, or of several environments, or a package is missing.
        RunError: If the file cannot be written.
    """
    if config.out.suffix == ".parquet":
        imported(
            "pyarrow",
            'Parquet needs pyarrow, which is not installed: run pip install "neoteny[share]", or '
            "let --out end in .csv",
        )
    runs = find_runs(config.folder)
    require_one_environment(config.folder, runs)
    frame = frame_of(runs)
    visits = visit_values(frame)
    if config.out.suffix == ".npz":
        arrays = rliable_arrays(visits)
        _caution_of_holes(arrays, console)
        content = _npz(arrays)
        tasks = ", ".join(sorted(visits["task_name"].unique()))
        what = f"{len(arrays)} arrays (runs, tasks); tasks: {shortened(visible(tasks), 300)}"
    elif config.out.suffix == ".json":
        name = config.folder.resolve().name
        found = result_content(name, visits, runs)
        content = (json.dumps(found, indent=1, default=str) + "\n").encode()
        what = f"{len(found['runs'])} runs of {len(found['arms'])} arms"
    else:
        table = long_table(frame, visits, runs)
        content = _table(table, config.out.suffix)
        what = f"{len(table):,} rows"
    with atomic_file(config.out) as file:
        file.write(content)
    console.print(f"written {config.out}: {what}", soft_wrap=True)


def _table(table: pd.DataFrame, ending: str) -> bytes:
    if ending == ".csv":
        return table.to_csv(index=False).encode()
    buffer = io.BytesIO()
    table.to_parquet(buffer, engine="pyarrow", index=False)
    return buffer.getvalue()


def _npz(arrays: Mapping[str, Array]) -> bytes:
    """As `numpy.savez` writes, which takes no array called file."""
    buffer = io.BytesIO()
    with ZipFile(buffer, "w") as archive:
        for name, values in arrays.items():
            with archive.open(f"{name}.npy", "w") as file:
                np.lib.format.write_array(file, values, allow_pickle=False)
    return buffer.getvalue()


def _caution_of_holes(arrays: Mapping[str, Array], console: Console) -> None:
    """Say which arrays rliable would answer with NaN."""
    holes = {name: int(np.isnan(values).sum()) for name, values in arrays.items()}
    missing = ", ".join(f"{count} of {name}" for name, count in holes.items() if count)
    if missing:
        caution(console, f"runs lack scores of tasks, which are NaN: {missing}")


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
