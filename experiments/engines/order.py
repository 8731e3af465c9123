"""A unit of work on its way to another process or machine: plain values, as JSON."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from neoteny.experiments.options.config import RunConfig

__all__ = ["Order", "order_of"]


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
