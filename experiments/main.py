"""The commands of the program, from its arguments to its exit code."""

from __future__ import annotations

import sys

try:
    from collections.abc import Callable, Sequence
    from dataclasses import dataclass
    from pathlib import Path
    from typing import Annotated, Any, Literal

    import tyro
    from rich.console import Console

    from neoteny.core.errors import InputError, RunError
    from neoteny.core.options import check_fields
    from neoteny.experiments.cli import compare, report, resume_defaults, run, run_defaults
    from neoteny.experiments.config import CompareConfig, RunConfig, TrainConfig, named_apart
    from neoteny.experiments.console import lasting_output, open_console, print_error, print_notice
    from neoteny.experiments.early import read_early
    from neoteny.experiments.interrupt import interruptible
    from neoteny.experiments.lens import LensConfig, lens
    from neoteny.experiments.listing import LISTED, print_listing
    from neoteny.experiments.options_by_name import configure
    from neoteny.experiments.parsing import called_as, parse
    from neoteny.experiments.stored import load_plugins
    from neoteny.experiments.timeline import TimelineConfig, timeline
    from neoteny.experiments.validity import ValidityConfig, validity
    from neoteny.experiments.watch import WatchConfig, watch
except KeyboardInterrupt:  # before there is a run, which takes seconds
    sys.stderr.write("interrupted\n")
    raise SystemExit(130) from None

__all__ = ["main"]

CONFIGURED: dict[str, type[TrainConfig]] = {
    "run": RunConfig,
    "compare": CompareConfig,
    "timeline": TimelineConfig,
}
"""Commands that take the options of a run."""


@dataclass(frozen=True)
class ReportConfig:
    """Make the tables and figures of a finished or running comparison again."""

    folder: tyro.conf.Positional[Path]
    """Folder that holds runs, at any depth."""


@dataclass(frozen=True)
class ListConfig:
    """Print what there is to choose from."""

    what: tyro.conf.Positional[Literal[tuple(LISTED)]]  # type: ignore[valid-type]
    """Kind of thing to list."""
    name: tyro.conf.Positional[str | None] = None
    """Name of one of them, to explain it and its settings."""
    markdown: bool = False
    """Print Markdown."""
    plugin: tuple[str, ...] = ()
    """Python files or modules to run first, whose things are listed as well."""

    def __post_init__(self) -> None:
        check_fields(self)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: What follows the program's name; unset, the process's own.

    Returns:
        Exit code: 0; 1 for a run that could not go on; 2 for bad input; 130 when stopped by a
        signal. A fault of the program's own keeps its traceback, with exit code 1.
    """
    program = called_as() if arguments is None else "train.py"
    with lasting_output(), interruptible():
        return _main(list(sys.argv[1:] if arguments is None else arguments), program)


def _main(arguments: list[str], program: str) -> int:
    try:
        console = open_console()
        early = read_early(arguments)
        load_plugins(early.allowed.plugins)
        stored = resume_defaults(early)
        defaults = run_defaults(early)
        usual: dict[str, TrainConfig] = {
            name: kind(**defaults) for name, kind in CONFIGURED.items()
        }
        if early.config is not None and arguments[0] in CONFIGURED:
            usual[arguments[0]] = configure(CONFIGURED[arguments[0]], early.options())
        commands = (
            Annotated[RunConfig, tyro.conf.subcommand("run", default=stored or usual["run"])]
            | Annotated[CompareConfig, tyro.conf.subcommand("compare", default=usual["compare"])]
            | Annotated[ReportConfig, tyro.conf.subcommand("report")]
            | Annotated[LensConfig, tyro.conf.subcommand("lens")]
            | Annotated[ValidityConfig, tyro.conf.subcommand("validity")]
            | Annotated[WatchConfig, tyro.conf.subcommand("watch")]
            | Annotated[TimelineConfig, tyro.conf.subcommand("timeline", default=usual["timeline"])]
            | Annotated[ListConfig, tyro.conf.subcommand("list")]
        )
        config = parse(
            commands,
            ("run", "compare", "report", "lens", "validity", "watch", "timeline", "list"),
            arguments,
            "Train agents in changing worlds; compare what keeps them plastic.",
            program,
        )
        _act(config, console)
    except (InputError, RunError) as error:
        print_error(error)
        return 1 if isinstance(error, RunError) else 2
    except KeyboardInterrupt as stop:
        print_notice(str(stop) or "interrupted")
        return 130
    return 0


def _act(config: Any, console: Console) -> None:
    """Do what the arguments ask for."""
    actions: dict[type, Callable[[Any, Console], object]] = {
        RunConfig: lambda config, where: run(named_apart(config), where),
        CompareConfig: compare,
        ReportConfig: lambda report_config, where: report(report_config.folder, where),
        LensConfig: lens,
        ValidityConfig: validity,
        WatchConfig: watch,
        TimelineConfig: timeline,
        ListConfig: lambda listed, where: print_listing(
            listed.what, where, name=listed.name, markdown=listed.markdown
        ),
    }
    actions[type(config)](config, console)
