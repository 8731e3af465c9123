"""Parts of a sitting, each in a process of its own within a time limit of its own.

Every row is written as soon as it is measured, so that a part that fails, hangs or takes the whole
process down costs its own rows alone; that it did so is a row as well.
"""

from __future__ import annotations

import json
import math
import os
import signal
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import pandas as pd
from _measure import prepare

__all__ = ["FAILURES", "Part", "Row", "read_rows", "sit"]

Row = tuple[str, float, str]
"""Name of a measurement, its value, and the unit or a remark."""
FAILURES = "failed", "stopped", "ended with status", "not begun"
"""Names of the rows of parts that gave no others, or not all."""


@dataclass(frozen=True)
class Part:
    """Something to measure."""

    limit: float
    """Seconds that it may take, the start of its process included."""
    work: Callable[[], Iterable[Row]]
    """Gives its rows; other processes have to find it by its name."""


def sit(parts: Mapping[str, Part], rows: Path, seconds: float) -> None:
    """Run parts one after the other.

    Args:
        parts: Parts by their names, in their order.
        rows: File of rows as JSON, one a line; those of an earlier sitting are dropped.
        seconds: Time of the whole sitting: at its end a part is stopped, and no other begun.
    """
    rows.write_text("", encoding="utf-8")
    ends = time.monotonic() + seconds
    for name, part in parts.items():
        left = ends - time.monotonic()
        if left <= 0:
            _add(rows, name, "not begun", math.nan, "the sitting was over")
        else:
            _attempt(name, part.work, min(part.limit, left), rows)


def read_rows(rows: Path) -> pd.DataFrame:
    """Rows as a table: part, what, value and unit."""
    with rows.open(encoding="utf-8") as file:
        return pd.DataFrame([json.loads(line) for line in file])


def _attempt(name: str, work: Callable[[], Iterable[Row]], limit: float, rows: Path) -> None:
    """Run a part in a process of its own, within its time limit."""
    started = time.perf_counter()
    process = get_context("spawn").Process(target=_measure, args=(name, work, rows))
    process.start()
    process.join(limit)
    seconds = time.perf_counter() - started
    if process.exitcode is None:
        _add(rows, name, "stopped", seconds, "s, its time limit")
        with suppress(ProcessLookupError):  # where it has not become a group yet
            os.killpg(process.pid or 0, signal.SIGKILL)
        process.kill()
        process.join(10)  # one that a driver holds ends later, or never
    elif process.exitcode:
        _add(rows, name, "ended with status", float(process.exitcode), "")
    else:
        _add(rows, name, "the part's time", seconds, "s")


def _measure(name: str, work: Callable[[], Iterable[Row]], rows: Path) -> None:
    """Run a part in this process, and write its rows as they come, or its failure."""
    os.setsid()  # so that a part is ended together with the processes that it starts
    prepare(None)
    try:
        for what, value, unit in work():
            _add(rows, name, what, value, unit)
    except Exception as error:
        _add(rows, name, "failed", math.nan, f"{type(error).__name__}: {str(error)[:300]}")
        raise


def _add(rows: Path, part: str, what: str, value: float, unit: str) -> None:
    """Append a row to the file, and show it."""
    row = {"part": part, "what": what, "value": value, "unit": unit}
    with rows.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")
    print(f"{part}: {what}: {value:,.4g} {unit}", flush=True)
