"""A plain Q-network's values and its whole loss in as few operations as they need.

A DQN's networks and minibatches are so small that a processor spends more time on bookkeeping than
on arithmetic. Here values and the gradient of the loss are computed without autograd, in as few
operations as there are products and activations: the same numbers up to round-off, in less than
half the time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from neoteny.agents.dqn_loss import TDErrors, td_slope
from neoteny.plasticity.kernels import KERNELS
from neoteny.plasticity.known_loss import KnownLoss
from neoteny.plasticity.networks import Branch, Observations
from neoteny.plasticity.sparse import SparseBatch, sum_columns, sum_rows

__all__ = ["PlainBranch", "fused_td_loss", "plain_values"]


class _Layer(NamedTuple):
    """A layer's parameters, in the shapes that its product takes."""

    weight: Tensor
    """(M, out, in)."""
    transposed: Tensor
    """(M, in, out)."""
    bias: Tensor | None
    """(M, 1, out)."""

    def __call__(self, x: Observations, out: Tensor | None = None) -> Tensor:
        """Outputs (M, B, out) of features (M, B, in), those of floats in the memory `out`."""
        if isinstance(x, SparseBatch):
            z = sum_columns(x, self.weight)
        else:
            z = torch.bmm(x, self.transposed, out=out)
        return z if self.bias is None else z.add_(self.bias)  # faster than baddbmm on a CPU


class PlainBranch:
    """A batchable branch read once: views of its parameters and its activation's kernel.

    To look up a module's layers and transpose their weights takes as long as to multiply by them,
    so whoever computes often keeps this. It follows every change of the parameters in place; a
    branch whose modules were replaced must be read again.

    Args:
        branch: A batchable branch.
        activation: A name in `KERNELS`.
    """

    def __init__(self, branch: Branch, activation: str) -> None:
        layers = (*branch.hidden, branch.head)
        parameters = (p for layer in layers for p in (layer.weight, layer.bias))
        self.parameters = [p for p in parameters if p is not None]
        self.kernel = KERNELS[activation]
        *self.hidden, self.head = (_read(layer.weight, layer.bias) for layer in layers)
        self._rooms: dict[tuple[int, int], _Room] = {}

    def values(self, x: Observations) -> Tensor:
        """Values (M, B, A) of features (M, B, in), without gradient."""
        forward = self.kernel.forward
        for layer in self.hidden:
            x = forward(layer(x))[0]
        return self.head(x)

    def td_loss(
        self, x: Observations, action: Tensor, target: Callable[[Tensor], Tensor], kind: str
    ) -> tuple[KnownLoss, TDErrors]:
        """Temporal-difference loss with its gradient.

        Args:
            x: (M, B + C, in) float features, or the ones of binary features.
            action: (M, B, 1) int64.
            target: From the values (M, C, A) of the last C rows, which are computed along with the
                first B and have no gradient, to what the first are moved towards, (M, B, 1).
            kind: "huber" or "mse".

        Returns:
            Loss (M,), and what it is made of, without gradient.
        """
        rows = action.shape[1]
        every = rows if isinstance(x, SparseBatch) else x.shape[1]
        room = self._rooms.get((every, rows))
        if room is None:
            with torch.inference_mode(False):  # others change what lies in it, in any mode
                room = self._rooms[every, rows] = _Room(self, every, rows)
        h, hidden, kept = x, [room.first(0, x)], []
        for index, layer in enumerate(self.hidden):
            h, needed = self.kernel.forward(layer(h, room.outputs[index]))
            hidden.append(room.first(index + 1, h))
            kept.append(hidden[-1] if needed is h else _first(needed, rows))
        values = self.head(h, room.outputs[-1])
        chosen = values.gather(-1, action)
        wanted = target(room.rest if values is room.outputs[-1] else values[:, rows:])
        errors = TDErrors(chosen, wanted, chosen - wanted)
        slope = td_slope(errors.error, kind)
        grad = torch.scatter(room.zeros, -1, action, slope / rows)
        self._differentiate(grad, hidden, kept, room.gradients)
        return KnownLoss(
            lambda: errors.losses(kind).mean((1, 2)), self.parameters, room.gradients, room.row
        ), errors

    def _differentiate(
        self,
        grad: Tensor,
        hidden: list[Observations],
        kept: list[Tensor],
        gradients: Sequence[Tensor],
    ) -> None:
        """Compute the gradients of all parameters.

        Args:
            grad: (M, B, A) gradient of the values.
            hidden: What each layer was given, (M, B, in).
            kept: What the kernel's forward kept of each hidden layer.
            gradients: Memory for them, in the order of the parameters.
        """
        layers, left = (*self.hidden, self.head), list(gradients)
        for index in range(len(kept), -1, -1):
            h, layer = hidden[index], layers[index]
            if layer.bias is not None:
                torch.sum(grad, 1, out=left.pop())
            if isinstance(h, SparseBatch):
                left.pop().copy_(sum_rows(h, grad))
            else:
                torch.bmm(grad.mT, h, out=left.pop())
            if index:
                grad = self.kernel.backward(torch.bmm(grad, layer.weight), kept[index - 1])


