"""The summary as tables for people: in a terminal and on the report's page."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from neoteny.experiments.options.arms import labels
from neoteny.experiments.report.number_texts import (
    BLANK,
    counted_text,
    duration_text,
    number_texts,
    with_interval,
)
from neoteny.experiments.statistics.runs import display_names
from neoteny.experiments.statistics.summary import PER_TASK
from neoteny.experiments.statistics.visits import SCALES


class TextTable(NamedTuple):
    """A table for people, all texts."""

    title: str
    texts: pd.DataFrame
    meanings: Mapping[str, str]
    """Columns and what stands in them; those that the table lacks do not matter."""

    def explained(self) -> dict[str, str]:
        """Meanings of the columns that are there, in their order."""
        return {
            name: self.meanings[name]
            for name in map(str, self.texts.columns)
            if name in self.meanings
        }


def print_tables(console: Console, tables: Iterable[TextTable]) -> None:
    """Print tables for a terminal, each followed by what its columns mean."""
    for table in tables:
        console.print(f"\n{table.title}:", style="dim")
        print_texts(console, table.texts)
        meanings = [f"{name}: {meaning}" for name, meaning in table.explained().items()]
        console.print("; ".join(meanings), style="dim")


def print_summary(console: Console, table: pd.DataFrame) -> None:
    """Print the summary for a terminal: the comparison first, then returns per task."""
    print_texts(console, readable(table))
    console.print(explanation(table), style="dim")
    for title, texts in tables_per_task(table):
        console.print(f"\n{title}:", style="dim")
        print_texts(console, texts)
    for note in notes(table):
        console.print(note, style="dim")


def readable(table: pd.DataFrame) -> pd.DataFrame:
    """The summary as texts for people: intervals in brackets, columns without content left out.

    Returns:
        One row per arm, all texts, under readable names.
    """
    unit, span = table["unit"].iloc[0], table["span"].iloc[0]
    measure = "score" if unit in SCALES else unit
    columns: dict[str, list[str]] = {
        "arm": list(labels(table["arm"].tolist()).values()),
        "seeds": table["seeds"].astype(str).tolist(),
        "visits": table["visits"].astype(str).tolist(),
        f"mean {measure}": with_interval(table, "score"),
        f"IQM {measure}": with_interval(table, "iqm"),
        f"first {span}": number_texts(table["first_span"]),
        f"last {span}": number_texts(table["last_span"]),
        "change": with_interval(table, "change", "+"),
        "gap to fresh": with_interval(table, "gap"),
        "gap, first visit": number_texts(table["gap_first_visit"]),
        f"gap growth a {span}": with_interval(table, "gap_slope", "+", 3),
        "P(> none)": with_interval(table, "improvement"),
    }
    return without_blanks(columns)


def explanation(table: pd.DataFrame) -> str:
    """Meanings of the columns of `readable` that are there, in one text."""
    parts = [f"{name}: {meaning}" for name, meaning in definitions(table).items()]
    return "; ".join([*parts, "brackets: 95 % intervals over seeds"])


def definitions(table: pd.DataFrame) -> dict[str, str]:
    """Meanings of the columns of `readable` that are there.

    Returns:
        Names of columns to what stands in them, in their order.
    """
    unit, span = table["unit"].iloc[0], table["span"].iloc[0]
    measure = "score" if unit in SCALES else unit
    scale = f" ({SCALES[unit]})" if unit in SCALES else ""
    meanings = {
        f"mean {measure}": f"online {raw_unit(table)}, averaged over training steps{scale}, "
        "then over seeds",
        f"IQM {measure}": "the same over the middle half of the seeds of each task",
        "change": f"last {span} minus first, of any cause",
        "gap to fresh": "share that is missing of the gain of networks that start every task "
        "afresh (the arm fresh), with the same configuration and seeds",
        "gap, first visit": "that share in the first task, where no plasticity can be lost: a cost "
        "of the arm itself",
        f"gap growth a {span}": "how much the gap grows: above zero, plasticity is lost",
        "P(> none)": "probability that a run is better on a task than one of the arm none",
    }
    return {name: meanings[name] for name in readable(table) if name in meanings}


def tables_per_task(table: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Title and texts of each table with a column a task."""
    titles = {kind: f"{raw_unit(table)} {what}" for kind, what in PER_TASK.items()}
    titles["gap"] = "gap to fresh"
    titles["gap_slope"] = f"growth of the gap a {table['span'].iloc[0]}, the loss of plasticity"
    found = [(title, per_task(table, kind)) for kind, title in titles.items()]
    return [(title, texts) for title, texts in found if len(texts.columns) > 1]


