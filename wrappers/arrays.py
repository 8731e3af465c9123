"""NumPy and PyTorch behind the few calls that schedules and changes need."""

import math
from collections.abc import Sequence
from typing import Any, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Array: TypeAlias = "npt.NDArray[Any] | Tensor"
ArrayT = TypeVar("ArrayT", npt.NDArray[Any], Tensor)


class Table:
    """Read-only constants that live beside whatever array they are used with.

    The values are drawn once on the host, so NumPy and every device see the same ones; a device
    gets its copy on first use.

    Args:
        values: any shape; copied.
    """

    def __init__(self, values: npt.NDArray[Any]) -> None:
        self.values = np.array(values)
        self.values.setflags(write=False)
        self._copies: dict[torch.device, Tensor] = {}

    def like(self, x: Any) -> Any:
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

    def __getstate__(self) -> npt.NDArray[Any]:
        return self.values

    def __setstate__(self, values: npt.NDArray[Any]) -> None:
        Table.__init__(self, values)


def filled(values: Sequence[int] | Sequence[float], device: torch.device | None) -> Any:
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


def float64(x: Any) -> Any:
    """`x` as float, float64 ndarray or float64 Tensor."""
    if isinstance(x, Tensor):
        return x.to(torch.float64)
    return x.astype(np.float64) if isinstance(x, np.ndarray) else float(x)


def float32(x: Any) -> Any:
    """`x` rounded to float32: a float, a float32 ndarray or a float32 Tensor."""
    if isinstance(x, Tensor):
        return x.to(torch.float32)
    return x.astype(np.float32) if isinstance(x, np.ndarray) else float(np.float32(x))


def split(task: Any) -> tuple[Any, Any]:
    """A task index and how far it is on the way to the next one.

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


def level(table: Table, task: Any) -> Any:
    """One number a task, taken in turn, and what lies between two of them.

    Args:
        table: (K,) float64.
        task: int or float, or an array of either.

    Returns:
        A float for a number, else float64 of the shape of `task`.
    """
    values, count = table.like(task), len(table.values)
    whole, part = split(task)
    found = values[whole % count]
    if part is not None:
        found = found + (values[(whole + 1) % count] - found) * part
    return found if isinstance(found, Tensor | np.ndarray) else float(found)


def leading(x: Any, axes: int) -> Any:
    """`x` with axes of length 1 put in front until it has `axes`; numbers stay as they are."""
    if isinstance(x, int | float):
        return x
    return x.reshape((1,) * (axes - x.ndim) + tuple(x.shape))


def trailing(x: Any, axes: int) -> Any:
    """`x` with axes of length 1 put at its end until it has `axes`; numbers stay as they are."""
    if isinstance(x, int | float):
        return x
    return x.reshape(tuple(x.shape) + (1,) * (axes - x.ndim))


def cast(x: Any, like: Any) -> Any:
    """`x` in the dtype of `like`; numbers stay as they are."""
    if isinstance(x, Tensor):
        return x.to(like.dtype)
    return x.astype(like.dtype) if isinstance(x, np.ndarray) else x


def real(x: Any) -> Any:
    """`x` as a real number that can be negated and scaled: whole numbers and bools as floats."""
    if isinstance(x, Tensor):
        return x if x.is_floating_point() else x.to(torch.get_default_dtype())
    if isinstance(x, np.ndarray | np.generic):
        return x if x.dtype.kind == "f" else x.astype(np.float64)
    return x


def where(condition: Any, x: Any, y: Any) -> Any:
    """Element-wise choice whose condition has only the leading axes of `x` and `y`.

    Args:
        condition: (*lead) bool.
        x: (*lead, *event).
        y: like `x`.

    Returns:
        (*lead, *event).
    """
    condition = trailing(condition, x.ndim)
    return torch.where(condition, x, y) if isinstance(x, Tensor) else np.where(condition, x, y)
