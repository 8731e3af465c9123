"""Jacobians of layers and networks, sample by sample, and diagnostics of their spectra.

A layer's Jacobian is the derivative of what it hands on with respect to what it is given: weights
times activation pattern, with norms and skips. It is computed in two ways, which agree: by
products, where a layer is linear and its activation known (`linear_jacobian`), and by autograd for
anything else (`jacobians`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from neoteny.plasticity.activations import Activation
from neoteny.plasticity.diagnostics.per_layer import DIAGNOSTICS
from neoteny.plasticity.diagnostics.spectra import round_off, singular_values_of


def jacobians(outputs: Tensor, inputs: Sequence[Tensor], lead: int = 2) -> list[Tensor]:
    """Jacobian of every sample's outputs with respect to tensors that they were computed from.

    Samples and members must not depend on each other, so batch norms have to be in evaluation
    mode.

    Cost: a backward pass from the outputs to the inputs for each of the `out` outputs.

    Args:
        outputs: (M, B, *out) in a graph of autograd.
        inputs: tensors (M, B, *in) in that graph.
        lead: number of axes before those of outputs and inputs; 1 without members.

    Returns:
        (M, B, out, in) for each input, axes of images flattened; 0 where outputs do not depend on
        it.
    """
    flat = outputs.reshape(*outputs.shape[:lead], -1)
    rows = []
    for index in range(flat.shape[-1]):
        found = torch.autograd.grad(
            flat[..., index].sum(), inputs, retain_graph=True, allow_unused=True
        )
        rows.append(
            [torch.zeros_like(x) if g is None else g for x, g in zip(inputs, found, strict=True)]
        )
    return [
        torch.stack([g.reshape(*g.shape[:lead], -1) for g in column], lead)
        for column in zip(*rows, strict=True)
    ]


def jacobians_led(outputs: Tensor, inputs: list[Tensor], members: bool) -> list[Tensor]:
    """Jacobians (M, B, out, in) of tensors with or without an axis of members."""
    if members:
        return jacobians(outputs, inputs)
    return [jacobian.unsqueeze(0) for jacobian in jacobians(outputs, inputs, 1)]


@torch.no_grad()
def linear_jacobian(
    weight: Tensor,
    preactivations: Tensor,
    activation: Activation,
    norm: tuple[Tensor, Tensor] | None = None,
    share: float | None = None,
) -> Tensor:
    """Jacobian of act(norm(W x + b)), with a skip x + share * act(...), by products.

    Cost: one product of the size of the weight for each sample with a norm, none without.

    Args:
        weight: (M, out, in).
        preactivations: (M, B, out), what the activation is applied to.
        activation: known by `ACTIVATIONS`; elementwise, a concatenation of elementwise functions,
            or a sort of groups.
        norm: the sums W x + b (M, B, out) before a layer norm, and its gain (M, out).
        share: share of the activation in a residual layer.

    Returns:
        (M, B, features, in), where an activation with two features a unit has 2 out of them.

    Source: Pennington, Schoenholz, Ganguli, "Resurrecting the sigmoid in deep learning through
    dynamical isometry" (2017), for J = D W.
    """
    batch = preactivations.shape[1]
    rows = weight.unsqueeze(1).expand(-1, batch, -1, -1)
    if norm is not None:
        rows = normalised(rows, *norm)
    if activation.group > 1:
        rows = _sorted(rows, preactivations, activation.group)
    else:
        slopes = _slopes(preactivations, activation)
        rows = torch.cat([slope.unsqueeze(-1) * rows for slope in slopes], 2)
    # A pattern can be told of a pre-activation that is not finite, but it means nothing.
    rows = torch.where(preactivations.isfinite().all(-1)[..., None, None], rows, torch.nan)
    if share is None:
        return rows
    return share * rows + torch.eye(rows.shape[-1], dtype=rows.dtype, device=rows.device)


def normalised(rows: Tensor, sums: Tensor, gain: Tensor, eps: float = 1e-5) -> Tensor:
    """Jacobian of a layer norm times rows (M, B, out, in) of a Jacobian.

    With x the normalised sums of deviation s, that is gain / s * (rows - their mean over out - x
    (x . rows) / out).

    Cost: two passes over the rows.

    Args:
        rows: derivative of the sums.
        sums: (M, B, out) before the norm.
        gain: (M, out) of the norm.
        eps: added to the variance.
    """
    centred = sums - sums.mean(-1, keepdim=True)
    deviation = (centred.square().mean(-1, keepdim=True) + eps).sqrt()
    x = (centred / deviation).unsqueeze(-1)
    projected = rows - rows.mean(-2, keepdim=True) - x * (x * rows).mean(-2, keepdim=True)
    return (gain.unsqueeze(1) / deviation).unsqueeze(-1) * projected


def _slopes(z: Tensor, activation: Activation) -> list[Tensor]:
    """Derivative of each feature of a unit with respect to its pre-activation, each (M, B, out)."""
    with torch.enable_grad():
        z = z.detach().requires_grad_()
        parts = activation.function(z, 2).chunk(activation.fan, 2)
        return [torch.autograd.grad(part.sum(), z, retain_graph=True)[0] for part in parts]


def _sorted(rows: Tensor, z: Tensor, group: int) -> Tensor:
    """Rows (M, B, out, in) in the order in which a GroupSort puts units: i, i + out/group, ..."""
    order = torch.unflatten(z, 2, (group, -1)).argsort(dim=2, stable=True)
    grouped = torch.unflatten(rows, 2, (group, -1))
    return grouped.gather(2, order.unsqueeze(-1).expand_as(grouped)).flatten(2, 3)


@dataclass(frozen=True)
class Jacobian:
    """The Jacobians of a layer or branch, one a sample."""

    values: Tensor
    """(M, B, out, in)."""
    sigma: Tensor
    """(M, B, k) their singular values, descending."""

    def mean(self, each: Tensor) -> Tensor:
        """Mean over samples of a number (M, B) of each; NaN of members that are not finite."""
        return torch.where(self.sigma[..., 0].isfinite(), each, torch.nan).mean(-1)


def jacobian_summary(found: Sequence[Tensor]) -> list[dict[str, Tensor]]:
    """Registered diagnostics of Jacobians, each the mean over samples.

    Cost: an eigenvalue problem of the smaller side for each sample, all of one size in one call.

    Args:
        found: Jacobians (M, B, out, in).

    Returns:
        For each a dictionary of (M,) float64. An isometry has `jacobian_sigma_max`,
        `jacobian_sigma_min`, `jacobian_mean_square` and `jacobian_near_mean` of 1 and
        `jacobian_log_spread` of 0.

    Source: Pennington, Schoenholz, Ganguli (2017).
    """
    spectra = singular_values_of(found)
    return [
        DIAGNOSTICS.measure(Jacobian(values, sigma))
        for values, sigma in zip(found, spectra, strict=True)
    ]


@DIAGNOSTICS.of(Jacobian)
def jacobian_sigma_max(layer: Jacobian) -> Tensor:
    """Largest singular value of a sample's Jacobian, mean over samples."""
    return layer.mean(layer.sigma[..., 0])


