"""Reading matrices back: returns of the tasks of a run, evaluated during training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from neoteny.core.errors import InputError
from neoteny.experiments.run.folders import EVALUATED, MATRIX
from neoteny.experiments.statistics.continual import Tasks
from neoteny.experiments.statistics.metrics import Array
from neoteny.experiments.statistics.runs import (
    Run,
    episode_limit,
    families_of,
    read_table,
    scores_of,
)

__all__ = ["MATRIX_COLUMNS", "matrix_of", "read_matrices"]

MATRIX_COLUMNS = ("step", "visit", "task", "task_name", "task_visit", EVALUATED)
"""Columns of matrix.csv: steps trained; the visit they end in, blank before training; the task that
was evaluated, as it was or will be in its visit ``task_visit``."""


def read_matrices(runs: Sequence[Run]) -> pd.DataFrame:
    """Read the matrix.csv of every run that has one.

    Args:
        runs: the result of `statistics.runs.find_runs`.

    Returns:
        One row an evaluation of a task, with `MATRIX_COLUMNS`, ``arm``, ``seed``, ``family`` and
        ``score``, the return normalised; ``visit`` is -1 before training. Empty without any.

    Raises:
        ValueError: a file is no matrix of a run.
    """
    tables = [_read(run) for run in runs if (run.folder / MATRIX).is_file()]
    tables = [table for table in tables if len(table)]
    columns = ["arm", "seed", *MATRIX_COLUMNS, "family", "score"]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=columns)


def matrix_of(rows: pd.DataFrame, visits: int) -> tuple[Array, Tasks, list[str]]:
    """The matrix of one run, as the functions of `statistics.continual` take it.

    Args:
        rows: rows of one arm and seed of the result of `read_matrices`, with their ``value``.
        visits: V, the number of visits that are finished.

    Returns:
        Values (V + 1, T), the tasks (V,) of the visits, which are numbered by their columns, and
        the names of the families of the columns. The last evaluation in a visit counts. V is less
        where an evaluation at the end of a visit is missing.
    """
    kept = rows[rows["visit"] < visits]
    ends = kept.drop_duplicates(["visit", "task"], keep="last")
    table = ends.pivot(index="visit", columns="task", values="value")
    own = ends[ends["visit"] == ends["task_visit"]].set_index("visit")["task"]
    known = next((visit for visit in range(visits) if visit not in own.index), visits)
    values = table.reindex(range(-1, known)).to_numpy(np.float64)
    played = np.searchsorted(table.columns, own.reindex(range(known)).to_numpy(np.int64))
    families = ends.drop_duplicates("task").set_index("task")["family"]
    return values, played.astype(np.int64), families.reindex(table.columns).tolist()


def _read(run: Run) -> pd.DataFrame:
    path = run.folder / MATRIX
    table = read_table(path)
    if missing := [column for column in MATRIX_COLUMNS if column not in table]:
        raise InputError(f"{path} has no column {missing[0]!r}: it is no matrix; restore it")
    added: dict[str, Any] = {"arm": run.arm, "seed": run.seed}
    added["family"] = families_of(table["task_name"], run.config)
    added["score"] = scores_of(table[EVALUATED], table["task_name"], episode_limit(run.config))
    table["visit"] = table["visit"].fillna(-1).astype(int)
    counts = ["step", "task", "task_visit"]
    table[counts] = table[counts].astype(int)
    return table.assign(**added)
