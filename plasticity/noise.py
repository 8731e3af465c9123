"""Gaussian noise as a pure function of a member's key and a counter.

Nothing is stored and the host draws nothing, so that a member's noise does not depend on how many
members train beside it, and a resumed run continues exactly.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["gaussian", "member_keys"]

_MASK = 0xFFFFFFFF
# A 32-bit mixer of the "lowbias32" kind (Wellons, 2018) with multipliers below 2**31, so that no
# product overflows int64.
_MULTIPLIERS = (0x21F0AAAD, 0x735A2D97)
_COUNTER, _ELEMENT = 0x1E3779B9, 0x5BD1E995


def member_keys(generators: Sequence[torch.Generator], device: torch.device | str) -> Tensor:
    """One key per member, (M,) int64, drawn from the members' generators."""
    draws = [torch.randint(0, _MASK + 1, (), generator=generator) for generator in generators]
    return torch.stack(draws).to(device)


def gaussian(keys: Tensor, counter: Tensor | int, count: int) -> Tensor:
    """Standard normal numbers for one draw.

    Args:
        keys: (M,) int64 from `member_keys`.
        counter: number of the draw; a 0-dim tensor is never read by the host.
        count: numbers per member.

    Returns:
        (M, count) float32.
    """
    pairs = (count + 1) // 2
    stream = _mix(keys ^ ((counter * _COUNTER) & _MASK)).unsqueeze(1)
    element = torch.arange(2 * pairs, device=keys.device) * _ELEMENT
    words = _mix((stream + element) & _MASK)
    uniform = ((words >> 8).to(torch.float32) + 0.5) * 2.0**-24  # in (0, 1)
    radius = uniform[:, :pairs].log_().mul_(-2).sqrt_()
    angle = uniform[:, pairs:].mul_(2 * math.pi)
    return torch.cat([radius * angle.cos(), radius * angle.sin()], 1)[:, :count]


def _mix(x: Tensor) -> Tensor:
    """Scramble 32-bit words held in int64."""
    for shift, multiplier in zip((16, 15), _MULTIPLIERS, strict=True):
        x = x ^ (x >> shift)
        x = x.mul_(multiplier).bitwise_and_(_MASK)
    return x.bitwise_xor_(x >> 15)
