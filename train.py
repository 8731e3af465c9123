"""The command line: run, compare, report, watch, timeline, list.

python train.py run --env minatar-continual --intervention adamo --seeds 4
python train.py compare --interventions none adamo fresh --seeds 4
python train.py report results/runs/demo
python train.py watch results/runs/minatar-continual/ppo-adamo
python train.py timeline --env minatar-continual --task-steps 400000 --steps 8000000
python train.py list interventions
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.console import Console
from tyro import _errors  # its hook is not public yet; constraints.txt pins the version

from neoteny.core.errors import InputError
from neoteny.experiments.cli import compare, preset_defaults, report, resume_defaults, run
from neoteny.experiments.config import CompareConfig, RunConfig
from neoteny.experiments.listing import print_listing
from neoteny.experiments.timeline import TimelineConfig, timeline
from neoteny.experiments.watch import WatchConfig, watch

__all__ = ["main"]


@dataclass(frozen=True)
class ReportConfig:
    """Make the tables and figures of a finished or running comparison again."""

    folder: tyro.conf.Positional[Path]
    """Folder that holds runs, at any depth."""


@dataclass(frozen=True)
class ListConfig:
    """Print what there is to choose from."""

    what: tyro.conf.Positional[Literal["envs", "interventions", "streams", "presets"]]
    """What to list."""
    name: tyro.conf.Positional[str | None] = None
    """Name of one intervention, to explain its settings."""
    markdown: bool = False
    """Print Markdown."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: What follows the program's name; unset, the process's own.

    Returns:
        Exit code: 0, 2 for bad input, or 130 when interrupted.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    console = Console()
    try:
        stored = resume_defaults(arguments)
        defaults = preset_defaults(arguments)
        commands = (
            Annotated[
                RunConfig,
                tyro.conf.subcommand("run", default=stored or RunConfig(**defaults)),
            ]
            | Annotated[
                CompareConfig,
                tyro.conf.subcommand("compare", default=CompareConfig(**defaults)),
            ]
            | Annotated[ReportConfig, tyro.conf.subcommand("report")]
            | Annotated[WatchConfig, tyro.conf.subcommand("watch")]
            | Annotated[
                TimelineConfig,
                tyro.conf.subcommand("timeline", default=TimelineConfig(**defaults)),
            ]
            | Annotated[ListConfig, tyro.conf.subcommand("list")]
        )
        with _errors.on_parse_error(_raise_bad_value):
            config = tyro.cli(
                commands,  # type: ignore[arg-type]
                args=arguments,
                prog="train.py",
                description="Train agents in changing worlds; compare what keeps them plastic.",
                config=(tyro.conf.OmitArgPrefixes, tyro.conf.AvoidSubcommands),
            )
        if isinstance(config, RunConfig):
            run(config, console)
        elif isinstance(config, CompareConfig):
            compare(config, console)
        elif isinstance(config, ReportConfig):
            report(config.folder, console)
        elif isinstance(config, WatchConfig):
            watch(config, console)
        elif isinstance(config, TimelineConfig):
            timeline(config, console)
        else:
            print_listing(config.what, console, name=config.name, markdown=config.markdown)
    except InputError as error:
        Console(stderr=True).print(f"[red]error[/]: {error}", soft_wrap=True)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


def _raise_bad_value(event: _errors.ParseErrorEvent) -> None:
    """Turn a value that a configuration refuses into one line; tyro would frame it."""
    if isinstance(event, _errors.InstantiationFailure) and event.argument is None:
        raise InputError(event.message)


if __name__ == "__main__":
    sys.exit(main())
