"""Averages over DQN's updates, computed for many updates at once."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from neoteny.agents.dqn_loss import TDErrors

__all__ = ["Tally", "Update"]

TOGETHER = 64
"""Updates that wait before their statistics are computed; it bounds the memory."""


class Update(NamedTuple):
    """What a gradient step leaves behind."""

    found: TDErrors | Tensor
    """Errors of each sample, (M, B, 1), or their statistics (4, M)."""
    norm: Tensor
    """(M,) gradient norm before clipping."""


class Tally:
    """Sums of statistics and gradient norms.

    Args:
        members: M.
        device: Where the updates' tensors are.
        kind: Of loss, "huber" or "mse".
    """

    def __init__(self, members: int, device: torch.device, kind: str) -> None:
        self._kind = kind
        self._sums = torch.zeros(5, members, device=device)
        self._count = 0
        self._waiting: list[Update] = []

    def add(self, update: Update) -> None:
        """Count an update."""
        self._waiting.append(update)
        if len(self._waiting) == TOGETHER:
            self._sum()

    def means(self) -> Tensor:
        """(5, M): the four statistics and the norm, averaged; NaN without an update."""
        if self._waiting:
            self._sum()
        return self._sums / self._count if self._count else self._sums.fill_(torch.nan)

    def _sum(self) -> None:
        waiting, self._waiting = self._waiting, []
        errors = [update.found for update in waiting if isinstance(update.found, TDErrors)]
        if errors:
            found = TDErrors(*map(torch.stack, zip(*errors, strict=True))).statistics(self._kind)
        else:
            found = torch.stack([u.found for u in waiting if isinstance(u.found, Tensor)], 1)
        self._sums[:4] += found.sum(1)
        self._sums[4] += torch.stack([update.norm for update in waiting]).sum(0)
        self._count += len(waiting)
