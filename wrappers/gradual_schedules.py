"""Schedules without switches, under which the environment changes gradually."""

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
from torch import Tensor

from neoteny.wrappers.arrays import Table, Value, float64
from neoteny.wrappers.schedules import Schedule, Step, Timing

ROUND = 4096
PASSED = "from 2 to 100,000"  # a drift goes from one task to another


class _Drift(Schedule):
    """A gradual change from task to task: the task index stays 0, and `phase` is the place."""

    gradual: ClassVar[bool] = True
    tasks: int

    def visit(self, step: Step) -> Step:
        """Number of switches up to and including `step`."""
        return step * 0

    def next_boundary(self, step: int) -> int | None:
        """First switch after `step`, or None."""
        return None

    @property
    def timing(self) -> Timing:
        """Values that decide the times of the switches."""
        return ("never",)

    @abstractmethod
    def phase(self, step: Step) -> Value:
        """Task as a real number at `step`."""


@dataclass(frozen=True)
class LinearDrift(_Drift):
    """From task 0 to the last task at an even pace, and there for good.

    Args:
        steps: the drift lasts so many, > 0.
        tasks: number of tasks it passes, the first and the last included.
        start: steps before the drift begins.

    Raises:
        ValueError: a count is not positive, there are fewer than 2 tasks, or `start` is negative.
    """

    limits: ClassVar[Mapping[str, str]] = {
        "steps": "at least 1",
        "tasks": PASSED,
        "start": "at least 0",
    }
    steps: int
    tasks: int = 2
    start: int = 0

    def phase(self, step: Step) -> Value:
        """Task as a real number at `step`."""
        done = step - self.start
        if isinstance(done, int):
            return min(max(done, 0), self.steps) / self.steps * (self.tasks - 1)
        return float64(done.clip(0, self.steps)) / self.steps * (self.tasks - 1)


@dataclass(frozen=True)
class Sinusoidal(_Drift):
    """From task 0 to the last task and back, again and again, along a cosine.

    The cosine is read from a table of 4,096 places a period, so that every device agrees to the
    last bit.

    Args:
        period: steps there and back, > 0.
        tasks: number of tasks it passes, the first and the last included.

    Raises:
        ValueError: `period` is not positive, or there are fewer than 2 tasks.
    """

    limits: ClassVar[Mapping[str, str]] = {"period": "at least 1", "tasks": PASSED}
    period: int
    tasks: int = 2

    @cached_property
    def _wave(self) -> Table:
        waves = [(1 - math.cos(2 * math.pi * k / ROUND)) / 2 for k in range(ROUND)]
        return Table(np.array(waves) * (self.tasks - 1))

    def phase(self, step: Step) -> Value:
        """Task as a real number at `step`."""
        place = step % self.period * ROUND // self.period
        found = self._wave.like(step)[place]
        return found if isinstance(found, Tensor | np.ndarray) else float(found)
