"""The commands of the program, from its arguments to its exit code."""

from __future__ import annotations

import os
import sys

try:
    from collections.abc import Sequence
    from importlib import import_module
    from importlib.metadata import version
    from typing import Any

    from neoteny.core.console import lasting_output, open_console, print_error, print_notice
    from neoteny.core.errors import InputError, RunError
    from neoteny.experiments.parsing import called_as, choose, parse
    from neoteny.experiments.run.interrupt import interruptible
except KeyboardInterrupt:
    sys.stderr.write("interrupted\n")
    raise SystemExit(130) from None

__all__ = ["COMMANDS", "main"]

COMMANDS = {
    "run": (
        "options.config:RunConfig",
        "cli:run",
        "Train one agent with one set of interventions.",
    ),
    "compare": (
        "options.config:CompareConfig",
        "cli:compare",
        "Train every intervention on the same seeds and streams, then report.",
    ),
    "report": (
        "cli:ReportConfig",
        "cli:report",
        "Make the tables and figures of a finished or running comparison again.",
    ),
    "merge": (
        "merge:MergeConfig",
        "merge:merge",
        "Put runs of several machines into one comparison: other arms, or other seeds.",
    ),
    "export": (
        "exchange.export:ExportConfig",
        "exchange.export:export",
        "Write results for other programs: CSV, Parquet, rliable's arrays, the result format.",
    ),
    "leaderboard": (
        "exchange.leaderboard:LeaderboardConfig",
        "exchange.leaderboard:leaderboard",
        "Rank the arms of a folder of result files, one's own and others', on one page.",
    ),
    "lens": (
        "report.lens:LensConfig",
        "report.lens:lens",
        "Show what part of isometry each arm keeps, by diagnostics at task switches.",
    ),
    "validity": (
        "report.validity:ValidityConfig",
        "report.validity:validity",
        "Rank diagnostics by how well they predict, at a switch, how much the next task suffers.",
    ),
    "reproduce": (
        "reproductions.command:ReproduceConfig",
        "reproductions.command:reproduce",
        "Test claims of the paper: train what one needs, and answer in one sentence.",
    ),
    "tune": (
        "tuning.config:TuneConfig",
        "tuning.command:tune",
        "Find every arm's best strength with equal budgets, on seeds kept for tuning.",
    ),
    "watch": (
        "watch:WatchConfig",
        "watch:watch",
        "Write an animation of a trained agent playing, and print the returns.",
    ),
    "timeline": (
        "timeline:TimelineConfig",
        "timeline:timeline",
        "Print and draw the tasks over time of a run with these options, or of the run in a "
        "folder.",
    ),
    "list": ("listing:ListConfig", "listing:list_things", "Print what there is to choose from."),
}
"""Commands to their options, their function and what they do; modules are imported on use."""


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
    rank = 0
    try:
        console = open_console()
        if arguments == ["--version"]:
            console.print(f"neoteny {version('neoteny')} (torch {version('torch')})")
            return 0
        choose(
            {name: about for name, (_, _, about) in COMMANDS.items()},
            arguments,
            "Train agents in changing worlds; compare what keeps them plastic. See also --version.",
            program,
        )
        rank = _rank(arguments[0])
        kind, act = (_find(place) for place in COMMANDS[arguments[0]][:2])
        config = parse(kind, _default(kind, arguments), arguments, program)
        console.quiet = rank > 0  # one process speaks for all; warnings of the others are logged
        act(config, console)
    except (InputError, RunError) as error:
        print_error(f"process {rank}: {error}" if rank else error)
        return 1 if isinstance(error, RunError) else 2
    except KeyboardInterrupt as stop:
        print_notice(str(stop) or "interrupted")
        return 130
    return 0


def _rank(command: str) -> int:
    """Number of this process among those that `torchrun` has started.

    Raises:
        InputError: If they are several and the command is not one that they can share.
    """
    if "WORLD_SIZE" not in os.environ:
        return 0
    from neoteny.core.ranks import Ranks

    ranks = Ranks.here()
    if command != "run" and not ranks.alone:
        raise InputError(f"{command} is for one process: torchrun spreads `run` alone")
    return ranks.rank


def _find(place: str) -> Any:
    """A class or function of a module of this package, given as `module:name`."""
    module, _, name = place.partition(":")
    return getattr(import_module(f"neoteny.experiments.{module}"), name)


def _default(kind: type[Any], arguments: list[str]) -> Any:
    """The values of a command's options where none are given, of code that they name; or None."""
    from neoteny.experiments import cli
    from neoteny.experiments.early import read_early
    from neoteny.experiments.options.config import RunConfig, TrainConfig
    from neoteny.experiments.options_by_name import configure
    from neoteny.experiments.run.stored import load_plugins

    early = read_early(arguments)
    load_plugins(early.allowed.plugins)
    if not issubclass(kind, TrainConfig):
        return None
    if issubclass(kind, RunConfig) and (stored := cli.resume_defaults(early)) is not None:
        return stored
    if early.config is not None:
        return configure(kind, early.options())
    return kind(**cli.run_defaults(early))
