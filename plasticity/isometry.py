"""The isometry penalty of "Preserving Plasticity in Continual Learning via Dynamical Isometry".

The one place that holds the formula. For a weight W of shape (out, in), with G the Gram matrix of
its smaller side and s the target squared singular value,

    R(W) = ||G - s I||_F^2        grad R(W) = 4 (W W^T W - s W)

The gradient has one form for wide and tall weights. A step of strength a = 4 * lr * isometry maps
every singular value to sigma * (1 - a (sigma^2 - s)): near sqrt(s) the error shrinks by 1 - 2 a s a
step, the step diverges for a s >= 1, and exact zeros stay. Convolution kernels are taken as
(out, in * kh * kw). Leading member axes are never mixed, nor are the groups of a convolution, which
are given as `blocks`. For complex weights the transpose is the conjugate one.

With scale="free" singular values are pulled towards each other, wherever their mean is: R is taken
of W / sqrt(m), m the mean squared singular value. With D the deviation of its Gram matrix from I
and n the size of that,

    R(W) = ||D||_F^2        grad R(W) = 4 / m (D - ||D||_F^2 / n I) W = 4 / m P W

which is at right angles to W, so that m stays to first order. The step is W <- W - a P W: near an
isometry of any size deviations shrink by 1 - 2 a a step, it diverges for a >= 1, and elsewhere a is
at most LARGEST_CHANGE / ||P||_F, so that no weight is too large for it.
"""

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from neoteny.core.errors import InputError
from neoteny.plasticity import gram
from neoteny.plasticity.gram import HALVES, Scale, accurate_maps, target

DEFAULT_ISOMETRY = 0.05
"""Penalty coefficient lambda where none is given: that of the authors' reinforcement-learning code,
which has 0.1 before a gradient of half the size."""


def gram_deviation(
    weight: Tensor, scale: Scale = 1.0, member_dims: int = 0, blocks: int = 1
) -> Tensor:
    """Squared Frobenius distance of the smaller Gram matrix from scale * I: the penalty R.

    With a free scale the Gram matrix is that of the map with a mean squared singular value of 1.

    Args:
        weight: (*members, out, in, ...) float; axes after `in` are flattened into it.
        scale: target squared singular value, > 0, or "free".
        member_dims: number of leading member axes.
        blocks: number of maps stacked along `out`, see `as_maps`; their penalties are added.

    Returns:
        (*members,) float, one penalty a member.

    Raises:
        ValueError: if the weight has too few dimensions, or does not hold so many blocks.

    Source: "Preserving Plasticity ... via Dynamical Isometry", Eq. 16 (no 1/2, no normalisation).
    """
    penalty = gram.squared_norm(gram.deviation(accurate_maps(weight, member_dims, blocks), scale))
    return penalty if blocks == 1 else penalty.sum(-1)


def isometry_loss(
    weights: Tensor | Iterable[Tensor], scale: Scale = 1.0, member_dims: int = 0, blocks: int = 1
) -> Tensor:
    """Sum of `gram_deviation` over weights: the penalty to add to a loss (coupled isometry).

    Args:
        weights: one weight or several, each (*members, out, in, ...), all with the same members.
        scale: target squared singular value, > 0, or "free".
        member_dims: number of leading member axes.
        blocks: number of maps stacked along `out` in every weight, see `as_maps`.

    Returns:
        (*members,) float.

    Raises:
        ValueError: if there is no weight, one has too few dimensions, or does not hold so many
            blocks.

    Source: "Preserving Plasticity ... via Dynamical Isometry", §4.2.
    """
    items = [weights] if isinstance(weights, Tensor) else list(weights)
    if not items:
        raise InputError("isometry_loss got no weights; give at least one hidden weight")
    return torch.stack([gram_deviation(w, scale, member_dims, blocks) for w in items]).sum(0)


def _pull(matrix: Tensor, scale: Scale) -> Tensor:
    """The matrix P of a step W <- W - a P W, (*members, n, n)."""
    pull = gram.deviation(matrix, scale)
    if scale == "free":
        gram.keep_length(pull, pull)
    return pull


