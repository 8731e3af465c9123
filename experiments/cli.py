"""The commands, after the command line has been read."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro
from rich.console import Console

from neoteny.agents.agent import AGENTS
from neoteny.core.errors import InputError
from neoteny.core.ranks import Ranks
from neoteny.experiments.early import Early
from neoteny.experiments.engines.training import require_all_trained, train_plan
from neoteny.experiments.options.config import CompareConfig, RunConfig, named_apart
from neoteny.experiments.options.presets import preset_values
from neoteny.experiments.run.folders import has_checkpoint
from neoteny.experiments.run.lock import FolderLock
from neoteny.experiments.run.plan import Unit, plan_units
from neoteny.experiments.run.purposes import require_purpose
from neoteny.experiments.run.replacing import check_replaceable, remove_run
from neoteny.experiments.run.seed_blocks import added_folders
from neoteny.experiments.run.sharding import shard
from neoteny.experiments.run.stored import load_run

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "ReportConfig",
    "compare",
    "report",
    "resume_defaults",
    "run",
    "run_defaults",
    "train_arms",
]


@dataclass(frozen=True)
class ReportConfig:
    """Make the tables and figures of a finished or running comparison again."""

    folder: tyro.conf.Positional[Path]
    """Folder that holds runs, at any depth."""
    versus: str = ""
    """Arm to compare all others with, such as adamo, in addition to none and the best arm."""


def run_defaults(early: Early) -> dict[str, Any]:
    """The defaults of the preset and agent that the arguments name, for `--help` and overrides.

    Raises:
        InputError: If the preset or the agent is unknown, or they do not go together.
    """
    agent = AGENTS.find("ppo" if early.agent is None else early.agent)
    return preset_values(agent.preset if early.preset is None else early.preset, early.agent)


def resume_defaults(early: Early) -> RunConfig | None:
    """The configuration of the run named by `--resume`, or None.

    Raises:
        InputError: If the folder holds no run, or one that needs other code.
    """
    if early.resume is None:
        return None
    found = load_run(early.resume, early.allowed)
    if early.agent not in (None, found.agent):  # the options are those of the stored one
        raise InputError(
            f"{early.resume} is of another run (agent: stored {found.agent!r}, given "
            f"{early.agent!r}): leave --agent out"
        )
    return dataclasses.replace(found, out=early.resume, resume=early.resume)


def run(config: RunConfig, console: Console) -> None:
    """Train one arm and say where its curves are."""
    config = named_apart(config)
    if config.resume is None and config.config is None and config.trust:
        raise InputError(
            "--trust goes with --resume and --config alone: a new run names its code by --plugin"
        )
    if config.resume is not None and config.out != config.resume:
        raise InputError(
            f"--out {config.out} does not go with --resume: a run goes on where it lies, in "
            f"{config.resume}"
        )
    if config.resume is not None and config.overwrite:
        raise InputError("--overwrite and --resume exclude each other: give one of them")
    FolderLock.require_free(config.folder.parent)  # an arm of a comparison that is running
    config, ranks = shard(config, Ranks.here())
    goes_on = config.resume is not None and has_checkpoint(config.folder)
    from neoteny.experiments.run.runner import run as train  # on use, as it takes a second

    train(config, console, resume=goes_on, ranks=ranks)
    console.print(f"written to {config.folder}", soft_wrap=True)
    _print_tensorboard(config.folder, console)


def compare(config: CompareConfig, console: Console) -> pd.DataFrame:
    """Train every arm and seed that is not finished yet, then report.

    An arm that was cut short goes on from its checkpoint, so the same command finishes an
    interrupted comparison, and one with more seeds or arms trains what is missing.

    Returns:
        The summary, a row for each arm; of a dry run the plan, a row for each unit.

    Raises:
        RunError: Once all others are trained, if a unit failed.
    """
    if config.dry_run:
        return _show_plan(config, console)
    with train_arms(config, console) as failed:
        try:
            summary = report(ReportConfig(config.folder, config.versus), console)
        except InputError:
            require_all_trained(failed)  # which may have left nothing to report
            raise
    require_all_trained(failed)
    return summary


def _show_plan(config: CompareConfig, console: Console) -> pd.DataFrame:
    from neoteny.experiments.engines import estimates  # on use, as it takes a second

    units = _startable_units(config)
    plan = estimates.plan_table(units, estimates.estimate(units, config, console))
    estimates.print_plan(plan, config, console)
    return plan


def _startable_units(config: CompareConfig) -> list[Unit]:
    """The plan of a comparison, whose folders can all be written to.

    Raises:
        InputError: If a folder is in use, or holds something else.
    """
    from neoteny.experiments.run.store import check_startable

    FolderLock.require_free(config.folder)
    require_purpose(config.folder, "")
    units = plan_units(config)
    for unit in units:
        check_startable(unit.run, resume=unit.goes_on)
    return units


@contextmanager
def train_arms(config: CompareConfig, console: Console) -> Iterator[dict[str, str]]:
    """Train every arm and seed of a comparison that is not finished yet.

    Yields:
        Names of the units that failed, with the reason of each; the comparison's folder is held
        until the block ends.

    Raises:
        InputError: If a folder is in use, or holds something else.
        Stopped: After a signal.
    """
    units = _startable_units(config)
    arms = [arm for arm in config.arms() if arm.overwrite]
    added = [folder for arm in arms for folder in added_folders(arm)]
    for folder in added:
        FolderLock.require_free(folder)
        check_replaceable(folder)
    with FolderLock(config.folder):
        for folder in added:
            with FolderLock(folder):
                remove_run(folder)
        yield train_plan(units, config, console)


def report(config: ReportConfig, console: Console) -> pd.DataFrame:
    """Write the tables, the figures and report.html, print the tables and return the summary."""
    from neoteny.experiments.report.report import write_report  # on use, as it takes a second
    from neoteny.experiments.report.tables import print_summary, print_tables

    made = write_report(config.folder, config.versus)
    print_summary(console, made.summary)
    print_tables(console, made.tables)
    if made.answer:
        console.print(f"\n{made.answer}\n")
    for path in made.files:
        console.print(f"written {path}", soft_wrap=True)
    _print_tensorboard(config.folder, console)
    return made.summary


def _print_tensorboard(folder: Path, console: Console) -> None:
    console.print(f"curves: tensorboard --logdir {shlex.quote(str(folder))}", soft_wrap=True)
