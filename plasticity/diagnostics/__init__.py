"""Diagnostics of plasticity: pure functions of tensors, and `diagnose` for a whole network."""

from neoteny.plasticity.diagnostics.activity import Activity, Gradients, Squashed
from neoteny.plasticity.diagnostics.churn import greedy_flips, policy_churn, value_churn
from neoteny.plasticity.diagnostics.curvature import (
    hessian_extremes,
    hessian_trace,
    hessian_vector_product,
)
from neoteny.plasticity.diagnostics.features import (
    feature_norm,
    feature_variance,
    numerical_rank,
    participation_ratio,
    saturated_fraction,
    sparsity,
    srank,
)
from neoteny.plasticity.diagnostics.gradients import (
    gradient_cosines,
    gradient_covariance,
    one_step_gain,
    per_sample_gradients,
)
from neoteny.plasticity.diagnostics.jacobian import (
    Jacobian,
    jacobian_summary,
    jacobians,
    linear_jacobian,
)
from neoteny.plasticity.diagnostics.kernel import (
    Kernel,
    LinearMap,
    kernel_alignment,
    kernel_by_jacobian,
    kernel_by_layers,
    kernel_drift,
    kernel_summary,
)
from neoteny.plasticity.diagnostics.model import GROUPS, diagnose
from neoteny.plasticity.diagnostics.network import change_between, weight_spectra
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
from neoteny.plasticity.diagnostics.tangent import tangent_kernels
from neoteny.plasticity.diagnostics.units import (
    dead_fraction,
    dead_mask,
    dormant_fraction,
    dormant_mask,
    frozen_order_fraction,
)
from neoteny.plasticity.diagnostics.weight_changes import (
    distance_to_init,
    relative_change,
    update_to_weight_ratio,
)
from neoteny.plasticity.isometry import gram_deviation

__all__ = [
    "DIAGNOSTICS",
    "GROUPS",
    "Activity",
    "Features",
    "Gradients",
    "Jacobian",
    "Kernel",
    "LinearMap",
    "Sorted",
    "Squashed",
    "Weights",
    "change_between",
    "condition_number",
    "dead_fraction",
    "dead_mask",
    "diagnose",
    "distance_to_init",
    "dormant_fraction",
    "dormant_mask",
    "effective_rank",
    "feature_norm",
    "feature_variance",
    "frobenius_norm",
    "frozen_order_fraction",
    "gradient_cosines",
    "gradient_covariance",
    "gram_deviation",
    "greedy_flips",
    "hessian_extremes",
    "hessian_trace",
    "hessian_vector_product",
    "jacobian_summary",
    "jacobians",
    "kernel_alignment",
    "kernel_by_jacobian",
    "kernel_by_layers",
    "kernel_drift",
    "kernel_summary",
    "linear_jacobian",
    "numerical_rank",
    "one_step_gain",
    "participation_ratio",
    "per_sample_gradients",
    "policy_churn",
    "relative_change",
    "saturated_fraction",
    "sigma_max",
    "sigma_min",
    "singular_values",
    "singular_values_of",
    "sparsity",
    "spectral_deviation",
    "srank",
    "stable_rank",
    "tangent_kernels",
    "update_to_weight_ratio",
    "value_churn",
    "weight_spectra",
]
