"""Registered diagnostics of the groups `activity` and `gradients`, by the functions of tensors."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from neoteny.plasticity.diagnostics import features, units
from neoteny.plasticity.diagnostics.per_layer import DIAGNOSTICS


@dataclass(frozen=True)
class Activity:
    """A hidden layer on the probe batch, at length."""

    values: Tensor
    """(M, B, n) outputs of the layer; the positions of an image are samples."""
    sigma: Tensor
    """(M, k) their singular values, descending."""
    units: Tensor
    """(M, B, n) activations, without the skip of a residual layer."""


@dataclass(frozen=True)
class Squashed:
    """The activations of a hidden layer of tanh on the probe batch."""

    units: Tensor
    """(M, B, n)."""


@dataclass(frozen=True)
class Gradients:
    """Derivatives of the samples' losses with respect to a hidden layer's activations."""

    activity: Tensor
    """(M, B, units) their absolute values, pairs and sorted groups as one."""
    tau: float
    """Threshold of `gradient_dormant_fraction`."""


@DIAGNOSTICS.of(Activity)
def feature_norm(layer: Activity) -> Tensor:
    """Mean Euclidean norm of the features of a sample."""
    return features.feature_norm(layer.values)


@DIAGNOSTICS.of(Activity)
def feature_variance(layer: Activity) -> Tensor:
    """Mean variance of a feature over the probe batch."""
    return features.feature_variance(layer.values)


@DIAGNOSTICS.of(Activity)
def feature_participation_ratio(layer: Activity) -> Tensor:
    """Squared trace of the features' covariance over the trace of its square."""
    return features.participation_ratio(layer.values)


@DIAGNOSTICS.of(Activity)
def feature_srank(layer: Activity) -> Tensor:
    """Number of the features' singular values that make up 99 % of their sum."""
    return features.srank(layer.sigma)


@DIAGNOSTICS.of(Activity)
def feature_numerical_rank(layer: Activity) -> Tensor:
    """Number of the features' singular values above round-off."""
    shape = (layer.values.shape[1], layer.values.shape[2])
    return features.numerical_rank(layer.sigma, shape, layer.values.dtype)


@DIAGNOSTICS.of(Activity)
def sparsity(layer: Activity) -> Tensor:
    """Share of activations that are 0."""
    return features.sparsity(layer.units)


@DIAGNOSTICS.of(Squashed)
def saturated_fraction(layer: Squashed) -> Tensor:
    """Share of activations of tanh beyond 0.99."""
    return features.saturated_fraction(layer.units)


@DIAGNOSTICS.of(Gradients)
def gradient_dormant_fraction(layer: Gradients) -> Tensor:
    """Share of units whose gradient is at most tau times the layer's mean (GraMa)."""
    return units.dormant_fraction(layer.activity, layer.tau)
