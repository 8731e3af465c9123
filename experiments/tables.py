"""The summary as tables for people: in a terminal and on the report's page."""

from __future__ import annotations

import textwrap
from typing import Literal

import numpy as np
import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from neoteny.experiments.runs import display_names
from neoteny.experiments.summary import PER_TASK
from neoteny.experiments.visits import labels

BLANK = "-"
"""What stands for a number that does not exist."""


def print_summary(console: Console, table: pd.DataFrame) -> None:
    """Print the summary for a terminal: the comparison first, then returns per task.

    Args:
        console: where to print.
        table: the result of `summary`.
    """
    _print(console, readable(table))
    span = table["span"].iloc[0]
    normalised = table["unit"].iloc[0] == "normalised"
    score = "0 untrained, 1 trained on that game alone; " if normalised else ""
    console.print(
        f"online {raw_unit(table)}, averaged over training steps; {score}"
        f"brackets: 95 % bootstrap intervals over seeds; change: last {span} minus first",
        style="dim",
    )
    for kind, what in PER_TASK.items():
        texts = per_task(table, kind)
        if len(texts.columns) > 1:
            console.print(f"\n{raw_unit(table)} {what}:", style="dim")
            _print(console, texts)
    for note in notes(table):
        console.print(note, style="dim")


def readable(table: pd.DataFrame) -> pd.DataFrame:
    """The summary as texts for people: intervals in brackets, columns without content left out.

    Args:
        table: the result of `summary`.

    Returns:
        One row per arm, all texts, under readable names.
    """
    unit, span = table["unit"].iloc[0], table["span"].iloc[0]
    measure = "score" if unit == "normalised" else unit
    columns: dict[str, list[str]] = {
        "arm": list(labels(table["arm"].tolist()).values()),
        "seeds": table["seeds"].astype(str).tolist(),
        "visits": table["visits"].astype(str).tolist(),
        f"IQM {measure}": _with_interval(table, "iqm"),
        f"first {span}": _numbers(table["first_cycle"]),
        f"last {span}": _numbers(table["last_cycle"]),
        "change": _with_interval(table, "change", "+"),
        "gap to fresh": _with_interval(table, "gap"),
        "P(> none)": _with_interval(table, "improvement"),
    }
    return _without_blanks(columns)


def per_task(table: pd.DataFrame, kind: str) -> pd.DataFrame:
    """Mean returns of each task, as texts.

    Args:
        table: the result of `summary`.
        kind: one of `PER_TASK`.

    Returns:
        One row per arm, one column a task that has any, under readable names.
    """
    columns = {"arm": list(labels(table["arm"].tolist()).values())}
    found = table.columns[table.columns.str.startswith(f"{kind}/")]
    tasks = {str(column).removeprefix(f"{kind}/"): column for column in found}
    names = display_names(tasks)
    columns |= {names[task]: _numbers(table[column]) for task, column in tasks.items()}
    return _without_blanks(columns)


def notes(table: pd.DataFrame) -> list[str]:
    """What a reader must know beside the numbers of a summary.

    Args:
        table: the result of `summary`.

    Returns:
        Sentences.
    """
    found = []
    if table["visits"].nunique() > 1 or not table["complete"].all():
        found.append(
            "Some runs are not finished: arms with different numbers of visits do not compare yet."
        )
    if blank := int(table["blank"].sum()):
        found.append(
            f"In {blank} visits no episode ended: they count nowhere. Give tasks more steps."
        )
    if (table["seeds"] < 2).any():
        found.append("An arm has one seed: no interval, and no claim.")
    elif (table["seeds"] < 10).any():
        found.append("Fewer than 10 seeds: the intervals themselves are rough.")
    return found


def raw_unit(table: pd.DataFrame) -> str:
    """What is measured before it is normalised: return or accuracy."""
    unit = str(table["unit"].iloc[0])
    return "return" if unit == "normalised" else unit


def _print(console: Console, texts: pd.DataFrame) -> None:
    """Print texts as a table, or as several below each other if the terminal is narrow."""
    lines = {
        str(name): _stacked(str(name), [text.replace(" [", "\n[") for text in column])
        for name, column in texts.items()
    }
    widths = {name: _width(cells) for name, cells in lines.items()}
    blocks: list[list[str]] = [[]]
    room = console.width
    for name in list(lines)[1:]:
        used = widths["arm"] + sum(widths[other] for other in blocks[-1])
        if blocks[-1] and used + widths[name] > room:
            blocks.append([])
        blocks[-1].append(name)
    for block in blocks:
        shown = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
        for name in ("arm", *block):
            side: Literal["left", "right"] = "left" if name == "arm" else "right"
            header = Text(lines[name][0], style="bold", justify=side)
            shown.add_column(header, justify=side, overflow="fold")
        for row in zip(*(lines[name][1:] for name in ("arm", *block)), strict=True):
            shown.add_row(*map(Text, row))
        console.print(shown)


def _stacked(name: str, cells: list[str]) -> list[str]:
    """The header, broken into lines no wider than its cells, and the cells."""
    room = max(len(line) for line in [*name.split(), *"\n".join(cells).split("\n")])
    return [textwrap.fill(name, room), *cells]


def _width(cells: list[str]) -> int:
    """Characters of a column, with the space between columns."""
    return 2 + max(len(line) for cell in cells for line in cell.split("\n"))


def _without_blanks(columns: dict[str, list[str]]) -> pd.DataFrame:
    return pd.DataFrame(
        {name: texts for name, texts in columns.items() if any(text != BLANK for text in texts)}
    )


def _numbers(column: pd.Series, sign: str = "") -> list[str]:
    return [_number(value, sign) for value in column]


def _number(value: float, sign: str = "") -> str:
    if not np.isfinite(value):
        return BLANK
    digits = 1 if abs(value) >= 10 else 2
    return f"{round(value, digits) + 0.0:{sign}.{digits}f}"  # + 0.0: no negative zero


def _with_interval(table: pd.DataFrame, name: str, sign: str = "") -> list[str]:
    ends = zip(table[name], table[f"{name}_low"], table[f"{name}_high"], strict=True)
    return [
        _number(middle, sign)
        + (f" [{_number(low, sign)}, {_number(high, sign)}]" if np.isfinite(low) else "")
        for middle, low, high in ends
    ]
