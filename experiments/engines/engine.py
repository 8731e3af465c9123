"""Interface of engines, which take orders, units as plain values, and say how each ended."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any, Protocol

from neoteny.core.text import read_text, visible
from neoteny.experiments.options.config import RunConfig

__all__ = ["LOG", "Engine", "Exit", "Order", "Outcome", "last_lines", "order_of"]

LOG = "unit.log"
"""Name of the file in a run's folder that has what its process printed."""
LINES = 8
"""Lines of the log that a failure is reported with."""


@dataclass(frozen=True)
class Order:
    """A unit that another process trains."""

    values: dict[str, Any]
    """The run's configuration, as `RunConfig.to_dict` gives it."""
    folder: str
    """Absolute path of the run's folder."""
    threads: int
    """For CPU arithmetic, unless the configuration has them."""
    place: str
    """Working directory of the command, which relative names in options are from."""
    command: tuple[str, ...]
    """The command line that the run is of, for its config.json."""

    def to_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self), default=str)

    @classmethod
    def from_json(cls, line: str | bytes) -> Order:
        """The order that `to_json` wrote."""
        values = json.loads(line)
        return cls(**values | {"command": tuple(values["command"])})


def order_of(run: RunConfig, threads: int) -> Order:
    """The order to train a run, or to continue it.

    Args:
        run: Its configuration, with its folder.
        threads: For CPU arithmetic, unless the configuration has them.
    """
    return Order(
        run.to_dict(), str(run.folder.absolute()), threads, str(Path.cwd()), tuple(sys.argv)
    )


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
