"""NumPy and PyTorch behind the few calls that schedules and changes need."""

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


def integers(values: Sequence[int], device: torch.device | None) -> Any:
    """Host integers as an int64 array, made by fills on the device, not by a host copy.

    A copy from pageable memory waits for the device; fills do not.

    Args:
        values: n integers.
        device: where to put them; None for NumPy.

    Returns:
        (n,) int64.
    """
    if device is None:
        return np.array(values, dtype=np.int64)
    if len(set(values)) == 1:
        return torch.full((len(values),), values[0], dtype=torch.int64, device=device)
    fills = [torch.full((), value, dtype=torch.int64, device=device) for value in values]
    return torch.stack(fills)


def where(condition: Any, x: Any, y: Any) -> Any:
    """Element-wise choice whose condition has only the leading axes of `x` and `y`.

    Args:
        condition: (*lead) bool.
        x: (*lead, *event).
        y: like `x`.

    Returns:
        (*lead, *event).
    """
    condition = condition.reshape(tuple(condition.shape) + (1,) * (x.ndim - condition.ndim))
    return torch.where(condition, x, y) if isinstance(x, Tensor) else np.where(condition, x, y)
