"""Dormant and dead units, and groups that never sort.

A features tensor is (..., B, n): n units over a batch of B. The masks here are the ones that
recycling interventions use, so that what is plotted is what is reset.
"""

import torch
from torch import Tensor


def dormant_mask(features: Tensor, tau: float = 0.025) -> Tensor:
    """Units whose mean absolute activation is at most tau times the layer's mean.

    Args:
        features: (..., B, n) activations.
        tau: threshold on the score, whose mean over units is 1.

    Returns:
        (..., n) bool; all True where every activation is 0, all False where one is NaN.

    Source: Sokar et al., "The dormant neuron phenomenon" (2023), Eq. 1.
    """
    activity = features.abs().mean(-2)
    return activity <= tau * activity.mean(-1, keepdim=True)


def dormant_fraction(features: Tensor, tau: float = 0.025) -> Tensor:
    """Share of dormant units; see `dormant_mask`.

    Args:
        features: (..., B, n) activations.
        tau: threshold on the score.

    Returns:
        (...) in [0, 1]; NaN where an activation is not finite.

    Source: Sokar et al., "The dormant neuron phenomenon" (2023).
    """
    return _fraction(dormant_mask(features, tau), features)


def dead_mask(features: Tensor) -> Tensor:
    """Units that are exactly 0 on the whole batch, as ReLU units with no active input are.

    Args:
        features: (..., B, n) activations.

    Returns:
        (..., n) bool.

    Source: Lyle et al., "Understanding plasticity in neural networks" (2023).
    """
    return features.abs().amax(-2) == 0


def dead_fraction(features: Tensor) -> Tensor:
    """Share of units that are exactly 0 on the whole batch; see `dead_mask`.

    Args:
        features: (..., B, n) activations.

    Returns:
        (...) in [0, 1]; NaN where an activation is not finite.

    Source: Lyle et al., "Understanding plasticity in neural networks" (2023).
    """
    return _fraction(dead_mask(features), features)


def frozen_order_fraction(preactivations: Tensor, size: int = 2) -> Tensor:
    """Share of GroupSort's groups whose order is the same on the whole batch.

    Such a group is a fixed permutation, hence linear: GroupSort's counterpart of dead units.

    Args:
        preactivations: (..., B, n) inputs of the GroupSort, grouped as `groupsort` groups them.
        size: group size.

    Returns:
        (...) in [0, 1]; NaN where an input is not finite.
    """
    grouped = preactivations.reshape(*preactivations.shape[:-1], size, -1)  # (..., B, size, n/size)
    order = grouped.argsort(dim=-2, stable=True)
    frozen = (order == order[..., :1, :, :]).all(-3).all(-2)
    return _fraction(frozen, preactivations)


def _fraction(mask: Tensor, values: Tensor) -> Tensor:
    finite = values.isfinite().all(-1).all(-1)
    return torch.where(finite, mask.to(torch.float32).mean(-1), torch.nan)
