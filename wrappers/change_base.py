"""The base class of all changes, of those that draw tables from a seed, and checks of spaces."""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar, TypeAlias

import numpy as np
import torch
from gymnasium.spaces import Box, Discrete, MultiBinary, MultiDiscrete
from torch import Tensor

from neoteny.core import rng
from neoteny.core.errors import InputError
from neoteny.core.names import closest
from neoteny.core.serializable import Serializable
from neoteny.wrappers.aliases import AnySpace
from neoteny.wrappers.arrays import AnyArray, Array, Table, Value, leading, split, take
from neoteny.wrappers.schedules import MOST_TASKS

HOOKS = ("observation", "action", "reward", "label", "params")
Seed = int | Sequence[int]
Parameter: TypeAlias = Value | tuple[int, ...]
"""Value of an environment's parameter; a tuple for a position."""
Bound: TypeAlias = AnyArray
MOST_NUMBERS = 2**28  # of a table, 2 GiB


class Change(Serializable):
    """A task's effect on an environment or on a supervised stream; nothing by default.

    Arrays have any leading axes followed by the event: `(*lead, *event)`. `task` is an int or
    an integer array that broadcasts to `lead`; a change that is `gradual` also takes floats, whose
    fraction is the part of the way to the next task. A change with `members` = M > 1
    gives each member its own tables; the first leading axis is then the member axis, of length M.

    `step`, an int or integers that broadcast to `lead`, counts the environment steps of a member
    over all its lanes (in a supervised stream: the samples). Changes draw what is random from
    their seed and it, so the same step gives the same draw.

    Raises:
        ValueError: when a class is defined that overrides no method of `HOOKS`, unless its name
            begins with an underscore.

    Attributes:
        hooks: what the change acts on, of `HOOKS`: the methods that its class overrides.
        members: M, 1 when all members share one change.
        gradual: True if the change has values between two tasks.
        random: True if the change reads `step`.
        remembers: True if `action` reads `previous`.
    """

    hooks: ClassVar[frozenset[str]] = frozenset()
    gradual: ClassVar[bool] = False
    random: ClassVar[bool] = False
    remembers: ClassVar[bool] = False

    def __init_subclass__(cls) -> None:
        overridden = (name for name in HOOKS if getattr(cls, name) is not getattr(Change, name))
        cls.hooks = frozenset(overridden)
        if not cls.hooks and not cls.__name__.startswith("_"):
            raise InputError(_without_hooks(cls))
        super().__init_subclass__()

    @property
    def members(self) -> int:
        """M, the number of members with tables of their own; 1 when all share them."""
        return 1

    def check(self, observation: AnySpace, action: AnySpace) -> None:
        """Refuse an environment with these spaces if the change cannot act on it.

        Raises:
            ValueError: the change does not fit the spaces.
        """

    def observation_space(self, space: AnySpace) -> AnySpace:
        """The space that observations of `space` lie in after the change."""
        return space

    def observation(self, obs: Array, task: Value, step: Value = 0) -> Array:
        """The observation that the agent gets in place of `obs` (*lead, *event); same shape."""
        return obs

    def action(self, action: Value, task: Value, step: Value = 0, previous: Value = 0) -> Value:
        """The action that the environment gets in place of `action` (*lead); same shape.

        `previous` is the action that this method returned one step ago, 0 when an episode begins.
        """
        return action

    def reward(self, reward: Value, task: Value, step: Value = 0) -> Value:
        """The reward that the agent gets in place of `reward` (*lead); same shape."""
        return reward

    def label(self, y: Value, task: Value, step: Value = 0) -> Value:
        """The target of a supervised stream in place of `y` (*lead); same shape."""
        return y

    def params(self, task: Value) -> dict[str, Parameter]:
        """Parameters of the environment under `task`: a number, or an array like `task`, each."""
        return {}


