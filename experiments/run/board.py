"""A member of a run in TensorBoard: its scalars, histograms, settings and layout."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.tensorboard import summary

from neoteny.core.text import visible
from neoteny.experiments.run.events import Events
from neoteny.experiments.run.folders import MEASURES
from neoteny.experiments.run.tags import (
    MEAN_SO_FAR,
    layout_of,
    scalars_of,
    session_of,
    tag_of,
    trials_of,
)

__all__ = ["Board", "config_as_markdown"]

FOLLOWED = ("task", *MEASURES)
"""Columns whose earlier values a row is shown with."""
BINS = 30
"""Bins of a histogram."""


class Board:
    """Writes what TensorBoard shows of one member.

    Args:
        folder: the member's folder.
        step: what earlier parts of the run wrote at this step and later is dropped.
        rows: the rows of metrics.csv up to there, as texts.
    """

    def __init__(self, folder: Path, step: int = 0, rows: Iterable[Mapping[str, str]] = ()) -> None:
        self._events = Events(folder, step)
        self._columns = 0
        self._step = 0
        self._task = math.nan
        self._total = 0.0
        self._count = 0
        for row in rows:
            self._follow(int(row["step"]), {key: float(row.get(key) or "nan") for key in FOLLOWED})

    def describe(self, config: Mapping[str, Any]) -> None:
        """Write the settings of a new run, as a text and for the HParams tab."""
        text = summary.text("config", config_as_markdown(config))  # type: ignore[no-untyped-call]
        for each in (text, session_of(config), trials_of(config)):
            self._events.summary(0, each)

    def row(self, step: int, numbers: Mapping[str, float], columns: Sequence[str]) -> None:
        """Write a row of metrics.csv.

        Args:
            step: environment steps of the member so far.
            numbers: the row.
            columns: all columns of the table, which grow in number.
        """
        if len(columns) != self._columns:
            self._columns = len(columns)
            self._events.summary(step, layout_of(columns))
        task = numbers.get("task", math.nan)
        if task != self._task and math.isfinite(self._task):
            self._events.step_to(task, tag_of("task"), self._step, step)
        self._follow(step, numbers)
        so_far = {MEAN_SO_FAR: self._total / self._count} if self._count else {}
        self._events.scalars(step, scalars_of(numbers) | so_far)

    def _follow(self, step: int, numbers: Mapping[str, float]) -> None:
        self._step = step
        self._task = numbers.get("task", self._task)
        measured = (numbers.get(column, math.nan) for column in MEASURES)
        value = next(filter(math.isfinite, measured), None)
        if value is not None:
            self._total += value
            self._count += 1

    def histogram(self, step: int, tag: str, values: Sequence[float]) -> None:
        """Write the distribution of values, unless one is not finite."""
        if all(map(math.isfinite, values)):
            made = summary.histogram(tag, np.array(values), BINS)  # type: ignore[no-untyped-call]
            self._events.summary(step, made)

    def flush(self) -> None:
        """Force the events to the disk."""
        self._events.flush()

    def close(self) -> None:
        """Close the file, which has everything already."""
        self._events.close()


def config_as_markdown(config: Mapping[str, Any]) -> str:
    """A configuration as a Markdown table."""
    rows = [
        f"| {_escaped(key)} | "
        f"{_escaped(value if isinstance(value, str) else json.dumps(value, default=str))} |"
        for key, value in config.items()
    ]
    return "\n".join(["| field | value |", "| --- | --- |", *rows])


def _escaped(text: str) -> str:
    """A text that Markdown shows as it is, in one line."""
    return re.sub(r"([\\`*_{}\[\]()#+\-.!|])", r"\\\1", escape(visible(text), quote=False))
