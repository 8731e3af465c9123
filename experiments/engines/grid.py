"""The units of a plan, trained by an engine: progress in one place, failures beside each other."""

from __future__ import annotations

import dataclasses
import signal
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.status import Status

from neoteny.core.console import caution
from neoteny.experiments.engines.engine import LOG, Engine, Exit, Outcome, last_lines, order_of
from neoteny.experiments.run.interrupt import Stopped
from neoteny.experiments.run.lock import FolderLock
from neoteny.experiments.run.plan import Unit
from neoteny.experiments.run.replacing import check_replaceable, remove_run

__all__ = ["FROZEN", "REFUSED", "train_units"]

TICK = 0.2
"""Seconds between two looks at the engine."""
FROZEN = "stopped with non-finite gradients in all members"
"""The reason of units that learn nothing any more."""
REFUSED = "refused"
"""The reason of units whose options or folder do not fit."""
BETWEEN_LINES = 30.0
"""Seconds between two lines of progress where there is no terminal."""


def train_units(
    units: Sequence[Unit], engine: Engine, threads: int, console: Console
) -> dict[str, str]:
    """Train what is not done of a plan, each unit in a process of its own.

    Returns:
        Names of the units that failed, with the reason of each; all others are done.

    Raises:
        InputError: If the engine cannot take them.
        Stopped: After a signal, once all units have saved and ended; a second one ends them.
    """
    left = [unit for unit in units if not unit.done]
    orders = [order_of(_begun(unit).run, threads) for unit in left]
    watch = _Watch(units, left, console)
    failed: dict[str, str] = {}
    try:
        engine.submit(orders)
        with watch:
            while watch.left:
                for outcome in engine.ended():
                    unit = left[outcome.index]
                    watch.ended(unit, outcome)
                    if outcome.code != Exit.DONE:
                        failed[unit.name] = _reason(outcome)
                watch.show(len(failed))
                time.sleep(TICK)
    except KeyboardInterrupt:
        console.print("stopping: every unit saves and ends", soft_wrap=True)
        engine.stop()
        done = sum(unit.done for unit in units)
        raise Stopped(
            f"stopped with {done} of {len(units)} units done: give the same command again"
        ) from None
    finally:
        engine.kill()
    return failed


def _begun(unit: Unit) -> Unit:
    """A unit that goes on from its checkpoint; one that overwrites is removed first, once."""
    run = unit.run
    if run.overwrite:
        with FolderLock(run.folder):
            check_replaceable(run.folder)
            remove_run(run.folder)
    return Unit(dataclasses.replace(run, overwrite=False))


def _reason(outcome: Outcome) -> str:
    """The way a unit ended, in a few words."""
    if outcome.reason:
        return outcome.reason
    if outcome.code < 0:
        return f"killed by {_signal_name(-outcome.code)}"
    known: dict[int, str] = {
        Exit.FROZEN: FROZEN,
        Exit.STOPPED: "stopped by a signal",
        Exit.REFUSED: REFUSED,
    }
    return known.get(outcome.code, "failed")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


class _Watch:
    """Progress of all units, read off their folders, so that it is the same for every engine."""

    def __init__(self, units: Sequence[Unit], left: Sequence[Unit], console: Console) -> None:
        self._console = console
        self.left = list(left)
        self._all = len(units)
        self._work = {unit.name: unit.run.seeds * unit.total for unit in left}
        self._at_start = {unit.name: unit.run.seeds * unit.recorded for unit in left}
        self._logs = {unit.name: _written(unit.run.folder / LOG) for unit in left}
        self._now = dict(self._at_start)
        self._began = time.monotonic()
        self._shown = self._began
        self._status = Status("", console=console)

    def __enter__(self) -> _Watch:
        if self._console.is_terminal:
            self._status.start()
        if done := self._all - len(self.left):
            self._console.print(f"{done} of {self._all} units are done already")
        return self

    def __exit__(self, *_: object) -> None:
        self._status.stop()

    def ended(self, unit: Unit, outcome: Outcome) -> None:
        """Say how a unit ended."""
        self.left.remove(unit)
        self._now[unit.name] = unit.run.seeds * unit.recorded
        if outcome.code == Exit.DONE:
            self._console.print(f"{unit.name}: all {unit.total:,} steps are done", soft_wrap=True)
            return
        log = unit.run.folder / LOG
        caution(self._console, f"{unit.name}: {_reason(outcome)}; its last lines ({log}):")
        for line in last_lines(log):
            self._console.print(f"    {line}", soft_wrap=True)

    def show(self, failed: int) -> None:
        """Show the whole, a few times a minute."""
        now = time.monotonic()
        if now - self._shown < (1.0 if self._console.is_terminal else BETWEEN_LINES):
            return
        self._shown = now
        for unit in self.left:
            self._now[unit.name] = unit.run.seeds * unit.recorded
        running = sum(_written(u.run.folder / LOG) != self._logs[u.name] for u in self.left)
        done = self._all - len(self.left) - failed
        text = f"{done} of {self._all} units done, {running} running, {failed} failed"
        text += f", {self._time_left(now - self._began)}"
        if self._console.is_terminal:
            self._status.update(text)
        else:
            self._console.print(text, soft_wrap=True)

    def _time_left(self, elapsed: float) -> str:
        """By the rate of all steps since the start."""
        made = sum(self._now.values()) - sum(self._at_start.values())
        if made <= 0:
            return "time left unknown yet"
        to_make = sum(self._work[unit.name] - self._now[unit.name] for unit in self.left)
        return f"about {to_make * elapsed / made / 60:.0f} min left"


def _written(log: Path) -> int:
    """When a log was written last, in nanoseconds; 0 if there is none."""
    try:
        return log.stat().st_mtime_ns
    except OSError:
        return 0
