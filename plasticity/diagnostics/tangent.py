"""Tangent kernels of a whole model, by the cheaper of two ways."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from neoteny.plasticity.diagnostics.functional import Forward, ModelFunction, in_mode
from neoteny.plasticity.diagnostics.jacobian import jacobians_led
from neoteny.plasticity.diagnostics.kernel import LinearMap, kernel_by_jacobian, kernel_by_layers
from neoteny.plasticity.diagnostics.trace import LayerTrace, Trace, trace
from neoteny.plasticity.layers import IsoLinear
from neoteny.plasticity.networks import Network

__all__ = ["kernels_of", "tangent_kernels"]


def tangent_kernels(
    model: nn.Module,
    batch: Tensor,
    *,
    forward: Forward | None = None,
    members: bool = False,
    training: bool = False,
) -> dict[str, Tensor]:
    """Empirical tangent kernel of each branch, over all its outputs.

    Where all parameters belong to linear layers that every sample passes once, by the sum over
    layers: k backward passes of the batch and products of B k rows. Else by the Jacobian, in
    chunks: B k backward passes of one sample for each member.

    Args:
        model: `Network`, or any module.
        batch: (B, ...); (M, B, ...) for `Network` and with `members`.
        forward: as of `diagnose`.
        members: as of `diagnose`.
        training: use batch statistics in batch norms, on which samples then depend.

    Returns:
        (M, B k, B k) for each branch; row b k + j is output j of sample b.
    """
    with in_mode(model, training):
        return kernels_of(ModelFunction(model, forward, members), batch, training)


def kernels_of(function: ModelFunction, batch: Tensor, training: bool = False) -> dict[str, Tensor]:
    """Kernels of a model in the right mode; see `tangent_kernels`."""
    linear = None if training else _linear_layers(function, trace(function, batch))
    if linear is not None:
        seen, layers = linear
        return {branch: _by_layers(outputs, layers) for branch, outputs in seen.outputs.items()}
    parameters, constants = function.trained("its kernel"), function.constants()
    count = len(next(iter(parameters.values())))
    inputs = batch if function.members else batch.unsqueeze(0)
    kernels: dict[str, list[Tensor]] = {}
    with torch.no_grad():
        example = function({k: p[0] for k, p in parameters.items()} | constants, inputs[0])
    for branch in example:
        for member in range(count):

            def outputs(point: dict[str, Tensor], x: Tensor, branch: str = branch) -> Tensor:
                return function(point | constants, x)[branch]

            own = {name: value[member] for name, value in parameters.items()}
            kernel = kernel_by_jacobian(outputs, own, inputs[member], not training)
            kernels.setdefault(branch, []).append(kernel)
    return {branch: torch.stack(each) for branch, each in kernels.items()}


def _by_layers(outputs: Tensor, layers: list[LayerTrace]) -> Tensor:
    sums = [layer.sums for layer in layers if layer.sums is not None]
    derivatives = jacobians_led(outputs, sums, layers[0].members)
    return kernel_by_layers(
        [
            LinearMap(layer.samples(layer.inputs.detach()), derivative, layer.bias)
            for layer, derivative in zip(layers, derivatives, strict=True)
            if layer.inputs is not None
        ]
    )


def _linear_layers(function: ModelFunction, seen: Trace) -> tuple[Trace, list[LayerTrace]] | None:
    """The layers, if they are linear, passed once by each sample and have all the parameters."""
    layers = [layer for layer in seen.layers.values() if layer.calls]
    simple = all(
        isinstance(layer.module, IsoLinear | nn.Linear)
        and layer.calls == 1
        and layer.sums is not None
        and layer.sums.dim() == 2 + layer.members
        and layer.sums.requires_grad
        and layer.inputs is not None
        and layer.norm is None
        for layer in layers
    )
    counted = sum(p.numel() for layer in layers for p in layer.module.parameters())
    model = function.module.model
    trained = model.weights() if isinstance(model, Network) else model.parameters()
    if not simple or counted != sum(p.numel() for p in trained if p.requires_grad):
        return None
    return seen, layers