def per_task(table: pd.DataFrame, kind: str) -> pd.DataFrame:
    """One number for each task, as texts.

    Args:
        table: the result of `summary`.
        kind: one of `PER_TASK`, ``"gap"`` or ``"gap_slope"``.

    Returns:
        One row per arm, one column a task that has any, under readable names.
    """
    columns = {"arm": list(labels(table["arm"].tolist()).values())}
    ends = tuple(f"_{end}" for end in ("low", "high"))
    tasks = {
        column.removeprefix(f"{kind}/"): column
        for column in map(str, table.columns)
        if column.startswith(f"{kind}/") and not (kind.startswith("gap") and column.endswith(ends))
    }
    names = display_names(tasks)
    for task, column in tasks.items():
        if kind.startswith("gap"):
            signs: tuple[str, int] = ("+", 3) if kind == "gap_slope" else ("", 2)
            columns[names[task]] = with_interval(table, column, *signs)
        else:
            columns[names[task]] = number_texts(table[column])
    return without_blanks(columns)


def readable_costs(costs: pd.DataFrame) -> pd.DataFrame:
    """The result of `statistics.cost.costs` as texts, without columns that have no content.

    Returns:
        One row per arm, all texts, under readable names.
    """
    columns = {
        "arm": list(labels(costs["arm"].tolist()).values()),
        "runs at once": costs["members"].astype(str).tolist(),
        "time in all": [duration_text(value) for value in costs["seconds"]],
        "time a run": [duration_text(value) for value in costs["seconds_per_run"]],
        "steps a second": [counted_text(value) for value in costs["steps_per_second"]],
        "time a step / none": number_texts(costs["relative"]),
        "peak memory, MiB": [counted_text(value) for value in costs["memory"]],
    }
    return without_blanks(columns)


def notes(table: pd.DataFrame) -> list[str]:
    """Remarks that belong to the numbers of a summary.

    Returns:
        Sentences.
    """
    found = []
    if table["visits"].nunique() > 1:
        short = labels(table["arm"].tolist())
        lengths = (
            f"{short[arm]} {visits}"
            for arm, visits in table[["arm", "visits"]].itertuples(index=False)
        )
        found.append(
            f"Arms have different numbers of finished visits ({', '.join(lengths)}): gaps are over "
            "those that both have, all other numbers over an arm's own and do not compare."
        )
    elif not table["complete"].all():
        found.append("Some runs are not finished: only finished visits count.")
    if blank := int(table["blank"].sum()):
        found.append(
            f"In {blank} visits no episode ended: they count nowhere. Give tasks more steps."
        )
    if thin := int(table["thin"].sum()):
        found.append(f"In {thin} visits episodes ended in less than a quarter of the iterations.")
    if dead := int(table["dead"].sum()):
        found.append(
            f"{dead} seeds were frozen for gradients that are not finite; their returns count."
        )
    found += _notes_on_gaps(table)
    if (table["seeds"] < 2).any():
        found.append("An arm has one seed: no interval, and no claim.")
    elif (table["seeds"] < 10).any():
        found.append(
            "Fewer than 10 seeds: intervals assume that runs scatter normally, and miss more often "
            "where a few fail outright."
        )
    return found


def _notes_on_gaps(table: pd.DataFrame) -> list[str]:
    """Limits of the columns of gaps and of improvement."""
    found = []
    short = labels(table["arm"].tolist())
    paired = table[table["oracle"].notna()]
    for arm, seeds, both in paired[["arm", "seeds", "gap_seeds"]].itertuples(index=False):
        if both < seeds:
            found.append(f"The gap of {short[arm]} rests on {both} of its {seeds} seeds.")
    unknown = [short[arm] for arm in paired.loc[paired["gap"].isna(), "arm"]]
    if unknown:
        found.append(
            f"No gap of {', '.join(unknown)}: fresh networks do not clearly rise above the first "
            "value recorded in a visit, which stands for an untrained policy."
        )
    if len(paired) and not paired["like_for_like"].all():
        found.append(
            "A gap to plain fresh networks holds the cost of the arm itself as well; an arm "
            "fresh+NAME is one without. The growth of the gap holds none."
        )
    oracles = table["is_oracle"]
    alone = table.loc[~oracles & table["oracle"].isna(), "arm"]
    if oracles.any() and len(alone):
        names = ", ".join(short[arm] for arm in alone)
        found.append(f"No arm fresh has the configuration of {names}: no gap.")
    if table["unit"].iloc[0] not in SCALES and table["score"].isna().all():
        found.append(
            "Returns of different environments are not averaged: add an arm fresh to compare them."
        )
    return found


def raw_unit(table: pd.DataFrame) -> str:
    """The quantity before it is normalised: return or accuracy."""
    unit = str(table["unit"].iloc[0])
    return "return" if unit in SCALES else unit


def print_texts(console: Console, texts: pd.DataFrame) -> None:
    """Print texts by arm as a table, or as several below each other if the terminal is narrow."""
    lines = {
        str(name): _stacked(
            str(name),
            [text if name == "arm" else text.replace(" [", "\n[") for text in column],
        )
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


def without_blanks(columns: dict[str, list[str]]) -> pd.DataFrame:
    """The columns that have any content."""
    return pd.DataFrame(
        {name: texts for name, texts in columns.items() if any(text != BLANK for text in texts)}
    )
