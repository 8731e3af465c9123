"""A loss whose gradient is already there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import Parameter

__all__ = ["KnownLoss"]


@dataclass
class KnownLoss:
    """Losses of the members, and their gradients, of a network that differentiates itself.

    To send a small network's gradient through autograd takes longer than to compute it; the learner
    takes this as it is, unless something is to be added to the loss.
    """

    evaluate: Callable[[], Tensor]
    """The losses (M,) without gradient, which hardly anybody asks for."""
    parameters: Sequence[Parameter]
    gradients: Sequence[Tensor]
    """Of the members' losses with respect to each parameter, (M, ...)."""
    row: Tensor | None = None
    """(1, weights) the memory of all gradients, where one member's follow each other."""

    def hand_over(self) -> None:
        """Give the parameters their gradients."""
        for parameter, gradient in zip(self.parameters, self.gradients, strict=True):
            if parameter.grad is not gradient:
                parameter.grad = gradient

    def tensor(self) -> Tensor:
        """The losses (M,) as autograd knows them."""
        loss: Tensor = _Known.apply(self, *self.parameters)  # type: ignore[no-untyped-call]
        return loss


class _Known(Function):
    """Hands out the value, and in time the gradients."""

    @staticmethod
    def forward(ctx: Any, known: KnownLoss, *parameters: Tensor) -> Tensor:
        ctx.gradients = known.gradients
        return known.evaluate()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:
        return None, *(g * grad.view(-1, *[1] * (g.dim() - 1)) for g in ctx.gradients)