def isometry_grad(
    weight: Tensor, scale: Scale = 1.0, member_dims: int = 0, blocks: int = 1
) -> Tensor:
    """Closed-form gradient of `gram_deviation`: 4 (W W^T W - scale W), or 4 / m P W if it is free.

    Args:
        weight: (*members, out, in, ...) float.
        scale: target squared singular value, > 0, or "free".
        member_dims: number of leading member axes.
        blocks: number of maps stacked along `out`, see `as_maps`.

    Returns:
        Tensor of the shape and dtype of `weight`.

    Raises:
        ValueError: if the weight has too few dimensions, or does not hold so many blocks.

    Source: derived from Eq. 16 of "Preserving Plasticity ... via Dynamical Isometry".
    """
    matrix = accurate_maps(weight, member_dims, blocks)
    gradient = 4 * gram.product(_pull(matrix, scale), matrix)
    if scale == "free":
        gradient = gradient / gram.mean_square(matrix)
    return gradient.reshape(weight.shape).to(weight.dtype)


@torch.no_grad()
def isometry_step(
    weights: Sequence[Tensor],
    strength: float | Tensor,
    scale: Scale = 1.0,
    member_dims: int = 0,
    blocks: int = 1,
) -> None:
    """Move weights of one shape, in place, by -strength (W W^T W - scale W), or -strength P W.

    All weights go through one batched product, so many small layers cost little more than one.

    Args:
        weights: tensors (*members, out, in, ...) that share shape, dtype and device.
        strength: a = 4 * lr * isometry; a 0-dim tensor is never read by the host.
        scale: target squared singular value, > 0, or "free".
        member_dims: number of leading member axes.
        blocks: number of maps stacked along `out`, see `as_maps`.

    Raises:
        ValueError: for weights in half precision, in which so small a step is lost in rounding; if
            they have too few dimensions, or do not hold so many blocks.

    Source: "Preserving Plasticity ... via Dynamical Isometry", §4.4.
    """
    require_full_precision(weights[0])
    maps = [accurate_maps(weight, member_dims, blocks) for weight in weights]
    matrix = torch.stack(maps) if len(maps) > 1 else maps[0].unsqueeze(0)
    # The small matrix is scaled rather than the update: fewer passes, and a tensor strength works.
    pull = _pull(matrix, scale)
    if scale == "free":
        strength = gram.bounded(strength, pull)[..., None, None]
    updates = gram.product(pull.mul_(strength), matrix).reshape(len(maps), *weights[0].shape)
    torch._foreach_sub_(list(weights), updates.unbind())


def require_full_precision(weight: Tensor) -> None:
    """Raise ValueError for a weight in which an isometry step would be lost in rounding."""
    if weight.dtype in HALVES:
        raise InputError(
            f"a weight of {weight.dtype} loses the isometry step, which is smaller than its "
            "rounding: keep weights in float32 and compute under torch.autocast, or set isometry=0"
        )


def effective_strength(learning_rate: float, isometry: float) -> float:
    """Effective strength a = 4 * lr * isometry of one isometry step, the only comparable number.

    Args:
        learning_rate: step size of the isometry step, >= 0.
        isometry: penalty coefficient lambda, >= 0.

    Returns:
        a; each update maps a singular value to sigma (1 - a (sigma^2 - s)).
    """
    return 4.0 * learning_rate * isometry


def decay_rate(strength: float, scale: Scale = 1.0) -> float:
    """Rate per update at which a small deviation of a singular value decays.

    Args:
        strength: effective strength a, >= 0.
        scale: target squared singular value s, > 0, or "free".

    Returns:
        2 a s; 2 a for a free scale, of deviations from the mean.
    """
    return 2 * strength * target(scale)


def half_life(strength: float, scale: Scale = 1.0) -> float:
    """Half-life, in updates, of a small deviation of a singular value.

    Args:
        strength: effective strength a, >= 0.
        scale: target squared singular value s, > 0, or "free".

    Returns:
        ln 2 over `decay_rate`; infinity for a = 0.
    """
    return math.log(2) / decay_rate(strength, scale) if strength > 0 else math.inf
