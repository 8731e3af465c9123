"""Continual metrics as a table for people: in a terminal and on the report's page."""

from __future__ import annotations

import pandas as pd

from neoteny.experiments.options.arms import labels
from neoteny.experiments.report.number_texts import with_interval
from neoteny.experiments.report.tables import TextTable, without_blanks

__all__ = ["MEANINGS", "continual_tables", "readable_continual"]

COLUMNS = {
    "recovery_50": "recovery to 50 %",
    "recovered_50": "recovered to 50 %",
    "recovery_90": "recovery to 90 %",
    "recovered_90": "recovered to 90 %",
    "savings": "savings",
    "dip": "dip",
    "regret": "regret",
    "forward_transfer": "forward transfer",
    "average_performance": "average performance",
    "forgetting": "forgetting",
    "isolated_forgetting": "isolated forgetting",
    "zero_shot": "zero-shot transfer",
    "jump_start": "jump start",
}
"""Columns of `continual_table` that are shown, and their names."""
EVALUATED = (
    *("average_performance", "forgetting", "isolated_forgetting", "zero_shot"),
    "jump_start",
)
"""Of these, those that need evaluations of all tasks."""
SIGNED = ("savings", "dip", "forward_transfer", "forgetting", "isolated_forgetting", "zero_shot")

MEANINGS = {
    "recovery to 50 %": "time until half of the level that fresh networks end at, as a share of "
    "the task; 1 where it is never reached",
    "recovered to 50 %": "share of the tasks in which it is",
    "savings": "how much less that time is when a task comes again",
    "dip": "first return of a task minus the last of the one before",
    "regret": "what is missing to the level that fresh networks end at, averaged over time",
    "forward transfer": "gain over fresh networks in the same task",
    "average performance": "of all tasks played, evaluated at the end",
    "forgetting": "lost between the end of a task and the end of the run",
    "isolated forgetting": "lost in each other task, as a share of the largest value",
    "zero-shot transfer": "gained in each task by those not yet played, as such a share",
    "jump start": "value of a task just before it is first played",
}
"""Columns of `readable_continual` and their meanings."""


def readable_continual(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of a `continual_table` as texts, without columns that have no content.

    Returns:
        One row per arm, all texts, under readable names.
    """
    columns = {"arm": list(labels(table["arm"].tolist()).values())}
    for column, name in COLUMNS.items():
        if f"{column}_low" in table:
            columns[name] = with_interval(table, column, "+" if column in SIGNED else "")
        elif column in table:  # where no arm has an interval
            ends = table.assign(**{f"{column}_low": float("nan"), f"{column}_high": float("nan")})
            columns[name] = with_interval(ends, column, "+" if column in SIGNED else "")
    if table["blank"].any():
        columns["blank visits"] = table["blank"].astype(str).tolist()
    return without_blanks(columns)


def continual_tables(table: pd.DataFrame) -> list[TextTable]:
    """Tables of a `continual_table` for people: tasks as they are played, and evaluations of all.

    Returns:
        A table for each of both that there are data for, so that either fits on a page.
    """
    texts = readable_continual(table)
    evaluated = [COLUMNS[column] for column in EVALUATED if COLUMNS[column] in texts]
    others = [str(name) for name in texts if name not in ("arm", "blank visits", *evaluated)]
    blank = ["blank visits"] if "blank visits" in texts else []
    found: dict[str, list[str]] = {
        "continual metrics": ["arm", *others, *blank] if others else [],
        "continual metrics of all tasks": ["arm", *evaluated] if evaluated else [],
    }
    return [
        TextTable(title, texts.loc[:, names], MEANINGS) for title, names in found.items() if names
    ]
