"""The figure behind the answer: each arm's gain as a share of that of fresh networks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from neoteny.experiments.options.arms import arms_of
from neoteny.experiments.report.drawing import (
    GREY,
    INK,
    NARROW,
    Look,
    looks,
    new_figure,
    quiet,
    save,
    style,
)
from neoteny.experiments.statistics.answer import Ability, abilities

__all__ = ["answer_figure"]

WIDEST = (-1.0, 2.0)
"""Shares beyond which the axis does not go for an interval's sake, which may be of any width."""


def answer_figure(
    visits: pd.DataFrame, path: Path, title: str = "", narrow: bool = False
) -> str | None:
    """Draw the share of fresh networks' gain that each arm has, in the first task and late.

    Returns:
        The caption; None, and no file, if no arm has a share.
    """
    found = [one for one in abilities(visits) if np.isfinite(one.last.value)]
    if not found:
        return None
    names, ends = looks(arms_of(visits)), _ends(found)
    bounded = np.isfinite([one.last for one in found]).all()
    with style():
        figure = new_figure(NARROW if narrow else 10, 1.0 + 0.36 * len(found))
        panel = figure.add_subplot()
        quiet(panel)
        for place, one in enumerate(found):
            _draw(panel, place, one, names[one.arm], ends)
        panel.axvline(1, color=GREY, ls="--", lw=1, zorder=0)
        panel.axvline(0, color=GREY, lw=0.6, zorder=0)
        panel.set_yticks(range(len(found)), [names[one.arm].label for one in found])
        panel.set_ylim(len(found) - 0.5, -0.5)
        panel.set_xlim(*_limits(found, ends))
        panel.xaxis.set_major_formatter("{x:g}")
        panel.xaxis.set_major_locator(MaxNLocator(5 if narrow else 9))
        panel.set_xlabel("share of fresh networks' gain")
        if title and not narrow:
            panel.set_title(title, loc="left", color=INK, weight="bold")
        save(figure, path)
    return (
        "Gain of each arm as a share of that of networks that start each task afresh: rings in the "
        "first task, where nothing can be lost, filled points in the last third of the tasks. Bars "
        "are 95 % intervals over seeds"
        f"{'' if bounded else ', missing where one is unbounded'}"
        f"{_cut(found, ends)}. At the dashed line "
        "an arm learns like new networks; left of the line at 0 it learns worse than an untrained "
        "one plays."
    )


def _draw(panel: Axes, place: int, one: Ability, look: Look, ends: tuple[float, float]) -> None:
    low, high = np.clip([one.last.low, one.last.high], *ends)
    panel.plot([low, high], [place, place], color=look.colour, lw=2.4, solid_capstyle="butt")
    panel.plot(one.first.value, place, "o", ms=9, mfc="none", mec=look.colour, mew=1.3)
    panel.plot(one.last.value, place, look.marker, ms=7, color=look.colour, mec="white", mew=0.6)


def _ends(found: list[Ability]) -> tuple[float, float]:
    """Shares at which intervals are cut: `WIDEST`, or further if a share itself lies beyond."""
    shares = [
        value for one in found for value in (one.first.value, one.last.value) if np.isfinite(value)
    ]
    return min(WIDEST[0], *shares), max(WIDEST[1], *shares)


def _limits(found: list[Ability], ends: tuple[float, float]) -> tuple[float, float]:
    """Ends of the axis: from 0 to 1 and whatever lies beyond, no further than `ends`."""
    known = [value for one in found for value in (*one.last, one.first.value) if np.isfinite(value)]
    low, high = min(0.0, *known), max(1.0, *known)
    room = 0.04 * (high - low)
    return max(low, ends[0]) - room, min(high, ends[1]) + room


def _cut(found: list[Ability], ends: tuple[float, float]) -> str:
    """The part of the caption on intervals that the axis has no room for."""
    beyond = any(value < ends[0] or value > ends[1] for one in found for value in one.last)
    return f", cut at {ends[0]:.2g} and {ends[1]:.2g}" if beyond else ""
