"""Figures of a comparison: returns with their intervals, and the plasticity diagnostics."""

from __future__ import annotations

from collections.abc import Container, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from neoteny.experiments.options.arms import ORACLE, arms_of
from neoteny.experiments.report.drawing import (
    FEWEST_FOR_BAND,
    GREY,
    INK,
    NARROW,
    Look,
    draw_curve,
    from_zero,
    legend,
    legend_height,
    looks,
    new_figure,
    quiet,
    save,
    scale_row,
    spread,
    style,
)
from neoteny.experiments.run.tags import hidden_layers
from neoteny.experiments.statistics.curves import bin_edges, common_switches, curve
from neoteny.experiments.statistics.metrics import mean_of_runs
from neoteny.experiments.statistics.runs import display_name, display_names
from neoteny.experiments.statistics.visits import RELATIVE, SCALES, fresh_scale

MOST_PANELS = 8
"""With more tasks than this, none has a panel of its own."""
MOST_SWITCHES = 24
"""With more switches than this in a stream without cycles, a curve has one point a task."""

SCALED = {"normalised": "normalised return", RELATIVE: "return relative to fresh"}
"""The label of an axis in units of `SCALES`."""

DIAGNOSTICS = (
    ("gram_deviation", "Gram deviation", "log"),
    ("dormant_fraction", "dormant units", "share"),
    ("feature_effective_rank", "effective rank\nof features", "zero"),
    ("weight_norm", "weight norm", "free"),
)
"""Suffix in metrics.csv, label and scale of each row of the plasticity figure."""


