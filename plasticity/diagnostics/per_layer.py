"""The diagnostics that `diagnose` measures: functions of one layer, registered by a decorator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from torch import Tensor

from neoteny.core.errors import InputError
from neoteny.core.registry import Registry
from neoteny.plasticity.diagnostics import spectra, units


@dataclass(frozen=True)
class Weights:
    """The weights of a layer or head."""

    matrix: Tensor
    """(M, out, in), kernels as (M, out, in * kh * kw)."""
    sigma: Tensor
    """(M, k) its singular values, descending."""
    scale: float
    """Target squared singular value."""


@dataclass(frozen=True)
class Features:
    """The output of a hidden layer on the probe batch."""

    values: Tensor
    """(M, B, n) activations; the positions of an image are samples."""
    sigma: Tensor
    """(M, k) their singular values, descending."""
    activity: Tensor
    """(M, B, units) mean absolute activation of every unit, pairs and sorted groups as one."""
    tau: float
    """Threshold of `dormant_fraction`."""


@dataclass(frozen=True)
class Sorted:
    """The inputs of a GroupSort on the probe batch."""

    values: Tensor
    """(M, B, n)."""
    size: int
    """Units in a group."""


L = TypeVar("L")


@dataclass(frozen=True)
class Diagnostic(Generic[L]):
    """A number of a layer."""

    function: Callable[[L], Tensor]
    """From the data of a layer to (M,)."""
    of: type[L]
    """`Weights`, of layers and heads; `Features`, of hidden layers; `Sorted`, of sorting ones.
    `Activity`, `Squashed`, `Gradients`, `Jacobian` and `Kernel` are measured on request."""


class _Diagnostics(Registry[Diagnostic[Any]]):
    """Registers functions by a decorator for each kind of layer data."""

    def of(self, kind: type[L]) -> Callable[[Callable[[L], Tensor]], Callable[[L], Tensor]]:
        """Register the decorated function under its own name.

        Args:
            kind: The data that it takes: `Weights`, `Features`, `Sorted` or another.
        """

        def decorate(function: Callable[[L], Tensor]) -> Callable[[L], Tensor]:
            self.add(function.__name__, Diagnostic(function, kind), origin=function)
            return function

        return decorate

    def measure(self, layer: L) -> dict[str, Tensor]:
        """Every diagnostic of that kind of layer data: name to (M,).

        Raises:
            InputError: If one gives anything but a number for each member.
        """
        found = {
            name: each.function(layer) for name, each in self.items() if each.of is type(layer)
        }
        data = next(value for value in vars(layer).values() if isinstance(value, Tensor))
        for name, value in found.items():
            shape = tuple(getattr(value, "shape", ()))
            if data.dim() == 3 and shape != (len(data),):
                raise InputError(
                    f"diagnostic {name!r} gives the shape {shape} for {len(data)} members: give "
                    f"({len(data)},), a number for each, as layer.matrix.abs().amax((1, 2)) does"
                )
        return found


DIAGNOSTICS = _Diagnostics("diagnostic")
"""Every diagnostic by its name, which ends its key in a record: `plasticity/policy/layer0/NAME`."""


@DIAGNOSTICS.of(Weights)
def gram_deviation(layer: Weights) -> Tensor:
    """Squared distance of the smaller Gram matrix from the scale times one: 0 for an isometry."""
    return spectra.spectral_deviation(layer.sigma, layer.scale)


@DIAGNOSTICS.of(Weights)
def sigma_max(layer: Weights) -> Tensor:
    """Largest singular value of the weights."""
    return spectra.sigma_max(layer.sigma)


@DIAGNOSTICS.of(Weights)
def sigma_min(layer: Weights) -> Tensor:
    """Smallest singular value of the weights."""
    return spectra.sigma_min(layer.sigma)


@DIAGNOSTICS.of(Weights)
def condition(layer: Weights) -> Tensor:
    """Largest singular value of the weights over the smallest."""
    return spectra.condition_number(layer.sigma)


@DIAGNOSTICS.of(Weights)
def weight_effective_rank(layer: Weights) -> Tensor:
    """Exponential of the entropy of the weights' singular values."""
    return spectra.effective_rank(layer.sigma)


@DIAGNOSTICS.of(Weights)
def weight_stable_rank(layer: Weights) -> Tensor:
    """Squared Frobenius norm of the weights over their squared spectral norm."""
    return spectra.stable_rank(layer.sigma)


@DIAGNOSTICS.of(Weights)
def weight_norm(layer: Weights) -> Tensor:
    """Frobenius norm of the weights."""
    return spectra.frobenius_norm(layer.sigma)


@DIAGNOSTICS.of(Weights)
def weight_mean_square(layer: Weights) -> Tensor:
    """Mean squared singular value of the weights."""
    return layer.sigma.square().mean(-1)


@DIAGNOSTICS.of(Features)
def feature_effective_rank(layer: Features) -> Tensor:
    """Exponential of the entropy of the features' singular values."""
    return spectra.effective_rank(layer.sigma)


@DIAGNOSTICS.of(Features)
def feature_stable_rank(layer: Features) -> Tensor:
    """Squared Frobenius norm of the features over their squared spectral norm."""
    return spectra.stable_rank(layer.sigma)


@DIAGNOSTICS.of(Features)
def dormant_fraction(layer: Features) -> Tensor:
    """Share of units whose activity is at most tau times the layer's mean."""
    return units.dormant_fraction(layer.activity, layer.tau)


@DIAGNOSTICS.of(Features)
def dead_fraction(layer: Features) -> Tensor:
    """Share of units that are 0 on the whole probe batch."""
    return units.dead_fraction(layer.activity)


@DIAGNOSTICS.of(Sorted)
def frozen_order_fraction(layer: Sorted) -> Tensor:
    """Share of sorted groups whose order is the same on the whole probe batch."""
    return units.frozen_order_fraction(layer.values, layer.size)
