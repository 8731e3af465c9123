"""Changes of rewards, actions, labels and the environment's parameters.

Every change is a pure function of a task index, the same on NumPy and on every device.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from gymnasium.spaces import Box
from torch import Tensor

from neoteny.core.errors import InputError
from neoteny.wrappers.aliases import AnySpace
from neoteny.wrappers.arrays import (
    Table,
    Value,
    cast,
    choose,
    float32,
    leading,
    level,
    real,
    take,
    take_along,
    where,
)
from neoteny.wrappers.change_base import (
    Change,
    Parameter,
    Seed,
    _Graded,
    _Seeded,
    _Tabled,
    chance,
    only_discrete,
    only_vector,
)


@dataclass(frozen=True)
class RewardFlip(Change):
    """Odd tasks negate the reward."""

    def reward(self, reward: Value, task: Value, step: Value = 0) -> Value:
        """`reward` under even tasks, `-reward` under odd ones."""
        odd, reward = task % 2 == 1, real(reward)
        if isinstance(odd, bool | np.bool_):
            return -reward if odd else reward
        return choose(odd, -reward, reward)


@dataclass(frozen=True)
class RewardScale(_Graded):
    """Each task pays the reward times its own factor.

    Args:
        factors: one a task, taken in turn.

    Raises:
        ValueError: a factor is not a finite number.
    """

    numbers: ClassVar[str] = "factors"
    factors: tuple[float, ...]

    def reward(self, reward: Value, task: Value, step: Value = 0) -> Value:
        """`reward` times the factor of `task`."""
        reward = real(reward)
        # The factor is rounded to float32, so that rewards of either width give the same.
        return reward * cast(float32(level(self._levels, task)), reward)


@dataclass(frozen=True)
class Dynamics(_Graded):
    """Each task sets a parameter of the environment: gravity, a length, the force of a motor.

    An environment on the device must offer it in `parameters` and take it by `set_parameters`;
    of a host environment it is an attribute.

    Args:
        parameter: its name.
        values: one a task, taken in turn.

    Raises:
        ValueError: a value is not a finite number.
    """

    numbers: ClassVar[str] = "values"
    parameter: str
    values: tuple[float, ...]

    def params(self, task: Value) -> dict[str, Parameter]:
        """The parameter's value under `task`, a float or float64 like `task`."""
        return {self.parameter: level(self._levels, task)}


@dataclass(frozen=True)
class GoalSwitch(Change):
    """Each task sets another goal in an environment that takes one.

    Args:
        goals: one a task, taken in turn; a whole number, or several such as a position.
        parameter: the name under which the environment takes its goal.

    Raises:
        ValueError: there is no goal, or the goals differ in length.
    """

    goals: tuple[Any, ...]
    parameter: str = "goal"

    def __post_init__(self) -> None:
        super().__post_init__()
        goals = tuple(tuple(g) if isinstance(g, Sequence) else g for g in self.goals)
        object.__setattr__(self, "goals", goals)
        try:
            kind = np.array(goals).dtype.kind
        except ValueError:
            kind = "O"
        if kind not in "iu" or not goals:
            raise InputError(
                f"goals must be whole numbers, or positions of one length, got {goals}; "
                "give one a task"
            )

    @cached_property
    def _table(self) -> Table:
        return Table(np.array(self.goals, np.int64))

    def params(self, task: Value) -> dict[str, Parameter]:
        """The goal under `task`: whole numbers, an array (*task.shape, …) where it is one."""
        if isinstance(task, int):
            return {self.parameter: self.goals[task % len(self.goals)]}
        return {self.parameter: take(self._table.like(task), task % len(self.goals))}


class _Renaming(_Tabled):
    """Each task renames n choices in its own fixed way."""

    def _namings(self, size: int) -> Table:
        """(M * tasks * n,) the new names, row after row."""
        rows = self._rows(lambda g: g.permutation(size), np.arange(size))
        return Table(rows.values.reshape(-1))

    def _renamed(self, x: Value, task: Value, names: Table, size: int) -> Value:
        lead = tuple(np.shape(x))
        self._check_members(lead)
        if not isinstance(x, int):  # a smaller type could not hold the place
            x = x.long() if isinstance(x, Tensor) else np.asarray(x).astype(np.int64)
        return take(names.like(x), self._index(x, task, len(lead)) * size + x)


