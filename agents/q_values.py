"""A plain Q-network's values and its whole loss in as few operations as they need.

A DQN's networks and minibatches are so small that a processor spends more time on bookkeeping than
on arithmetic. Values that need no gradient are computed without autograd, and the loss is a single
autograd node that knows its own gradient: the same numbers up to round-off, in half the time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from neoteny.agents.networks import Branch, Observations
from neoteny.agents.sparse import SparseBatch, sum_columns, sum_rows
from neoteny.agents.stacked import KERNELS, Kernel

__all__ = ["fused_td_loss", "plain_values"]


def _layers(branch: Branch) -> Iterator[Tensor | None]:
    """Weight and bias of every layer, the head's last."""
    for layer in (*branch.hidden, branch.head):
        yield layer.weight
        yield layer.bias


def _affine(x: Observations, weight: Tensor, bias: Tensor | None) -> Tensor:
    """(M, B, in) times (M, out, in) transposed, plus (M, out)."""
    if isinstance(x, SparseBatch):
        z = sum_columns(x, weight)
        return z if bias is None else z.add_(bias.unsqueeze(1))
    if bias is None:
        return torch.bmm(x, weight.mT)
    return torch.baddbmm(bias.unsqueeze(1), x, weight.mT)


@torch.no_grad()
def plain_values(branch: Branch, activation: str, x: Observations) -> Tensor:
    """Values (M, B, A) of features (M, B, in), without gradient.

    Args:
        branch: A stackable branch.
        activation: A name in `KERNELS`.
        x: Float features, or the ones of binary features.
    """
    forward = KERNELS[activation].forward
    for layer in branch.hidden:
        x = forward(_affine(x, layer.weight, layer.bias))[0]
    return _affine(x, branch.head.weight, branch.head.bias)


class _TDLoss(torch.autograd.Function):
    """Forward through all layers, the loss and its slope; backward to the parameters."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Observations,
        action: Tensor,
        target: Tensor,
        kind: str,
        kernel: Kernel,
        *parameters: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        weights: Sequence[Any] = parameters[::2]
        biases = parameters[1::2]
        h, hidden, kept = x, [], []
        for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
            h, needed = kernel.forward(_affine(h, weight, bias))
            hidden.append(h)
            kept.append(needed)
        values = _affine(h, weights[-1], biases[-1])
        chosen = values.gather(-1, action.unsqueeze(-1)).squeeze(-1)
        error = chosen - target
        slope = error.clamp(-1.0, 1.0) if kind == "huber" else error
        loss = slope * torch.add(error, slope, alpha=-0.5)
        statistics = torch.stack([loss, error.abs(), chosen, target]).mean(-1)
        ctx.x, ctx.kernel, ctx.actions = x, kernel, values.shape[-1]
        ctx.biased = [bias is not None for bias in biases]
        ctx.save_for_backward(action, slope, *hidden, *kept, *weights)
        ctx.mark_non_differentiable(statistics)
        return statistics[0].clone(), statistics

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> Any:
        action, slope, *saved = ctx.saved_tensors
        depth = len(ctx.biased) - 1
        hidden, kept, weights = saved[:depth], saved[depth : 2 * depth], saved[2 * depth :]
        slope = slope * (grad / action.shape[1]).unsqueeze(-1)
        g = slope.new_zeros(*action.shape, ctx.actions)
        g.scatter_(-1, action.unsqueeze(-1), slope.unsqueeze(-1))
        found: list[Tensor | None] = []  # the last layer's first
        for index in range(depth, -1, -1):
            h = hidden[index - 1] if index else ctx.x
            found.append(g.sum(1) if ctx.biased[index] else None)
            found.append(sum_rows(h, g) if isinstance(h, SparseBatch) else torch.bmm(g.mT, h))
            if index:
                g = ctx.kernel.backward(torch.bmm(g, weights[index]), kept[index - 1])
        return None, None, None, None, None, *reversed(found)


def fused_td_loss(
    branch: Branch, activation: str, x: Observations, action: Tensor, target: Tensor, kind: str
) -> tuple[Tensor, Tensor]:
    """:func:`~neoteny.agents.dqn_loss.td_loss` of a stackable branch's values, as one node.

    Args:
        branch: A stackable branch.
        activation: A name in `KERNELS`.
        x: (M, B, in) float features, or the ones of binary features.
        action: (M, B) int64.
        target: (M, B).
        kind: "huber" or "mse".

    Returns:
        Loss (M,) and statistics (4, M) as of the plain function.
    """
    loss, statistics = _TDLoss.apply(  # type: ignore[no-untyped-call]
        x, action, target, kind, KERNELS[activation], *_layers(branch)
    )
    return loss, statistics
