"""Ranges of settings: the values among which `tune` searches."""

from __future__ import annotations

import math
from dataclasses import dataclass

from neoteny.core.errors import InputError
from neoteny.core.options import read_text
from neoteny.plasticity.optimizer_settings import Tasks

EDGE = 0.1
"""Share of a range at either end that counts as its edge."""


@dataclass(frozen=True)
class Range:
    """Values from `low` to `high`, evenly spread or, where they differ tenfold, by their logarithm.

    Of times, both are in tasks.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        if (type(self.low) is Tasks) != (type(self.high) is Tasks):
            raise InputError(f"range {self} mixes units: write both ends in tasks, or none")
        if not -math.inf < self.low < self.high < math.inf:
            raise InputError(f"range {self} is empty: write the low end first, as in 0.1..10")

    @classmethod
    def from_text(cls, text: str) -> Range:
        """The range that a text states, as `1e-4..1e-2` or `0.05tasks..20tasks`.

        Raises:
            InputError: If it states none.
        """
        low, dots, high = text.partition("..")
        ends = [Tasks.from_text(end) or read_text(end) for end in (low, high)]
        if not dots or not all(isinstance(end, int | float) for end in ends):
            raise InputError(f"{text!r} is no range: write LOW..HIGH, as in 1e-4..1e-2")
        return cls(*(end if isinstance(end, Tasks) else float(end) for end in ends))

    @property
    def log(self) -> bool:
        """True if values are spread by their logarithm."""
        return self.low > 0 and self.high >= 10 * self.low

    def typed(self, value: float) -> float:
        """A value of three significant digits within the range, in its unit."""
        kept = min(max(float(f"{value:.3g}"), float(self.low)), float(self.high))
        return type(self.low)(kept) if type(self.low) is Tasks else kept

    def place(self, value: float) -> float:
        """Position of a value: 0 at the low end, 1 at the high one, beyond them outside."""
        if not self.log:
            return (value - self.low) / (self.high - self.low)
        if value <= 0:
            return -math.inf
        return math.log(value / self.low) / math.log(self.high / self.low)

    def edge(self, value: float) -> str:
        """The end, `low` or `high`, at whose edge or beyond which a value lies; else nothing."""
        place = self.place(value)
        return "low" if place <= EDGE else "high" if place >= 1 - EDGE else ""

    def __str__(self) -> str:
        ends = (f"{end:g}" if type(end) is not Tasks else str(end) for end in (self.low, self.high))
        return "..".join(ends)
