"""The few options that decide which other options exist, and their defaults.

tyro builds the parser from a type and its defaults before it sees an argument. But an agent brings
options of its own, a preset and a resumed run bring defaults, and a plugin can bring any of them;
so these few are read first, by a parser that knows no others.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neoteny.experiments.options.option_rules import ALIASES
from neoteny.experiments.run.stored import Allowed
from neoteny.plasticity.interventions import file_of

__all__ = ["Early", "files_named", "read_early"]


@dataclass(frozen=True)
class Early:
    """The options that are read first, unset where they are not given."""

    agent: str | None
    preset: str | None
    resume: Path | None
    config: Path | None
    allowed: Allowed
    """The code that the arguments allow to be run."""

    def options(self) -> dict[str, Any]:
        """Options by name that hold before a file's, None where they are not given."""
        return {
            "config": self.config,
            "agent": self.agent,
            "preset": self.preset,
            "plugin": self.allowed.plugins or None,
            "stream": self.allowed.stream,
            "trust": self.allowed.everything or None,
        }


def read_early(arguments: Sequence[str]) -> Early:
    """Read these options; all others, and all errors, are left to the full parser."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for name in ("agent", "preset", "resume", "config", "env", "stream"):
        others = [other.replace("_", "-") for other in ALIASES.get(name, ())]
        kind = Path if name in ("resume", "config", "stream") else str
        parser.add_argument(*(f"--{each}" for each in (name, *others)), nargs="?", type=kind)
    for name in ("--plugin", "--intervention", "--interventions"):
        parser.add_argument(name, nargs="*", default=[], action="extend")
    parser.add_argument("--trust", action="store_true")
    found = parser.parse_known_args(list(arguments))[0]
    files = files_named(found.intervention + found.interventions)
    return Early(
        found.agent,
        found.preset,
        found.resume,
        found.config,
        Allowed(
            found.trust, tuple(dict.fromkeys([*found.plugin, *files])), found.stream, found.env
        ),
    )


def files_named(interventions: Sequence[str]) -> list[str]:
    """The files of interventions given as FILE.py:Class, alone or joined by +."""
    parts = [part for text in interventions for part in str(text).split("+")]
    return [file for part in parts if (file := file_of(part)) is not None]
