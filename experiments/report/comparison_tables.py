"""Comparisons of arms in pairs as tables for people: in a terminal and on the report's page."""

from __future__ import annotations

import numpy as np
import pandas as pd

from neoteny.experiments.options.arms import labels
from neoteny.experiments.report.number_texts import BLANK, with_interval
from neoteny.experiments.report.tables import TextTable, without_blanks
from neoteny.experiments.statistics.comparisons import BEST, CHOSEN, NONE
from neoteny.experiments.statistics.visits import SCALES

__all__ = ["MEANINGS", "comparison_tables", "readable_comparisons"]

MEANINGS = {
    "difference": "mean difference of the scores, paired by seed, over visits that both finished",
    "in the last third": "the difference over the last third of the visits",
    "P(better)": "probability that a run of the arm is better on a task",
    "p": "of the paired t test",
    "p, Holm": "the same, corrected for all arms in the table",
    "seeds needed": "to find a difference as large as this one with a probability of 80 %; known "
    "no better than the difference",
    "blank visits": "visits in which no episode of one or the other ended: they count nowhere",
}
"""Columns of `readable_comparisons` and their meanings."""


def comparison_tables(table: pd.DataFrame) -> list[TextTable]:
    """Tables of a `comparison_table` for people, one for each arm that others are compared with."""
    found = []
    for versus in (NONE, BEST, CHOSEN):
        rows = table[table["versus"] == versus]
        if rows.empty:
            continue
        unit = str(rows["unit"].iloc[0])
        other = labels(_names(table))[str(rows["other"].iloc[0])]
        whom = {NONE: "the plain agent", BEST: f"the best arm, {other}", CHOSEN: other}[versus]
        title = f"difference to {whom}, in {_measure(unit)}"
        found.append(TextTable(title, readable_comparisons(rows), MEANINGS))
    return found


def readable_comparisons(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of one kind of a `comparison_table` as texts, without columns that have no content.

    Returns:
        One row a pair, all texts, under readable names.
    """
    short = labels(_names(rows))
    blank = rows["blank"]
    columns = {
        "arm": [short[arm] for arm in rows["arm"]],
        "difference": with_interval(rows, "difference", "+", 3),
        "in the last third": with_interval(rows, "late", "+", 3),
        "P(better)": with_interval(rows, "improvement"),
        "p": [_p_value(value) for value in rows["p"]],
        "p, Holm": [_p_value(value) for value in rows["p_holm"]],
        "seeds": rows["seeds"].astype(str).tolist(),
        "seeds needed": [_needed(value) for value in rows["seeds_needed"]],
        "blank visits": [str(count) if blank.any() else BLANK for count in blank],
    }
    return without_blanks(columns)


def _names(table: pd.DataFrame) -> list[str]:
    return list(dict.fromkeys([*table["arm"], *table["other"]]))


def _measure(unit: str) -> str:
    return f"score ({SCALES[unit]})" if unit in SCALES else unit


def _p_value(value: float) -> str:
    if not np.isfinite(value):
        return BLANK
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def _needed(value: float) -> str:
    if np.isnan(value):
        return BLANK
    return f"{value:,.0f}" if value <= 1000 else ">1,000"