@DIAGNOSTICS.of(Jacobian)
def jacobian_sigma_min(layer: Jacobian) -> Tensor:
    """Smallest singular value of a sample's Jacobian, mean over samples."""
    return layer.mean(layer.sigma[..., -1])


@DIAGNOSTICS.of(Jacobian)
def jacobian_mean_square(layer: Jacobian) -> Tensor:
    """Mean squared singular value of the Jacobians."""
    return layer.mean(layer.sigma.square().mean(-1))


@DIAGNOSTICS.of(Jacobian)
def jacobian_log_spread(layer: Jacobian) -> Tensor:
    """Standard deviation of the logarithms of a Jacobian's singular values above round-off."""
    sigma, values = layer.sigma, layer.values
    kept = sigma > round_off(sigma, (values.shape[-2], values.shape[-1]), values.dtype)
    count = kept.sum(-1, keepdim=True).clamp(min=1)
    logs = torch.where(kept, sigma, 1.0).log()
    squares = torch.where(kept, logs - logs.sum(-1, keepdim=True) / count, 0.0).square()
    return layer.mean((squares.sum(-1) / count.squeeze(-1)).sqrt())


@DIAGNOSTICS.of(Jacobian)
def jacobian_near_mean(layer: Jacobian) -> Tensor:
    """Share of a Jacobian's singular values within 10 % of their mean."""
    mean = layer.sigma.mean(-1, keepdim=True)
    near = ((layer.sigma - mean).abs() <= 0.1 * mean) & (mean > 0)
    return layer.mean(near.to(layer.sigma.dtype).mean(-1))