@dataclass(frozen=True)
class ActionPermutation(_Renaming):
    """Each task gives the actions new meanings.

    Action a of task t of seed s does what `numpy.random.default_rng([s, t]).permutation(n)[a]`
    does without the change. Of an action that is a vector the numbers change places: the
    environment's number j is the agent's number `permutation[j]`, as in `x[..., permutation]`.

    Args:
        actions: n, the number of discrete actions, or of the vector's numbers.
        tasks: number of permutations; task t uses number t modulo `tasks`.
        seed: >= 0; a sequence of M seeds gives each member its own.
        keep_first: leave task 0 as it is.
        shape: of one action, () for a discrete one, (n,) for a vector.

    Raises:
        ValueError: a count is not positive, a seed negative, or the shape another one.
    """

    limits: ClassVar[Mapping[str, str]] = {"actions": "at least 1", "shape": "at least 1"}
    actions: int
    tasks: int
    seed: Seed = 0
    keep_first: bool = True
    shape: Sequence[int] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.shape not in ((), (self.actions,)):
            raise InputError(
                f"shape must be () for discrete actions or ({self.actions},) for vectors, "
                f"got {self.shape}"
            )

    @cached_property
    def _table(self) -> Table:
        return self._namings(self.actions)

    def check(self, observation: AnySpace, action: AnySpace) -> None:
        """Refuses spaces that the change cannot act on."""
        if not self.shape:
            only_discrete(self, action, self.actions)
            return
        box = only_vector(self, action, tuple(self.shape))
        if self.actions == 1 or len({*box.low.tolist()}) + len({*box.high.tolist()}) > 2:
            raise InputError(
                f"{self} needs several numbers within the same bounds, which could trade places; "
                f"the environment has {action}"
            )

    def action(self, action: Value, task: Value, step: Value = 0, previous: Value = 0) -> Value:
        """The action, (*lead) int or (*lead, n) float, that the environment receives."""
        if not self.shape:
            return self._renamed(action, task, self._table, self.actions)
        vectors = action if isinstance(action, Tensor) else np.asarray(action)
        lead = tuple(vectors.shape[:-1])
        self._check_members(lead)
        orders = self._table.like(vectors).reshape((-1, self.actions))
        order = take(orders, self._index(vectors, task, len(lead)))
        return take_along(vectors, leading(order, vectors.ndim), -1)


@dataclass(frozen=True)
class StickyActions(_Graded, _Seeded):
    """With some probability the environment receives the action of the step before again.

    Before the first step of an episode that action is 0.

    Args:
        probabilities: one a task, taken in turn.
        seed: >= 0; a sequence of M seeds gives each member its own draws.
        shape: of one action, () for a discrete one; vectors are repeated whole.

    Raises:
        ValueError: a probability is outside [0, 1], or a seed is negative.

    Source: Machado et al., "Revisiting the Arcade Learning Environment", 2018, section 5.
    """

    limits: ClassVar[Mapping[str, str]] = {"probabilities": "in [0, 1]", "shape": "at least 1"}
    numbers: ClassVar[str] = "probabilities"
    probabilities: tuple[float, ...]
    seed: Seed = 0
    shape: Sequence[int] = ()
    random: ClassVar[bool] = True
    remembers: ClassVar[bool] = True

    def check(self, observation: AnySpace, action: AnySpace) -> None:
        """Refuses spaces that the change cannot act on."""
        if action.shape != self.shape:
            raise InputError(
                f"{self} is for actions of shape {self.shape}; the environment has {action}"
            )
        if isinstance(action, Box) and not action.contains(np.zeros(self.shape, action.dtype)):
            raise InputError(
                f"{self} begins an episode with action 0, which is none; the environment has "
                f"{action}"
            )

    def action(self, action: Value, task: Value, step: Value = 0, previous: Value = 0) -> Value:
        """`previous` or `action`, both (*lead, *shape); `step` as for all changes."""
        x = action if isinstance(action, Tensor) else np.asarray(action)
        before = previous if isinstance(previous, Tensor | np.ndarray) else x * 0 + previous
        lead = tuple(x.shape[: x.ndim - len(self.shape)])
        p = leading(level(self._levels, task), len(lead))
        found = where(chance(self._words(x, step, lead), p), before, x)
        return found if isinstance(found, Tensor) else found[()]


@dataclass(frozen=True)
class LabelPermutation(_Renaming):
    """Each task renames the classes of a supervised stream.

    Class y of task t of seed s becomes `numpy.random.default_rng([s, t]).permutation(n)[y]`.

    Args:
        classes: n.
        tasks: number of permutations; task t uses number t modulo `tasks`.
        seed: >= 0; a sequence of M seeds gives each member its own.
        keep_first: leave task 0 as it is.

    Raises:
        ValueError: a count is not positive, or a seed negative.
    """

    limits: ClassVar[Mapping[str, str]] = {"classes": "at least 1"}
    classes: int
    tasks: int
    seed: Seed = 0
    keep_first: bool = True

    @cached_property
    def _table(self) -> Table:
        return self._namings(self.classes)

    def label(self, y: Value, task: Value, step: Value = 0) -> Value:
        """The class (*lead) int that stands in place of `y`."""
        return self._renamed(y, task, self._table, self.classes)


@dataclass(frozen=True)
class LabelNoise(_Graded, _Seeded):
    """Some labels are replaced by any class, each as likely as the others.

    The labels and classes depend on the number of the sample alone: with the same `step` for the
    same sample, its label is wrong in the same way whenever it comes.

    Args:
        classes: n.
        fractions: of the labels that are replaced, one a task, taken in turn.
        seed: >= 0; a sequence of M seeds gives each member its own.

    Raises:
        ValueError: a fraction is outside [0, 1], `classes` not positive, or a seed negative.
    """

    limits: ClassVar[Mapping[str, str]] = {"classes": "at least 1", "fractions": "in [0, 1]"}
    numbers: ClassVar[str] = "fractions"
    classes: int
    fractions: tuple[float, ...]
    seed: Seed = 0
    random: ClassVar[bool] = True

    def label(self, y: Value, task: Value, step: Value = 0) -> Value:
        """`y` (*lead) int, partly replaced; `step`, broadcastable to it, numbers the samples."""
        words = self._words(y, step, tuple(np.shape(y)), 2)
        wrong = chance(words[..., 0], leading(level(self._levels, task), words.ndim - 1))
        drawn = words[..., 1] * self.classes >> 32
        return choose(wrong, cast(drawn, y), y)
