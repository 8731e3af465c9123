"""Curvature of a loss by products with its Hessian, which is never formed."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.func import grad, vjp, vmap

Loss = Callable[[dict[str, Tensor]], Tensor]
"""Maps named parameters to a number."""


def hessian_vector_product(
    loss: Loss, parameters: Mapping[str, Tensor]
) -> Callable[[Tensor], Tensor]:
    """Map vectors (P,) to H v, with the Hessian H of a loss at some parameters.

    Cost: the gradient once, and for each product a backward pass through it.

    Args:
        loss: maps named parameters to a number; twice differentiable.
        parameters: named tensors, P numbers together.

    Returns:
        A function of a vector over all parameters, one after the other.

    Source: Pearlmutter, "Fast exact multiplication by the Hessian" (1994).
    """
    point = {name: value.detach() for name, value in parameters.items()}
    sizes = [value.numel() for value in point.values()]
    pull = vjp(grad(loss), point)[1]  # H is symmetric, so rows are columns

    def product(vector: Tensor) -> Tensor:
        parts = torch.split(vector, sizes)
        tangent = {
            name: part.view_as(value)
            for part, (name, value) in zip(parts, point.items(), strict=True)
        }
        (found,) = pull(tangent)
        return torch.cat([found[name].flatten() for name in point])

    return product


def hessian_extremes(
    product: Callable[[Tensor], Tensor],
    like: Tensor,
    steps: int = 20,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """Largest and smallest eigenvalue of a symmetric matrix, by Lanczos's method.

    Every new vector is made orthogonal to all earlier ones, so that no eigenvalue is found twice.
    The ends of the spectrum converge first; both are approached from inside.

    Cost: `steps` products; memory steps * P.

    Args:
        product: maps a vector (P,) to its product with the matrix.
        like: (P,) any vector of the right size, type and device.
        steps: products; all P of them give the exact spectrum.
        generator: of the first vector, on the CPU.

    Returns:
        Largest and smallest eigenvalue found, each ().

    Source: Lanczos (1950); for networks, Ghorbani, Krishnan, Xiao (2019).
    """
    size = len(like)
    vector = torch.randn(size, generator=generator, dtype=like.dtype).to(like.device)
    basis = [vector / vector.norm()]
    diagonal: list[Tensor] = []
    beside: list[Tensor] = []
    for step in range(min(steps, size)):
        image = product(basis[-1])
        diagonal.append(image @ basis[-1])
        known = torch.stack(basis)
        for _ in range(2):  # once is not enough in floating point
            image = image - known.T @ (known @ image)
        norm = image.norm()
        if step + 1 == min(steps, size) or norm <= 1e-6 * torch.stack(diagonal).abs().max():
            break
        beside.append(norm)
        basis.append(image / norm)
    tridiagonal = torch.diag(torch.stack(diagonal))
    for index, value in enumerate(beside):
        tridiagonal[index, index + 1] = tridiagonal[index + 1, index] = value
    eigenvalues = torch.linalg.eigvalsh(tridiagonal.double())
    return eigenvalues[-1], eigenvalues[0]


def hessian_trace(
    product: Callable[[Tensor], Tensor],
    like: Tensor,
    samples: int = 20,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """Trace of a symmetric matrix, by Hutchinson's estimate v^T H v with signs v.

    Cost: `samples` products, all in one batch.

    Args:
        product: maps a vector (P,) to its product with the matrix.
        like: (P,) any vector of the right size, type and device.
        samples: vectors v, at least 2.
        generator: of the vectors, on the CPU.

    Returns:
        The estimate and its standard error, each (). A diagonal matrix is estimated exactly.

    Source: Hutchinson (1989).
    """
    signs = torch.randint(0, 2, (samples, len(like)), generator=generator).to(like) * 2 - 1
    estimates = (signs * vmap(product)(signs)).sum(1)
    return estimates.mean(), estimates.std() / samples**0.5
