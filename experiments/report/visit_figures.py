"""Figures of whole visits: the gap to fresh networks over time, and scores by task and cycle."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator
from scipy import stats

from neoteny.experiments.options.arms import ORACLE, arms_of, labels, oracle_of
from neoteny.experiments.report.drawing import (
    FAINT,
    FEWEST_FOR_BAND,
    GREY,
    INK,
    NARROW,
    RINGED,
    legend,
    legend_height,
    looks,
    new_figure,
    quiet,
    save,
    style,
)
from neoteny.experiments.statistics.metrics import CONFIDENCE, Array
from neoteny.experiments.statistics.runs import display_names
from neoteny.experiments.statistics.summary import countable_visits, paired_visits, pooled_gap
from neoteny.experiments.statistics.visits import SCALES

__all__ = ["gap_figure", "heat_map_figure"]

GAPS = (-1.0, 1.5)
"""Gaps beyond which the axis does not go: where fresh networks hardly gain, one is of any size."""
MOST_TASKS = 24
"""With more tasks than this there is no heat map."""
NUMBER = 0.27
"""Inches of a cell that has room for a number."""


def gap_figure(
    visits: pd.DataFrame, path: Path, title: str = "", narrow: bool = False
) -> str | None:
    """Draw the gap to fresh networks in each visit.

    Returns:
        The caption; None, and no file, without gaps in several visits.
    """
    arms = arms_of(visits)
    counted = countable_visits(visits)
    lines = {
        arm.name: _gaps(paired_visits(counted, arm, oracle_of(arm, arms)))
        for arm in arms
        if arm.role != ORACLE
    }
    lines = {name: line for name, line in lines.items() if line["gap"].notna().sum() > 1}
    if not lines:
        return None
    found = {name: look for name, look in looks(arms).items() if name in lines}
    with style():
        width = NARROW if narrow else 10
        figure = new_figure(width, (3.0 if narrow else 3.6) + legend_height(found, width))
        panel = figure.add_subplot()
        quiet(panel)
        band = _fresh_band(counted, [arm.name for arm in arms if arm.role == ORACLE])
        if band is not None:
            panel.fill_between(
                *(band["visit"] + 1, -band["reach"], band["reach"]), color=FAINT, lw=0, zorder=0
            )
        panel.axhline(0, color=GREY, ls="--", lw=1, zorder=1)
        moved = np.linspace(-0.12, 0.12, len(found))
        for shift, (name, look) in zip(moved, found.items(), strict=True):
            line = lines[name]
            x = line["visit"] + 1 + shift
            gap, low, high = (line[name].clip(*GAPS) for name in ("gap", "low", "high"))
            panel.plot(x, gap, **look.drawn, **RINGED, ms=5)
            panel.vlines(x, low, high, color=look.colour, alpha=0.5, lw=1)
        panel.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6 if narrow else 12))
        panel.xaxis.set_major_formatter("{x:g}")
        panel.set_xlabel("visit")
        panel.set_ylabel("gap to fresh")
        legend(figure, found, title, counted, "95 % intervals over seeds")
        save(figure, path)
    bars = "bars are 95 % intervals over seeds (Fieller's), cut at the ends of the axis"
    shade = "" if band is None else "; the grey band is the 95 % interval of their own mean"
    return (
        "Gap to fresh networks in each visit: 0 learns like new ones, 1 learns nothing, below 0 "
        f"more than they do. Sums over seeds; {bars}{shade}."
    )


def _gaps(pairs: pd.DataFrame) -> pd.DataFrame:
    """Visit, gap, low and high of an arm."""
    rows = [(visit, *pooled_gap(group)) for visit, group in pairs.groupby("visit")]
    return pd.DataFrame(rows, columns=["visit", "gap", "low", "high"]).astype(float)


def _fresh_band(visits: pd.DataFrame, oracles: list[str]) -> pd.DataFrame | None:
    """Half the width of the interval of the fresh networks' mean gain, as a share of it."""
    gains = visits.loc[visits["arm"].isin(oracles[:1]), ["visit", "gain"]].dropna()
    found = gains.groupby("visit")["gain"].agg(["mean", "sem", "size"])
    found = found[(found["size"] >= FEWEST_FOR_BAND) & (found["mean"] > 0)]
    if found.empty:
        return None
    quantile = stats.t.ppf(0.5 + CONFIDENCE / 2, found["size"] - 1)
    reach = (quantile * found["sem"] / found["mean"]).clip(upper=-GAPS[0])
    return pd.DataFrame({"visit": found.index.to_numpy(float), "reach": reach.to_numpy(float)})


