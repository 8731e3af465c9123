"""Least memory of a run, compared with the machine's before anything is built, and its end."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from neoteny.agents.agent import AGENTS
from neoteny.core.available_memory import require_memory
from neoteny.core.errors import RunError
from neoteny.envs.arguments import LANE
from neoteny.experiments.options.config import RunConfig
from neoteny.experiments.run.folders import has_checkpoint

__all__ = ["memory_errors", "require_room", "require_room_to_record"]

COPIES = 4 * 4
"""Bytes of a weight, its gradient and two moments."""


def require_room(config: RunConfig) -> None:
    """Refuse environments and networks that are larger than the memory.

    Raises:
        InputError: Naming the options to lower.
    """
    device = config.device
    network = config.network
    widths = [*network.channels * (network.torso == "conv"), *network.widths]
    weights = sum(one * two for one, two in itertools.pairwise((1, *widths)))
    lanes = getattr(config.hyper, "num_envs", 0) + config.eval_episodes
    require_memory("networks", config.seeds * weights * COPIES, device, "hidden, depth or seeds")
    require_memory("environments", config.seeds * lanes * LANE, device, "num_envs or seeds")


def require_room_to_record(config: RunConfig, stream: Any) -> None:
    """Refuse rollouts and replays that are larger than the memory.

    Args:
        config: Their sizes.
        stream: The stream whose observations they hold.

    Raises:
        InputError: Naming the options to lower.
    """
    hyper: Any = config.hyper
    device = config.device
    if AGENTS[config.agent].supervised:
        rows = config.seeds * hyper.steps_per_iteration * 8
        require_memory(
            "the samples of an iteration", rows, device, "updates_per_iteration or seeds"
        )
        return
    spaces = stream.single_observation_space
    size = math.prod(spaces.shape) * np.dtype(spaces.dtype).itemsize
    size += AGENTS[config.agent].step_bytes
    if hasattr(hyper, "replay_size"):
        require_memory("the replay", config.seeds * hyper.replay_size * size, device, "replay_size")
    else:
        kept = config.seeds * hyper.steps_per_iteration * size
        require_memory("a rollout", kept, device, "num_envs, num_steps or seeds")


@contextmanager
def memory_errors(config: RunConfig) -> Iterator[None]:
    """Turn the end of the memory into one line that names the options to lower.

    Raises:
        RunError: Where torch or Python could get no more memory.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        refused = isinstance(error, MemoryError | torch.OutOfMemoryError)
        if not refused and "can't allocate memory" not in str(error):  # torch's words on a CPU
            raise
        names = ["seeds", "hidden"]
        for name in ("num_envs", "num_steps", "replay_size"):
            names += [name] * hasattr(config.hyper, name)
        kept = f"; the last checkpoint is whole, in {config.folder}" * has_checkpoint(config.folder)
        raise RunError(
            f"out of memory on {config.device}: lower {', '.join(names[:-1])} or {names[-1]}{kept}"
        ) from error
