"""Output of a benchmark: a table on the screen; CSV, Markdown and a figure in a folder."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator
from rich.console import Console
from rich.table import Table

from neoteny.core.console import as_markdown
from neoteny.experiments.report.drawing import (
    BASELINE_COLOUR,
    GREY,
    PALETTE,
    new_figure,
    quiet,
    save,
    style,
)
from neoteny.experiments.run.provenance import command, hardware, versions


@dataclasses.dataclass(frozen=True)
class Report:
    """A result to print, and to write if there is a folder."""

    name: str
    """Names the files."""
    title: str
    """Quantity of the figures, with its unit."""
    table: pd.DataFrame
    """The summary, one row a contender."""
    config: Any
    """The program's dataclass of options; its `out` is the folder."""
    windows: pd.DataFrame | None = None
    """Every timed window, for the CSV; unset, the CSV is the table."""
    peers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Versions of what was measured beside."""
    figure: Callable[[], Figure] | None = None
    """Draws the figure."""


def publish(report: Report) -> None:
    """Print a report, and write it to the folder that its configuration names."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=160)
    shown = Table(*report.table.columns, title=report.title, title_justify="left")
    for row in report.table.itertuples(index=False):
        shown.add_row(*map(cell, row))
    console.print(shown)
    facts = provenance(report)
    console.print(facts)
    folder = report.config.out
    if folder is None:
        return
    folder.mkdir(parents=True, exist_ok=True)
    rows = report.table if report.windows is None else report.windows
    rows.to_csv(folder / f"{report.name}.csv", index=False)
    (folder / f"{report.name}.md").write_text(markdown(report, shown, facts), encoding="utf-8")
    if report.figure is not None:
        with style():
            save(report.figure(), folder / f"{report.name}.png")


def provenance(report: Report) -> dict[str, Any]:
    """Versions, hardware, options and the command, without the machine's paths."""
    options = dataclasses.asdict(report.config)
    line = command().replace("python ", "python benchmarks/", 1)
    if peer := options.pop("peer_python", None):
        line = line.replace(str(peer), "PEER_PYTHON")
    options.pop("out")
    return {
        "command": line,
        "options": options,
        **hardware(),
        **versions(),
        **report.peers,
    }


def markdown(report: Report, shown: Table, facts: Mapping[str, Any]) -> str:
    """The table and where it came from."""
    lines = [f"# {report.title}", "", as_markdown(shown), ""]
    lines += [f"- {name}: {_plain(value)}" for name, value in facts.items()]
    return "\n".join(lines) + "\n"


def cell(value: Any) -> str:
    """A value as tables show it: numbers with three digits, or whole where they are large."""
    if not isinstance(value, float):
        return f"{value:,}" if isinstance(value, int) else str(value)
    if pd.isna(value):
        return ""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def rate_columns(summary: pd.DataFrame) -> pd.DataFrame:
    """A summary's columns by the names that readers see."""
    return summary.drop(columns="seconds").rename(
        columns={"median": "env steps/s (median)", "first_call": "first call, s more"}
    )


def bars(panel: Axes, names: list[str], summary: pd.DataFrame, peers: list[bool]) -> None:
    """Medians as horizontal bars with the range of the windows; peers in vermilion."""
    places = range(len(names))
    medians = summary["median"].to_numpy()
    spread = [medians - summary["lowest"], summary["highest"] - medians]
    colours = [BASELINE_COLOUR if peer else PALETTE[0] for peer in peers]
    panel.barh(places, medians, xerr=spread, color=colours, ecolor=GREY, height=0.7)
    quiet(panel, ())
    panel.set_yticks(places, names)
    panel.invert_yaxis()


def lines(panel: Axes, summary: pd.DataFrame, x: str) -> None:
    """Medians over a parameter, whose axis is logarithmic, with the range of the windows.

    Where the medians differ little, their axis starts at 0, so that they look so.
    """
    panel.plot(summary[x], summary["median"], "o-", color=PALETTE[0], ms=3, lw=1.5)
    spread = (summary["lowest"], summary["highest"])
    panel.fill_between(summary[x], *spread, color=PALETTE[0], alpha=0.18, lw=0)
    quiet(panel, ())
    panel.set_xscale("log", base=2)
    panel.set_xticks(summary[x], [f"{tick:,}" for tick in summary[x]], rotation=45)
    if summary["median"].max() < 3 * summary["median"].min():
        panel.set_ylim(bottom=0)
    else:
        panel.set_yscale("log")
        panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    panel.yaxis.set_major_formatter(EngFormatter(sep=" "))
    panel.minorticks_off()
    panel.set_xlabel(x)


def canvas(rows: int, columns: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """A figure of panels, row by row."""
    figure = new_figure(width, height)
    panels = figure.subplots(rows, columns, squeeze=False)
    return figure, list(panels.flat)


def _plain(value: Any) -> str:
    return json.dumps(value, default=str) if isinstance(value, dict) else str(value)
