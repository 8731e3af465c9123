"""Gymnasium's spaces as changes see them: bounds of entries, and actions counted from 0."""

from typing import Any

import numpy as np
from gymnasium import Space
from gymnasium.spaces import Box, Discrete, MultiBinary, MultiDiscrete

from neoteny.core.errors import InputError


def bounds(space: Space[Any]) -> tuple[Any, Any]:
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


def within(space: Space[Any], low: Any, high: Any) -> Space[Any]:
    """`space` where its bounds are these, else a Box of its dtype that has them."""
    if all(np.array_equal(*pair) for pair in zip(bounds(space), (low, high), strict=True)):
        return space
    dtype: Any = space.dtype
    return Box(low.astype(dtype), high.astype(dtype), dtype=dtype.type)


def unbounded(space: Space[Any]) -> Space[Any]:
    """A Box of the same shape and dtype without bounds."""
    return Box(-np.inf, np.inf, space.shape, space.dtype)  # type: ignore[arg-type]


def from_zero(space: Space[Any]) -> tuple[Space[Any], Any]:
    """A space of actions whose choices count from 0, and where they began."""
    if isinstance(space, Discrete):
        return Discrete(int(space.n)), int(space.start)
    if isinstance(space, MultiDiscrete):
        return MultiDiscrete(space.nvec), np.asarray(space.start)
    return space, 0
