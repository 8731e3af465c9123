"""Diagnostics of gradients: agreement between samples, gain of a step."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.func import grad, vmap

from neoteny.plasticity.diagnostics.spectra import effective_rank


def per_sample_gradients(
    loss: Callable[..., Tensor], parameters: Mapping[str, Tensor], *batch: Tensor
) -> Tensor:
    """Gradient of every sample's loss with respect to all parameters.

    Cost: one forward and one backward pass over the batch; memory n P.

    Args:
        loss: maps parameters and one sample of each part of the batch to a number.
        parameters: named tensors, P numbers together.
        *batch: tensors (n, ...), a sample each.

    Returns:
        (n, P), parameters one after the other.
    """
    dims = (None, *[0] * len(batch))
    found = vmap(grad(loss), in_dims=dims)(dict(parameters), *batch)
    return torch.cat([value.flatten(1) for value in found.values()], 1)


def gradient_cosines(gradients: Tensor) -> Tensor:
    """Cosine between the gradients of every two samples: (..., n, P) to (..., n, n).

    Samples without gradient have the cosine 0 with all others and with themselves.

    Cost: one product (n x P) (P x n).

    Source: Lyle et al., "Understanding plasticity in neural networks" (2023).
    """
    norm = gradients.norm(dim=-1, keepdim=True)
    unit = gradients / torch.where(norm == 0, 1.0, norm)
    return unit @ unit.mT


def gradient_covariance(cosines: Tensor) -> dict[str, Tensor]:
    """Agreement between samples' gradients, from their cosines.

    A mean near 1 says that all samples pull the same way; an effective rank near 1 that the network
    can tell none of them from another.

    Cost: eigenvalues of an n x n matrix.

    Args:
        cosines: (..., n, n) as of `gradient_cosines`.

    Returns:
        `gradient_cosine`, mean over different samples, and `gradient_effective_rank`,
        exp(entropy) of the normalised eigenvalues; each (...).

    Source: Lyle et al., "Understanding plasticity in neural networks" (2023), for the matrix; the
    two summaries are ours.
    """
    n = cosines.shape[-1]
    diagonal = cosines.diagonal(dim1=-2, dim2=-1).sum(-1)
    finite = cosines.isfinite().all(-1).all(-1)
    eigenvalues = torch.linalg.eigvalsh(torch.where(finite[..., None, None], cosines, 0.0).double())
    rank = effective_rank(eigenvalues.clamp(min=0))
    return {
        "gradient_cosine": (cosines.sum((-2, -1)) - diagonal) / (n * (n - 1)),
        "gradient_effective_rank": torch.where(finite, rank, torch.nan),
    }


def one_step_gain(gradients: Tensor, batch: int = 1, smoothness: float = 1.0) -> Tensor:
    """Expected decrease of an L-smooth loss that one SGD step of the best size guarantees.

    A step eta on a minibatch of b samples decreases the loss by at least eta |g|^2 -
    L eta^2 / 2 (|g|^2 + tr S / b) in expectation, with the mean gradient g and the covariance S of
    the samples' gradients; the best eta gives |g|^4 / (2 L (|g|^2 + tr S / b)). It joins the
    strength of the gradient and its reliability. "Optimization readiness" (arXiv:2605.09044) is
    described as such a bound; only its abstract was read, so this is not called by that name.

    Cost: n gradients.

    Args:
        gradients: (..., n, P) samples' gradients, n >= 2. |g|^2 and tr S are estimated without
            bias; where the estimate of |g|^2 is negative the gain is 0.
        batch: samples b of the step.
        smoothness: L; the gain is inversely proportional to it.

    Returns:
        (...) >= 0.

    Source: Bottou, Curtis, Nocedal, "Optimization methods for large-scale machine learning" (2018),
    §4.1.
    """
    n = gradients.shape[-2]
    mean = gradients.mean(-2)
    trace = (gradients - mean.unsqueeze(-2)).square().sum((-2, -1)) / (n - 1)
    strength = (mean.square().sum(-1) - trace / n).clamp(min=0)
    total = strength + trace / batch
    return strength.square() / (2 * smoothness * torch.where(total == 0, 1.0, total))
