"""Checks of the arguments that device and host environments share."""

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.spaces import Box
from torch import Tensor

from neoteny.core.available_memory import require_memory
from neoteny.core.errors import InputError

LANE = 500
"""Bytes that an environment takes with its statistics; most take more."""


def member_seeds(seed: int | Sequence[int | None] | None, members: int) -> tuple[int, ...]:
    """One seed a member: seed + m for an int, drawn from the system for None, else the given ones.

    Raises:
        ValueError: if the number of seeds is not M, or one of them is None.
    """
    if seed is None:
        words = np.random.SeedSequence().generate_state(members, np.uint64)
        return tuple((words >> np.uint64(1)).tolist())
    if isinstance(seed, int | np.integer):
        return tuple(int(seed) + member for member in range(members))
    seeds = tuple(int(value) for value in seed if value is not None)
    if len(seeds) != members or len(seed) != members:
        raise InputError(
            f"got {len(seed)} seeds for {members} members: pass one integer seed per member, or a"
            " single int"
        )
    return seeds


def positive(name: str, value: int) -> None:
    """Refuses values other than integers above 0."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value <= 0:
        raise InputError(f"{name} is {value!r}: it must be an integer above 0")


def batch_size(
    num_envs: int, members: int, device: torch.device | str, each: int = LANE
) -> tuple[int, int]:
    """Lanes of a member and members, once there is room for all of them.

    Args:
        num_envs: lanes per member.
        members: number of members.
        device: where they live.
        each: bytes that a lane takes at the least.

    Raises:
        ValueError: if one is not an integer above 0, or they are more than the memory holds.
    """
    for name, value in (("num_envs", num_envs), ("members", members)):
        positive(name, value)
    lanes = int(num_envs) * int(members)
    require_memory(f"{lanes:,} environments", lanes * each, device, "num_envs or members")
    return int(num_envs), int(members)


def step_limit(steps: int | None, name: str = "max_steps") -> int | None:
    """A limit of steps, None where -1 says that there is none."""
    if steps is None or steps == -1:
        return None
    positive(name, steps)
    return int(steps)


def check_actions(actions: Any, space: gymnasium.Space[Any]) -> None:
    """Refuses a batch of actions of another shape, or real numbers where there are choices.

    It looks at shape and dtype alone, which does not wait for the device.

    Args:
        actions: a Tensor or ndarray.
        space: of the batch.
    """
    if tuple(actions.shape) != space.shape:
        raise InputError(f"actions have shape {tuple(actions.shape)}, expected {space.shape}")
    kind = actions.dtype
    real = kind.is_floating_point if isinstance(kind, torch.dtype) else kind.kind == "f"
    if real and not isinstance(space, Box):
        raise InputError(f"actions are {kind}, but {space} takes whole numbers: cast them first")


def by_lane(name: str, value: Tensor, members: int, lanes: int) -> Tensor:
    """A parameter of the dynamics for every lane, (members * lanes,).

    Args:
        name: of the parameter.
        value: (), (members,) or (members * lanes,).
        members: M.
        lanes: N, of a member.

    Raises:
        ValueError: it has another shape.
    """
    count = members * lanes
    if value.shape == (members,):
        value = value.repeat_interleave(lanes, output_size=count)
    if value.shape not in ((), (count,)):
        raise InputError(
            f"{name} has shape {tuple(value.shape)}: pass one number, ({members},), one a member,"
            f" or ({count},), one a lane"
        )
    return value.expand(count)


def check_render_mode(mode: str | None) -> None:
    """Refuses modes other than None and "rgb_array"."""
    if mode not in (None, "rgb_array"):
        raise InputError(f"render_mode is {mode!r}: use None or 'rgb_array'")


def resolve_device(device: torch.device | str) -> torch.device:
    """The device by that name; a ValueError for CUDA on a machine without it."""
    found = torch.device(device)
    if found.type == "cuda" and not torch.cuda.is_available():
        raise InputError(
            f"{found} asked for but torch.cuda.is_available() is False: use device='cpu'"
        )
    return found


def lane_mask(mask: Any, lanes: int, device: torch.device | None) -> Any:
    """A `reset_mask` as a bool Tensor (L,), or as an ndarray where there is no device.

    Raises:
        ValueError: it has another shape.
    """
    if device is None:
        mask = np.asarray(mask, bool)
    else:
        mask = torch.as_tensor(mask, dtype=torch.bool, device=device)
    if tuple(mask.shape) != (lanes,):
        raise InputError(f"reset_mask has shape {tuple(mask.shape)}, expected ({lanes},)")
    return mask
