"""Processes of one run as threads of this one, so that a test need not start any."""

import copy
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from neoteny.core.ranks import Ranks

PATIENCE = 60
"""Seconds that one thread waits for the others."""


@dataclass(frozen=True)
class Thread(Ranks):
    """A process that is a thread: it exchanges by memory that all of them see."""

    desk: list[Any] = field(default_factory=list)
    barrier: Any = None

    def _exchange(self, value):
        """The values of all threads, in the order of their ranks."""
        self.desk[self.rank] = value
        self.barrier.wait(PATIENCE)
        found = [copy.deepcopy(each) for each in self.desk]
        self.barrier.wait(PATIENCE)
        return found

    def _gather(self, values):
        return torch.stack(self._exchange(values))

    def _reduce(self, values, largest=False):
        found = torch.stack(self._exchange(values))
        return values.copy_(found.amax(0) if largest else found.sum(0))

    def _broadcast(self, values):
        return self._exchange(values)[0]


def together(size: int, act: Callable[[Ranks], Any]) -> list[Any]:
    """Results of `act` in each of `size` processes that run at once."""
    results: list[Any] = [None] * size
    errors: list[BaseException] = []
    desk, barrier = [None] * size, threading.Barrier(size)

    def run(rank: int) -> None:
        try:
            results[rank] = act(Thread(rank, size, desk, barrier))
        except BaseException as error:
            errors.append(error)
            barrier.abort()

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for error in errors:
        if not isinstance(error, threading.BrokenBarrierError):
            raise error
    if errors:
        raise errors[0]
    return results
