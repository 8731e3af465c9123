"""Figures of a comparison: returns with their intervals, and the plasticity diagnostics."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator, NullLocator, PercentFormatter

from neoteny.experiments.curves import Curve, bin_edges, common_switches, curve
from neoteny.experiments.folders import atomic_file
from neoteny.experiments.metrics import bootstrap, mean
from neoteny.experiments.runs import display_name
from neoteny.experiments.visits import BASELINE, ORACLE, in_order, is_arm, labels, visit_values

INK, GREY, FAINT = "#222222", "#6b6b6b", "#d9d9d9"
PALETTE = ("#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C564B", "#B8A800")
"""Okabe and Ito's colours, which colour-blind readers tell apart; vermilion is the baseline's."""
BASELINE_COLOUR, ORACLE_COLOUR = "#D55E00", "#3f3f3f"
MOST_PANELS = 8

DIAGNOSTICS = (
    ("gram_deviation", "Gram deviation", "log"),
    ("dormant_fraction", "dormant units", "share"),
    ("feature_effective_rank", "effective rank\nof features", "linear"),
    ("weight_norm", "weight norm", "linear"),
)
"""Suffix in metrics.csv, label and scale of each row of the plasticity figure."""


@dataclass(frozen=True)
class Look:
    """How an arm is drawn."""

    label: str
    colour: str
    line: str


def looks(arms: Sequence[str]) -> dict[str, Look]:
    """One look an arm: vermilion for the baseline, dark grey for the oracle, a colour each else.

    Args:
        arms: the arms' names.

    Returns:
        Name to look, the baseline first and the oracle last.
    """
    names = labels(arms)
    special = {BASELINE: BASELINE_COLOUR, ORACLE: ORACLE_COLOUR}
    found: dict[str, Look] = {}
    used = 0
    for arm in in_order(arms):
        role = next((role for role in special if is_arm(arm, role)), "")
        if role in special:
            found[arm] = Look(names[arm], special.pop(role), "-")
            continue
        turn, colour = divmod(used, len(PALETTE))
        found[arm] = Look(names[arm], PALETTE[colour], ("-", "--", ":")[turn % 3])
        used += 1
    return found


def returns_figure(frame: pd.DataFrame, path: Path, title: str = "") -> str:
    """Draw the returns: one wide panel over all steps, and one panel a task.

    Args:
        frame: rows of `neoteny.experiments.runs.read_runs`.
        path: the PNG file to write.
        title: what was run, drawn above.

    Returns:
        The caption.
    """
    arms = looks(list(dict.fromkeys(frame["arm"])))
    tasks = _panel_tasks(frame)
    rows = -(-len(tasks) // 2)
    with _style():
        figure = _figure(10, 4.2 + 2.5 * rows)
        grid = figure.add_gridspec(1 + rows, 2, height_ratios=[1.35, *[1.0] * rows])
        wide = figure.add_subplot(grid[0, :])
        caption = _draw_overview(wide, frame, arms)
        for index, task in enumerate(tasks):
            panel = figure.add_subplot(grid[1 + index // 2, index % 2])
            _draw_task(panel, frame[frame["task_name"] == task], arms)
            panel.set_title(display_name(task), loc="left", color=INK)
            if index % 2 == 0:
                panel.set_ylabel("return")
            if index >= len(tasks) - 2:
                panel.set_xlabel("environment steps in this task")
        _legend(figure, arms, title, frame)
        _save(figure, path)
    return caption + (
        " Lower panels: return of each task against the steps spent in it; vertical lines are "
        "new visits. Means over seeds with 95 % bootstrap intervals."
        if tasks
        else ""
    )


def plasticity_figure(frame: pd.DataFrame, path: Path, title: str = "") -> str | None:
    """Draw the diagnostics of each branch, averaged over its hidden layers.

    Args:
        frame: rows of `neoteny.experiments.runs.read_runs`.
        path: the PNG file to write.
        title: what was run, drawn above.

    Returns:
        The caption; None, and no file, if no diagnostics were recorded.
    """
    columns = diagnostic_columns(frame.columns)
    branches = sorted({branch for branch, _ in columns})
    shown = [row for row in DIAGNOSTICS if any(name == row[0] for _, name in columns)]
    if not columns or not shown:
        return None
    arms = looks(list(dict.fromkeys(frame["arm"])))
    averaged = pd.DataFrame(
        {f"{branch}/{name}": frame[found].mean(axis=1) for (branch, name), found in columns.items()}
    )
    frame = pd.concat([frame[["arm", "seed", "visit", "step", "width"]], averaged], axis=1)
    switches = common_switches(frame)
    frame = frame.dropna(subset=list(averaged), how="all")
    edges = bin_edges(frame, [])
    with _style():
        figure = _figure(5 * max(2, len(branches)), 0.9 + 1.85 * len(shown))
        panels = figure.subplots(
            len(shown), len(branches), sharex=True, sharey="row", squeeze=False
        )
        for row, (name, label, scale) in zip(panels, shown, strict=True):
            for panel, branch in zip(row, branches, strict=True):
                _frame(panel, switches)
                for arm, look in arms.items():
                    mine = frame[frame["arm"] == arm]
                    if f"{branch}/{name}" in mine:
                        _draw_curve(panel, curve(mine, f"{branch}/{name}", edges, []), look)
                _scale(panel, scale)
                panel.set_xlim(0, frame["step"].max())
            row[0].set_ylabel(label)
        for panel, branch in zip(panels[0], branches, strict=True):
            panel.set_title(f"{branch} network", loc="left", color=INK)
        for panel in panels[-1]:
            panel.set_xlabel("environment steps")
        _legend(figure, arms, title, frame)
        _save(figure, path)
    return (
        "Plasticity diagnostics, averaged over the hidden layers of each network: means over seeds "
        "with 95 % bootstrap intervals; vertical lines are task switches."
    )


def diagnostic_columns(columns: Iterable[str]) -> dict[tuple[str, str], list[str]]:
    """Group the columns ``plasticity/<branch>/layer<i>/<name>`` of the hidden layers.

    Args:
        columns: all columns.

    Returns:
        (branch, name) to its columns, one a layer; heads left out.
    """
    found: dict[tuple[str, str], list[str]] = {}
    for column in columns:
        match = re.fullmatch(r"plasticity/([^/]+)/layer\d+/(\w+)", column)
        if match:
            found.setdefault((match[1], match[2]), []).append(column)
    return found


def _panel_tasks(frame: pd.DataFrame) -> list[str]:
    """The tasks that get a panel: none if there is one, or too many to show."""
    names = frame["task_name"].unique()
    tasks = sorted(names, key=display_name)
    return tasks if 2 <= len(tasks) <= MOST_PANELS else []


def _draw_overview(panel: Axes, frame: pd.DataFrame, arms: dict[str, Look]) -> str:
    known = frame.loc[frame["online_return"].notna(), "score"].notna().all()
    many = frame["task_name"].nunique() > 1
    column = "score" if known and many else "online_return"
    switches = common_switches(frame)
    edges = bin_edges(frame, switches)
    cycles = _cycle_means(frame, "score" if column == "score" else "auc") if many else None
    faint = 0.4 if len(switches) <= 24 else 0.25
    _frame(panel, switches)
    for arm, look in arms.items():
        line = curve(frame[frame["arm"] == arm], column, edges, switches)
        if cycles is None:
            _draw_curve(panel, line, look)
        else:
            panel.plot(line.x, line.mean, color=look.colour, alpha=faint, lw=0.9)
            _draw_cycles(panel, cycles[cycles["arm"] == arm], look)
    panel.set_ylabel("normalised return" if column == "score" else "return")
    panel.set_xlabel("environment steps")
    _from_zero(panel)
    panel.set_xlim(0, frame["step"].max())
    what = (
        "Normalised return (0 untrained, 1 trained on that task alone)"
        if column == "score"
        else "Return"
    )
    how = (
        "thin lines are means over seeds, points the means over whole cycles through the tasks, "
        "with 95 % bootstrap intervals"
        if cycles is not None
        else "mean over seeds with 95 % bootstrap interval"
    )
    return (
        f"{what} against environment steps: {how}; vertical lines are task switches. Points are "
        "averages over bins of steps; iterations in which no episode ended carry the last return "
        "of the same visit."
    )


def _cycle_means(frame: pd.DataFrame, column: str) -> pd.DataFrame | None:
    """One row per arm and whole cycle with x, mean, low, high; None with fewer than two."""
    visits = visit_values(frame)
    length = visits["task_name"].nunique()
    rows = []
    for (arm, cycle), group in visits[visits["complete"]].groupby(["arm", "cycle"], sort=False):
        runs = group.groupby("seed")[column].agg(["mean", "size"])
        whole = runs.loc[runs["size"] == length, "mean"].to_numpy(np.float64)
        if len(whole):
            low, high = bootstrap(whole, mean)
            centre = (group["start"].min() + group["end"].max()) / 2
            rows.append((arm, cycle, centre, float(mean(whole)), low, high))
    table = pd.DataFrame(rows, columns=["arm", "cycle", "x", "mean", "low", "high"])
    return table if table["cycle"].nunique() > 1 else None


def _draw_cycles(panel: Axes, cycles: pd.DataFrame, look: Look) -> None:
    x, middle = cycles["x"], cycles["mean"]
    panel.plot(x, middle, color=look.colour, ls=look.line, lw=2)
    errors = np.abs(cycles[["low", "high"]].to_numpy().T - middle.to_numpy())
    panel.errorbar(
        x, middle, yerr=errors, fmt="o", ms=5, mec="white", mew=0.8, lw=1.4, color=look.colour
    )


def _draw_task(panel: Axes, frame: pd.DataFrame, arms: dict[str, Look]) -> None:
    switches = common_switches(frame, "game_step")
    edges = bin_edges(frame, switches, "game_step")
    _frame(panel, switches)
    for arm, look in arms.items():
        mine = frame[frame["arm"] == arm]
        _draw_curve(panel, curve(mine, "online_return", edges, switches, "game_step"), look)
    _from_zero(panel)
    panel.set_xlim(0, frame["game_step"].max())


def _draw_curve(panel: Axes, line: Curve, look: Look) -> None:
    panel.plot(line.x, line.mean, color=look.colour, ls=look.line, lw=1.5)
    panel.fill_between(line.x, line.low, line.high, color=look.colour, alpha=0.18, lw=0)


def _frame(panel: Axes, switches: Sequence[float]) -> None:
    """Quiet axes: two spines, light ticks, task switches as thin lines behind the data."""
    panel.spines[["top", "right"]].set_visible(False)
    panel.spines[["left", "bottom"]].set_color(GREY)
    panel.tick_params(color=GREY, labelcolor=INK, length=3)
    panel.xaxis.set_major_formatter(EngFormatter(sep=" "))
    panel.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    width = 0.8 if len(switches) <= 40 else 0.4
    for switch in switches:
        panel.axvline(switch, color=FAINT, lw=width, zorder=0)


def _scale(panel: Axes, scale: str) -> None:
    if scale == "log":
        panel.set_yscale("log")
        panel.yaxis.set_major_locator(LogLocator(numticks=5))
        panel.yaxis.set_minor_locator(NullLocator())
    elif scale == "share":
        panel.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        panel.set_ylim(bottom=0)
    else:
        _from_zero(panel)


def _from_zero(panel: Axes) -> None:
    """Let the axis begin at zero unless there is something below."""
    if panel.dataLim.y0 >= 0:
        panel.set_ylim(bottom=0)


def _legend(figure: Figure, arms: dict[str, Look], title: str, frame: pd.DataFrame) -> None:
    """Title and arms above the panels on the left, how to read them on the right."""
    handles = [
        Line2D([], [], color=look.colour, ls=look.line, lw=2.2, label=look.label)
        for look in arms.values()
    ]
    longest = max(len(look.label) for look in arms.values())
    columns = max(1, min(len(handles), 110 // (longest + 8)))
    # matplotlib fills a legend column by column; people read row by row.
    row_wise = [at for column in range(columns) for at in range(column, len(handles), columns)]
    figure.legend(
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
    seeds = frame.groupby("arm")["seed"].nunique()
    count = f"{seeds.min()}" if seeds.nunique() == 1 else f"{seeds.min()} to {seeds.max()}"
    text = f"{count} seed{'s' if count != '1' else ''}"
    if seeds.max() > 1:
        text = f"mean and 95 % bootstrap interval over {text}"
    figure.text(0.99, 0.99, text, ha="right", va="top", color=GREY, fontsize=9)


def _figure(width: float, height: float) -> Figure:
    """A figure in inches whose panels make room for their labels."""
    engine = ConstrainedLayoutEngine(h_pad=0.08, w_pad=0.08, hspace=0.03, wspace=0.04)
    return Figure(figsize=(width, height), layout=engine)


def _style() -> AbstractContextManager[None]:
    return rc_context(
        {
            "font.size": 9.5,
            "axes.titlesize": 10.5,
            "axes.labelsize": 9.5,
            "xtick.labelsize": 8.5,
            "ytick.labelsize": 8.5,
        }
    )


def _save(figure: Figure, path: Path) -> None:
    """Render and replace the file all at once."""
    FigureCanvasAgg(figure)
    with atomic_file(path) as file:
        figure.savefig(file, format="png", dpi=200)
