"""Least memory of a run, compared with the machine's before anything is built."""

from __future__ import annotations

import itertools
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch

from neoteny.core.errors import InputError
from neoteny.experiments.config import RunConfig

__all__ = ["memory", "require_room", "require_room_to_record"]

LANE = 500
"""Bytes that an environment takes with its statistics; most take more."""
COPIES = 4 * 4
"""Bytes of a weight, its gradient and two moments."""


def require_room(config: RunConfig) -> None:
    """Refuse environments and networks that are larger than the memory.

    Raises:
        InputError: Naming the options to lower.
    """
    widths = [*config.channels, *config.widths] if config.torso == "conv" else config.widths
    weights = sum(one * two for one, two in itertools.pairwise((1, *widths)))
    lanes = getattr(config.hyper, "num_envs", 0) + config.eval_episodes
    _require(config, "networks", config.seeds * weights * COPIES, "hidden, depth or seeds")
    _require(config, "environments", config.seeds * lanes * LANE, "num_envs or seeds")


def require_room_to_record(config: RunConfig, world: Any) -> None:
    """Refuse rollouts and replays that are larger than the memory.

    Args:
        config: Their sizes.
        world: The stream whose observations they hold.

    Raises:
        InputError: Naming the options to lower.
    """
    hyper = config.hyper
    if config.agent == "classifier":
        rows = config.seeds * hyper.steps_per_iteration * 8
        _require(config, "the samples of an iteration", rows, "updates_per_iteration or seeds")
        return
    spaces = getattr(world, "worlds", [world])[0].single_observation_space
    size = math.prod(spaces.shape) * np.dtype(spaces.dtype).itemsize
    if hasattr(hyper, "replay_size"):
        _require(config, "the replay", config.seeds * hyper.replay_size * size, "replay_size")
    else:
        kept = config.seeds * hyper.steps_per_iteration * size
        _require(config, "a rollout", kept, "num_envs, num_steps or seeds")


def memory(device: str) -> int:
    """Bytes of memory of a device; of the CPU, those that this process may have."""
    if device != "cpu":
        return int(torch.cuda.get_device_properties(device).total_memory)
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = Path("/sys/fs/cgroup/memory.max")
    try:
        return min(total, int(limit.read_text(encoding="ascii")))
    except (OSError, ValueError):  # there is no such limit
        return total


def _require(config: RunConfig, what: str, needed: int, options: str) -> None:
    there = memory(config.device)
    if needed > there:
        raise InputError(
            f"{what} would take at least {needed / 1e9:,.0f} GB, more than the {there / 1e9:.0f} "
            f"GB of {config.device}: lower {options}"
        )
