"""Named children of a seed for the random numbers drawn on the host.

What is drawn at run time on the device (environments, actions, minibatches) comes from the
stateless hash in :mod:`neoteny.core.rng`. Weights are drawn rarely, by `torch.Generator`, one per
member, so that a member's initial network does not depend on how many members train beside it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch

__all__ = ["child_generators", "child_seed"]


def child_seed(seed: int, stream: str, index: int = 0) -> int:
    """Derive an independent 63-bit seed from a seed, a stream's name and an index.

    Args:
        seed: The member's seed.
        stream: What the numbers are for, such as `"init"` or `"intervention"`.
        index: Distinguishes draws within a stream, such as the visit of a task.
    """
    digest = hashlib.blake2b(f"{seed}/{stream}/{index}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def child_generators(seeds: Sequence[int], stream: str, index: int = 0) -> list[torch.Generator]:
    """One CPU generator per member, seeded by :func:`child_seed`."""
    return [torch.Generator().manual_seed(child_seed(seed, stream, index)) for seed in seeds]
