"""Edits of an optimiser's state, in one place.

Edits are in place: an optimiser step that was captured or compiled keeps reading the same tensors.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.optim import Optimizer

__all__ = ["reset_optimizer"]


@torch.no_grad()
def reset_optimizer(optimizer: Optimizer) -> None:
    """Zero every moment and step count, which is the state that a new optimiser starts from."""
    for state in optimizer.state.values():
        for value in state.values():
            if isinstance(value, Tensor):
                value.zero_()
