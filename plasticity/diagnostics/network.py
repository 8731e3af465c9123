"""Diagnostics of a whole network on a probe batch, per branch, layer and member."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from neoteny.core.errors import InputError
from neoteny.plasticity.activations import ACTIVATIONS
from neoteny.plasticity.diagnostics.per_layer import DIAGNOSTICS, Features, Sorted, Weights
from neoteny.plasticity.diagnostics.spectra import singular_values_of
from neoteny.plasticity.surgery import as_samples, unit_activity


@torch.no_grad()
def measure_network(
    network: Any,
    probe: Tensor,
    scale: float = 1.0,
    tau: float = 0.025,
    spectra: Mapping[str, Tensor] | None = None,
) -> dict[str, Tensor]:
    """Measure every layer's weights and every hidden activation on a probe batch.

    One forward pass and one eigenvalue call per size of Gram matrix, over all members, layers and
    branches together. Nothing is copied to the host. A member that is not finite gets NaN and
    touches no other.

    Kernels of convolutions count as (out, in * kh * kw), positions of an image as samples. A body
    that branches share is reported once, as the branch `shared`. In a residual network the ranks
    are those of what a layer hands on, and a unit is dormant or dead by its own activation. The
    pair of a CReLU unit and the group of a GroupSort are judged as one, as interventions that
    recycle units do.

    What is measured is in `DIAGNOSTICS`: numbers of the weights of `layer0` ... and `head`, of
    hidden activations and, for a network with a method `preactivations`, like `features` but before
    the activation, and a `spec.activation` that sorts, of what is sorted.

    Args:
        network: has `branches`, each with `body.layers` and `head`, and `features(obs)`; a residual
            one also `activations(obs)`.
        probe: (M, B, *obs) observations; B of at least twice the width, or ranks are capped by it.
        scale: target squared singular value of `gram_deviation`.
        tau: threshold of `dormant_fraction`.
        spectra: the network's `weight_spectra`, where they are known.

    Returns:
        "plasticity/<branch>/<layer>/<name>" to (M,) float32.
    """
    owners = _owners(network.branches)
    features = _by_layer(owners, network.features(probe))
    units = features
    if getattr(getattr(network, "spec", None), "residual", False):
        units = _by_layer(owners, network.activations(probe))
    weights = _weights(network.branches, owners)
    activation = ACTIVATIONS[getattr(getattr(network, "spec", None), "activation", "relu")]
    activity = {key: unit_activity(h, activation) for key, h in units.items()}
    report = measure_layers(weights, features, activity, scale, tau, spectra)
    report |= _order(network, owners, probe)
    return {f"plasticity/{key}": value.float() for key, value in report.items()}


def measure_layers(
    weights: Mapping[str, Tensor],
    features: Mapping[str, Tensor],
    activity: Mapping[str, Tensor],
    scale: float,
    tau: float,
    known: Mapping[str, Tensor] | None = None,
) -> dict[str, Tensor]:
    """Measure weights and features of all layers, with one eigenvalue call per size.

    Args:
        weights: matrices (M, out, in) by layer.
        features: what layers hand on, (M, B, n).
        activity: absolute activation (M, B, units) of each unit of the layers in `features`.
        scale: target squared singular value.
        tau: threshold of dormant units.
        known: singular values of the weights, by layer; unset, they are computed with the others.

    Returns:
        "<layer>/<name>" to (M,).
    """
    own = {} if known else weights
    computed = iter(singular_values_of([*own.values(), *features.values()]))
    sigmas = known or {key: next(computed) for key in own}
    report: dict[str, Tensor] = {}
    for key, matrix in weights.items():
        found = DIAGNOSTICS.measure(Weights(matrix, sigmas[key], scale))
        report |= {f"{key}/{name}": value for name, value in found.items()}
    for key, h in features.items():
        found = DIAGNOSTICS.measure(Features(h, next(computed), activity[key], tau))
        report |= {f"{key}/{name}": value for name, value in found.items()}
    return report


@torch.no_grad()
def weight_spectra(network: Any) -> dict[str, Tensor]:
    """Singular values of the weights of all layers.

    Args:
        network: one of the project's, or like it (see `measure_network`).

    Returns:
        "<branch>/<layer>" to (M, k) float64, descending; empty for a module without `branches`.
    """
    branches = getattr(network, "branches", None)
    if not isinstance(branches, dict):
        return {}
    weights = _weights(branches, _owners(branches))
    return dict(zip(weights, singular_values_of(list(weights.values())), strict=True))


@torch.no_grad()
def change_between(before: Sequence[Tensor], after: Sequence[Tensor]) -> Tensor:
    """Norm of the change of all parameters, per member: the update norm over any span of time.

    Args:
        before: clones of the parameters, each (M, ...), from before the change.
        after: the same parameters now.

    Returns:
        (M,) Euclidean norm of the difference, over all tensors together.

    Raises:
        ValueError: if the two lists differ in length.
    """
    if len(before) != len(after):
        raise InputError(f"{len(before)} tensors before and {len(after)} after; give the same ones")
    squares = [
        (new - old).flatten(1).square().sum(1) for old, new in zip(before, after, strict=True)
    ]
    return torch.stack(squares).sum(0).sqrt()


def _owners(branches: Mapping[str, Any]) -> dict[str, str]:
    """Name of every body in the report to a branch that has it."""
    names: dict[int, list[str]] = {}
    for name, branch in branches.items():
        names.setdefault(id(branch.body), []).append(name)
    return {found[0] if len(found) == 1 else "shared": found[0] for found in names.values()}


def _by_layer(
    owners: Mapping[str, str], found: Mapping[str, Sequence[Tensor]]
) -> dict[str, Tensor]:
    """Results of every layer of every branch, as samples (M, B, n), by body and layer."""
    return {
        f"{body}/layer{index}": as_samples(values)
        for body, branch in owners.items()
        for index, values in enumerate(found[branch])
    }


def _weights(branches: Mapping[str, Any], owners: Mapping[str, str]) -> dict[str, Tensor]:
    """Weights of all layers as matrices (M, out, in)."""
    weights = {}
    for body, branch in owners.items():
        for index, layer in enumerate(branches[branch].body.layers):
            weights[f"{body}/layer{index}"] = layer.weight.flatten(2)
    for name, branch in branches.items():
        weights[f"{name}/head"] = branch.head.weight.flatten(2)
    return weights


def _order(network: Any, owners: Mapping[str, str], probe: Tensor) -> dict[str, Tensor]:
    """Inputs of GroupSort, where the network shows its pre-activations."""
    preactivations = getattr(network, "preactivations", None)
    size = ACTIVATIONS[network.spec.activation].group if preactivations is not None else 1
    if preactivations is None or size == 1:
        return {}
    return {
        f"{layer}/{name}": value
        for layer, z in _by_layer(owners, preactivations(probe)).items()
        for name, value in DIAGNOSTICS.measure(Sorted(z, size)).items()
    }
