"""Distance that weights have moved, per member, over all tensors together."""

from collections.abc import Sequence

import torch
from torch import Tensor

from neoteny.plasticity.diagnostics.network import change_between


def norm_of(tensors: Sequence[Tensor]) -> Tensor:
    """Euclidean norm over all tensors together: each (M, ...), to (M,)."""
    return torch.stack([t.detach().flatten(1).square().sum(1) for t in tensors]).sum(0).sqrt()


def relative_change(before: Sequence[Tensor], after: Sequence[Tensor]) -> Tensor:
    """Change of the weights over any span, |after - before| / |before|.

    Cost: one pass over the weights.

    Args:
        before: clones of the parameters, each (M, ...), from before the change.
        after: the same parameters now.

    Returns:
        (M,); infinity if all weights were 0.

    Source: Dohare et al., "Loss of plasticity in deep continual learning" (2024), as a norm.
    """
    return change_between(before, after) / norm_of(before)


def distance_to_init(initial: Sequence[Tensor], now: Sequence[Tensor]) -> Tensor:
    """Euclidean distance |now - initial| of the weights from where they began: (M,).

    Cost: one pass over the weights.

    Args:
        initial: clones of the parameters, each (M, ...), from before any training.
        now: the same parameters now.

    Source: Kumar et al., "Maintaining plasticity in continual learning via regenerative
    regularization" (2023).
    """
    return change_between(initial, now)


def update_to_weight_ratio(updates: Sequence[Tensor], weights: Sequence[Tensor]) -> Tensor:
    """Effective learning rate of a single update, |update| / |weights|.

    Cost: one pass over the weights.

    Args:
        updates: what one optimiser step added, each (M, ...).
        weights: the weights it was added to.

    Returns:
        (M,).

    Source: Lyle et al., "Normalization and effective learning rates in reinforcement learning"
    (2024).
    """
    return norm_of(updates) / norm_of(weights)