def returns_figure(
    frame: pd.DataFrame,
    visits: pd.DataFrame,
    path: Path,
    title: str = "",
    narrow: bool = False,
) -> str:
    """Draw the returns: one wide panel over all steps, and one panel a task.

    Returns:
        The caption.
    """
    arms = looks(arms_of(frame))
    tasks = _panel_tasks(frame)
    columns, width, height = (1, NARROW, 1.9) if narrow else (2, 10, 2.5)
    rows = -(-len(tasks) // columns)
    with style():
        figure = new_figure(width, 1.7 * height + height * rows + legend_height(arms, width))
        grid = figure.add_gridspec(1 + rows, columns, height_ratios=[1.35, *[1.0] * rows])
        wide = figure.add_subplot(grid[0, :])
        caption = _draw_overview(wide, frame, visits, arms)
        names = display_names(tasks)
        for index, task in enumerate(tasks):
            panel = figure.add_subplot(grid[1 + index // columns, index % columns])
            _draw_task(panel, frame[frame["task_name"] == task], arms)
            panel.set_title(names[task], loc="left", color=INK)
            if index % columns == 0:
                panel.set_ylabel(_measure(frame))
            if index >= len(tasks) - columns:
                panel.set_xlabel("environment steps in this task")
        legend(figure, arms, title, frame)
        save(figure, path)
    if not tasks:
        return caption
    again = frame.groupby("task_name")["visit"].nunique().max() > 1
    return (
        f"{caption} Lower panels: {_measure(frame)} of each task against the steps spent in it"
        f"{'; vertical lines are new visits' if again else ''}."
    )


def plasticity_figure(
    frame: pd.DataFrame, path: Path, title: str = "", narrow: bool = False
) -> str | None:
    """Draw the diagnostics of each branch, averaged over its hidden layers.

    Returns:
        The caption; None, and no file, if no diagnostics were recorded.
    """
    columns = hidden_layers(frame.columns)
    branches = sorted({branch for branch, _ in columns})
    shown = [row for row in DIAGNOSTICS if any(name == row[0] for _, name in columns)]
    if not shown:
        return None
    arms = looks(arms_of(frame))
    afresh = {arm.name for arm in arms_of(frame) if arm.role == ORACLE}
    with style():
        width = NARROW if narrow else 5 * max(2, len(branches))
        height = 0.9 + (1.4 if narrow else 1.85) * len(shown)
        figure = new_figure(width, height + legend_height(arms, width))
        panels = figure.subplots(
            len(shown), len(branches), sharex=True, sharey="row", squeeze=False
        )
        for row, (name, label, scale) in zip(panels, shown, strict=True):
            for panel, branch in zip(row, branches, strict=True):
                _draw_diagnostic(panel, frame, columns.get((branch, name), []), arms, afresh)
            scale_row(row, scale)
            row[0].set_ylabel(label)
        for panel, branch in zip(panels[0], branches, strict=True):
            panel.set_title(f"{branch} network", loc="left", color=INK)
        for panel in panels[-1]:
            panel.set_xlabel("environment steps")
            if narrow:
                panel.xaxis.set_major_locator(MaxNLocator(3))
        legend(figure, arms, title, frame)
        save(figure, path)
    return (
        "Plasticity diagnostics, averaged over the hidden layers of each network: means over "
        f"{spread(frame)}{_lines(common_switches(frame))}."
    )


def _measure(frame: pd.DataFrame) -> str:
    return " or ".join(frame["measure"].unique())


def _panel_tasks(frame: pd.DataFrame) -> list[str]:
    """The tasks that get a panel: none if there is one, or too many to show.

    None either if variants of one environment come once each: the overview shows all of that.
    """
    tasks = sorted(frame["task_name"].unique(), key=display_name)
    variants = frame["family"].nunique() == 1
    once = frame.groupby("task_name")["visit"].nunique().max() == 1
    return [] if (variants and once) or not 2 <= len(tasks) <= MOST_PANELS else tasks


def _draw_overview(
    panel: Axes, frame: pd.DataFrame, visits: pd.DataFrame, arms: dict[str, Look]
) -> str:
    unit = str(visits["unit"].iloc[0])
    many = frame["task_name"].nunique() > 1
    scaled = many and unit in SCALES
    column = "score" if scaled else "online_return"
    if scaled and unit == RELATIVE:
        scale = fresh_scale(visits)
        zero, one = (frame["family"].map(scale[end]) for end in ("zero", "one"))
        frame = frame.assign(score=(frame["online_return"] - zero) / (one - zero))
    switches = common_switches(frame)
    edges = bin_edges(frame, switches)
    cycles = _cycle_means(visits) if many else None
    faint = 0.4 if len(switches) <= MOST_SWITCHES else 0.25
    by_task = cycles is None and len(switches) > MOST_SWITCHES
    breaks = switches
    if by_task:
        edges, breaks = np.array([0.0, *switches, float(frame["step"].max())]), []
    quiet(panel, breaks)
    for arm, look in arms.items():
        line = curve(frame[frame["arm"] == arm], column, edges, breaks)
        if cycles is None:
            draw_curve(panel, line, look)
        else:
            panel.plot(line.x, line.mean, color=look.colour, alpha=faint, lw=0.9)
            _draw_cycles(panel, cycles[cycles["arm"] == arm], look)
    panel.set_ylabel(SCALED.get(unit, "") if scaled else _measure(frame))
    panel.set_xlabel("environment steps")
    from_zero(panel)
    panel.set_xlim(0, frame["step"].max())
    what = f"Return ({SCALES[unit]})" if scaled else _measure(frame).capitalize()
    how = (
        "faint lines are means over seeds, points the means over whole cycles through the tasks, "
        f"of {spread(frame, bands_only=True)}"
        if cycles is not None
        else f"mean over {spread(frame)}"
    )
    if by_task:
        return f"{what} of each whole task against environment steps: {how}."
    gaps = frame["return"].isna() & frame["online_return"].notna()
    carried = (
        " Iterations in which no episode ended carry the next return of the same visit."
        if gaps.any()
        else ""
    )
    return f"{what} against environment steps: {how}{_lines(breaks)}.{carried}"


def _lines(switches: Sequence[float]) -> str:
    """The part of a caption on vertical lines, if there are any."""
    return "; vertical lines are task switches" if switches else ""


def _cycle_means(visits: pd.DataFrame) -> pd.DataFrame | None:
    """One row per arm and whole cycle with x, mean, low, high; None with fewer than two."""
    visits = visits[visits["value"].notna()]
    length = visits["task_name"].nunique()
    rows = []
    for (arm, cycle), group in visits[visits["complete"]].groupby(["arm", "cycle"], sort=False):
        runs = group.groupby("seed")["value"].agg(["mean", "size"])
        whole = runs.loc[runs["size"] == length, "mean"].to_numpy(np.float64)
        if len(whole):
            found = mean_of_runs(whole)
            few = len(whole) < FEWEST_FOR_BAND
            ends = (np.nan, np.nan) if few else (found.low, found.high)
            centre = (group["start"].min() + group["end"].max()) / 2
            rows.append((arm, cycle, centre, found.value, *ends))
    table = pd.DataFrame(rows, columns=["arm", "cycle", "x", "mean", "low", "high"])
    return table if table["cycle"].nunique() > 1 else None


def _draw_cycles(panel: Axes, cycles: pd.DataFrame, look: Look) -> None:
    x, middle = cycles["x"], cycles["mean"]
    panel.plot(x, middle, color=look.colour, ls=look.line, lw=2)
    errors = np.abs(cycles[["low", "high"]].to_numpy().T - middle.to_numpy())
    points: Any = {"fmt": look.marker, "ms": 5, "mec": "white", "mew": 0.8}
    panel.errorbar(x, middle, yerr=errors, lw=1.4, color=look.colour, **points)


def _draw_task(panel: Axes, frame: pd.DataFrame, arms: dict[str, Look]) -> None:
    switches = common_switches(frame, "game_step")
    edges = bin_edges(frame, switches, "game_step")
    quiet(panel, switches)
    panel.set_xlim(0, frame["game_step"].max())
    if frame["online_return"].isna().all():
        panel.annotate(
            "no episode ended", (0.5, 0.5), xycoords="axes fraction", ha="center", color=GREY
        )
        panel.set_yticks([])
        return
    for arm, look in arms.items():
        mine = frame[frame["arm"] == arm]
        draw_curve(panel, curve(mine, "online_return", edges, switches, "game_step"), look)
    from_zero(panel)


def _draw_diagnostic(
    panel: Axes,
    frame: pd.DataFrame,
    columns: list[str],
    arms: dict[str, Look],
    afresh: Container[str],
) -> None:
    """Draw the mean of columns against steps.

    Bins end at switches; lines go on, but for the arms that start every visit afresh.
    """
    switches = common_switches(frame)
    quiet(panel, switches)
    panel.set_xlim(0, frame["step"].max())
    if not columns:
        return
    rows = frame[["arm", "seed", "step", "width"]].assign(value=frame[columns].mean(axis=1))
    edges = bin_edges(rows, switches)
    for arm, look in arms.items():
        breaks = switches if arm in afresh else []
        draw_curve(panel, curve(rows[rows["arm"] == arm], "value", edges, breaks), look)
