"""Gram matrices of weights, and steps W <- W - P W by matrices P that are made of them.

Every function takes maps (*members, out, in) of which no two are ever mixed.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch
from torch import Tensor

from neoteny.core.errors import InputError

Scale = float | Literal["free"]
"""Target squared singular value, > 0, or "free" for the mean that each map has."""

LARGEST_CHANGE = 0.3
"""Largest share by which a bounded step changes a singular value."""

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


def accurate_maps(weight: Tensor, member_dims: int = 0, blocks: int = 1) -> Tensor:
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


def target(scale: Scale) -> float:
    """Target squared singular value: of a free scale, in units of the mean that a map has.

    Args:
        scale: a number, which it returns, or "free".
    """
    return 1.0 if scale == "free" else scale


def squared_norm(matrix: Tensor) -> Tensor:
    """Squared Frobenius norm, (*members,)."""
    if matrix.is_complex():
        matrix = torch.view_as_real(matrix).flatten(-2)
    return matrix.square().sum((-2, -1))


def mean_square(matrix: Tensor) -> Tensor:
    """Mean squared singular value, (*members, 1, 1); at least the smallest number."""
    mean = squared_norm(matrix) / min(matrix.shape[-2:])
    return mean.clamp(min=torch.finfo(mean.dtype).tiny)[..., None, None]


def deviation(matrix: Tensor, scale: Scale) -> Tensor:
    """Deviation D of the smaller side's Gram matrix from isometry, (*members, n, n).

    Args:
        matrix: (*members, out, in).
        scale: target s, of G - s I; of a free scale, G / m - I with m the mean squared singular
            value.
    """
    with _unrounded(matrix):
        wide = matrix.shape[-2] <= matrix.shape[-1]
        gram = matrix @ matrix.mH if wide else matrix.mH @ matrix
    if scale == "free":
        gram = gram / mean_square(matrix)
    gram.diagonal(dim1=-2, dim2=-1).sub_(target(scale))
    return gram


def dead_band(deviation: Tensor, width: float) -> Tensor:
    """A deviation whose eigenvalues d are d^3 / (d^2 + width^2): small ones all but vanish.

    One inverse and two products; no eigenvalues, for which a host would wait.

    Args:
        deviation: (*members, n, n).
        width: deviation of which half is left, > 0.
    """
    square = (deviation / width) @ (deviation / width)
    square.diagonal(dim1=-2, dim2=-1).add_(1.0)
    left: Tensor = torch.linalg.inv_ex(square).inverse
    return deviation - deviation @ left


def keep_length(pull: Tensor, deviation: Tensor) -> None:
    """Change P, in place, by a multiple of I for which P W is at right angles to W.

    Args:
        pull: P, a function of the deviation, (*members, n, n).
        deviation: that of a free scale, D.
    """
    size = pull.shape[-1]
    along = (pull * deviation.conj()).real.sum((-2, -1))
    along = along + pull.diagonal(dim1=-2, dim2=-1).real.sum(-1)
    pull.diagonal(dim1=-2, dim2=-1).sub_((along / size).unsqueeze(-1))


def bounded(strength: float | Tensor, pull: Tensor) -> Tensor:
    """Strength a (*members,), lowered where a P changes singular values by too large a share."""
    bound = LARGEST_CHANGE / squared_norm(pull).sqrt()
    return bound.clamp(max=strength)


def product(pull: Tensor, matrix: Tensor) -> Tensor:
    """P W, or W P for tall maps, shape of `matrix`."""
    with _unrounded(matrix):
        return pull @ matrix if matrix.shape[-2] <= matrix.shape[-1] else matrix @ pull