def _without_hooks(cls: type[Change]) -> str:
    """A refusal of a change that would do nothing, with what was probably meant."""
    own = [name for name, value in vars(cls).items() if callable(value) and name[0] != "_"]
    near = [(name, found) for name in own if (found := closest(name, HOOKS))]
    hint = (
        f"did you mean {near[0][1]} by {near[0][0]}?"
        if near
        else (f"define one of {', '.join(HOOKS)}, or begin a base class with an underscore")
    )
    return f"the change {cls.__name__} changes nothing: {hint}"


class _Seeded(Change):
    """A change whose field `seed` is an int, or a sequence of M ints, one a member."""

    limits: ClassVar[Mapping[str, str]] = {"seed": "at least 0"}
    seed: Seed

    @property
    def seeds(self) -> tuple[int, ...]:
        """(M,) seeds, or the one that all members share."""
        return (self.seed,) if isinstance(self.seed, int) else tuple(self.seed)

    @property
    def members(self) -> int:
        """M, the number of seeds."""
        return len(self.seeds)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.seeds:
            raise InputError("seed is empty; give one a member")

    def _own(self, x: Value, lead: int) -> Value:
        """The member's index (M, 1, …) with `lead` axes, beside `x`; 0 when members share."""
        if self.members == 1:
            return 0
        index: Array = np.arange(self.members)
        if isinstance(x, Tensor):
            index = torch.arange(self.members, device=x.device)
        return index.reshape((self.members,) + (1,) * (lead - 1))

    def _check_members(self, lead: Sequence[int]) -> None:
        if self.members > 1 and tuple(lead[:1]) != (self.members,):
            raise InputError(
                f"an array with leading axes {tuple(lead)} lacks the axis of {self.members} "
                "members; view it as (members, lanes, ...)"
            )

    @cached_property
    def _keys(self) -> Table:
        """(M,) keys of the stateless hash; each kind of change has a stream of its own."""
        return Table(rng.lane_keys(self.seeds, 1, type(self).__name__).numpy())

    def _words(self, x: Value, step: Value, lead: Sequence[int], size: int | None = None) -> Array:
        """Random 32-bit words int64, (*lead, size) or (*lead), beside `x`."""
        keys, step = self._member_keys(x, lead), counter(step, len(lead))
        slot: Tensor | int = 0
        if size is not None:
            slot = torch.arange(size, device=keys.device)
            keys, step = keys[..., None], step if isinstance(step, int) else step[..., None]
        words = rng.bits(keys, step, slot)
        words = words.expand((*lead, *(() if size is None else (size,))))
        return words if isinstance(x, Tensor) else words.numpy()

    def _member_keys(self, x: Value, lead: Sequence[int]) -> Tensor:
        """The members' keys, broadcastable to `lead`, on the device of `x` or on the host."""
        self._check_members(lead)
        if isinstance(x, Tensor):
            keys = self._keys.like(x)
        else:
            keys = torch.from_numpy(self._keys.values.copy())
        return keys.reshape((-1,) + (1,) * max(len(lead) - 1, 0)) if lead else keys[0]


