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
from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch
from torch import Tensor

from neoteny.core.errors import InputError

DEFAULT_ISOMETRY = 0.05
"""Penalty coefficient lambda where none is given: that of the authors' reinforcement-learning code,
which has 0.1 before a gradient of half the size."""

Scale = float | Literal["free"]
"""Target squared singular value, > 0, or "free" for the mean that each map has."""

LARGEST_CHANGE = 0.3
"""Largest share by which a step of free scale changes a singular value."""

HALVES = (torch.float16, torch.bfloat16)
_WIDER = {torch.float32: torch.float64, torch.complex64: torch.complex128}


def as_maps(weight: Tensor, member_dims: int = 0, blocks: int = 1) -> Tensor:
    """View a weight as the linear maps that it holds.

    Args:
        weight: (*members, out, in, ...); axes after `in` are flattened into it.
        member_dims: number of leading member axes.
        blocks: number of maps of one size that are stacked along `out`, each with outputs of its
            own: a convolution's groups, or the 3 projections in `in_proj_weight` of
            `nn.MultiheadAttention`.

    Returns:
        (*members, out, in), or (*members, blocks, out / blocks, in) with more than one block.

    Raises:
        ValueError: if the weight has fewer than two dimensions beyond `member_dims`, or `out` is
            not a multiple of `blocks`.
    """
    if weight.dim() < member_dims + 2:
        raise InputError(
            f"a weight of shape {tuple(weight.shape)} has fewer than 2 dimensions beyond "
            f"member_dims={member_dims}; leave it out or lower member_dims"
        )
    matrix = weight.flatten(member_dims + 1)
    if blocks == 1:
        return matrix
    rows, left = divmod(weight.shape[member_dims], blocks)
    if left:
        raise InputError(
            f"a weight of shape {tuple(weight.shape)} does not hold blocks={blocks} maps of one "
            f"size; give a divisor of {weight.shape[member_dims]}"
        )
    return torch.unflatten(matrix, member_dims, (blocks, rows))


def _matrix(weight: Tensor, member_dims: int, blocks: int) -> Tensor:
    """The maps of a weight, in a precision that their Gram matrices can bear.

    Half precisions are widened to float32. Where TF32 products are switched on, float64 is used
    instead of switching them off: a flag flipped here would be global, and would not cover the
    backward pass of `isometry_loss`.
    """
    matrix = as_maps(weight, member_dims, blocks)
    if matrix.dtype in HALVES:
        matrix = matrix.float()
    if matrix.is_cuda and matrix.dtype in _WIDER and _tf32():
        matrix = matrix.to(_WIDER[matrix.dtype])
    return matrix


def _tf32() -> bool:
    matmul = torch.backends.cuda.matmul
    try:
        return bool(matmul.fp32_precision == "tf32")
    except AttributeError:  # torch < 2.9
        return bool(matmul.allow_tf32)


def _unrounded(matrix: Tensor) -> AbstractContextManager[object]:
    """A context in which autocast does not round the factors of products."""
    kind = matrix.device.type
    return torch.autocast(kind, enabled=False) if torch.is_autocast_enabled(kind) else nullcontext()


def _squared_norm(matrix: Tensor) -> Tensor:
    """Squared Frobenius norm, (*members,)."""
    if matrix.is_complex():
        matrix = torch.view_as_real(matrix).flatten(-2)
    return matrix.square().sum((-2, -1))


def _mean_square(matrix: Tensor) -> Tensor:
    """Mean squared singular value, (*members, 1, 1); at least the smallest number."""
    mean = _squared_norm(matrix) / min(matrix.shape[-2:])
    return mean.clamp(min=torch.finfo(mean.dtype).tiny)[..., None, None]


def _deviation(matrix: Tensor, scale: Scale) -> Tensor:
    """Deviation of the smaller side's Gram matrix from isometry, (*members, n, n)."""
    with _unrounded(matrix):
        wide = matrix.shape[-2] <= matrix.shape[-1]
        gram = matrix @ matrix.mH if wide else matrix.mH @ matrix
    if scale == "free":
        gram = gram / _mean_square(matrix)
    gram.diagonal(dim1=-2, dim2=-1).sub_(target(scale))
    return gram


def _pull(matrix: Tensor, scale: Scale) -> Tensor:
    """The matrix P of a step W <- W - a P W, (*members, n, n)."""
    deviation = _deviation(matrix, scale)
    if scale == "free":
        excess = _squared_norm(deviation) / deviation.shape[-1]
        deviation.diagonal(dim1=-2, dim2=-1).sub_(excess.unsqueeze(-1))
    return deviation


def _product(pull: Tensor, matrix: Tensor) -> Tensor:
    """P W, on the smaller side of W, shape of `matrix`."""
    with _unrounded(matrix):
        return pull @ matrix if matrix.shape[-2] <= matrix.shape[-1] else matrix @ pull


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
    penalty = _squared_norm(_deviation(_matrix(weight, member_dims, blocks), scale))
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
    matrix = _matrix(weight, member_dims, blocks)
    gradient = 4 * _product(_pull(matrix, scale), matrix)
    if scale == "free":
        gradient = gradient / _mean_square(matrix)
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
    maps = [_matrix(weight, member_dims, blocks) for weight in weights]
    matrix = torch.stack(maps) if len(maps) > 1 else maps[0].unsqueeze(0)
    # The small matrix is scaled rather than the update: fewer passes, and a tensor strength works.
    pull = _pull(matrix, scale)
    if scale == "free":
        bound = LARGEST_CHANGE / _squared_norm(pull).sqrt()
        strength = bound.clamp(max=strength)[..., None, None]
    updates = _product(pull.mul_(strength), matrix).reshape(len(maps), *weights[0].shape)
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


def target(scale: Scale) -> float:
    """Target squared singular value: of a free scale, in units of the mean that a map has.

    Args:
        scale: a number, which it returns, or "free".
    """
    return 1.0 if scale == "free" else scale


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
