"""The isometry penalty of "Preserving Plasticity in Continual Learning via Dynamical Isometry".

The one place that holds the formula. For a weight W of shape (out, in), with G the Gram matrix of
its smaller side and s the target squared singular value,

    R(W) = ||G - s I||_F^2        grad R(W) = 4 (W W^T W - s W)

The gradient has one form for wide and tall weights. A step of strength a = 4 * lr * isometry maps
every singular value to sigma * (1 - a (sigma^2 - s)): near sqrt(s) the error shrinks by 1 - 2 a s a
step, the step diverges for a s >= 1, and exact zeros stay. Convolution kernels are taken as
(out, in * kh * kw). Leading member axes are never mixed.
"""

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from neoteny.core.errors import InputError


def _matrix(weight: Tensor, member_dims: int) -> Tensor:
    """View a weight as (*members, out, in), in a precision that its Gram matrix can bear.

    Half precisions are widened to float32. Where TF32 products are switched on, float64 is used
    instead of switching them off: a flag flipped here would be global, and would not cover the
    backward pass of `isometry_loss`.
    """
    if weight.dim() < member_dims + 2:
        raise InputError(
            f"a weight of shape {tuple(weight.shape)} has fewer than 2 dimensions beyond "
            f"member_dims={member_dims}; leave it out or lower member_dims"
        )
    matrix = weight.flatten(member_dims + 1)
    if matrix.dtype in (torch.float16, torch.bfloat16):
        matrix = matrix.float()
    if matrix.is_cuda and matrix.dtype == torch.float32 and _tf32():
        matrix = matrix.double()
    return matrix


def _tf32() -> bool:
    matmul = torch.backends.cuda.matmul
    try:
        return bool(matmul.fp32_precision == "tf32")
    except AttributeError:  # torch < 2.9
        return bool(matmul.allow_tf32)


def _deviation(matrix: Tensor, scale: float) -> Tensor:
    """Gram matrix of the smaller side less scale * I, shape (*members, n, n)."""
    with torch.autocast(matrix.device.type, enabled=False):
        wide = matrix.shape[-2] <= matrix.shape[-1]
        gram = matrix @ matrix.mT if wide else matrix.mT @ matrix
    gram.diagonal(dim1=-2, dim2=-1).sub_(scale)
    return gram


def _direction(matrix: Tensor, deviation: Tensor) -> Tensor:
    """W W^T W - s W from W and its Gram deviation, shape of `matrix`."""
    if matrix.shape[-2] <= matrix.shape[-1]:
        return deviation @ matrix
    return matrix @ deviation


def gram_deviation(weight: Tensor, scale: float = 1.0, member_dims: int = 0) -> Tensor:
    """Squared Frobenius distance of the smaller Gram matrix from scale * I: the penalty R.

    Args:
        weight: (*members, out, in, ...) float; axes after `in` are flattened into it.
        scale: target squared singular value, > 0.
        member_dims: number of leading member axes.

    Returns:
        (*members,) float, one penalty a member.

    Raises:
        ValueError: if the weight has fewer than two dimensions beyond `member_dims`.

    Source: "Preserving Plasticity ... via Dynamical Isometry", Eq. 16 (no 1/2, no normalisation).
    """
    return _deviation(_matrix(weight, member_dims), scale).square().sum((-2, -1))


def isometry_loss(
    weights: Tensor | Iterable[Tensor], scale: float = 1.0, member_dims: int = 0
) -> Tensor:
    """Sum of `gram_deviation` over weights: the penalty to add to a loss (coupled isometry).

    Args:
        weights: one weight or several, each (*members, out, in, ...), all with the same members.
        scale: target squared singular value, > 0.
        member_dims: number of leading member axes.

    Returns:
        (*members,) float.

    Raises:
        ValueError: if there is no weight, or one has too few dimensions.

    Source: "Preserving Plasticity ... via Dynamical Isometry", §4.2.
    """
    items = [weights] if isinstance(weights, Tensor) else list(weights)
    if not items:
        raise InputError("isometry_loss got no weights; give at least one hidden weight")
    return torch.stack([gram_deviation(w, scale, member_dims) for w in items]).sum(0)


def isometry_grad(weight: Tensor, scale: float = 1.0, member_dims: int = 0) -> Tensor:
    """Closed-form gradient of `gram_deviation`: 4 (W W^T W - scale W).

    Args:
        weight: (*members, out, in, ...) float.
        scale: target squared singular value, > 0.
        member_dims: number of leading member axes.

    Returns:
        Tensor of the shape and dtype of `weight`.

    Raises:
        ValueError: if the weight has fewer than two dimensions beyond `member_dims`.

    Source: derived from Eq. 16 of "Preserving Plasticity ... via Dynamical Isometry".
    """
    matrix = _matrix(weight, member_dims)
    direction = _direction(matrix, _deviation(matrix, scale))
    return (4 * direction).reshape(weight.shape).to(weight.dtype)


@torch.no_grad()
def isometry_step(
    weights: Sequence[Tensor],
    strength: float | Tensor,
    scale: float = 1.0,
    member_dims: int = 0,
) -> None:
    """Move weights of one shape, in place, by -strength (W W^T W - scale W).

    All weights go through one batched product, so many small layers cost little more than one.

    Args:
        weights: tensors (*members, out, in, ...) that share shape, dtype and device.
        strength: a = 4 * lr * isometry; a 0-dim tensor is never read by the host.
        scale: target squared singular value, > 0.
        member_dims: number of leading member axes.

    Source: "Preserving Plasticity ... via Dynamical Isometry", §4.4.
    """
    matrices = [
        _matrix(w, member_dims).flatten(0, -3) if member_dims else _matrix(w, 0)[None]
        for w in weights
    ]
    matrix = torch.cat(matrices) if len(matrices) > 1 else matrices[0]
    # The small Gram is scaled rather than the update: fewer products, and a tensor strength works.
    deviation = _deviation(matrix, scale).mul_(strength)
    update = _direction(matrix, deviation)
    updates = torch.split(update, matrices[0].shape[0]) if len(matrices) > 1 else (update,)
    for weight, part in zip(weights, updates, strict=True):
        weight.sub_(part.reshape(weight.shape))


def effective_strength(learning_rate: float, isometry: float) -> float:
    """Effective strength a = 4 * lr * isometry of one isometry step, the only comparable number.

    Args:
        learning_rate: step size of the isometry step, >= 0.
        isometry: penalty coefficient lambda, >= 0.

    Returns:
        a; each update maps a singular value to sigma (1 - a (sigma^2 - s)).
    """
    return 4.0 * learning_rate * isometry


def half_life(strength: float, scale: float = 1.0) -> float:
    """Half-life, in updates, of a small deviation of a singular value from sqrt(scale).

    Args:
        strength: effective strength a, >= 0.
        scale: target squared singular value s, > 0.

    Returns:
        ln 2 / (2 a s) updates; infinity for a = 0.
    """
    return math.log(2) / (2 * strength * scale) if strength > 0 else math.inf
