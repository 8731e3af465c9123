"""Activations for isometric networks, and the registry that networks are built from.

GroupSort sorts groups of k units, so its Jacobian is a permutation almost everywhere. The paper
sorts contiguous units (0, 1), (2, 3), ...; here unit i of n is grouped with units i + n/k,
i + 2n/k, ..., so that every comparison reads and writes contiguous slices. The two differ by a
fixed permutation of units, which the layers before and after absorb. Within a group values ascend.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from neoteny.core.errors import InputError
from neoteny.core.registry import Registry

# Comparators of optimal sorting networks, applied left to right.
_NETWORKS: dict[int, tuple[tuple[int, int], ...]] = {
    2: ((0, 1),),
    4: ((0, 2), (1, 3), (0, 1), (2, 3), (1, 2)),
    8: (
        *((0, 2), (1, 3), (4, 6), (5, 7), (0, 4), (1, 5), (2, 6), (3, 7), (0, 1), (2, 3)),
        *((4, 5), (6, 7), (2, 4), (3, 5), (1, 4), (3, 6), (1, 2), (3, 4), (5, 6)),
    ),
}


def _slices(x: Tensor, size: int, dim: int) -> list[Tensor]:
    return list(torch.split(x, x.shape[dim] // size, dim))


class _GroupSort(torch.autograd.Function):
    """Sort slices of an axis by a network of comparators, saving which of them swapped."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, size: int, dim: int) -> Tensor:
        wires, swaps = _slices(x, size, dim), []
        for i, j in _NETWORKS[size]:
            a, b = wires[i], wires[j]
            # In the type of x: comparisons that write booleans are not vectorised on CPU.
            swaps.append(torch.gt(a, b, out=torch.empty_like(a)))
            wires[i], wires[j] = torch.minimum(a, b), torch.maximum(a, b)
        ctx.size, ctx.dim = size, dim
        ctx.save_for_backward(*swaps)
        return torch.cat(wires, dim)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        wires, swaps = _slices(grad, ctx.size, ctx.dim), ctx.saved_tensors
        for (i, j), swap in zip(reversed(_NETWORKS[ctx.size]), reversed(swaps), strict=True):
            a, b = wires[i], wires[j]
            # With weights 0 and 1, lerp selects exactly; torch.where is ten times slower on CPU.
            wires[i], wires[j] = torch.lerp(a, b, swap), torch.lerp(b, a, swap)
        return torch.cat(wires, ctx.dim), None, None


def _transformed() -> bool:
    """True if a transform of torch.func is active, which a Function with a context cannot enter."""
    return torch._C._are_functorch_transforms_active()


def _composite(x: Tensor, size: int, dim: int) -> Tensor:
    """GroupSort by operations that every transform and compiler supports."""
    wires = _slices(x, size, dim)
    for i, j in _NETWORKS[size]:
        a, b = wires[i], wires[j]
        swap = a > b
        wires[i], wires[j] = torch.where(swap, b, a), torch.where(swap, a, b)
    return torch.cat(wires, dim)


def groupsort(x: Tensor, dim: int = -1, size: int = 2) -> Tensor:
    """Sort groups of units: unit i of n together with units i + n/size, i + 2n/size, ...

    Works under torch.func transforms, torch.compile and double backward. At ties the gradient
    passes straight through.

    Args:
        x: float tensor with n units along `dim`.
        dim: axis of the units (1 for images in NCHW order).
        size: group size, 2, 4 or 8.

    Returns:
        Tensor of the shape of `x`; of `size` equal slices, the j-th holds the j-th smallest values.

    Raises:
        ValueError: for another size, or if it does not divide the number of units.

    Source: Anil, Lucas, Grosse, "Sorting out Lipschitz function approximation" (2019), §4.
    """
    if size not in _NETWORKS:
        raise InputError(f"GroupSort size {size} is not available; use 2, 4 or 8")
    if x.shape[dim] % size:
        raise InputError(
            f"GroupSort({size}) got {x.shape[dim]} units; use a width divisible by {size}"
        )
    if torch.compiler.is_compiling() or _transformed():
        return _composite(x, size, dim)
    sorted_: Tensor = _GroupSort.apply(x, size, dim)  # type: ignore[no-untyped-call]
    return sorted_


def crelu(x: Tensor, dim: int = -1) -> Tensor:
    """Concatenate relu(x) and relu(-x): two features a unit, of the unit's norm.

    Args:
        x: float tensor with n units along `dim`.
        dim: axis of the units.

    Returns:
        Tensor with 2n features along `dim`; features i and i + n belong to unit i.

    Source: Shang et al., "Understanding and improving CNNs via concatenated ReLUs" (2016); for
    plasticity, Abbas et al. (2023).
    """
    return torch.cat((x, -x), dim).relu_()


