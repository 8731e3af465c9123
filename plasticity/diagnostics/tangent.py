"""Tangent kernels of a whole model, by the cheaper of two ways."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neoteny.plasticity.diagnostics.functional import Forward, ModelFunction, in_mode
from neoteny.plasticity.diagnostics.jacobian import jacobians_led, normalised
from neoteny.plasticity.diagnostics.kernel import LinearMap, kernel_by_jacobian, kernel_by_layers
from neoteny.plasticity.diagnostics.trace import LayerTrace, Trace, trace
from neoteny.plasticity.layers import IsoConv2d, IsoLinear
from neoteny.plasticity.networks import Network


def tangent_kernels(
    model: nn.Module,
    batch: Tensor,
    *,
    forward: Forward | None = None,
    members: bool = False,
    training: bool = False,
) -> dict[str, Tensor]:
    """Empirical tangent kernel of each branch, over all its outputs.

    Where all parameters belong to linear layers, convolutions and the project's norms, each called
    once, by the sum over layers: k backward passes of the batch and products of B k rows. Else by
    the Jacobian, in chunks: B k backward passes of one sample for each member.

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
    ends = [layer.preactivations if layer.norm else layer.sums for layer in layers]
    derivatives = jacobians_led(outputs, [e for e in ends if e is not None], layers[0].members)
    return kernel_by_layers(
        [
            part
            for layer, derivative in zip(layers, derivatives, strict=True)
            for part in _maps(layer, derivative)
        ]
    )


def _maps(layer: LayerTrace, derivative: Tensor) -> list[LinearMap]:
    """A layer as linear maps: its weights, and the gain and the offset of its norm.

    Args:
        layer: passed once by each sample.
        derivative: (M, B, k, out) of the outputs with respect to the layer's sums, or to what its
            norm makes of them; images flattened.
    """
    if layer.norm is None:
        return [_map(layer, derivative)]
    sums = layer.before_norm()
    channels = sums.shape[2]
    gain = layer.norm.weight.detach().repeat_interleave(sums[0, 0, 0].numel(), 1)
    flat = sums.flatten(2)
    scaled = (derivative * gain[:, None, None]).mT
    before = normalised(scaled, flat, torch.ones_like(gain)).mT
    centred = F.layer_norm(flat, flat.shape[-1:]).unsqueeze(2)
    constant = torch.ones_like(flat[..., :1])
    gains, offsets = (
        torch.unflatten(each, 3, (channels, -1)).sum(4)
        for each in (derivative * centred, derivative)
    )
    return [
        _map(layer, before),
        LinearMap(constant, gains, False),
        LinearMap(constant, offsets, False),
    ]


def _map(layer: LayerTrace, derivative: Tensor) -> LinearMap:
    """The weights of a layer as a linear map, patches of a convolution as positions."""
    assert layer.inputs is not None
    inputs, module = layer.inputs.detach(), layer.module
    inputs = inputs if layer.members else inputs.unsqueeze(0)
    if isinstance(module, IsoLinear | nn.Linear):
        return LinearMap(inputs.flatten(2), derivative, layer.bias)
    patches = F.unfold(
        inputs.flatten(0, 1),
        module.weight.shape[-2:],
        getattr(module, "dilation", 1),
        module.padding,
        module.stride,
    )
    patches = torch.unflatten(patches, 0, inputs.shape[:2]).mT
    return LinearMap(patches, torch.unflatten(derivative, 3, (-1, patches.shape[2])).mT, layer.bias)


def _known(module: nn.Module, inputs: Tensor | None, end: Tensor | None, lead: int) -> bool:
    """True if a layer's part of the kernel follows from its inputs and the derivatives at its end.

    Args:
        module: the layer.
        inputs: (M, B, ...) of its one call.
        end: its output, or that of its norm.
        lead: axes before those of a sample.
    """
    if inputs is None or end is None or not end.requires_grad:
        return False
    if isinstance(module, nn.Conv2d):
        plain = module.groups == 1 and module.padding_mode == "zeros"
        return plain and not isinstance(module.padding, str) and inputs.dim() == lead + 3
    if isinstance(module, IsoConv2d):
        return True
    return isinstance(module, IsoLinear | nn.Linear) and end.dim() == lead + 1


def _linear_layers(function: ModelFunction, seen: Trace) -> tuple[Trace, list[LayerTrace]] | None:
    """The layers, if all are linear maps, called once, and have all the parameters."""
    layers = [layer for layer in seen.layers.values() if layer.calls]
    simple = all(
        layer.calls == 1
        and _known(
            layer.module,
            layer.inputs,
            layer.preactivations if layer.norm else layer.sums,
            1 + layer.members,
        )
        for layer in layers
    )
    parts = [part for layer in layers for part in (layer.module, layer.norm) if part is not None]
    counted = sum(p.numel() for part in parts for p in part.parameters())
    model = function.module.model
    trained = model.weights() if isinstance(model, Network) else model.parameters()
    if not simple or counted != sum(p.numel() for p in trained if p.requires_grad):
        return None
    return seen, layers
