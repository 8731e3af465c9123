"""Counts of a comparison with a reference."""

from __future__ import annotations

from collections import Counter

import numpy as np
from numpy.typing import ArrayLike


class Tally:
    """Counts steps of lanes, and those in which anything differs from the reference.

    Args:
        lanes: Parallel environments, each beside one of the reference's.

    Attributes:
        steps: Steps compared, of all lanes together.
        mismatches: Those in which anything differs.
        injected: States that were written into one side, as the other had them.
        fields: How often each field differs.
    """

    def __init__(self, lanes: int) -> None:
        self.lanes = lanes
        self.steps = self.mismatches = self.injected = 0
        self.fields: Counter[str] = Counter()
        self._wrong = np.zeros(lanes, bool)

    def compare(self, name: str, found: ArrayLike, expected: ArrayLike) -> None:
        """Compare a field of all lanes, (lanes, ...)."""
        found, expected = np.asarray(found), np.asarray(expected)
        if found.shape != expected.shape:
            raise ValueError(f"{name} has shape {found.shape}, the reference's {expected.shape}")
        self._note(name, (found != expected).reshape(self.lanes, -1).any(1))

    def bound(self, name: str, errors: ArrayLike, limit: float) -> None:
        """Compare errors (lanes,) with what may differ; one that is not a number does."""
        self._note(name, ~(np.asarray(errors) <= limit))

    def compare_lane(self, lane: int, name: str, same: bool) -> None:
        """Note whether a field of one lane is the reference's."""
        if not same:
            self.fields[name] += 1
            self._wrong[lane] = True

    def step(self) -> None:
        """Close a step of all lanes."""
        self.steps += self.lanes
        self.mismatches += int(self._wrong.sum())
        self._wrong[:] = False

    def check(self) -> None:
        """Demand that nothing differs.

        Raises:
            AssertionError: If anything does; it says what and how often.
        """
        if self.fields or not self.steps:
            raise AssertionError(f"{self.mismatches} of {self.steps} steps differ: {self.fields}")

    def _note(self, name: str, wrong: np.ndarray) -> None:
        if count := int(wrong.sum()):
            self.fields[name] += count
            self._wrong |= wrong
