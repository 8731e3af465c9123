"""The memory of a device, and the refusal of larger requests."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from neoteny.core.errors import InputError


def memory(device: torch.device | str) -> int:
    """Bytes of memory of a device; of the CPU, those that this process may have."""
    if torch.device(device).type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = Path("/sys/fs/cgroup/memory.max")
    try:
        return min(total, int(limit.read_text(encoding="ascii")))
    except (OSError, ValueError):  # there is no such limit
        return total


def require_memory(what: str, needed: int, device: torch.device | str, options: str) -> None:
    """Refuse a request larger than the memory.

    Args:
        what: plural, as in "environments".
        needed: bytes, at the least.
        device: where they would lie.
        options: to lower.

    Raises:
        InputError: naming both sizes.
    """
    there = memory(device)
    if needed > there:
        raise InputError(
            f"{what} would take at least {needed / 1e9:,.0f} GB, more than the {there / 1e9:.0f} "
            f"GB of {device}: lower {options}"
        )