def heat_map_figure(
    visits: pd.DataFrame, path: Path, title: str = "", narrow: bool = False
) -> str | None:
    """Draw the mean score of each task in each cycle, a panel for each arm.

    Returns:
        The caption; None, and no file, if no task comes again, or there are too many.
    """
    counted = countable_visits(visits)
    tasks, cycles = counted["task_name"].nunique(), counted["cycle"].nunique()
    if cycles < 2 or not 2 <= tasks <= MOST_TASKS or counted["value"].isna().all():
        return None
    names = display_names(counted["task_name"].unique())
    arms = [arm.name for arm in arms_of(visits)]
    short = labels(arms)
    maps = {arm: _by_cycle(counted[counted["arm"] == arm], list(names), cycles) for arm in arms}
    low = np.fmin(np.nanmin(list(maps.values()), axis=(0, 2)), 0)[:, None]
    span = np.nanmax(list(maps.values()), axis=(0, 2))[:, None] - low
    span = np.where(span > 0, span, 1)
    with style():
        columns = 1 if narrow else max(1, min(3, len(arms), 40 // cycles))
        rows = -(-len(arms) // columns)
        width = NARROW if narrow else 10
        figure = new_figure(width, 0.8 + rows * (0.55 + 0.24 * tasks))
        panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
        numbered = (width - 2.5) / (columns * cycles) > NUMBER
        for panel, arm in zip(panels.flat, arms, strict=False):
            image = _draw_map(panel, maps[arm], (maps[arm] - low) / span, numbered)
            panel.set_title(short[arm], loc="left", color=INK)
            panel.set_yticks(range(tasks), list(names.values()))
        for panel in panels.flat[len(arms) :]:
            panel.set_visible(False)
        for panel in panels[-1]:
            panel.set_xlabel("cycle through the tasks")
        bar = figure.colorbar(image, ax=panels, shrink=0.8, aspect=30, pad=0.01)
        bar.set_label("from 0 to the best of the task")
        if title and not narrow:
            figure.suptitle(title, x=0.01, ha="left", color=INK, weight="bold")
        save(figure, path)
    unit = str(counted["unit"].iloc[0])
    scale = f" ({SCALES[unit]})" if unit in SCALES else ""
    return (
        f"Mean {'score' if scale else unit}{scale} of each task in each cycle through the tasks, "
        "over seeds. Colours are of each task alone: the brighter, the nearer to the best that any "
        "arm reaches in it. An arm that keeps the ability to learn does not darken from left to "
        "right."
    )


def _by_cycle(visits: pd.DataFrame, tasks: list[str], cycles: int) -> Array:
    """(tasks, cycles) means over seeds, NaN where there is no score."""
    table = visits.pivot_table(index="task_name", columns="cycle", values="value", aggfunc="mean")
    return table.reindex(index=tasks, columns=range(cycles)).to_numpy(np.float64)


def _draw_map(panel: Axes, values: Array, shares: Array, numbered: bool) -> AxesImage:
    """One arm; cividis grows brighter evenly, on grey paper too."""
    image = panel.imshow(
        shares, aspect="auto", cmap="cividis", vmin=0, vmax=1, interpolation="nearest"
    )
    panel.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    panel.xaxis.set_major_formatter(lambda x, _: f"{x + 1:.0f}")
    panel.tick_params(length=0, labelcolor=INK)
    panel.spines[:].set_visible(False)
    if numbered:
        for (row, column), value in np.ndenumerate(values):
            if np.isfinite(value):
                panel.text(
                    *(column, row, f"{value:.2f}" if abs(value) < 10 else f"{value:.0f}"),
                    color="black" if shares[row, column] > 0.5 else "white",
                    ha="center",
                    va="center",
                    fontsize=7,
                )
    return image
