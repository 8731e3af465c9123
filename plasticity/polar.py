"""The orthogonal factor of matrices, exactly and by Newton-Schulz iteration.

A matrix W = U diag(sigma) V^T of full rank has the polar factor U V^T: the nearest matrix whose
singular values are all 1. A Newton-Schulz step maps each singular value of the matrix, divided by
its Frobenius norm, to a sigma + b sigma^3 + c sigma^5 by products alone.
"""

import torch
from torch import Tensor

CUBIC = (1.5, -0.5, 0.0)
"""Converges to 1 from anywhere in (0, sqrt 3), by a factor of 1.5 a step from near 0."""
QUINTIC = (3.4445, -4.7750, 2.0315)
"""Reaches about [0.7, 1.2] in 5 steps from as low as 0.01, and stays there: Muon's choice."""


@torch.no_grad()
def polar(matrix: Tensor) -> Tensor:
    """The exact polar factor, by singular value decomposition.

    Directions of singular value zero get the completion that the decomposition brings, so the
    result is always orthogonal. On an accelerator the host waits: meant for rare use.

    Args:
        matrix: (..., out, in) float.

    Returns:
        (..., out, in) with singular values 1; a matrix that is not finite is returned as it is.
    """
    finite = matrix.isfinite().all((-2, -1), keepdim=True)
    # LAPACK raises on NaN, so matrices that are not finite take a placeholder.
    left, _, right = torch.linalg.svd(torch.where(finite, matrix, 0.0), full_matrices=False)
    return torch.where(finite, left @ right, matrix)


@torch.no_grad()
def newton_schulz(
    matrix: Tensor,
    steps: int,
    coefficients: tuple[float, float, float] = CUBIC,
) -> Tensor:
    """An approximate polar factor by products on the smaller side, in the matrix's own precision.

    Args:
        matrix: (..., out, in) float.
        steps: number of steps.
        coefficients: a, b, c above.

    Returns:
        (..., out, in).

    Source: Bernstein & Newhouse, arXiv:2409.20325; the quintic is Jordan's, as in torch.optim.Muon.
    """
    a, b, c = coefficients
    tall = matrix.shape[-2] > matrix.shape[-1]
    x: Tensor = matrix.mH if tall else matrix
    x = x / torch.linalg.matrix_norm(x, keepdim=True).clamp(min=1e-7)  # zeros stay
    for _ in range(steps):
        gram = x @ x.mH
        polynomial = b * gram if c == 0 else b * gram + c * (gram @ gram)
        x = a * x + polynomial @ x
    return x.mH if tall else x
