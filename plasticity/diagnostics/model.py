"""`diagnose`: every layer of any network, under the same names."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from neoteny.core.errors import InputError
from neoteny.plasticity.diagnostics.activity import Activity, Gradients, Squashed
from neoteny.plasticity.diagnostics.functional import (
    Forward,
    ModelFunction,
    check_batch,
    in_mode,
)
from neoteny.plasticity.diagnostics.jacobian import jacobian_summary
from neoteny.plasticity.diagnostics.kernel import kernel_summary
from neoteny.plasticity.diagnostics.layer_jacobians import jacobians_of
from neoteny.plasticity.diagnostics.network import measure_layers, measure_network
from neoteny.plasticity.diagnostics.per_layer import DIAGNOSTICS, Sorted, Weights
from neoteny.plasticity.diagnostics.spectra import singular_values_of
from neoteny.plasticity.diagnostics.tangent import kernels_of
from neoteny.plasticity.diagnostics.trace import LayerTrace, Trace, trace
from neoteny.plasticity.networks import Network
from neoteny.plasticity.surgery import unit_activity

GROUPS = ("weights", "features", "activity", "jacobians", "kernel")
"""Groups of diagnostics for `diagnose`, from the cheapest to the costliest."""

CHEAP = ("weights", "features")

Loss = Callable[[dict[str, Tensor]], Tensor]
"""Maps outputs by branch to losses, which are summed."""


def diagnose(
    model: Any,
    batch: Tensor,
    groups: Collection[str] = CHEAP,
    *,
    forward: Forward | None = None,
    members: bool = False,
    training: bool = False,
    loss: Loss | None = None,
    samples: int = 64,
    scale: float = 1.0,
    tau: float = 0.025,
    spectra: Mapping[str, Tensor] | None = None,
) -> dict[str, Tensor]:
    """Measure every layer of any network on a batch.

    The project's networks show their layers; in any other module layers (linear, convolutional,
    attention) are found by type, and their activations are caught for this call alone. The model
    is left as it was, hooks, modes and statistics of batch norms included.

    Kernels of convolutions count as (out, in * kh * kw), positions of an image or a sequence as
    samples. A layer that several branches share is reported once, as of the branch `shared`. The
    features of a CReLU unit and the units of a GroupSort's group are judged as one, as `redo` and
    its like reset them. A member that is not finite gets NaN and touches no other.

    Groups: `weights` (one eigenvalue call per size of Gram matrix); `features` (one forward pass,
    and one eigenvalue call per size); `activity` (as much again); `jacobians` (products for linear
    layers of the project's networks, else a backward pass for each output of each layer; a
    singular value decomposition of each sample); `kernel` (see `tangent_kernels`, and the
    eigenvalues of samples * outputs rows). docs/diagnostics.md lists every name.

    Args:
        model: `Network`, or any module.
        batch: inputs of the model, (B, ...); (M, B, ...) for `Network` and with `members`.
        groups: some of `GROUPS`.
        forward: applies the model to the batch, for instance
            `lambda agent, x: {"policy": agent.actor(x), "value": agent.critic(x)}`; `model(batch)`
            by default. Names of a dictionary are the branches; a single output is `model`.
        members: True if the batch and all parameters of a module have a leading axis of members.
        training: use batch statistics in batch norms; dropout is off in any case. Not for
            Jacobians, where samples must not depend on each other.
        loss: losses by outputs, a dictionary by branch (`model` of a single output); with it hidden
            layers also have `gradient_dormant_fraction`.
        samples: of the batch, at most so many for Jacobians and the kernel.
        scale: target squared singular value of `gram_deviation`.
        tau: threshold of dormant units.
        spectra: `weight_spectra` of one of the project's networks, where they are known already.

    Returns:
        "plasticity/<branch>/<layer>/<name>" to (M,) float32; M is 1 without members. What concerns
        a branch as a whole has the layer `network`.

    Raises:
        ValueError: for an unknown group, or a model that gives no floats.
    """
    _check(groups, training)
    check_batch(batch)
    report: dict[str, Tensor] = {}
    shown = isinstance(getattr(model, "branches", None), dict)
    if shown:
        cheap = set(groups) & set(CHEAP)
        own = measure_network(model, batch, scale, tau, spectra) if cheap else {}
        report |= {key: value for key, value in own.items() if _group(key) in groups}
        if set(groups) <= set(CHEAP) and loss is None:
            return report
    if not isinstance(model, nn.Module):
        raise InputError(f"{type(model).__name__} is no module: only {', '.join(CHEAP)} are known")
    function = ModelFunction(model, forward, members)
    with in_mode(model, training):
        found = _measure(function, batch, groups, loss, samples, scale, tau)
    known = {f"plasticity/{key}": value.detach().float() for key, value in found.items()}
    return known | report


def _check(groups: Collection[str], training: bool) -> None:
    unknown = [group for group in groups if group not in GROUPS]
    if isinstance(groups, str) or unknown:
        raise InputError(f"groups is {groups!r}: give some of {', '.join(GROUPS)}")
    if training and "jacobians" in groups:
        raise InputError("jacobians need samples that do not share a batch: drop training")


def _group(key: str) -> str:
    """Group of a cheap name."""
    diagnostic = DIAGNOSTICS[key.rsplit("/", 1)[1]]
    return "weights" if diagnostic.of is Weights else "features"


def _measure(
    function: ModelFunction,
    batch: Tensor,
    groups: Collection[str],
    loss: Loss | None,
    samples: int,
    scale: float,
    tau: float,
) -> dict[str, Tensor]:
    """All groups by one trace of the whole batch and one of few samples."""
    own = isinstance(function.module.model, Network)
    report: dict[str, Tensor] = {}
    if not own or "activity" in groups or loss is not None:
        seen = trace(function, batch)
        if not own:
            report |= _cheap(seen, groups, scale, tau)
        if "activity" in groups:
            report |= _activity(seen)
        if loss is not None:
            report |= _gradients(seen, loss, tau)
    return report | _of_samples(function, _first(function, batch, samples), groups)


def _of_samples(
    function: ModelFunction, batch: Tensor, groups: Collection[str]
) -> dict[str, Tensor]:
    """The groups that need a matrix for each sample or pair of samples."""
    report: dict[str, Tensor] = {}
    if "jacobians" in groups:
        found = jacobians_of(function, batch)
        for key, summary in zip(found, jacobian_summary(list(found.values())), strict=True):
            report |= {f"{key}/{name}": value for name, value in summary.items()}
    if "kernel" in groups:
        for branch, kernel in kernels_of(function, batch).items():
            summary = kernel_summary(kernel)
            report |= {f"{branch}/network/{name}": value for name, value in summary.items()}
    return report


def _first(function: ModelFunction, batch: Tensor, samples: int) -> Tensor:
    return batch[:, :samples] if function.members else batch[:samples]


def _hidden(seen: Trace) -> dict[str, tuple[LayerTrace, Tensor, Tensor]]:
    """Layers with an activation, their units and their outputs, as samples (M, B, n)."""
    return {
        key: (
            layer,
            layer.samples(layer.units.detach()),
            layer.samples((layer.units if layer.outputs is None else layer.outputs).detach()),
        )
        for key, layer in seen.layers.items()
        if layer.units is not None
    }


@torch.no_grad()
def _cheap(seen: Trace, groups: Collection[str], scale: float, tau: float) -> dict[str, Tensor]:
    """Weights and features of layers found by type."""
    weights = {key: layer.weight for key, layer in seen.layers.items()}
    hidden = _hidden(seen) if "features" in groups else {}
    report = measure_layers(
        weights if "weights" in groups else {},
        {key: features for key, (_, _, features) in hidden.items()},
        {key: unit_activity(h, layer.activation) for key, (layer, h, _) in hidden.items()},
        scale,
        tau,
    )
    for key, (layer, _, _) in hidden.items():
        if layer.activation.group > 1 and layer.preactivations is not None:
            z = layer.samples(layer.preactivations)
            found = DIAGNOSTICS.measure(Sorted(z, layer.activation.group))
            report |= {f"{key}/{name}": value for name, value in found.items()}
    return report


@torch.no_grad()
def _activity(seen: Trace) -> dict[str, Tensor]:
    """Size, spread, sparsity and further ranks of features."""
    hidden = _hidden(seen)
    spectra = singular_values_of([features for _, _, features in hidden.values()])
    report: dict[str, Tensor] = {}
    for (key, (layer, h, features)), sigma in zip(hidden.items(), spectra, strict=True):
        found = DIAGNOSTICS.measure(Activity(features, sigma, h))
        if layer.squashing:
            found |= DIAGNOSTICS.measure(Squashed(h))
        report |= {f"{key}/{name}": value for name, value in found.items()}
    return report


def _gradients(seen: Trace, loss: Loss, tau: float) -> dict[str, Tensor]:
    """Units without gradient."""
    hidden = {k: layer for k, layer in seen.layers.items() if layer.units is not None}
    found = torch.autograd.grad(
        loss(seen.outputs).sum(),
        [layer.units for layer in hidden.values() if layer.units is not None],
        allow_unused=True,
        retain_graph=True,
    )
    report: dict[str, Tensor] = {}
    for (key, layer), gradient in zip(hidden.items(), found, strict=True):
        if gradient is not None:
            each = unit_activity(layer.samples(gradient), layer.activation)
            measured = DIAGNOSTICS.measure(Gradients(each, tau))
            report |= {f"{key}/{name}": value for name, value in measured.items()}
    return report
