"""The empirical neural tangent kernel K = J J^T of parameters to outputs, and its diagnostics.

Rows are samples with their outputs: row b k + j is output j of sample b. Two ways give the same
kernel up to round-off: the Jacobian itself (`kernel_by_jacobian`), and a sum over linear layers
(`kernel_by_layers`), which never forms it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import jacrev, vjp, vmap

from neoteny.plasticity.diagnostics.per_layer import DIAGNOSTICS
from neoteny.plasticity.diagnostics.spectra import effective_rank

MEMORY = 2**28
"""Bytes that Jacobians may take."""

Function = Callable[[dict[str, Tensor], Tensor], Tensor]
"""Maps parameters and inputs (B, *in) to outputs (B, k)."""


@dataclass(frozen=True)
class LinearMap:
    """A linear layer that every sample passes once, or at P positions as a convolution does."""

    inputs: Tensor
    """(M, B, in), or (M, B, P, in)."""
    backward: Tensor
    """Derivative (M, B, k, out), or (M, B, k, P, out), of the network's k outputs with respect to
    the layer's."""
    bias: bool
    """True if the layer has a bias."""


def kernel_by_jacobian(
    function: Function,
    parameters: Mapping[str, Tensor],
    inputs: Tensor,
    independent: bool = True,
    memory: int = MEMORY,
) -> Tensor:
    """Kernel of any network, from its Jacobian.

    Rows are computed in chunks that fit into memory. With more than one chunk each pair of chunks
    costs a Jacobian of its own.

    Cost: B k backward passes of one sample and a product (B k x P) (P x B k); k > 1 outputs are
    k^2 times as much as one. Dependent samples: B k backward passes of the whole batch.

    Args:
        function: maps parameters and inputs (B, *in) to outputs (B, k), for one member.
        parameters: named tensors, P numbers together.
        inputs: (B, *in).
        independent: True if a sample's outputs depend on itself alone; False with a batch norm in
            training mode.
        memory: bytes that Jacobians may take; at least one sample is computed at a time.

    Returns:
        (B k, B k), symmetric.

    Source: Jacot, Gabriel, Hongler, "Neural tangent kernel" (2018).
    """
    parameters = {name: value.detach() for name, value in parameters.items()}
    with torch.no_grad():
        example = function(parameters, inputs)
    batch, outputs = example.shape
    numbers = sum(value.numel() for value in parameters.values())
    row = numbers * outputs * example.element_size()
    step = batch if row * batch <= memory else max(1, memory // (2 * row))
    starts = range(0, batch, step)

    def rows(start: int) -> Tensor:
        stop = min(start + step, batch)
        if independent:
            return _rows_of_samples(function, parameters, inputs[start:stop])
        return _rows_of_batch(function, parameters, inputs, start, stop)

    kernel = example.new_empty(batch * outputs, batch * outputs)
    for start in starts:
        own = rows(start)
        here = slice(start * outputs, start * outputs + len(own))
        for other in starts:
            if other < start:
                continue
            block = own @ (own if other == start else rows(other)).T
            there = slice(other * outputs, other * outputs + block.shape[1])
            kernel[here, there] = block
            kernel[there, here] = block.T
    return kernel


def _rows_of_samples(function: Function, parameters: dict[str, Tensor], inputs: Tensor) -> Tensor:
    """Jacobian (B k, P) of independent samples."""

    def one(point: dict[str, Tensor], sample: Tensor) -> Tensor:
        return function(point, sample.unsqueeze(0)).squeeze(0)

    found = vmap(jacrev(one), in_dims=(None, 0))(parameters, inputs)
    return torch.cat([value.flatten(0, 1).flatten(1) for value in found.values()], 1)


def _rows_of_batch(
    function: Function, parameters: dict[str, Tensor], inputs: Tensor, start: int, stop: int
) -> Tensor:
    """Rows of the samples `start` to `stop` of the Jacobian of samples that share a batch."""
    outputs, pull = vjp(lambda point: function(point, inputs), parameters)[:2]
    width = outputs.shape[1]
    units = torch.eye(outputs.numel(), dtype=outputs.dtype, device=outputs.device)
    units = units[start * width : stop * width].view(-1, *outputs.shape)
    found: dict[str, Tensor] = vmap(pull)(units)[0]
    return torch.cat([value.flatten(1) for value in found.values()], 1)


def kernel_by_layers(layers: Sequence[LinearMap]) -> Tensor:
    """Kernel of a network all of whose parameters belong to linear layers, for all members.

    K is the sum over layers of (H H^T [+ 1 with a bias]) and (B B^T), multiplied entry by entry,
    with the layer's inputs H and backward derivatives B.

    With positions the sum over them comes first: the layer's Jacobian, then its Gram matrix.

    Cost: for each layer two products of B k rows, B k (in + out) B k, with positions one of in out
    columns; k backward passes for the derivatives.

    Args:
        layers: all of them, heads included.

    Returns:
        (M, B k, B k).

    Source: "Preserving Plasticity in Continual Learning via Dynamical Isometry".
    """
    parts = [_at_positions(layer) if layer.inputs.dim() == 4 else _once(layer) for layer in layers]
    if not parts:
        raise ValueError("no layers")
    return torch.stack(parts).sum(0)


def _once(layer: LinearMap) -> Tensor:
    """Part of a layer that each sample passes once."""
    outputs = layer.backward.shape[2]
    inner = layer.inputs @ layer.inputs.mT + float(layer.bias)
    outer = layer.backward.flatten(1, 2)
    inner = inner.repeat_interleave(outputs, 1).repeat_interleave(outputs, 2)
    return inner * (outer @ outer.mT)


def _at_positions(layer: LinearMap) -> Tensor:
    """Part of a layer with positions, from its Jacobian (M, B k, out in), some units at a time."""
    inputs, backward = layer.inputs.unsqueeze(2), layer.backward.mT
    offsets = layer.backward.sum(3).flatten(1, 2)
    part = float(layer.bias) * (offsets @ offsets.mT)
    unit = backward[..., :1, 0].numel() * inputs.shape[-1] * inputs.element_size()
    for units in backward.split(max(1, MEMORY // unit), 3):  # type: ignore[no-untyped-call]
        rows = (units @ inputs).flatten(3).flatten(1, 2)
        part = part + rows @ rows.mT
    return part


@dataclass(frozen=True)
class Kernel:
    """The tangent kernel of a branch."""

    matrix: Tensor
    """(..., n, n); n is samples times outputs."""
    eigenvalues: Tensor
    """(..., n) float64, descending; NaN of a kernel that is not finite, and 0 where they are below
    n eps times the largest, which is round-off."""


def kernel_summary(kernel: Tensor) -> dict[str, Tensor]:
    """Registered diagnostics of a kernel.

    Eigenvalues below n eps lambda_max are round-off and count as 0; n is the number of rows.

    Cost: the eigenvalues of an n x n matrix.

    Args:
        kernel: (..., n, n).

    Returns:
        Names to (...) float64.

    Source: "Preserving Plasticity in Continual Learning via Dynamical Isometry"; the percentile as
    in the study PLAST.
    """
    finite = kernel.isfinite().all(-1).all(-1)
    safe = torch.where(finite[..., None, None], kernel, 0.0).double()
    values = torch.linalg.eigvalsh(safe).flip(-1)
    bound = kernel.shape[-1] * torch.finfo(kernel.dtype).eps * values[..., :1]
    values = torch.where(values > bound, values, 0.0)
    return DIAGNOSTICS.measure(Kernel(kernel, torch.where(finite.unsqueeze(-1), values, torch.nan)))


@DIAGNOSTICS.of(Kernel)
def kernel_lambda_max(branch: Kernel) -> Tensor:
    """Largest eigenvalue of the tangent kernel."""
    return branch.eigenvalues[..., 0]


@DIAGNOSTICS.of(Kernel)
def kernel_lambda_min(branch: Kernel) -> Tensor:
    """Smallest eigenvalue of the tangent kernel above round-off."""
    values = branch.eigenvalues
    smallest = torch.where(values == 0, torch.inf, values).amin(-1)
    return torch.where(smallest == torch.inf, 0.0, smallest)


@DIAGNOSTICS.of(Kernel)
def kernel_condition(branch: Kernel) -> Tensor:
    """Largest eigenvalue of the tangent kernel over the smallest above round-off."""
    return kernel_lambda_max(branch) / kernel_lambda_min(branch)


@DIAGNOSTICS.of(Kernel)
def kernel_condition_p5(branch: Kernel) -> Tensor:
    """Largest eigenvalue of the tangent kernel over the 5th percentile of all."""
    return kernel_lambda_max(branch) / branch.eigenvalues.quantile(0.05, -1)


@DIAGNOSTICS.of(Kernel)
def kernel_rank(branch: Kernel) -> Tensor:
    """Number of eigenvalues of the tangent kernel above round-off."""
    rank = (branch.eigenvalues > 0).sum(-1).double()
    return torch.where(branch.eigenvalues[..., 0].isfinite(), rank, torch.nan)


@DIAGNOSTICS.of(Kernel)
def kernel_effective_rank(branch: Kernel) -> Tensor:
    """Exponential of the entropy of the tangent kernel's eigenvalues."""
    return effective_rank(branch.eigenvalues)


@DIAGNOSTICS.of(Kernel)
def kernel_trace(branch: Kernel) -> Tensor:
    """Sum of the tangent kernel's eigenvalues."""
    return branch.eigenvalues.sum(-1)


def kernel_alignment(kernel: Tensor, targets: Tensor) -> Tensor:
    """Cosine between the kernel and the kernel y y^T of the targets.

    Cost: one product of a matrix and a vector.

    Args:
        kernel: (..., B k, B k).
        targets: (..., B, k) returns, or labels as unit vectors; centre them first if a constant is
            to be left out.

    Returns:
        (...) from 0 to 1; 1 if gradient descent moves the outputs along the targets only.

    Source: Cristianini et al., "On kernel-target alignment" (2001).
    """
    y = targets.flatten(-2).to(kernel.dtype)
    along = (y * (kernel @ y.unsqueeze(-1)).squeeze(-1)).sum(-1)
    return along / (kernel.square().sum((-2, -1)).sqrt() * y.square().sum(-1))


def kernel_drift(before: Tensor, after: Tensor) -> Tensor:
    """Distance 1 - cos of two kernels on the same samples, such as before and after a task.

    Cost: one pass over both.

    Args:
        before: (..., n, n).
        after: (..., n, n).

    Returns:
        (...) from 0, the same up to scale, to 1.

    Source: Fort et al., "Deep learning versus kernel learning" (2020).
    """
    inner = (before * after).sum((-2, -1))
    norms = before.square().sum((-2, -1)) * after.square().sum((-2, -1))
    return 1 - inner / norms.sqrt()
