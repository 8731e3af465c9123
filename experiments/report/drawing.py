"""Style of figures: colours of arms, axes, legends and files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import (
    EngFormatter,
    LogLocator,
    MaxNLocator,
    NullLocator,
    PercentFormatter,
    StrMethodFormatter,
)
from PIL import Image

from neoteny.experiments.options.arms import BASELINE, ORACLE, Arm, in_order, labels
from neoteny.experiments.run.folders import atomic_file
from neoteny.experiments.statistics.curves import Curve

INK, GREY, FAINT = "#222222", "#6b6b6b", "#d9d9d9"
PALETTE = ("#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C564B", "#B8A800")
"""Okabe and Ito's colours, which colour-blind readers tell apart; vermilion is the baseline's."""
FEWEST_FOR_BAND = 4
"""Runs from which on an interval is drawn; that of fewer is wider than most panels."""
BASELINE_COLOUR, ORACLE_COLOUR = "#D55E00", "#3f3f3f"
MARKERS = ("s", "^", "v", "P", "X", "D", "*")
"""Points on lines, by which they are told apart on paper without colours."""
BASELINE_MARKER, ORACLE_MARKER = "o", "d"
RINGED: Mapping[str, Any] = {"lw": 1.5, "mec": "white", "mew": 0.5}
"""Width of a line, and the rings around its points."""
MARKED = 12
"""Points of a line that has more are marked here and there, so many in all."""
NARROW = 4.4
"""Inches of a figure for a phone, or for a column of a page."""
DPI = 200
"""Dots per inch of a file."""


@dataclass(frozen=True)
class Look:
    """Style of an arm's lines."""

    label: str
    colour: str
    line: str
    marker: str
    turn: int
    """Place among the arms, which moves the points of their lines apart."""

    @property
    def drawn(self) -> dict[str, Any]:
        """Arguments of matplotlib for the line and its points."""
        return {"color": self.colour, "ls": self.line, "marker": self.marker}

    def marks(self, points: int) -> tuple[int, int]:
        """The first point that is marked of a line of so many, and how many there are to a next."""
        every = max(1, points // MARKED)
        return self.turn * every // 3 % every, every


def looks(arms: Sequence[Arm]) -> dict[str, Look]:
    """One look an arm: vermilion for the baseline, dark grey for the oracle, a colour each else.

    Returns:
        Name to look, the baseline first and the oracle last.
    """
    names = labels([arm.name for arm in arms])
    special = {
        BASELINE: (BASELINE_COLOUR, "-", BASELINE_MARKER),
        ORACLE: (ORACLE_COLOUR, "--", ORACLE_MARKER),
    }
    found: dict[str, Look] = {}
    used = 0
    for place, arm in enumerate(in_order(arms)):
        if arm.role in special:
            found[arm.name] = Look(names[arm.name], *special.pop(arm.role), place)
            continue
        turn, colour = divmod(used, len(PALETTE))
        line = ("-", "--", ":")[turn % 3]
        found[arm.name] = Look(names[arm.name], PALETTE[colour], line, MARKERS[colour], place)
        used += 1
    return found


def draw_curve(panel: Axes, line: Curve, look: Look) -> None:
    """Draw a mean with its interval, or with the runs themselves if they are few."""
    marks = look.marks(len(line.x))
    panel.plot(line.x, line.mean, **look.drawn, **RINGED, ms=4.5, markevery=marks)
    if len(line.runs) >= FEWEST_FOR_BAND:
        panel.fill_between(line.x, line.low, line.high, color=look.colour, alpha=0.18, lw=0)
    elif len(line.runs) > 1:
        panel.plot(line.x, line.runs.T, color=look.colour, alpha=0.45, lw=0.5)


def spread(frame: pd.DataFrame, bands_only: bool = False) -> str:
    """Number of seeds and how they are drawn; with `bands_only`, thin lines are not."""
    seeds = frame.groupby("arm")["seed"].nunique()
    if seeds.min() >= FEWEST_FOR_BAND:
        return f"{_count(seeds)}, with 95 % t intervals"
    thin = ", thin lines are the seeds" if seeds.max() > 1 and not bands_only else ""
    return f"{_count(seeds)}{thin}"


def _count(seeds: pd.Series) -> str:
    """A number of seeds, by arm, in words."""
    count = f"{seeds.min()}" if seeds.nunique() == 1 else f"{seeds.min()} to {seeds.max()}"
    return f"{count} seed{'s' if count != '1' else ''}"


def light_axes(panel: Axes) -> None:
    """Two spines, light ticks."""
    panel.spines[["top", "right"]].set_visible(False)
    panel.spines[["left", "bottom"]].set_color(GREY)
    panel.tick_params(color=GREY, labelcolor=INK, length=3)


def quiet(panel: Axes, switches: Sequence[float] = ()) -> None:
    """Light axes over environment steps, task switches as thin lines behind the data."""
    light_axes(panel)
    panel.xaxis.set_major_formatter(EngFormatter(sep=" "))
    panel.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    width = 0.8 if len(switches) <= 40 else 0.4
    for switch in switches:
        panel.axvline(switch, color=FAINT, lw=width, zorder=0)


def scale_row(panels: Sequence[Axes], scale: str) -> None:
    """Set the shared y axis of a row, after everything was drawn in it.

    Args:
        panels: the panels of the row.
        scale: ``"log"``, ``"share"`` (per cent, from zero), ``"zero"`` (from zero) or ``"free"``.
    """
    for panel in panels:
        if scale == "log":
            panel.set_yscale("log")
            low, high = panel.get_ylim()
            steps = (1.0,) if high > 100 * low else (1.0, 2.0, 5.0)
            panel.yaxis.set_major_locator(LogLocator(subs=steps, numticks=6))
            panel.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
            panel.yaxis.set_minor_locator(NullLocator())
        if scale == "share":
            panel.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    if scale in ("share", "zero"):
        from_zero(*panels)


def from_zero(*panels: Axes) -> None:
    """Let panels that share an axis begin at zero unless there is something below."""
    if all(panel.dataLim.y0 >= 0 for panel in panels):
        panels[0].set_ylim(bottom=0)


def legend(
    figure: Figure, arms: dict[str, Look], title: str, frame: pd.DataFrame, how: str = ""
) -> None:
    """Title and arms above the panels on the left; on the right `how`, or means and t intervals."""
    handles = [Line2D([], [], **look.drawn, lw=2.2, label="arm") for look in arms.values()]
    names = [look.label for look in arms.values()]
    columns = _columns(arms, figure.get_figwidth())
    # matplotlib fills a legend column by column; people read row by row.
    row_wise = [at for column in range(columns) for at in range(column, len(handles), columns)]
    drawn = figure.legend(
        handles=[handles[at] for at in row_wise],
        loc="outside upper left",
        ncols=columns,
        frameon=False,
        title=title or None,
        alignment="left",
        title_fontproperties={"size": 12, "weight": "bold"},
        fontsize=10,
        handlelength=2.2,
        columnspacing=1.8,
    )
    for text, at in zip(drawn.get_texts(), row_wise, strict=True):
        text.set_text(names[at])  # as a label, a name that begins with _ would be left out
    if figure.get_figwidth() > NARROW:  # the caption says it as well
        shown = how or _spread_in_short(frame)
        figure.text(0.99, 0.99, shown, ha="right", va="top", color=GREY, fontsize=9)


def _spread_in_short(frame: pd.DataFrame) -> str:
    seeds = frame.groupby("arm")["seed"].nunique()
    if seeds.min() >= FEWEST_FOR_BAND:
        return f"mean and 95 % t interval over {_count(seeds)}"
    thin = "; thin: each seed" if seeds.max() > 1 else ""
    return f"mean over {_count(seeds)}{thin}"


def legend_height(arms: dict[str, Look], width: float) -> float:
    """Inches that the rows of a legend take beyond its first two, in a figure of a width."""
    return 0.21 * max(0, -(-len(arms) // _columns(arms, width)) - 2)


def _columns(arms: dict[str, Look], width: float) -> int:
    longest = max(len(look.label) for look in arms.values())
    return max(1, min(len(arms), int(11 * width) // (longest + 8)))


def new_figure(width: float, height: float) -> Figure:
    """Make a figure of a size in inches whose panels make room for their labels."""
    engine = ConstrainedLayoutEngine(h_pad=0.08, w_pad=0.08, hspace=0.03, wspace=0.04)
    return Figure(figsize=(width, height), layout=engine)


def style() -> AbstractContextManager[None]:
    """Font sizes for everything drawn inside the block."""
    return rc_context(
        {
            "text.parse_math": False,  # a name may hold dollars
            "font.size": 9.5,
            "axes.titlesize": 10.5,
            "axes.labelsize": 9.5,
            "xtick.labelsize": 8.5,
            "ytick.labelsize": 8.5,
        }
    )


def save(figure: Figure, path: Path) -> None:
    """Lay out and render once, which `savefig` does twice, and replace the file all at once."""
    canvas = FigureCanvasAgg(figure)
    figure.dpi = DPI
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
        figure.set_layout_engine("none")
    canvas.draw()  # type: ignore[no-untyped-call]
    drawn = canvas.buffer_rgba()  # type: ignore[no-untyped-call]
    image = Image.fromarray(np.asarray(drawn)).convert("RGB")
    with atomic_file(path) as file:
        image.save(file, format="png", dpi=(DPI, DPI), compress_level=4)
