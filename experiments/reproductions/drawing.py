"""Panels of reproductions' figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from neoteny.experiments.options.arms import arms_of
from neoteny.experiments.report.drawing import (
    FEWEST_FOR_BAND,
    GREY,
    INK,
    NARROW,
    RINGED,
    from_zero,
    light_axes,
    looks,
    new_figure,
)
from neoteny.experiments.statistics.metrics import Estimate, mean_curve

__all__ = ["draw_estimates", "draw_legend", "draw_visits", "panels"]


def panels(
    narrow: bool, *widths: float, height: float = 3.4, rows: int = 1
) -> tuple[Figure, list[Axes]]:
    """A figure with panels side by side, or below each other on narrow screens.

    Args:
        narrow: True for narrow screens.
        *widths: Of the panels of a row, in proportion to each other.
        height: Inches of a panel.
        rows: Rows of panels.

    Returns:
        The figure and its panels, row by row.
    """
    count = len(widths)
    if narrow:
        figure = new_figure(NARROW, height * count * rows)
        return figure, list(figure.subplots(count * rows, 1, squeeze=False).flat)
    figure = new_figure(10.5, height * rows)
    return figure, list(figure.subplots(rows, count, width_ratios=widths, squeeze=False).flat)


def draw_visits(panel: Axes, visits: pd.DataFrame, label: str, arms: Sequence[str] = ()) -> None:
    """Draw the mean value of each arm by visit, with its interval where runs suffice.

    Args:
        panel: Where to draw.
        visits: The result of `statistics.visits.visit_values`.
        label: Of the y axis.
        arms: Those to draw; unset, all.
    """
    light_axes(panel)
    for name, look in looks(arms_of(visits)).items():
        if arms and name not in arms:
            continue
        table = visits[visits["arm"] == name].pivot(index="seed", columns="visit", values="value")
        middle, low, high = mean_curve(table.to_numpy(np.float64))
        x = table.columns.to_numpy() + 1
        panel.plot(x, middle, **look.drawn, **RINGED, ms=5, label=look.label)
        if len(table) >= FEWEST_FOR_BAND:
            panel.fill_between(x, low, high, color=look.colour, alpha=0.13, lw=0)
    panel.set_xlabel("task")
    panel.set_ylabel(label)
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    from_zero(panel)


def draw_estimates(panel: Axes, rows: Mapping[str, Estimate], label: str, line: float = 0) -> None:
    """Draw numbers with their intervals, one below the other, each below its label.

    Labels stand inside the panel: left of it, they would take the width of all panels in a column.

    Args:
        panel: Where to draw.
        rows: By their labels, from top to bottom.
        label: Of the x axis.
        line: Number that a vertical line marks.
    """
    light_axes(panel)
    panel.axvline(line, color=GREY, lw=0.8, zorder=0)
    beside: dict[str, Any] = {"transform": panel.get_yaxis_transform(), "fontsize": 8, "color": INK}
    beside["bbox"] = {"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 1}
    for place, (name, each) in enumerate(rows.items()):
        clear = each.low > line or each.high < line
        panel.plot([each.low, each.high], [place, place], color=INK if clear else GREY, lw=1.6)
        fill = INK if clear else "white"
        panel.plot(each.value, place, "o", ms=6, color=INK if clear else GREY, mfc=fill)
        panel.text(0.01, place - 0.25, name, va="center", **beside)
    panel.set_yticks([])
    panel.set_ylim(len(rows) - 0.5, -0.6)
    panel.set_xlabel(label, fontsize=9)
    panel.xaxis.set_major_locator(MaxNLocator(5))


def draw_legend(figure: Figure, panel: Axes) -> None:
    """Name the curves of a panel above all panels, where no curve is hidden."""
    figure.legend(
        *panel.get_legend_handles_labels(),
        loc="outside upper left",
        ncols=max(1, int(figure.get_figwidth() // 3.4)),
        frameon=False,
        fontsize=8,
    )
