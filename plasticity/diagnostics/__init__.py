"""Diagnostics of plasticity: pure functions of tensors, and `diagnose` for a whole network."""

from neoteny.plasticity.diagnostics.network import change_between, diagnose
from neoteny.plasticity.diagnostics.per_layer import DIAGNOSTICS, Features, Sorted, Weights
from neoteny.plasticity.diagnostics.spectra import (
    condition_number,
    effective_rank,
    frobenius_norm,
    sigma_max,
    sigma_min,
    singular_values,
    singular_values_of,
    spectral_deviation,
    stable_rank,
)
from neoteny.plasticity.diagnostics.units import (
    dead_fraction,
    dead_mask,
    dormant_fraction,
    dormant_mask,
    frozen_order_fraction,
)
from neoteny.plasticity.isometry import gram_deviation

__all__ = [
    "DIAGNOSTICS",
    "Features",
    "Sorted",
    "Weights",
    "change_between",
    "condition_number",
    "dead_fraction",
    "dead_mask",
    "diagnose",
    "dormant_fraction",
    "dormant_mask",
    "effective_rank",
    "frobenius_norm",
    "frozen_order_fraction",
    "gram_deviation",
    "sigma_max",
    "sigma_min",
    "singular_values",
    "singular_values_of",
    "spectral_deviation",
    "stable_rank",
]
