"""Numbers as texts in tables for people."""

from __future__ import annotations

import numpy as np
import pandas as pd

BLANK = "-"
"""Text in the place of a number that does not exist."""


def number_texts(column: pd.Series) -> list[str]:
    """Numbers as texts, with three figures or so."""
    return [number_text(value) for value in column]


def number_text(value: float, sign: str = "", digits: int = 2) -> str:
    """A number as text; ``"+"`` as a sign shows it always."""
    if not np.isfinite(value):
        return BLANK
    digits = 1 if abs(value) >= 10 else digits
    return f"{round(value, digits) + 0.0:{sign}.{digits}f}"  # + 0.0: no negative zero


def counted_text(value: float) -> str:
    """A count as text, with commas between thousands."""
    return f"{value:,.0f}" if np.isfinite(value) else BLANK


def duration_text(seconds: float) -> str:
    """Seconds as text, with two digits at least."""
    if not np.isfinite(seconds):
        return BLANK
    if seconds < 100:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.3g} min" if minutes < 100 else f"{minutes / 60:.3g} h"


def with_interval(table: pd.DataFrame, name: str, sign: str = "", digits: int = 2) -> list[str]:
    """Numbers of a column as texts, with those of ``_low`` and ``_high`` in brackets if known."""
    ends = zip(table[name], table[f"{name}_low"], table[f"{name}_high"], strict=True)
    return [
        number_text(middle, sign, digits)
        + (
            f" [{number_text(low, sign, digits)}, {number_text(high, sign, digits)}]"
            if np.isfinite(low)
            else ""
        )
        for middle, low, high in ends
    ]
