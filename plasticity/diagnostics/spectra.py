"""Measures of weights and features from their singular values.

`singular_values_of` does the costly part once, for many matrices together; the other functions take
its results, tensors (..., k) in descending order. A matrix that is not finite has NaN singular
values and touches no other.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def singular_values_of(matrices: Sequence[Tensor]) -> list[Tensor]:
    """Singular values of many matrices by one eigenvalue call per size of their Gram matrices.

    The Gram matrix of the smaller side is formed in float64, which resolves singular values down to
    1e-8 of the largest: as fine as a float32 decomposition, at a fraction of its time.

    Args:
        matrices: tensors (..., rows, columns); shapes may differ.

    Returns:
        For each, (..., min(rows, columns)) float64 in descending order; NaN where a matrix is not
        finite.
    """
    grams: dict[tuple[int, torch.device], list[tuple[int, Tensor]]] = {}
    for index, matrix in enumerate(matrices):
        wide = matrix.to(torch.float64)
        if wide.shape[-2] > wide.shape[-1]:
            wide = wide.mT
        gram = wide @ wide.mT
        side = gram.shape[-1]
        flat = gram.reshape(-1, side, side)
        grams.setdefault((side, gram.device), []).append((index, flat))
    results: list[Tensor] = [torch.empty(0)] * len(matrices)
    for (side, _), items in grams.items():
        gram = torch.cat([flat for _, flat in items])
        # LAPACK raises on NaN, so matrices that are not finite take a placeholder.
        finite = gram.isfinite().all((-2, -1))
        squares = torch.linalg.eigvalsh(torch.where(finite[:, None, None], gram, 0.0))
        sigma = torch.where(finite[:, None], squares.clamp(min=0).sqrt().flip(-1), torch.nan)
        parts = torch.split(sigma, [len(flat) for _, flat in items])
        for (index, _), part in zip(items, parts, strict=True):
            results[index] = part.reshape(*matrices[index].shape[:-2], side)
    return results


def singular_values(matrix: Tensor) -> Tensor:
    """Singular values of a matrix or a batch; see `singular_values_of`.

    Args:
        matrix: (..., rows, columns) float.

    Returns:
        (..., min(rows, columns)) float64, descending.
    """
    return singular_values_of([matrix])[0]


def round_off(sigma: Tensor, shape: tuple[int, int], dtype: torch.dtype) -> Tensor:
    """Bound below which singular values of `singular_values_of` are round-off.

    Args:
        sigma: (..., k) singular values, descending.
        shape: rows and columns of the matrices.
        dtype: type that the matrices were computed in.

    Returns:
        (..., 1): max(shape) * eps * sigma_max, as in `torch.linalg.matrix_rank`, and for matrices
        of float64 what a Gram matrix resolves, sqrt(max(shape) * eps) * sigma_max.
    """
    own: float = max(shape) * torch.finfo(dtype).eps
    gram: float = (max(shape) * torch.finfo(torch.float64).eps) ** 0.5
    return max(own, gram) * sigma[..., :1]


def sigma_max(sigma: Tensor) -> Tensor:
    """Largest singular value: (..., k) descending to (...)."""
    return sigma[..., 0]


def sigma_min(sigma: Tensor) -> Tensor:
    """Smallest singular value: (..., k) descending to (...)."""
    return sigma[..., -1]


def condition_number(sigma: Tensor) -> Tensor:
    """Ratio of the largest to the smallest singular value.

    Args:
        sigma: (..., k) singular values, descending.

    Returns:
        (...) >= 1; infinity for a singular matrix, NaN for zero.
    """
    return sigma[..., 0] / sigma[..., -1]


def effective_rank(sigma: Tensor) -> Tensor:
    """Exponential of the entropy of the normalised singular values.

    On sigma, not sigma^2, and without centring: other codes differ in both.

    Args:
        sigma: (..., k) singular values.

    Returns:
        (...) from 1 (rank one) to k (all equal); 0 for a zero matrix.

    Source: Roy and Vetterli, "The effective rank" (2007).
    """
    total = sigma.sum(-1, keepdim=True)
    p = sigma / torch.where(total == 0, 1.0, total)
    rank = torch.special.entr(p).sum(-1).exp()
    return torch.where(total.squeeze(-1) == 0, 0.0, rank)


def stable_rank(sigma: Tensor) -> Tensor:
    """Squared Frobenius norm over squared spectral norm.

    Args:
        sigma: (..., k) singular values, descending.

    Returns:
        (...) from 1 to k; 0 for a zero matrix.

    Source: Rudelson and Vershynin, "Sampling from large matrices" (2007).
    """
    largest = sigma[..., 0].square()
    rank = sigma.square().sum(-1) / torch.where(largest == 0, 1.0, largest)
    return torch.where(largest == 0, 0.0, rank)


def spectral_deviation(sigma: Tensor, scale: float = 1.0) -> Tensor:
    """Gram deviation ||G - scale I||_F^2 of the smaller side, from singular values.

    Args:
        sigma: (..., k) singular values.
        scale: target squared singular value.

    Returns:
        (...), equal to `neoteny.plasticity.isometry.gram_deviation`.

    Source: "Preserving Plasticity in Continual Learning via Dynamical Isometry", Eq. 16.
    """
    return (sigma.square() - scale).square().sum(-1)


def frobenius_norm(sigma: Tensor) -> Tensor:
    """Norm of all entries of a matrix, from singular values: (..., k) to (...)."""
    return sigma.square().sum(-1).sqrt()
