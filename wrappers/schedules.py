"""Schedules of tasks as pure functions of the number of environment steps.

`step` counts the environment steps of one member, summed over its parallel lanes. The transition
that starts at `step` is played under `task(step)`, so the one that reaches a boundary still
belongs to the old task.
"""

from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar, Self, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
from torch import Tensor

from neoteny.core.errors import InputError
from neoteny.core.serializable import Serializable
from neoteny.wrappers.arrays import AnyArray, Table, Value, float64

Step = TypeVar("Step", int, AnyArray, Tensor)
Timing: TypeAlias = tuple[Hashable, ...]
MOST_TASKS = "from 1 to 100,000"
MOST_SWITCHES = 1_000_000  # in a run
MOST_DRAWN = 100_000  # tasks of all orders
CYCLE_SEED_STRIDE = 7919  # the paper draws the order of cycle c from default_rng(seed + 7919 c)


def aligned(step: int, every: int) -> int:
    """`step` rounded up to a multiple of `every`."""
    return -(-step // every) * every


class Waits(ABC):
    """A schedule that learns of its switches as it goes, from the returns of episodes.

    A base beside `Schedule`, of a frozen dataclass with the fields below. The adapters tell it of
    returns; what it has decided is part of its value, so that it stays a pure function of the step.

    Attributes:
        every: steps between two looks at the returns.
        episodes: at least so many are judged; until then they are saved up.
        switches: ascending steps of the switches so far.
    """

    every: int
    episodes: int
    switches: tuple[int, ...]

    @abstractmethod
    def advance(self, step: int, mean: float) -> Self:
        """The schedule after a look at `step` has found this mean return of enough episodes."""

    def with_switches(self, switches: Sequence[int]) -> Self:
        """The schedule after these switches."""
        changed: Self = replace(self, switches=tuple(switches))  # type: ignore[type-var]
        return changed


class Schedule(Serializable, ABC):
    """The task at each step: a pure function, the same for int, ndarray and Tensor.

    Attributes:
        gradual: True if the task changes gradually, by `phase`, instead of switching.
    """

    gradual: ClassVar[bool] = False

    @abstractmethod
    def visit(self, step: Step) -> Step:
        """Number of switches up to and including `step`.

        Args:
            step: environment steps of one member, >= 0, any shape.

        Returns:
            0, 1, 2, …; the kind, shape and device of `step`.
        """

    def task(self, step: Step) -> Step:
        """Task played by the transition that starts at `step`.

        Args:
            step: environment steps of one member, >= 0, any shape.

        Returns:
            Task indices; the kind, shape and device of `step`.
        """
        return self.visit(step)

    def phase(self, step: Step) -> Value:
        """The task as a real number, between two whole ones during a gradual change.

        Args:
            step: environment steps of one member, >= 0, any shape.

        Returns:
            float or float64; the kind, shape and device of `step`.
        """
        return float64(self.task(step))

    @abstractmethod
    def next_boundary(self, step: int) -> int | None:
        """First switch after `step`.

        Args:
            step: environment steps of one member.

        Returns:
            A step > `step`, or None when no switch is left.
        """

    @property
    @abstractmethod
    def timing(self) -> Timing:
        """Values that decide the times of switches; equal ones make schedules switch together."""

    @property
    def task_count(self) -> int | None:
        """The field `tasks`; None if there is none, which is no end or a number not known."""
        count: int | None = getattr(self, "tasks", None)
        return count

    def boundaries(self, total: int) -> list[int]:
        """Steps at which the task is switched within a run.

        Args:
            total: environment steps of one member in the run.

        Returns:
            Ascending steps b with 0 < b < total.

        Raises:
            InputError: There are more than 1,000,000.
        """
        found: list[int] = []
        step = self.next_boundary(0)
        while step is not None and step < total:
            if len(found) == MOST_SWITCHES:
                raise InputError(
                    f"the task is switched more than {MOST_SWITCHES:,} times in {total:,} steps: "
                    "give a longer period or fewer steps"
                )
            found.append(step)
            step = self.next_boundary(step)
        return found

    def last_task(self, total: int) -> int:
        """The highest task that a run can come to.

        Args:
            total: environment steps of one member in the run.
        """
        return int(self.task(np.array([0, *self.boundaries(total)])).max())

    def next_check(self, step: int) -> int | None:
        """First step after `step` at which a switch is possible; None when none is."""
        return self.next_boundary(step)

    def delays(self, lanes: int) -> npt.NDArray[np.int64] | None:
        """(N,) steps by which each lane of a member comes after the first; None for no delay."""
        return None

    def aligned(self, every: int) -> Self:
        """The schedule with its switches put off to multiples of `every` steps."""
        return self


@dataclass(frozen=True)
class Periodic(Schedule):
    """A new task every `period` steps; none comes again.

    Args:
        period: steps a task lasts, > 0.
        tasks: number of tasks; the last one stays for good. None for no end.

    Raises:
        ValueError: `period` or `tasks` is not positive.
    """

    limits: ClassVar[Mapping[str, str]] = {"period": "at least 1", "tasks": MOST_TASKS}
    period: int
    tasks: int | None = None

    def visit(self, step: Step) -> Step:
        """Number of switches up to and including `step`."""
        visit: Step = step // self.period
        if self.tasks is not None:
            visit = visit - (visit - (self.tasks - 1)) * (visit >= self.tasks)
        return visit

    def next_boundary(self, step: int) -> int | None:
        """First switch after `step`, or None."""
        visit = step // self.period + 1
        return None if self.tasks is not None and visit >= self.tasks else visit * self.period

    @property
    def timing(self) -> Timing:
        """Values that decide the times of the switches."""
        return ("every", self.period, self.tasks)

    def aligned(self, every: int) -> Self:
        """The schedule with its switches put off to multiples of `every` steps."""
        return replace(self, period=aligned(self.period, every))


@dataclass(frozen=True)
class Cyclic(Schedule):
    """Tasks 0, 1, …, tasks-1 in turn, again and again.

    Args:
        period: steps a task lasts, > 0.
        tasks: number of tasks, > 0.

    Raises:
        ValueError: `period` or `tasks` is not positive.
    """

    limits: ClassVar[Mapping[str, str]] = {"period": "at least 1", "tasks": MOST_TASKS}
    period: int
    tasks: int

    def visit(self, step: Step) -> Step:
        """Number of switches up to and including `step`."""
        return step // self.period

    def task(self, step: Step) -> Step:
        """Task played by the transition that starts at `step`."""
        return self.visit(step) % self.tasks

    def next_boundary(self, step: int) -> int | None:
        """First switch after `step`, or None."""
        return (step // self.period + 1) * self.period

    @property
    def timing(self) -> Timing:
        """Values that decide the times of the switches."""
        return ("every", self.period, None)

    def aligned(self, every: int) -> Self:
        """The schedule with its switches put off to multiples of `every` steps."""
        return replace(self, period=aligned(self.period, every))


@dataclass(frozen=True)
class RandomOrder(Cyclic):
    """Every task once a cycle, in an order drawn afresh for each cycle.

    The order of cycle c is `numpy.random.default_rng(seed + 7919 c).permutation(tasks)`, as in
    the continual MinAtar protocol of "Preserving Plasticity in Continual Learning via Dynamical
    Isometry". A cycle may begin with the task that ended the one before; that is a switch too.

    Args:
        period: steps a task lasts, > 0.
        tasks: number of tasks, > 0.
        seed: >= 0.
        cycles: number of orders drawn; after so many cycles they come again.

    Raises:
        ValueError: `period`, `tasks` or `cycles` is not positive, or `seed` is negative.
    """

    limits: ClassVar[Mapping[str, str]] = {"seed": "at least 0", "cycles": "at least 1"}
    seed: int = 0
    cycles: int = 128

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.cycles * self.tasks > MOST_DRAWN:
            raise InputError(
                f"cycles {self.cycles:,} x tasks {self.tasks:,} is more than {MOST_DRAWN:,}: "
                "lower cycles, after which the orders come again"
            )

    @cached_property
    def _orders(self) -> Table:
        seeds = (self.seed + CYCLE_SEED_STRIDE * cycle for cycle in range(self.cycles))
        orders = [np.random.default_rng(seed).permutation(self.tasks) for seed in seeds]
        return Table(np.concatenate(orders))

    def task(self, step: Step) -> Step:
        """Task played by the transition that starts at `step`."""
        index = self.visit(step) % (self.cycles * self.tasks)
        if isinstance(index, int):
            return int(self._orders.values[index])
        task: Step = self._orders.like(index)[index]
        return task