def deep_fourier(x: Tensor, dim: int = -1) -> Tensor:
    """Concatenate sin(x) and cos(x): two features a unit, of norm 1, one of them nearly linear.

    Args:
        x: float tensor with n units along `dim`.
        dim: axis of the units.

    Returns:
        Tensor with 2n features along `dim`; features i and i + n belong to unit i.

    Source: Lewandowski et al., arXiv:2410.20634, §5.
    """
    return torch.cat((x.sin(), x.cos()), dim)


class GroupSort(nn.Module):
    """Sort groups of units; see `groupsort`.

    Args:
        size: group size, 2, 4 or 8.
        dim: axis of the units.
    """

    def __init__(self, size: int = 2, dim: int = -1) -> None:
        super().__init__()
        if size not in _NETWORKS:
            raise InputError(f"GroupSort size {size} is not available; use 2, 4 or 8")
        self.size = size
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        """Sort `x` along the axis of units; shape unchanged."""
        return groupsort(x, self.dim, self.size)

    def extra_repr(self) -> str:
        """Settings shown by print."""
        return f"size={self.size}, dim={self.dim}"


class MaxMin(GroupSort):
    """GroupSort of size 2: the first half holds the minima, the second half the maxima.

    Args:
        dim: axis of the units.
    """

    def __init__(self, dim: int = -1) -> None:
        super().__init__(2, dim)


def smelu(x: Tensor, dim: int = -1) -> Tensor:
    """ReLU whose corner is a parabola between -1 and 1, so that its gradient is continuous.

    Args:
        x: float tensor.
        dim: not used.

    Returns:
        0 below -1, (x + 1)² / 4 up to 1, x above.

    Source:
        Shamir, Lin, Coviello, "Smooth activations and reproducibility in deep networks",
        arXiv:2010.09931, with β = 1.
    """
    ramp = ((x + 1) / 2).clamp(0, 1)
    return ramp.square() + torch.relu(x - 1)


class CReLU(nn.Module):
    """Concatenated ReLU, which doubles the features; see `crelu`.

    Args:
        dim: axis of the units.
    """

    def __init__(self, dim: int = -1) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        """Map n units to 2n features."""
        return crelu(x, self.dim)


@dataclass(frozen=True)
class Activation:
    """An activation and its properties that layers need."""

    function: Callable[..., Tensor]
    """Called as function(x) or function(x, dim), where `dim` is the axis of units."""
    fan: int = 1
    """Features per unit: unit i of n owns features i, i + n, ..."""
    gain: float = 1.0
    """Gain of the orthogonal init that keeps the signal's size. The paper's runs use sqrt(2) on the
    hidden layers of every arm instead, whatever the activation."""
    scale: float = 1.0
    """Target squared singular value s of the isometry penalty; 1 throughout the paper. For ReLU, 2
    would offset the half of the variance that it drops."""
    group: int = 1
    """Units that are tied: units i, i + n/group, ... are sorted together and share their fate."""


def _relu(x: Tensor, dim: int = -1) -> Tensor:
    return torch.relu(x)


def _tanh(x: Tensor, dim: int = -1) -> Tensor:
    return torch.tanh(x)


def _groupsort4(x: Tensor, dim: int = -1) -> Tensor:
    return groupsort(x, dim, 4)


def _groupsort8(x: Tensor, dim: int = -1) -> Tensor:
    return groupsort(x, dim, 8)


def _identity(x: Tensor, dim: int = -1) -> Tensor:
    return x


ACTIVATIONS: Registry[Activation] = Registry("activation")
"""Every activation a network can be built with."""


def register(name: str, activation: Activation, line: str | None = None) -> None:
    """Give an activation its name, for `--activation`.

    Args:
        name: Its name.
        activation: The function and what layers need to know of it.
        line: One line about it; unset, the first of the function's documentation.
    """
    ACTIVATIONS.add(name, activation, line, origin=activation.function)


register("relu", Activation(_relu, gain=math.sqrt(2)), "max(x, 0).")
# On normal inputs of this standard deviation the mean of its square is 1.
register("smelu", Activation(smelu, gain=1.4012), "ReLU with a rounded corner.")
register("tanh", Activation(_tanh, gain=5 / 3), "The hyperbolic tangent.")
register("identity", Activation(_identity), "None: a linear network.")
register("groupsort", Activation(groupsort, group=2), "Sorts pairs of units: keeps norms.")
register("groupsort4", Activation(_groupsort4, group=4), "Sorts groups of four units.")
register("groupsort8", Activation(_groupsort8, group=8), "Sorts groups of eight units.")
register("crelu", Activation(crelu, fan=2))
# The features' norm is 1 under any gain; this one gives units of variance 1 after a layer of
# such features.
register("deep_fourier", Activation(deep_fourier, fan=2, gain=math.sqrt(2)))
