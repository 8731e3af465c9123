"""Size, spread, sparsity and rank of features (..., B, n): n units over a batch of B.

A features tensor that is not finite gives NaN and touches no other.
"""

import torch
from torch import Tensor

from neoteny.plasticity.diagnostics.spectra import round_off


def feature_norm(features: Tensor) -> Tensor:
    """Mean Euclidean norm of a sample's features: (..., B, n) to (...).

    Cost: one pass over the features.

    Source: Lyle et al., "Disentangling the causes of plasticity loss in neural networks" (2024).
    """
    norms: Tensor = torch.linalg.vector_norm(features, dim=-1)
    return norms.mean(-1)


def feature_variance(features: Tensor) -> Tensor:
    """Variance of a unit over the batch (divisor B), mean over units: (..., B, n) to (...).

    Cost: one pass over the features.

    Source: Lyle et al., "Understanding plasticity in neural networks" (2023).
    """
    return features.var(-2, correction=0).mean(-1)


def sparsity(features: Tensor) -> Tensor:
    """Share of activations, not of units, that are exactly 0: (..., B, n) to (...) in [0, 1].

    Cost: one pass over the features.

    Source: Glorot, Bordes, Bengio, "Deep sparse rectifier neural networks" (2011).
    """
    return _share(features == 0, features)


def saturated_fraction(features: Tensor, bound: float = 0.99) -> Tensor:
    """Share of activations of a squashing unit (tanh) that are beyond a bound.

    Cost: one pass over the features.

    Args:
        features: (..., B, n) activations in [-1, 1].
        bound: absolute value from which an activation counts as saturated; tanh has a slope below
            0.02 beyond 0.99.

    Returns:
        (...) in [0, 1].

    Source: Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural
    networks" (2010).
    """
    return _share(features.abs() > bound, features)


def participation_ratio(features: Tensor) -> Tensor:
    """Dimensions that the features spread over: (tr C)^2 / tr C^2 of their covariance C.

    Of the centred features, unlike the effective rank of this package. No decomposition is needed.

    Cost: one product (n x B) (B x n).

    Args:
        features: (..., B, n).

    Returns:
        (...) from 1 (all variance in one direction) to min(B - 1, n); 0 for constant features.

    Source: Gao et al., "A theory of multineuronal dimensionality, dynamics and measurement" (2017).
    """
    centred = features - features.mean(-2, keepdim=True)
    if centred.shape[-2] < centred.shape[-1]:
        centred = centred.mT
    covariance = centred.mT @ centred
    trace = covariance.diagonal(dim1=-2, dim2=-1).sum(-1)
    square = covariance.square().sum((-2, -1))
    return torch.where(square == 0, square, trace.square() / torch.where(square == 0, 1.0, square))


def srank(sigma: Tensor, delta: float = 0.01) -> Tensor:
    """Least number of singular values whose sum is at least 1 - delta of the sum of all.

    On sigma; a variant of other codes is on sigma^2.

    Cost: that of the singular values.

    Args:
        sigma: (..., k) singular values, descending.
        delta: share of the sum that is left out.

    Returns:
        (...) from 1 to k; 0 for a zero matrix.

    Source: Kumar et al., "Implicit under-parameterization inhibits data-efficient deep
    reinforcement learning" (2021).
    """
    total = sigma.sum(-1, keepdim=True)
    # A sum that reaches the threshold but for round-off has reached it.
    slack = 8 * torch.finfo(sigma.dtype).eps * total
    below = sigma.cumsum(-1) < (1 - delta) * total - slack
    rank = 1 + below.sum(-1).to(sigma.dtype)
    rank = torch.where(total.squeeze(-1) == 0, 0.0, rank)
    return torch.where(total.squeeze(-1).isfinite(), rank, torch.nan)


def numerical_rank(sigma: Tensor, shape: tuple[int, int], dtype: torch.dtype) -> Tensor:
    """Number of singular values above round-off; see `round_off`.

    Cost: that of the singular values.

    Args:
        sigma: (..., k) singular values, descending.
        shape: rows and columns of the matrices.
        dtype: type that the matrices were computed in, whose round-off counts.

    Returns:
        (...) from 0 to k.

    Source: `torch.linalg.matrix_rank`, whose default tolerance this is for float32.
    """
    rank = (sigma > round_off(sigma, shape, dtype)).sum(-1).to(sigma.dtype)
    return torch.where(sigma[..., 0].isfinite(), rank, torch.nan)


def _share(mask: Tensor, values: Tensor) -> Tensor:
    finite = values.isfinite().all(-1).all(-1)
    return torch.where(finite, mask.to(torch.float32).mean((-2, -1)), torch.nan)
