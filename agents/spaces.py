"""The observation and action spaces that agents take, and how they keep observations."""

from __future__ import annotations

from typing import Any

import gymnasium
import torch

from neoteny.core.errors import InputError

_SMALL = (
    torch.bool,
    torch.uint8,
    torch.int8,
    torch.int16,
    torch.float16,
    torch.bfloat16,
    torch.float32,
)


def check_lanes(envs: Any, members: int, lanes: int) -> None:
    """Refuse environments whose number of lanes is not that of all members.

    Args:
        envs: Vector environment.
        members: M, one per seed.
        lanes: N, the configuration's `num_envs`.

    Raises:
        ValueError: Naming both numbers.
    """
    if envs.num_envs != members * lanes:
        raise InputError(
            f"the environment has {envs.num_envs} lanes, but {members} seeds with num_envs={lanes} "
            f"need {members * lanes}: make it with as many, or change num_envs"
        )


def observation_shape(space: gymnasium.Space[Any]) -> tuple[int, ...]:
    """Shape of one observation.

    Raises:
        ValueError: if the space is not a Box, or its observations are single numbers without axes.
    """
    if not isinstance(space, gymnasium.spaces.Box):
        raise InputError(
            f"an agent needs observations that are a Box, the environment has {space}: flatten "
            "them, as HostEnv does"
        )
    if not space.shape:
        raise InputError(f"observations {space} have no axis: give them the shape (1,)")
    return tuple(space.shape)


def action_count(space: gymnasium.Space[Any]) -> int:
    """Number of discrete actions.

    Raises:
        ValueError: if actions are not discrete, or do not count from 0.
    """
    if not isinstance(space, gymnasium.spaces.Discrete):
        raise InputError(f"DQN needs discrete actions, the environment has {space}: use PPO")
    if space.start != 0:
        raise InputError(
            f"actions {space} count from {space.start}: let the environment count them from 0, as "
            "HostEnv does"
        )
    return int(space.n)


def stored_type(kind: torch.dtype) -> torch.dtype:
    """Type in which observations of a type are kept: their own, or the floats of the networks.

    Of unsigned integers torch handles bytes alone, so wider ones are kept as floats; others beyond
    16 bits lose nothing that the first layer would not take from them.
    """
    return kind if kind in _SMALL else torch.get_default_dtype()
