"""The engine of one machine: so many processes at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from neoteny.core.errors import RunError
from neoteny.experiments.engines.engine import Exit, Order, Outcome
from neoteny.experiments.engines.process import UnitProcess

__all__ = ["LocalEngine"]


class LocalEngine:
    """Trains units in processes of this machine, in their order."""

    def __init__(self, jobs: int) -> None:
        self._jobs = jobs
        self._waiting: deque[tuple[int, Order]] = deque()
        self._running: dict[int, UnitProcess] = {}
        self._refused: list[Outcome] = []

    def submit(self, orders: Sequence[Order]) -> None:
        """Take the work, and begin it."""
        self._waiting.extend(enumerate(orders))
        self._fill()

    def ended(self) -> list[Outcome]:
        """The units that have ended since the last call; others take their places."""
        codes = {index: process.code() for index, process in self._running.items()}
        found = [Outcome(index, code) for index, code in codes.items() if code is not None]
        for outcome in found:
            del self._running[outcome.index]
        self._fill()
        found, self._refused = [*self._refused, *found], []
        return found

    def stop(self) -> None:
        """Have all processes save and end, and wait for them."""
        self._waiting.clear()
        for process in self._running.values():
            process.stop()
        for process in self._running.values():
            process.wait()

    def kill(self) -> None:
        """End all processes at once."""
        self._waiting.clear()
        for process in self._running.values():
            process.kill()

    def _fill(self) -> None:
        while self._waiting and len(self._running) < self._jobs:
            index, order = self._waiting.popleft()
            try:
                self._running[index] = UnitProcess(order)
            except RunError as error:  # its folder cannot be written to
                self._refused.append(Outcome(index, Exit.FAILED, str(error)))