class _Graded(Change):
    """A change with one number a task, taken in turn and interpolated between two tasks."""

    gradual: ClassVar[bool] = True
    numbers: ClassVar[str]
    """Name of the field that holds them."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not getattr(self, self.numbers):
            raise InputError(f"{self.numbers} is empty; give one a task")

    @cached_property
    def _levels(self) -> Table:
        return Table(np.array(getattr(self, self.numbers), np.float64))


class _Tabled(_Seeded):
    """A seeded change with a row of numbers for every task and member.

    Task t of seed s draws from `numpy.random.default_rng([s, t])`; more tasks leave the first ones
    as they are. With `keep_first`, task 0 changes nothing.
    """

    limits: ClassVar[Mapping[str, str]] = {"tasks": MOST_TASKS}
    tasks: int
    keep_first: bool

    def _rows(self, draw: Callable[[np.random.Generator], AnyArray], plain: AnyArray) -> Table:
        """(M * tasks, n) rows from `draw`, `plain` for a kept task 0."""
        if (count := self.members * self.tasks * len(plain)) > MOST_NUMBERS:
            raise InputError(
                f"{type(self).__name__} draws {count:,} numbers for {self.tasks:,} tasks, more "
                f"than {MOST_NUMBERS:,}: lower tasks, after which they come again"
            )
        rows = [
            plain if task == 0 and self.keep_first else draw(np.random.default_rng([seed, task]))
            for seed in self.seeds
            for task in range(self.tasks)
        ]
        return Table(np.stack(rows))

    def _index(self, x: Value, task: Value, lead: int) -> Value:
        """Row of each task and member, with `lead` axes or none."""
        return leading(task, lead) % self.tasks + self.tasks * self._own(x, lead)

    def _between(self, table: Table, x: Array, task: Value, lead: int) -> Array:
        """Rows (*broadcastable to lead, n) of `table`, interpolated between two tasks."""
        values, (whole, part) = table.like(x), split(task)
        found = take(values, self._index(x, whole, lead))
        if part is None:
            return found
        following = take(values, self._index(x, whole + 1, lead))
        part = leading(part, lead)
        part = part if isinstance(part, int | float) else part[..., None]
        return found + (following - found) * part


def counter(step: Value, axes: int) -> Tensor | int:
    """Steps or numbers of samples as a Tensor of so many axes, or an int."""
    if not isinstance(step, int | Tensor):
        step = torch.from_numpy(np.asarray(step, order="C"))
    return leading(step, axes)


def chance(words: Array, p: Value) -> Array:
    """Random words compared with a probability, by whole numbers, the same on every device.

    Args:
        words: int64 in [0, 2**32).
        p: a float, or float64 broadcastable to `words`.

    Returns:
        bool like `words`.
    """
    if isinstance(p, int | float):
        return words < int(p * 2**32)
    scaled = p * 2**32
    return words < (scaled.long() if isinstance(scaled, Tensor) else scaled.astype(np.int64))


def only_vector(change: Change, space: AnySpace, shape: tuple[int, ...]) -> Box:
    """Refuse any action space but a Box of that shape, which it returns.

    Raises:
        ValueError: the space does not fit.
    """
    if not isinstance(space, Box) or space.shape != shape:
        raise InputError(f"{change} is for actions of shape {shape}; the environment has {space}")
    return space


def only_discrete(change: Change, space: AnySpace, actions: int) -> None:
    """Refuse any action space but one of `actions` choices.

    Raises:
        ValueError: the space does not fit.
    """
    if not isinstance(space, Discrete) or int(space.n) != actions or int(space.start) != 0:
        raise InputError(f"{change} is for {actions} discrete actions; the environment has {space}")


def bounds(space: AnySpace) -> tuple[Bound, Bound]:
    """The least and the largest value of each entry, of a space whose points are arrays.

    Raises:
        ValueError: it is another space.
    """
    if isinstance(space, Box):
        return space.low, space.high
    if isinstance(space, MultiDiscrete):
        return space.start, space.start + space.nvec - 1
    if isinstance(space, MultiBinary):
        return np.zeros(space.shape, space.dtype), np.ones(space.shape, space.dtype)
    raise InputError(f"observations {space} are not one array of numbers; select or flatten them")


def within(space: AnySpace, low: Bound, high: Bound) -> AnySpace:
    """`space` where its bounds are these, else a Box of its dtype that has them."""
    if all(np.array_equal(*pair) for pair in zip(bounds(space), (low, high), strict=True)):
        return space
    dtype: Any = space.dtype
    return Box(low.astype(dtype), high.astype(dtype), dtype=dtype.type)


def unbounded(space: AnySpace) -> AnySpace:
    """A Box of the same shape and dtype without bounds."""
    return Box(-np.inf, np.inf, space.shape, space.dtype)  # type: ignore[arg-type]


def from_zero(space: AnySpace) -> tuple[AnySpace, Bound | int]:
    """A space of actions whose choices count from 0, and where they began."""
    if isinstance(space, Discrete):
        return Discrete(int(space.n)), int(space.start)
    if isinstance(space, MultiDiscrete):
        return MultiDiscrete(space.nvec), np.asarray(space.start)
    return space, 0
