"""Interface of engines, which take units of work and say how each ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Protocol

from neoteny.core.text import read_text, visible
from neoteny.experiments.engines.order import Order

__all__ = ["LOG", "Engine", "Exit", "Outcome", "last_lines"]

LOG = "unit.log"
"""Name of the file in a run's folder that has what its process printed."""
LINES = 8
"""Lines of the log that a failure is reported with."""


class Exit(IntEnum):
    """Exit codes of a unit's process; a negative one is minus the signal that killed it."""

    DONE = 0
    FAILED = 1
    REFUSED = 2
    FROZEN = 3
    STOPPED = 130


@dataclass(frozen=True)
class Outcome:
    """The end of a unit."""

    index: int
    """Of its order among those that were submitted."""
    code: int
    """As in `Exit`."""
    reason: str = ""
    """Reason of a failure as far as the engine knows more than the log says."""


class Engine(Protocol):
    """Trains units somewhere, each in a process of its own that writes to the unit's folder."""

    def submit(self, orders: Sequence[Order]) -> None:
        """Take the work.

        Raises:
            InputError: If an option of the engine does not fit.
        """

    def ended(self) -> list[Outcome]:
        """The units that have ended since the last call; returns at once."""

    def stop(self) -> None:
        """Have all units save and end, and return when they have."""

    def kill(self) -> None:
        """End what is left at once."""


def last_lines(log: Path) -> list[str]:
    """The last lines of a unit's log, of which a traceback's last one says most."""
    try:
        lines = read_text(log).splitlines()
    except ValueError:
        return []
    return [visible(line) for line in lines if line.strip()][-LINES:]
