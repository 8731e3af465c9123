"""A loss whose gradient is already there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import Parameter

__all__ = ["KnownLoss"]


@dataclass(frozen=True)
class KnownLoss:
    """Losses of the members, and their gradients, of a network that differentiates itself.

    To send a small network's gradient through autograd takes longer than to compute it; the learner
    takes this as it is, unless something is to be added to the loss.
    """

    value: Tensor
    """(M,) without gradient."""
    parameters: Sequence[Parameter]
    gradients: Sequence[Tensor]
    """Of the members' losses with respect to each parameter, (M, ...)."""
    row: Tensor | None = None
    """(1, weights) the memory of all gradients, where one member's follow each other."""

    @property
    def in_a_row(self) -> Tensor | None:
        """The row, if it still is what the parameters have as their gradients."""
        pairs = zip(self.parameters, self.gradients, strict=True)
        return self.row if all(p.grad is gradient for p, gradient in pairs) else None

    def tensor(self) -> Tensor:
        """The losses (M,) as autograd knows them."""
        loss: Tensor = _Known.apply(self, *self.parameters)  # type: ignore[no-untyped-call]
        return loss


class _Known(Function):
    """Hands out the value, and in time the gradients."""

    @staticmethod
    def forward(ctx: Any, known: KnownLoss, *parameters: Tensor) -> Tensor:
        ctx.gradients = known.gradients
        return known.value.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:
        return None, *(g * grad.view(-1, *[1] * (g.dim() - 1)) for g in ctx.gradients)
