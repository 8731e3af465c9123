"""Training of a plan: in this process, one unit after the other, or by an engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Console

from neoteny.core.console import caution
from neoteny.core.errors import FrozenError, InputError, RunError
from neoteny.experiments.engines.engine import Engine
from neoteny.experiments.engines.grid import FROZEN, train_units
from neoteny.experiments.engines.local import LocalEngine
from neoteny.experiments.options.config import CompareConfig
from neoteny.experiments.run.interrupt import Stopped
from neoteny.experiments.run.plan import Unit
from neoteny.experiments.run.provenance import cores

__all__ = ["require_all_trained", "threads_each", "train_plan"]


def train_plan(units: Sequence[Unit], config: CompareConfig, console: Console) -> dict[str, str]:
    """Train what is not done of a plan.

    Returns:
        Names of the units that failed, with the reason of each. In this process only units whose
        gradients are not finite count; any other failure ends it.

    Raises:
        InputError: If a folder is in use, or an option does not fit.
        RunError: If a unit that is trained in this process cannot go on.
        Stopped: After a signal.
    """
    if config.engine == "local" and config.jobs == 1:
        return _in_turn(units, console)
    threads = threads_each(config)
    return train_units(units, _engine(config, threads, console), threads, console)


def _engine(config: CompareConfig, threads: int, console: Console) -> Engine:
    """The engine that the options name."""
    if config.engine == "ray":
        from neoteny.experiments.engines.ray_cluster import RayEngine

        if config.jobs > 1:
            raise InputError(
                f"jobs is {config.jobs}, but Ray itself trains as many units at a time as it has "
                "cores and GPUs for: leave --jobs out"
            )
        engine = RayEngine(config.address, threads, config.gpus)
        if not engine.has_room:
            caution(
                console,
                f"no node of the Ray cluster has {threads} cores and {config.gpus:g} GPUs: units "
                "wait until one has, or lower --threads or --gpus",
            )
        return engine
    if config.engine == "slurm":
        from neoteny.experiments.engines.slurm import SlurmEngine

        if config.gpus % 1:
            raise InputError(f"gpus is {config.gpus:g}: SLURM has whole ones, give a whole number")
        return SlurmEngine(
            config.folder,
            jobs=config.jobs,
            cpus=threads,
            gpus=int(config.gpus),
            partition=config.partition,
            minutes=config.time_limit,
        )
    if threads * config.jobs > cores():
        caution(
            console,
            f"{config.jobs} jobs of {threads} threads take turns on {cores()} cores: lower "
            "--threads or --jobs",
        )
    return LocalEngine(config.jobs)


def require_all_trained(failed: Mapping[str, str]) -> None:
    """Refuse to go on without the units that failed.

    Args:
        failed: Names of units with the reason of each.

    Raises:
        RunError: Naming them, if there are any.
    """
    reasons = {why: [n for n, other in failed.items() if other == why] for why in failed.values()}
    if reasons:
        raise RunError("; ".join(f"{why}: {', '.join(names)}" for why, names in reasons.items()))


def threads_each(config: CompareConfig) -> int:
    """Threads of a unit: those that were given, or one; on this machine its share of the cores."""
    share = cores() // config.jobs if config.engine == "local" else 1
    return config.threads or max(1, share)


def _in_turn(units: Sequence[Unit], console: Console) -> dict[str, str]:
    from neoteny.experiments.run.runner import run as train  # on use, as it takes a second

    left = [unit for unit in units if not unit.done]
    if done := len(units) - len(left):
        console.print(f"{done} of {len(units)} units are done already")
    failed = {}
    for unit in left:
        try:
            train(unit.run, console, resume=unit.goes_on)
        except FrozenError as error:
            caution(console, str(error))
            failed[unit.name] = FROZEN
        except Stopped as error:
            raise Stopped(f"{error}, or give the same command again") from None
    return failed
