"""The figure of the lens: each quantity of each arm, young and late."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, StrMethodFormatter

from neoteny.experiments.options.arms import Arm, in_order
from neoteny.experiments.report.drawing import (
    FAINT,
    GREY,
    INK,
    light_axes,
    looks,
    new_figure,
    save,
    style,
)

__all__ = ["draw_lens"]


def draw_lens(
    table: pd.DataFrame, names: Mapping[str, str], arms: Sequence[Arm], path: Path
) -> None:
    """Draw a `lens_table`: two rows of panels a branch, a panel a quantity, a line an arm."""
    rows = table[table["layer"].isin(["layers", "network"])]
    layered = set(rows.loc[rows["layer"] == "layers", "name"])
    rows = rows[(rows["layer"] == "layers") | ~rows["name"].isin(list(layered))]
    branches = list(rows["branch"].unique())
    shown = [name for name in names if name in set(rows["name"])]
    order = [arm.name for arm in in_order(arms) if arm.name in set(rows["arm"])]
    found = looks(list(arms))
    columns = (len(shown) + 2) // 2
    with style():
        height = 0.6 + 2 * len(branches) * (0.75 + 0.19 * len(order))
        figure = new_figure(3.0 + 1.7 * columns, height)
        panels = figure.subplots(2 * len(branches), columns, sharey=True, squeeze=False)
        for index, branch in enumerate(branches):
            mine = rows[rows["branch"] == branch].set_index(["name", "arm"])
            lines = panels[2 * index : 2 * index + 2]
            for panel, name in zip(lines.flat, shown, strict=False):
                panel.set_title(names[name], color=INK)
                if name in mine.index.get_level_values(0):
                    _draw_quantity(panel, mine.loc[name].reindex(order), name)
            last = lines.flat[len(shown)]
            last.set_title(str(table["unit"].iloc[0]), color=INK)
            _draw_value(last, mine.droplevel(0).groupby(level=0).first().reindex(order))
            for panel in lines.flat[len(shown) + 1 :]:
                panel.axis("off")
            for panel in lines[:, 0]:
                panel.set_yticks(range(len(order)), [found[name].label for name in order])
                panel.set_ylim(len(order) - 0.5, -0.5)
                panel.set_ylabel(f"{branch}")
        figure.supxlabel(
            "ring: young network; dot: at the end of tasks, late in the run, blue if within a "
            "factor of 2 of the young one;\nbar: at their start, after the switch; band: a factor "
            "of 2 around the median young network; blank: a young network has none",
            color=GREY,
            fontsize=8.5,
        )
        save(figure, path)


def _draw_quantity(panel: Axes, rows: pd.DataFrame, name: str) -> None:
    """Young, before and after of each arm; spreads on a plain axis, others on a logarithmic one.

    Arms whose young network has none of it are left blank.
    """
    y = np.arange(len(rows))
    rows = rows[rows["verdict"] != "zero"].reindex(rows.index)
    if rows["young"].isna().all():
        panel.axis("off")
        return
    young, before, after = (rows[key].to_numpy(np.float64) for key in ("young", "before", "after"))
    light_axes(panel)
    plain = name.endswith("spread")
    middle = float(np.nanmedian(young))
    low, high = (middle - np.log(2), middle + np.log(2)) if plain else (middle / 2, middle * 2)
    panel.axvspan(max(low, 0) if plain else low, high, color=FAINT, alpha=0.6, lw=0, zorder=0)
    panel.hlines(y, young, before, color=GREY, lw=0.8)
    panel.plot(young, y, "o", ms=4.5, mfc="white", mec=GREY)
    verdict = rows["verdict"].to_numpy()
    kept = verdict == "kept"
    for mask, colour in ((kept, "#0072B2"), (~kept, "#D55E00")):
        panel.plot(before[mask], y[mask], "o", ms=4.5, color=colour)
        panel.plot(after[mask], y[mask], "|", ms=8, color=colour)
    panel.xaxis.set_major_locator(MaxNLocator(3))
    if not plain:
        panel.set_xscale("log")
        low, high = np.log10(panel.get_xlim())
        panel.set_xlim(10 ** np.floor(low), 10 ** np.ceil(high))
        panel.xaxis.set_major_locator(LogLocator(numticks=3))
        panel.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        panel.xaxis.set_minor_locator(NullLocator())


def _draw_value(panel: Axes, rows: pd.DataFrame) -> None:
    """The return of each arm in the last third of the visits."""
    light_axes(panel)
    panel.xaxis.set_major_locator(MaxNLocator(3))
    panel.barh(np.arange(len(rows)), rows["value"].to_numpy(np.float64), color=GREY, height=0.6)
