"""The figure of sweeps: strength against objective, a panel for each setting of each arm."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, StrMethodFormatter

from neoteny.experiments.options.arms import labels
from neoteny.experiments.report.drawing import (
    BASELINE_COLOUR,
    FAINT,
    GREY,
    INK,
    NARROW,
    PALETTE,
    new_figure,
    save,
    style,
)
from neoteny.experiments.tuning.outcome import ArmTrials, Trial
from neoteny.experiments.tuning.scores import OBJECTIVES, Objective
from neoteny.experiments.tuning.search import Dimension
from neoteny.plasticity.interventions import Tasks

__all__ = ["draw_sweeps"]

COLOUR, SINGLE = PALETTE[0], "#8a8a8a"


def draw_sweeps(
    arms: Sequence[ArmTrials], path: Path, objective: Objective, *, narrow: bool = False
) -> None:
    """Draw every trial of every arm against the values of its settings; nothing without any."""
    shown = [(arm, dimension) for arm in arms for dimension in arm.dimensions]
    if not shown:
        return
    names = labels([arm.run.arm for arm in arms])
    plain = [arm for arm in arms if not arm.dimensions]
    columns = 1 if narrow else min(3, len(shown))
    rows = math.ceil(len(shown) / columns)
    with style():
        width = NARROW if narrow else max(NARROW + 1, 3.5 * columns)
        figure = new_figure(width, 1.3 + (1.9 if narrow else 2.4) * rows)
        panels = figure.subplots(rows, columns, squeeze=False, sharey=True).ravel()
        for panel in panels[len(shown) :]:
            panel.set_axis_off()
        for panel, (arm, dimension) in zip(panels, shown, strict=False):
            _draw(panel, arm, dimension, objective)
            for other in plain:
                _level(panel, other)
            panel.set_title(names[arm.run.arm], loc="left", color=INK)
        for row in panels.reshape(rows, columns):
            row[0].set_ylabel("share of fresh" if objective == "share" else objective)
        figure.legend(
            handles=_handles(objective, [names[arm.run.arm] for arm in plain]),
            loc="outside upper left",
            ncols=2 if narrow else 3,
            frameon=False,
            title=OBJECTIVES[objective],
            alignment="left",
            title_fontproperties={"size": 9.5 if narrow else 11, "weight": "bold"},
            fontsize=8.5,
        )
        save(figure, path)


def _draw(panel: Axes, arm: ArmTrials, dimension: Dimension, objective: Objective) -> None:
    """Mean and seeds of each trial; above them fresh's level, below failures."""
    _axis(
        panel, dimension, [float(t.values[dimension]) for t in arm.trials if dimension in t.values]
    )
    if objective == "share":
        panel.axhline(1, color=GREY, lw=0.9, ls=(0, (6, 3)), zorder=0)
    for trial in arm.trials:
        if dimension not in trial.values:
            continue
        x = float(trial.values[dimension])
        if trial.score.failed:
            panel.plot(
                [x], [0.03], "x", color=INK, ms=6, transform=panel.get_xaxis_transform(), zorder=3
            )
            continue
        seeds = list(trial.score.seeds.values())
        panel.plot([x, x], [min(seeds), max(seeds)], color=COLOUR, lw=0.9, alpha=0.6, zorder=1)
        panel.plot([x] * len(seeds), seeds, "_", color=COLOUR, ms=5, alpha=0.7, zorder=1)
        if objective == "share":
            first = 1 - trial.score.first_gap
            panel.plot([x], [first], "s", ms=4, mfc="none", mec=SINGLE, zorder=2)
        panel.plot([x], [trial.score.objective.value], **_mark(trial, arm))


def _mark(trial: Trial, arm: ArmTrials) -> dict[str, Any]:
    """A diamond for the default, a star for the best, else a dot."""
    best, default = trial is arm.best, trial.number == 0
    marker = "D" if default else "*" if best else "o"
    return {
        "marker": marker,
        "ms": 11 if marker == "*" else 6,
        "mfc": INK if best else "white" if default else COLOUR,
        "mec": INK if best or default else "white",
        "zorder": 5 if best else 4,
    }


def _level(panel: Axes, arm: ArmTrials) -> None:
    """The default of an arm without a range, as a line."""
    if not arm.best.score.failed:
        level = arm.best.score.objective.value
        panel.axhline(level, color=BASELINE_COLOUR, lw=1.1, ls=":", zorder=0)


def _axis(panel: Axes, dimension: Dimension, tried: list[float]) -> None:
    """An axis over the range, between thin lines, and the values that were tried."""
    values = dimension.range
    ends = [float(values.low), float(values.high)]
    panel.spines[["top", "right"]].set_visible(False)
    panel.yaxis.set_major_locator(MaxNLocator(5))
    panel.tick_params(color=GREY, labelcolor=INK, length=3)
    if values.log:
        panel.set_xscale("log")
        panel.xaxis.set_major_locator(LogLocator(numticks=5))
        panel.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        panel.xaxis.set_minor_locator(NullLocator())
    low, high = min([*ends, *tried]), max([*ends, *tried])
    margin = (high / low) ** 0.05 if values.log else 0.05 * (high - low)
    panel.set_xlim(
        *((low / margin, high * margin) if values.log else (low - margin, high + margin))
    )
    for end in ends:
        panel.axvline(end, color=FAINT, lw=0.8, zorder=0)
    unit = " (tasks)" if type(values.low) is Tasks else ""
    panel.set_xlabel(f"{dimension.field.replace('_', ' ')}{unit}")


def _handles(objective: Objective, plain: list[str]) -> list[Line2D]:
    dot: dict[str, Any] = {"color": COLOUR, "ls": "none", "mec": "white"}
    found = [
        Line2D([], [], marker="o", ms=6, label="trial, with its seeds", **dot),
        Line2D([], [], marker="D", ms=6, ls="none", mfc="white", mec=INK, label="default"),
        Line2D([], [], marker="*", ms=11, ls="none", mfc=INK, mec=INK, label="best (filled)"),
        Line2D([], [], marker="x", ms=6, ls="none", color=INK, label="failed"),
    ]
    if objective == "share":
        found += [
            Line2D([], [], marker="s", ms=4, ls="none", mfc="none", mec=SINGLE, label="first task"),
            Line2D([], [], color=GREY, lw=0.9, ls=(0, (6, 3)), label="fresh networks"),
        ]
    if plain:
        found.append(Line2D([], [], color=BASELINE_COLOUR, lw=1.1, ls=":", label=", ".join(plain)))
    return found
