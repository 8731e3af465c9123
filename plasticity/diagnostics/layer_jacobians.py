"""Jacobians of the layers of a model, by products where a layer's matrix and activation are known.

They are those of a layer's output by its own input, so that none of the rest of the network is
passed.
"""

from __future__ import annotations

import torch
from torch import Tensor

from neoteny.plasticity.diagnostics.functional import ModelFunction
from neoteny.plasticity.diagnostics.jacobian import jacobians_led, linear_jacobian
from neoteny.plasticity.diagnostics.trace import LayerTrace, Trace, trace
from neoteny.plasticity.layers import IsoConv2d, IsoLinear

MOST_ENTRIES = 2**20
"""Numbers in a sample's Jacobian, beyond which it is left out."""

MOST_NUMBERS = 2**21
"""Numbers in a layer's Jacobians of a member, beyond which fewer samples are taken."""


def jacobians_of(function: ModelFunction, batch: Tensor) -> dict[str, Tensor]:
    """Jacobians of layers that have an activation, and of each branch.

    The number of samples is such that the largest of them have at most `MOST_NUMBERS` numbers a
    member.

    Args:
        function: the model in the right mode.
        batch: (B, ...), or (M, B, ...) with members.

    Returns:
        "<branch>/<layer>" or "<branch>/network" to (M, few, out, in).
    """
    first = batch[:, :1] if function.members else batch[:1]
    few = max(1, MOST_NUMBERS // max(1, *_sizes(trace(function, first))))
    seen = trace(function, batch[:, :few] if function.members else batch[:few])
    found = {
        key: jacobian
        for key, layer in seen.layers.items()
        if (jacobian := layer_jacobian(layer)) is not None
    }
    for branch, outputs in seen.outputs.items():
        if _measurable(outputs, seen.inputs, seen.members):
            found[f"{branch}/network"] = jacobians_led(outputs, [seen.inputs], seen.members)[0]
    return found


def _sizes(seen: Trace) -> list[int]:
    """Numbers in each Jacobian that is measured, of a trace of one sample."""
    pairs = [(layer.outputs, layer.inputs) for layer in seen.layers.values()]
    pairs += [(outputs, seen.inputs) for outputs in seen.outputs.values()]
    return [
        _entries(outputs, inputs, seen.members)
        for outputs, inputs in pairs
        if outputs is not None and inputs is not None
        if _measurable(outputs, inputs, seen.members)
    ]


def _entries(outputs: Tensor, inputs: Tensor, members: bool) -> int:
    """Numbers in a sample's Jacobian."""
    return outputs.shape[1 + members :].numel() * inputs.shape[1 + members :].numel()


def _measurable(outputs: Tensor | None, inputs: Tensor | None, members: bool) -> bool:
    """True if there is a Jacobian between two tensors, and of a size that can be handled."""
    if outputs is None or inputs is None:
        return False
    known = outputs.requires_grad and inputs.requires_grad
    return known and _entries(outputs, inputs, members) <= MOST_ENTRIES


def layer_jacobian(layer: LayerTrace) -> Tensor | None:
    """Jacobian (M, B, out, in) of a layer's output; none without activation or if too big."""
    if layer.units is None or not _measurable(layer.outputs, layer.inputs, layer.members):
        return None
    if layer.outputs is None or layer.inputs is None or layer.preactivations is None:
        return None
    if not layer.own:
        return jacobians_led(layer.outputs, [layer.inputs], layer.members)[0]
    norm = None
    if layer.norm is not None:
        sums = layer.before_norm()
        gain = layer.norm.weight.detach().view(len(sums), 1, -1, *[1] * (sums.dim() - 3))
        norm = (sums.flatten(2), gain.expand_as(sums[:, :1]).flatten(1))
    return linear_jacobian(
        _matrix(layer.module, layer.inputs),
        layer.preactivations.detach().flatten(2),
        layer.activation,
        norm,
        layer.share,
    )


@torch.no_grad()
def _matrix(module: IsoLinear | IsoConv2d, inputs: Tensor) -> Tensor:
    """Matrix (M, out, in) of a layer, of flattened images: its answers to unit vectors."""
    if isinstance(module, IsoLinear):
        return module.weight.detach()
    units = torch.eye(inputs[0, 0].numel(), dtype=inputs.dtype, device=inputs.device)
    images = units.view(-1, *inputs.shape[2:]).expand(len(inputs), -1, -1, -1, -1)
    found: Tensor = module(images) - module(torch.zeros_like(images[:, :1]))
    return found.flatten(2).mT
