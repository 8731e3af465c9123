"""Changes of observations."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import ClassVar, Literal

import numpy as np
import torch
from scipy.special import ndtri
from torch import Tensor

from neoteny.core.errors import InputError
from neoteny.wrappers.aliases import AnySpace
from neoteny.wrappers.arrays import (
    Array,
    Table,
    Value,
    cast,
    choose,
    leading,
    level,
    take,
    take_along,
    trailing,
)
from neoteny.wrappers.change_base import (
    Bound,
    Seed,
    _Graded,
    _Seeded,
    _Tabled,
    bounds,
    unbounded,
    within,
)

Axis = Literal["features", "pixels", "channels"]


class _Seen(_Seeded):
    """A change of observations (*lead, *shape)."""

    limits: ClassVar[Mapping[str, str]] = {"shape": "at least 1"}
    floats: ClassVar[bool] = False
    """True if it needs floating point numbers."""
    shape: Sequence[int]

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.shape:
            raise InputError("shape is empty; only observations with at least one axis can change")

    def _lead(self, obs: Array) -> tuple[int, ...]:
        """The leading axes of `obs`, after a check of the others."""
        lead = tuple(obs.shape[: obs.ndim - len(self.shape)])
        if tuple(obs.shape[len(lead) :]) != self.shape:
            raise InputError(
                f"observation of shape {tuple(obs.shape)} does not end in {self.shape}"
            )
        self._check_members(lead)
        return lead

    def check(self, observation: AnySpace, action: AnySpace) -> None:
        """Refuses spaces that the change cannot act on."""
        if observation.shape != tuple(self.shape):
            raise InputError(
                f"{self} is for observations of shape {tuple(self.shape)}; the environment has "
                f"{observation}"
            )
        if self.floats and (observation.dtype is None or observation.dtype.kind != "f"):
            raise InputError(
                f"{type(self).__name__} needs floating point observations, the environment has "
                f"{observation}; use ObservationDropout or ObservationPermutation"
            )


class _Added(_Seen):
    """A change that adds to observations, and so leaves their bounds."""

    floats: ClassVar[bool] = True

    def observation_space(self, space: AnySpace) -> AnySpace:
        """Space of the changed observations."""
        return unbounded(space)


@dataclass(frozen=True)
class ObservationPermutation(_Seen, _Tabled):
    """Each task shuffles the observation in its own fixed way.

    Task t of seed s uses `numpy.random.default_rng([s, t]).permutation(n)`; the output's place j
    shows the input's place `permutation[j]`, as `x[..., permutation]` does.

    Args:
        shape: the observation's shape, channels last.
        tasks: number of permutations; task t uses number t modulo `tasks`.
        seed: >= 0; a sequence of M seeds gives each member its own permutations.
        over: "features" shuffles all flattened entries, "pixels" the positions (all axes but the
            last, each position keeping its channels), "channels" the last axis.
        keep_first: leave task 0 unpermuted.

    Raises:
        ValueError: `shape` is empty, `over` is unknown, or `tasks` is not positive.
    """

    shape: Sequence[int]
    tasks: int
    seed: Seed = 0
    over: Axis = "features"
    keep_first: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self.__dict__["_places"] = (None, None)  # what they are for, and the places

    @cached_property
    def _table(self) -> Table:
        size = {
            "features": prod(self.shape),
            "pixels": prod(self.shape[:-1]),
            "channels": self.shape[-1],
        }[self.over]
        return self._rows(lambda g: g.permutation(size), np.arange(size))

    def observation(self, obs: Array, task: Value, step: Value = 0) -> Array:
        """Shuffle `obs`.

        Args:
            obs: (*lead, *shape), Tensor or ndarray of any dtype.
            task: int, or integers broadcastable to `lead`.
            step: not used.

        Returns:
            Like `obs`.

        Raises:
            ValueError: `obs` does not end with `shape`, or lacks the member axis.
        """
        lead = self._lead(obs)
        if isinstance(task, int) and isinstance(obs, Tensor):
            return obs.reshape(-1).index_select(0, self._flat(obs, task, lead)).reshape(obs.shape)
        return self._shuffle(obs, task, lead)

    def observation_space(self, space: AnySpace) -> AnySpace:
        """Space of the changed observations: entries that may trade places have common bounds."""
        low, high = bounds(space)
        return within(space, self._common(low, np.min), self._common(high, np.max))

    def _common(self, bound: Bound, choose: Callable[..., Bound]) -> Bound:
        """The bound (*shape) of what can come to stand at each place."""
        grid = bound.reshape(-1, 1 if self.over == "features" else bound.shape[-1])
        found = choose(grid, -1 if self.over == "channels" else -2, keepdims=True)
        return np.broadcast_to(found, grid.shape).reshape(bound.shape)

    def _shuffle(self, x: Array, task: Value, lead: tuple[int, ...]) -> Array:
        permutation = take(self._table.like(x), self._index(x, task, len(lead)))
        last = 1 if self.over == "features" else self.shape[-1]
        grid = x.reshape((*lead, -1, last))  # every case permutes one of two event axes
        return _reordered(grid, permutation, -1 if self.over == "channels" else -2).reshape(x.shape)

    def _flat(self, obs: Tensor, task: int, lead: tuple[int, ...]) -> Tensor:
        """Index in `obs` of each entry of the result, kept for as long as a task lasts.

        Working it out at every call makes a step several times slower on CPUs.
        """
        key = (task % self.tasks, obs.shape, obs.device)
        if self.__dict__["_places"][0] != key:
            places = torch.arange(obs.numel(), device=obs.device).reshape(obs.shape)
            self.__dict__["_places"] = (key, self._shuffle(places, task, lead).reshape(-1))
        flat: Tensor = self.__dict__["_places"][1]
        return flat


@dataclass(frozen=True)
class GoalPermutation(ObservationPermutation):
    """Each task gives the words that name the goal another meaning.

    The channels `first` to `last` - 1 show the goal as one word out of several, as MiniGrid's do
    with `encoding="onehot"`; task t of seed s shuffles them by
    `numpy.random.default_rng([s, t]).permutation(last - first)` and leaves the others alone. So
    "go to the red door" comes to mean the blue one.

    Args:
        shape: the observation's shape, channels last.
        tasks: number of permutations; task t uses number t modulo `tasks`.
        seed: >= 0; a sequence of M seeds gives each member its own permutations.
        over: always "channels".
        keep_first: let the words mean what they say in task 0.
        first: first channel of the goal.
        last: the channel after the goal's last one; None for the end.

    Raises:
        ValueError: as `ObservationPermutation`, or there are fewer than two such channels.
    """

    over: Axis = "channels"
    first: int = 24
    last: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.over != "channels":
            raise InputError(f"over must be channels, got {self.over!r}; leave it out")
        if not 0 <= self.first <= self._end - 2 < self.shape[-1] - 1:
            raise InputError(
                f"first {self.first} and last {self.last} must mark two or more of the "
                f"{self.shape[-1]} channels that show the goal"
            )

    def _common(self, bound: Bound, choose: Callable[..., Bound]) -> Bound:
        found = bound.copy()
        goal = slice(self.first, self._end)
        found[..., goal] = super()._common(bound[..., goal], choose)
        return found

    @property
    def _end(self) -> int:
        return self.shape[-1] if self.last is None else self.last

    @cached_property
    def _table(self) -> Table:
        places = np.arange(self.shape[-1])
        before, goal, after = np.split(places, [self.first, self._end])
        return self._rows(lambda g: np.concatenate([before, g.permutation(goal), after]), places)


@dataclass(frozen=True)
class ObservationOffset(_Added, _Tabled):
    """Each task moves the zero of every feature by its own fixed amount.

    The offsets of task t of seed s are `std` times
    `numpy.random.default_rng([s, t]).standard_normal(n)`.

    Args:
        shape: the observation's shape.
        tasks: number of offsets; task t uses number t modulo `tasks`.
        std: spread of the offsets, in units of the observation.
        seed: >= 0; a sequence of M seeds gives each member its own offsets.
        keep_first: leave task 0 unchanged.

    Raises:
        ValueError: `shape` is empty, `tasks` is not positive, or `std` is negative.
    """

    shape: Sequence[int]
    tasks: int
    std: float = 1.0
    seed: Seed = 0
    keep_first: bool = True
    gradual: ClassVar[bool] = True
    limits: ClassVar[Mapping[str, str]] = {"std": "at least 0"}

    @cached_property
    def _table(self) -> Table:
        size = prod(self.shape)
        return self._rows(lambda g: self.std * g.standard_normal(size), np.zeros(size))

    def observation(self, obs: Array, task: Value, step: Value = 0) -> Array:
        """`obs` (*lead, *shape) plus the offset of `task`."""
        offset = self._between(self._table, obs, task, len(self._lead(obs)))
        return obs + cast(offset.reshape(*offset.shape[:-1], *self.shape), obs)


@dataclass(frozen=True)
class ObservationDropout(_Seen, _Tabled):
    """Each task hides some features for as long as it lasts: they read 0.

    Feature i is hidden in task t of seed s where
    `numpy.random.default_rng([s, t]).random(n)[i] < fraction`.

    Args:
        shape: the observation's shape.
        tasks: number of masks; task t uses number t modulo `tasks`.
        fraction: chance of each feature to be hidden, in [0, 1].
        seed: >= 0; a sequence of M seeds gives each member its own masks.
        keep_first: hide nothing in task 0.

    Raises:
        ValueError: `shape` is empty, `tasks` is not positive, or `fraction` is outside [0, 1].
    """

    shape: Sequence[int]
    tasks: int
    fraction: float = 0.2
    seed: Seed = 0
    keep_first: bool = True
    limits: ClassVar[Mapping[str, str]] = {"fraction": "in [0, 1]"}

    @cached_property
    def _table(self) -> Table:
        size = prod(self.shape)
        return self._rows(lambda g: g.random(size) >= self.fraction, np.ones(size, bool))

    def observation(self, obs: Array, task: Value, step: Value = 0) -> Array:
        """`obs` (*lead, *shape) with the hidden features 0."""
        lead = self._lead(obs)
        shown = take(self._table.like(obs), self._index(obs, task, len(lead)))
        shown = shown.reshape(*shown.shape[:-1], *self.shape)
        nothing = obs.new_zeros(()) if isinstance(obs, Tensor) else obs.dtype.type(0)
        return choose(shown, obs, nothing)

    def observation_space(self, space: AnySpace) -> AnySpace:
        """Space of the changed observations."""
        low, high = bounds(space)
        return within(space, np.minimum(low, 0), np.maximum(high, 0))


@dataclass(frozen=True)
class ObservationNoise(_Graded, _Added):
    """Adds fresh normal noise to every feature at every step.

    The normal distribution is a table of its 65,536 quantiles, scaled to unit variance, so that
    every device draws the same numbers to the last bit.

    Args:
        shape: the observation's shape.
        stds: standard deviation, one a task, taken in turn.
        seed: >= 0; a sequence of M seeds gives each member its own noise.

    Raises:
        ValueError: `shape` is empty, or a deviation is negative.
    """

    shape: Sequence[int]
    numbers: ClassVar[str] = "stds"
    stds: tuple[float, ...]
    seed: Seed = 0
    random: ClassVar[bool] = True
    limits: ClassVar[Mapping[str, str]] = {"stds": "at least 0"}

    @cached_property
    def _normal(self) -> Table:
        quantiles = ndtri((np.arange(2**16) + 0.5) / 2**16)
        return Table((quantiles / quantiles.std()).astype(np.float32))

    def observation(self, obs: Array, task: Value, step: Value = 0) -> Array:
        """`obs` (*lead, *shape) plus the noise of `step`, an int or broadcastable to `lead`."""
        lead = self._lead(obs)
        words = self._words(obs, step, lead, prod(self.shape))
        normal = take(self._normal.like(obs), words >> 16).reshape(obs.shape)
        std = cast(level(self._levels, task), obs)
        return obs + cast(normal, obs) * trailing(leading(std, len(lead)), obs.ndim)


def _reordered(grid: Array, permutation: Array, axis: int) -> Array:
    """`grid` (*lead, P, C) in the order of `permutation` (*broadcastable to lead, n)."""
    if permutation.ndim > 1:
        index = permutation[..., None] if axis == -2 else permutation[..., None, :]
        return take_along(grid, index, axis)
    if isinstance(grid, Tensor) and isinstance(permutation, Tensor):
        return grid.index_select(axis, permutation)
    return np.take(grid, permutation, axis)
