"""Activations of batched branches: forward in place where possible, backward by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["KERNELS", "Kernel"]


@dataclass(frozen=True)
class Kernel:
    """An activation that works in place where it can, with its derivative."""

    forward: Callable[[Tensor], tuple[Tensor, Tensor]]
    """Pre-activations, which it may overwrite, to activations and what backward needs of them."""
    backward: Callable[[Tensor, Tensor], Tensor]
    """Gradient of the activations, which it may overwrite, and what forward kept, to gradient."""


def _relu(z: Tensor) -> tuple[Tensor, Tensor]:
    if z.dtype == torch.bfloat16:
        # Negative numbers are negative as integers too, and integers need no conversion.
        z.view(torch.int16).clamp_min_(0)
    else:
        z.relu_()
    return z, z


def _relu_backward(grad: Tensor, kept: Tensor) -> Tensor:
    out: Tensor = torch.ops.aten.threshold_backward.grad_input(grad, kept, 0, grad_input=grad)
    return out


def _tanh(z: Tensor) -> tuple[Tensor, Tensor]:
    z.tanh_()
    return z, z


def _tanh_backward(grad: Tensor, kept: Tensor) -> Tensor:
    out: Tensor = torch.ops.aten.tanh_backward.grad_input(grad, kept, grad_input=grad)
    return out


def _groupsort(z: Tensor) -> tuple[Tensor, Tensor]:
    a, b = z.chunk(2, -1)
    out = torch.empty_like(z)
    low, high = out.chunk(2, -1)
    torch.minimum(a, b, out=low)
    torch.maximum(a, b, out=high)
    # In the type of z: comparisons that write booleans are not vectorised on a CPU.
    return out, torch.gt(a, b, out=torch.empty_like(a, memory_format=torch.contiguous_format))


def _groupsort_backward(grad: Tensor, swap: Tensor) -> Tensor:
    low, high = grad.chunk(2, -1)
    out = torch.empty_like(grad)
    a, b = out.chunk(2, -1)
    # With weights 0 and 1, lerp selects exactly.
    torch.lerp(low, high, swap, out=a)
    torch.lerp(high, low, swap, out=b)
    return out


KERNELS = {
    "relu": Kernel(_relu, _relu_backward),
    "tanh": Kernel(_tanh, _tanh_backward),
    "groupsort": Kernel(_groupsort, _groupsort_backward),
}
"""The activations that batched branches can have, by name."""
