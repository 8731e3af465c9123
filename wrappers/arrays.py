"""The operations of schedules and changes, for NumPy arrays, tensors and numbers alike."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias, TypeVar, overload

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

AnyArray: TypeAlias = npt.NDArray[Any]
Array: TypeAlias = AnyArray | Tensor
Value: TypeAlias = Array | int | float
"""A number, or an array of them."""
ValueT = TypeVar("ValueT", bound=Value)
CopyT = TypeVar("CopyT", bound=Value | None)


class Table:
    """Read-only constants, as an array of the library and device of another array.

    The values are kept on the host, so that they are the same for NumPy and every device; a device
    gets its copy on first use.

    Args:
        values: any shape; copied.
    """

    def __init__(self, values: AnyArray) -> None:
        self.values = np.array(values)
        self.values.setflags(write=False)
        self._copies: dict[torch.device, Tensor] = {}

    @overload
    def like(self, x: Tensor) -> Tensor: ...

    @overload
    def like(self, x: AnyArray | float | None) -> AnyArray: ...

    def like(self, x: Value | None) -> Array:
        """The values as an array of `x`'s library and device.

        Args:
            x: a Tensor, or anything else for NumPy.

        Returns:
            Tensor on `x.device`, or the read-only ndarray.
        """
        if not isinstance(x, Tensor):
            return self.values
        if x.device not in self._copies:
            self._copies[x.device] = torch.tensor(self.values, device=x.device)
        return self._copies[x.device]

    def __getstate__(self) -> AnyArray:
        return self.values

    def __setstate__(self, values: AnyArray) -> None:
        Table.__init__(self, values)


def filled(values: Sequence[int] | Sequence[float], device: torch.device | None) -> Array:
    """Host numbers as an int64 or float64 array, made by fills on the device, not by a host copy.

    A copy from pageable memory waits for the device; fills do not.

    Args:
        values: n numbers, all int or all float.
        device: where to put them; None for NumPy.

    Returns:
        (n,) int64 or float64.
    """
    if device is None:
        return np.array(values)
    dtype = torch.float64 if isinstance(values[0], float) else torch.int64
    if len(set(values)) == 1:
        return torch.full((len(values),), values[0], dtype=dtype, device=device)
    return torch.stack([torch.full((), value, dtype=dtype, device=device) for value in values])


def float64(x: Value) -> Value:
    """`x` as float, float64 ndarray or float64 Tensor."""
    if isinstance(x, Tensor):
        return x.to(torch.float64)
    return x.astype(np.float64) if isinstance(x, np.ndarray) else float(x)


def float32(x: Value) -> Value:
    """`x` rounded to float32: a float, a float32 ndarray or a float32 Tensor."""
    if isinstance(x, Tensor):
        return x.to(torch.float32)
    return x.astype(np.float32) if isinstance(x, np.ndarray) else float(np.float32(x))


def split(task: Value) -> tuple[Value, Value | None]:
    """A task index, and the part of the way to the next one.

    Args:
        task: int or float, or an array of either.

    Returns:
        The index, and a part in [0, 1); None instead of the part where `task` is whole by type.
    """
    if isinstance(task, float):
        whole = math.floor(task)
        return whole, task - whole
    if isinstance(task, Tensor) and task.is_floating_point():
        return task.floor().long(), task - task.floor()
    if isinstance(task, np.ndarray) and task.dtype.kind == "f":
        return np.floor(task).astype(np.int64), task - np.floor(task)
    return task, None


def level(table: Table, task: Value) -> Value:
    """One number a task, taken in turn and interpolated between two tasks.

    Args:
        table: (K,) float64.
        task: int or float, or an array of either.

    Returns:
        A float for a number, else float64 of the shape of `task`.
    """
    values, count = table.like(task), len(table.values)
    whole, part = split(task)
    found = take(values, whole % count)
    if part is not None:
        found = found + (take(values, (whole + 1) % count) - found) * part
    return found if isinstance(found, Tensor | np.ndarray) else float(found)


def leading(x: ValueT, axes: int) -> ValueT:
    """`x` with axes of length 1 put in front until it has `axes`; numbers stay as they are."""
    if isinstance(x, int | float):
        return x
    return x.reshape((1,) * (axes - x.ndim) + tuple(x.shape))  # type: ignore[return-value]


def trailing(x: ValueT, axes: int) -> ValueT:
    """`x` with axes of length 1 put at its end until it has `axes`; numbers stay as they are."""
    if isinstance(x, int | float):
        return x
    return x.reshape(tuple(x.shape) + (1,) * (axes - x.ndim))  # type: ignore[return-value]


def cast(x: Value, like: Value) -> Value:
    """`x` in the dtype of `like`, of the same library; numbers stay as they are."""
    if isinstance(x, Tensor) and isinstance(like, Tensor):
        return x.to(like.dtype)
    return x.astype(np.asarray(like).dtype) if isinstance(x, np.ndarray) else x


def real(x: Value) -> Value:
    """`x` as a real number that can be negated and scaled: whole numbers and bools as floats."""
    if isinstance(x, Tensor):
        return x if x.is_floating_point() else x.to(torch.get_default_dtype())
    if isinstance(x, np.ndarray | np.generic):
        return x if x.dtype.kind == "f" else x.astype(np.float64)
    return x


def choose(condition: Array, x: Value, y: Value) -> Array:
    """`x` where `condition` holds and `y` elsewhere; all broadcast, and are of one library."""
    if isinstance(x, Tensor):
        return torch.where(condition, x, y)  # type: ignore[arg-type]
    return np.where(condition, x, y)


def where(condition: Array, x: Array, y: Value) -> Array:
    """Element-wise choice whose condition has only the leading axes of `x` and `y`.

    Args:
        condition: (*lead) bool.
        x: (*lead, *event).
        y: like `x`.

    Returns:
        (*lead, *event).
    """
    return choose(trailing(condition, x.ndim), x, y)


def take(values: Array, index: Value) -> Array:
    """Rows of `values` at an index, or at each of an array of them, of the same library."""
    return values[index]  # type: ignore[index]


def take_along(x: Array, index: Value, axis: int) -> Array:
    """`x` with one axis in the order of `index`, whose other axes broadcast with those of `x`."""
    if isinstance(x, Tensor):
        return torch.take_along_dim(x, index, axis)  # type: ignore[arg-type]
    return np.take_along_axis(x, index, axis)  # type: ignore[arg-type]


def copied(x: CopyT) -> CopyT:
    """An array of its own with the same numbers; numbers and None as they are."""
    if isinstance(x, Tensor):
        return x.clone()  # type: ignore[return-value]
    return x.copy() if isinstance(x, np.ndarray) else x


def final_observation(obs: Array, info: Mapping[str, Any]) -> Array | None:
    """(L, *obs) observations before autoreset; None when the environment was told to skip them.

    Gymnasium gives an object array with entries only where an episode ended.
    """
    if isinstance(obs, Tensor):
        kept: Tensor | None = info.get("final_obs")
        return kept
    final = obs.copy()
    for lane in np.flatnonzero(info.get("_final_obs", ())):
        final[lane] = info["final_obs"][lane]
    return final
