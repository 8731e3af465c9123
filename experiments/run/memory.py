"""Peak memory of a run, and the columns of metrics.csv that say what it costs."""

from __future__ import annotations

import resource
import sys
from contextlib import suppress
from pathlib import Path

import torch

__all__ = ["COSTS", "MEMORY", "SPEED", "forget_peak_memory", "peak_memory"]

SPEED = "charts/SPS"
"""Environment steps a second of all members of a process, in the iteration of the row."""
MEMORY = "charts/peak_memory"
"""MiB that the process has held at most since its run began or went on."""
COSTS = (SPEED, MEMORY)
"""Columns that are measured anew each time: no two runs agree on them."""


def forget_peak_memory(device: torch.device) -> None:
    """Have `peak_memory` count from here on: a comparison trains its arms in one process."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    with suppress(OSError):  # where there is no /proc, the process's whole life counts
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")


def peak_memory(device: torch.device) -> float:
    """Memory held at most since `forget_peak_memory`, in MiB.

    Returns:
        On a GPU what torch has allocated there, else the resident memory of the process, with
        Python's and torch's own.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 2**10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
