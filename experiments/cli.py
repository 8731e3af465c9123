"""The commands, after the command line has been read."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from neoteny.core.errors import FrozenError, InputError, RunError
from neoteny.core.names import require_known
from neoteny.experiments import report as reporting
from neoteny.experiments.agent_kinds import AGENT_CONFIGS, AGENTS
from neoteny.experiments.config import PRESETS, CompareConfig, RunConfig
from neoteny.experiments.console import caution
from neoteny.experiments.folders import has_checkpoint
from neoteny.experiments.interrupt import Stopped
from neoteny.experiments.lock import FolderLock
from neoteny.experiments.runner import run as train
from neoteny.experiments.store import check_startable
from neoteny.experiments.stored import Allowed, load_run, value_of

__all__ = ["compare", "preset_defaults", "report", "resume_defaults", "run"]


def preset_defaults(arguments: Sequence[str]) -> dict[str, Any]:
    """The defaults of the preset and agent that the arguments name, for `--help` and overrides.

    Raises:
        ValueError: If the preset or the agent is unknown, or they do not go together.
    """
    agent = value_of("--agent", arguments)
    named = "ppo" if agent is None else agent
    require_known("agent", named, AGENTS)
    preset = value_of("--preset", arguments)
    preset = AGENTS[named].preset if preset is None else preset
    require_known("preset", preset, PRESETS)
    defaults = {"agent": named} | PRESETS[preset]
    if agent is not None and AGENTS[agent].supervised != AGENTS[defaults["agent"]].supervised:
        raise InputError(
            f"preset {preset!r} is for {defaults['agent']}, not for {agent}: "
            f"try --preset {AGENTS[agent].preset}"
        )
    defaults |= {"agent": agent or defaults["agent"], "preset": preset}
    hyper = AGENTS[defaults["agent"]].hyper
    given = defaults.get(hyper) or AGENT_CONFIGS[hyper]()
    return (
        defaults | dict.fromkeys(AGENT_CONFIGS) | {hyper: given}
    )  # only its own options are offered


def resume_defaults(arguments: Sequence[str], allowed: Allowed) -> RunConfig | None:
    """The configuration of the run named by `--resume`, or None.

    Args:
        arguments: Of the command line.
        allowed: The code that they allow to be run.

    Raises:
        InputError: If the folder holds no run, or one that needs other code.
    """
    text = value_of("--resume", arguments)
    if text is None:
        return None
    folder = Path(text)
    return dataclasses.replace(load_run(folder, allowed), out=folder, resume=folder)


def run(config: RunConfig, console: Console) -> None:
    """Train one arm and say where its curves are."""
    if config.resume is None and config.trust:
        raise InputError("--trust goes with --resume alone: a new run names its code by --plugin")
    if config.resume is not None and config.out != config.resume:
        raise InputError(
            f"--out {config.out} does not go with --resume: a run goes on where it lies, in "
            f"{config.resume}"
        )
    FolderLock.require_free(config.folder.parent)  # an arm of a comparison that is running
    train(config, console, resume=config.resume is not None and has_checkpoint(config.folder))
    console.print(f"written to {config.folder}", soft_wrap=True)
    _print_tensorboard(config.folder, console)


def compare(config: CompareConfig, console: Console) -> None:
    """Train every arm that is not finished yet, then report.

    An arm that was cut short goes on from its checkpoint, so the same command finishes an
    interrupted comparison.
    """
    FolderLock.require_free(config.folder)
    for arm in config.arms():
        check_startable(arm, resume=has_checkpoint(arm.folder))
    failed = []
    with FolderLock(config.folder):
        for arm in config.arms():
            try:
                train(arm, console, resume=has_checkpoint(arm.folder))
            except FrozenError as error:
                caution(console, str(error))
                failed.append(arm.arm)
            except Stopped as error:
                raise Stopped(f"{error}, or give the same command again") from None
        report(config.folder, console)
    if failed:
        raise RunError(f"stopped with non-finite gradients in all members: {', '.join(failed)}")


def report(folder: Path, console: Console) -> None:
    """Write summary.csv, the figures and report.html, and print the table."""
    made = reporting.write_report(folder)
    reporting.print_summary(console, made.summary)
    for path in made.files:
        console.print(f"written {path}", soft_wrap=True)
    _print_tensorboard(folder, console)


def _print_tensorboard(folder: Path, console: Console) -> None:
    console.print(f"curves: tensorboard --logdir {shlex.quote(str(folder))}", soft_wrap=True)
