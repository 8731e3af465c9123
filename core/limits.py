"""Limits of numbers, as classes declare them: "at least 1", "in [0, 1)", "above 0, or inf"."""

from __future__ import annotations

import math
import re
from functools import lru_cache
from typing import Any


def limits_of(cls: type[Any]) -> dict[str, str]:
    """The limits that a class and its bases declare, field to rule."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        found |= vars(base).get("limits", {})
    return found


def allows(rule: str, value: float) -> bool:
    """True if a number is within a limit, such as "at least 1", "in [0, 1)", "above 0, or inf"."""
    low, open_below, high, open_above = _interval(rule)
    above = value > low if open_below else value >= low
    return above and (value < high if open_above else value <= high)


@lru_cache(maxsize=256)
def _interval(rule: str) -> tuple[float, bool, float, bool]:
    """Lowest number, True if it is excluded, highest number, True if it is excluded."""
    words = rule.removesuffix(", or inf").replace(",", "")
    if found := re.fullmatch(r"(at least|above) (\S+)", words):
        return float(found[2]), found[1] == "above", math.inf, False
    if found := re.fullmatch(r"(between|from) (\S+) (?:and|to) (\S+)", words):
        outside = found[1] == "between"
        return float(found[2]), outside, float(found[3]), outside
    found = re.fullmatch(r"in ([\[(])(\S+) (\S+)([\])])", words)
    assert found, f"{rule!r} is no limit"
    return float(found[2]), found[1] == "(", float(found[3]), found[4] == ")"
