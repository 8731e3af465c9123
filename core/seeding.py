"""Named children of a seed for the random numbers drawn on the host.

Random numbers at run time on the device (environments, actions, minibatches) come from the
stateless hash in :mod:`neoteny.core.rng`. Weights are drawn rarely, by `torch.Generator`, one per
member, so that a member's initial network does not depend on how many members train beside it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import torch


def child_seed(seed: int, stream: str, index: int = 0) -> int:
    """Derive an independent 63-bit seed from a seed, a stream's name and an index.

    Args:
        seed: The member's seed.
        stream: Purpose of the numbers, such as `"init"` or `"intervention"`.
        index: Distinguishes draws within a stream, such as the visit of a task.
    """
    digest = hashlib.blake2b(f"{seed}/{stream}/{index}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def child_generators(seeds: Sequence[int], stream: str, index: int = 0) -> list[torch.Generator]:
    """One CPU generator per member, seeded by :func:`child_seed`."""
    return [torch.Generator().manual_seed(child_seed(seed, stream, index)) for seed in seeds]


def visit_seed(seed: int, visit: int) -> int:
    """Seed of the environment that a member plays after its `visit`-th switch.

    Args:
        seed: the member's, >= 0.
        visit: 0 for the first task.

    Returns:
        An integer in [0, 2**63) that does not depend on the other members.
    """
    return int(np.random.SeedSequence([seed, visit]).generate_state(1, np.uint64)[0]) >> 1
