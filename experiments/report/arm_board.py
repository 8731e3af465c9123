"""A comparison in TensorBoard: each arm's mean over its seeds, its gap to fresh, the figures."""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
from tensorboard.compat.proto.summary_pb2 import Summary
from torch.utils.tensorboard import summary

from neoteny.core.text import distinct
from neoteny.experiments.options.arms import arms_of, labels, oracle_of
from neoteny.experiments.report.drawing import FEWEST_FOR_BAND
from neoteny.experiments.run.events import EVENTS, Events
from neoteny.experiments.run.folders import METRICS, storing
from neoteny.experiments.run.tags import GAP, hidden_layers, session_of
from neoteny.experiments.statistics.curves import Curve, bin_edges, common_switches, curve
from neoteny.experiments.statistics.metrics import Array
from neoteny.experiments.statistics.runs import Run
from neoteny.experiments.statistics.summary import countable_visits, paired_visits, pooled_gap

__all__ = ["ARMS", "write_arms"]

ARMS = "arms"
"""Folder of the runs that stand for whole arms, which TensorBoard lists before the seeds."""
GAPS = "continual/gap_to_fresh"
ENDS = ("_low", "_high")
"""Ends of the tags of an interval."""


def write_arms(
    folder: Path,
    runs: Sequence[Run],
    frame: pd.DataFrame,
    visits: pd.DataFrame,
    figures: Iterable[Path],
) -> Path:
    """Write a run for each arm, and one with the figures and the layout of Custom Scalars.

    They replace those of an earlier report.

    Returns:
        The folder of these runs.
    """
    root = folder / ARMS
    before = _event_files(root)
    arms = arms_of(frame)
    short = labels([arm.name for arm in arms])
    names = distinct([re.sub(r"[^\w.+=,() -]", "_", short[arm.name]) for arm in arms])
    last, switches = int(frame["step"].max()), common_switches(frame)
    edges = bin_edges(frame, switches)
    with _events(root) as events:
        events.summary(0, _layout(frame, visits))
        for path in figures:
            events.summary(last, _image(f"report/{path.stem}", path))
    for arm, name in zip(arms, names, strict=True):
        mine = frame[frame["arm"] == arm.name]
        config = next(run.config for run in runs if run.arm == arm.name)
        with _events(root / os.fsdecode(name.encode())) as events:  # in locales without UTF-8, too
            events.summary(0, session_of(config))
            _write_curves(events, _curves(mine, edges, switches))
            _write_gaps(events, paired_visits(countable_visits(visits), arm, oracle_of(arm, arms)))
    for path in before:
        path.unlink(missing_ok=True)
    return root


@contextmanager
def _events(folder: Path) -> Iterator[Events]:
    """A new event file, from which on TensorBoard forgets the earlier ones."""
    with storing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    events = Events(folder)
    try:
        yield events
    finally:
        events.close()


def _event_files(root: Path) -> list[Path]:
    """The files of an earlier report; never those of a run that lies there."""
    folders = [folder for folder in (root, *root.glob("*/")) if not (folder / METRICS).exists()]
    return [path for folder in folders for path in folder.glob(f"{EVENTS}*")]


def _curves(
    frame: pd.DataFrame, edges: Array, switches: list[float]
) -> Iterator[tuple[str, Curve]]:
    """Tag and curve of the return or accuracy and of the diagnostics of an arm."""
    measure = frame["measure"].iloc[0]
    yield f"continual/{measure}", curve(frame, "online_return", edges, switches)
    for (network, name), columns in hidden_layers(frame.columns).items():
        rows = frame[["step", "seed"]].assign(value=frame[columns].mean(axis=1))
        yield f"plasticity/{network}/{name}", curve(rows, "value", edges, switches)


def _write_curves(events: Events, curves: Iterable[tuple[str, Curve]]) -> None:
    """Write means over seeds and, of the measure and with enough seeds, their intervals."""
    points: dict[int, dict[str, float]] = {}
    for tag, line in curves:
        drawn = {tag: line.mean}
        if tag.startswith("continual/") and len(line.runs) >= FEWEST_FOR_BAND:
            ends = (tag.replace("continual/", "run/") + end for end in ENDS)
            drawn |= dict(zip(ends, (line.low, line.high), strict=True))
        steps = np.rint(line.x[np.isfinite(line.x)]).astype(int).tolist()
        for name, values in drawn.items():
            for step, value in zip(steps, values[np.isfinite(line.x)].tolist(), strict=True):
                points.setdefault(step, {})[name] = value
    for step in sorted(points):
        events.scalars(step, points[step])


def _write_gaps(events: Events, pairs: pd.DataFrame) -> None:
    """Write the gap to fresh of each visit, a step each, and that over all visits."""
    for _, visit in pairs.groupby("visit"):
        gap, end = pooled_gap(visit).value, int(visit["end"].max())
        events.step_to(gap, GAPS, int(visit["start"].max()), end)
        events.scalars(end, {GAPS: gap})
    if len(pairs):
        events.scalars(int(pairs["end"].max()), {GAP: pooled_gap(pairs).value})


def _layout(frame: pd.DataFrame, visits: pd.DataFrame) -> Summary:
    """Custom Scalars of the arms: the return with its interval, and the gap to fresh."""
    charts = {}
    if frame.groupby("arm")["seed"].nunique().max() >= FEWEST_FOR_BAND:
        for measure in frame["measure"].unique():
            tags = [f"continual/{measure}", *(f"run/{measure}{end}" for end in ENDS)]
            charts[f"{measure}: mean and 95 % interval"] = ["Margin", tags]
    if visits["gap"].notna().any():
        charts["gap to fresh"] = ["Multiline", [f"{GAPS}$"]]
    made: Summary = summary.custom_scalars({"arms": charts} if charts else {})  # type: ignore[no-untyped-call]
    return made


def _image(tag: str, path: Path) -> Summary:
    """A PNG file as TensorBoard shows it."""
    content = path.read_bytes()
    width, height = struct.unpack(">II", content[16:24])
    image = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=content)
    return Summary(value=[Summary.Value(tag=tag, image=image)])