class _Room:
    """Memory that is used again in every update of as many rows.

    Args:
        branch: The branch that is computed.
        every: B + C, rows of each member.
        rows: B, how many of them have a gradient.
    """

    def __init__(self, branch: PlainBranch, every: int, rows: int) -> None:
        layers, like = (*branch.hidden, branch.head), branch.head.weight
        members = len(like)
        self.rows = rows
        self.outputs = [like.new_empty(members, every, layer.weight.shape[1]) for layer in layers]
        self.rest = self.outputs[-1][:, rows:]
        """The last outputs of the rows without a gradient."""
        self.zeros = like.new_zeros(members, rows, like.shape[1])
        self.row: Tensor | None = None
        """(1, weights) the gradients of a single member."""
        self.gradients = [torch.empty_like(p, requires_grad=False) for p in branch.parameters]
        if members == 1:
            sizes = [p.numel() for p in branch.parameters]
            self.row = like.new_empty(1, sum(sizes))
            pieces = torch.split_with_sizes(self.row, sizes, 1)
            pairs = zip(pieces, branch.parameters, strict=True)
            self.gradients = [piece.view_as(parameter) for piece, parameter in pairs]
        self._firsts: dict[int, tuple[Any, Any]] = {}

    def first(self, place: int, x: Any) -> Any:
        """The rows of `x` that have a gradient, looked up where it is the same tensor as before."""
        known, first = self._firsts.get(place, (None, x))
        if known is not x:
            first = _first(x, self.rows)
            self._firsts[place] = x, first
        return first


def _read(weight: Tensor, bias: Tensor | None) -> _Layer:
    weight = weight.detach()
    return _Layer(weight, weight.mT, None if bias is None else bias.detach().unsqueeze(1))


def plain_values(branch: Branch, activation: str, x: Observations) -> Tensor:
    """Values (M, B, A) of features (M, B, in), without gradient.

    Args:
        branch: A batchable branch.
        activation: A name in `KERNELS`.
        x: Float features, or the ones of binary features.
    """
    return PlainBranch(branch, activation).values(x)


def _first(x: Any, rows: int) -> Any:
    """The first rows of each member; a sparse batch has no others."""
    if isinstance(x, SparseBatch) or x.shape[1] == rows:
        return x
    return x.narrow(1, 0, rows)


def fused_td_loss(
    branch: Branch, activation: str, x: Observations, action: Tensor, target: Tensor, kind: str
) -> tuple[Tensor, Tensor]:
    """:func:`~neoteny.agents.dqn_loss.td_loss` of a batchable branch's values, for autograd.

    Args:
        branch: A batchable branch.
        activation: A name in `KERNELS`.
        x: (M, B, in) float features, or the ones of binary features.
        action: (M, B, 1) int64.
        target: (M, B, 1).
        kind: "huber" or "mse".

    Returns:
        Loss (M,) and statistics (4, M) as of the plain function.
    """
    loss, errors = PlainBranch(branch, activation).td_loss(x, action, lambda _: target, kind)
    return loss.tensor(), errors.statistics(kind)
