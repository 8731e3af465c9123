"""Schedules without regular switches.

The times are listed or random, wait for a return or differ between lanes.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from neoteny.core.errors import InputError
from neoteny.core.options import show
from neoteny.wrappers.arrays import Table, Value
from neoteny.wrappers.schedules import (
    MOST_SWITCHES,
    MOST_TASKS,
    Schedule,
    Step,
    Timing,
    Waits,
    aligned,
)


class _Listed(Schedule):
    """A schedule whose switches so far are in a table, with tasks played in turn.

    Attributes:
        tasks: number of tasks; None when each switch brings a new one.
    """

    tasks: int | None

    @property
    @abstractmethod
    def _times(self) -> Table:
        """(K,) int64, ascending steps of the switches."""

    def visit(self, step: Step) -> Step:
        """Number of switches up to and including `step`."""
        if isinstance(step, Tensor):
            return torch.searchsorted(self._times.like(step), step.contiguous(), right=True)
        found = np.searchsorted(self._times.values, step, side="right")
        return int(found) if isinstance(step, int) else found

    def task(self, step: Step) -> Step:
        """Task played by the transition that starts at `step`."""
        visit = self.visit(step)
        return visit if self.tasks is None else visit % self.tasks

    def next_boundary(self, step: int) -> int | None:
        """First switch after `step` among those that are known, or None."""
        times = self._times.values
        place = int(np.searchsorted(times, step, side="right"))
        return int(times[place]) if place < len(times) else None


def _check_ascending(name: str, steps: Sequence[int]) -> None:
    if any(b <= a for a, b in pairwise(steps)):
        raise InputError(f"{name} is {show(steps)}: it must ascend strictly; sort them")


@dataclass(frozen=True)
class At(_Listed):
    """A new task at each of the given steps.

    Args:
        steps: strictly ascending positive steps.
        tasks: number of tasks, played in turn; None when each switch brings a new one.

    Raises:
        ValueError: `steps` is empty, unsorted or not positive, or `tasks` is not positive.
    """

    limits: ClassVar[Mapping[str, str]] = {"steps": "at least 1", "tasks": MOST_TASKS}
    steps: tuple[int, ...]
    tasks: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.steps:
            raise InputError("steps is empty; give at least one step to switch at")
        _check_ascending("steps", self.steps)

    @cached_property
    def _times(self) -> Table:
        return Table(np.array(self.steps, np.int64))

    @property
    def timing(self) -> Timing:
        """Values that decide the times of the switches."""
        return ("at", self.steps)

    def aligned(self, every: int) -> Self:
        """The schedule with its switches put off to multiples of `every` steps."""
        return replace(self, steps=tuple(sorted({aligned(step, every) for step in self.steps})))


@dataclass(frozen=True)
class Poisson(_Listed):
    """A switch can come at any time: the times between switches are exponential.

    Their lengths are `numpy.random.default_rng(seed).exponential(period)`, rounded up to multiples
    of `every`.

    Args:
        period: mean steps a task lasts, > 0.
        tasks: number of tasks, played in turn; None when each switch brings a new one.
        seed: >= 0.
        every: switches fall on multiples of so many steps.
        switches: number of switches drawn; after the last one nothing changes any more.

    Raises:
        ValueError: a count is not positive, or `seed` is negative.
    """

    limits: ClassVar[Mapping[str, str]] = {
        "period": "at least 1",
        "tasks": MOST_TASKS,
        "seed": "at least 0",
        "every": "at least 1",
        "switches": f"from 1 to {MOST_SWITCHES:,}",
    }
    period: int
    tasks: int | None = None
    seed: int = 0
    every: int = 1
    switches: int = 1024

    @cached_property
    def _times(self) -> Table:
        gaps = np.random.default_rng(self.seed).exponential(self.period, self.switches)
        whole = np.maximum(np.ceil(gaps / self.every), 1).astype(np.int64) * self.every
        return Table(np.cumsum(whole))

    @property
    def timing(self) -> Timing:
        """Values that decide the times of the switches."""
        return ("poisson", self.period, self.seed, self.every, self.switches)

    def aligned(self, every: int) -> Self:
        """The schedule with its switches put off to multiples of `every` steps."""
        return replace(self, every=aligned(self.every, every))


@dataclass(frozen=True)
class OnReturn(Waits, _Listed):
    """The next task comes when this one is mastered.

    Every `every` steps the adapter gives `advance` the mean return of the episodes that ended since
    the last look; if it reaches `threshold`, the task is switched at once. For this look alone the
    host waits for the device. The switches so far are fields of the schedule, so that it stays a
    pure function of the step: `advance` returns the schedule with one switch more.

    Args:
        threshold: mean episode return to be reached.
        every: steps between two looks.
        tasks: number of tasks, played in turn; None when each switch brings a new one.
        episodes: least number of episodes for a look; fewer are kept for the next look.
        switches: ascending steps of the switches so far.

    Raises:
        ValueError: a count is not positive, or the switches do not ascend.
    """

    limits: ClassVar[Mapping[str, str]] = {
        "every": "at least 1",
        "tasks": MOST_TASKS,
        "episodes": "at least 1",
        "switches": "at least 1",
    }
    threshold: float
    every: int
    tasks: int | None = None
    episodes: int = 20
    switches: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_ascending("switches", self.switches)

    def advance(self, step: int, mean: float) -> Self:
        """The schedule after a look at `step` has found this mean return of enough episodes."""
        if not mean >= self.threshold:
            return self
        return replace(self, switches=(*self.switches, step))

    @cached_property
    def _times(self) -> Table:
        return Table(np.array(self.switches, np.int64))

    def last_task(self, total: int) -> int:
        """Highest task that a run can come to, with a switch at every look."""
        most = len(self.switches) + (total - 1) // self.every
        return most if self.tasks is None else min(most, self.tasks - 1)

    def next_check(self, step: int) -> int | None:
        """First step after `step` at which a switch is possible."""
        return (step // self.every + 1) * self.every

    @property
    def timing(self) -> Timing:
        """Values that decide the times of the switches."""
        return ("on return", self.every, self.switches)

    def aligned(self, every: int) -> Self:
        """The schedule with its switches put off to multiples of `every` steps."""
        return replace(self, every=aligned(self.every, every))


@dataclass(frozen=True)
class Asynchronous(Schedule):
    """Every lane follows the same schedule, one after another.

    Lane n of N comes `n * spread // N` steps after the first, so that a member as a whole has no
    clean switch. The task and the boundaries of a member are those of its lane 0.

    Args:
        base: the schedule of every lane.
        spread: steps by which the last lane would lag behind the first, were there one lane more.

    Raises:
        ValueError: `spread` is not positive, or `base` waits for returns or is asynchronous.
    """

    limits: ClassVar[Mapping[str, str]] = {"spread": "at least 1"}
    base: Schedule
    spread: int

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.base, Waits | Asynchronous):
            raise InputError(f"base cannot be {self.base}; give a schedule fixed beforehand")

    @property
    def gradual(self) -> bool:  # type: ignore[override]
        """True if the base is gradual."""
        return self.base.gradual

    @property
    def task_count(self) -> int | None:
        """Number of tasks, None for no end."""
        return self.base.task_count

    def visit(self, step: Step) -> Step:
        """Number of switches up to and including `step`."""
        return self.base.visit(step)

    def task(self, step: Step) -> Step:
        """Task played by the transition that starts at `step`."""
        return self.base.task(step)

    def phase(self, step: Step) -> Value:
        """Task as a real number at `step`."""
        return self.base.phase(step)

    def next_boundary(self, step: int) -> int | None:
        """First switch after `step`, or None."""
        return self.base.next_boundary(step)

    def last_task(self, total: int) -> int:
        """Highest task that a run can come to."""
        return self.base.last_task(total)

    @property
    def timing(self) -> Timing:
        """Values that decide the times of the switches."""
        return (*self.base.timing, self.spread)

    def delays(self, lanes: int) -> npt.NDArray[np.int64]:
        """(N,) steps by which each lane of a member comes after the first."""
        return np.arange(lanes, dtype=np.int64) * self.spread // lanes

    def aligned(self, every: int) -> Self:
        """The schedule with its switches put off to multiples of `every` steps."""
        return replace(self, base=self.base.aligned(every))
