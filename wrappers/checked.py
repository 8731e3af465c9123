"""Debugging: refuse actions that no environment can play."""

from typing import Any

import torch
from gymnasium.spaces import Box, Discrete
from torch import Tensor

from neoteny.core.errors import InputError
from neoteny.wrappers.members import MemberWrapper


class CheckActions(MemberWrapper):
    """Checks the range of every action before it is played.

    Environments on a device do not look at actions, since that would wait for the device; an
    action out of range then does something arbitrary. This waits, so it is meant for debugging.

    Args:
        env: any vector environment.
    """

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Play one step.

        Raises:
            ValueError: an action lies outside the action space.
        """
        space = self.env.single_action_space
        given = actions if isinstance(actions, Tensor) else torch.as_tensor(actions)
        if isinstance(space, Discrete):
            low, high = int(space.start), int(space.start + space.n) - 1
            bad = (given < low) | (given > high)
            self._refuse(given, bad, f"the actions are {low} to {high}")
        elif isinstance(space, Box):
            bad = ~(
                (given >= torch.as_tensor(space.low, device=given.device))
                & (given <= torch.as_tensor(space.high, device=given.device))
            )
            self._refuse(given, bad.flatten(1).any(1), f"actions lie in {space}")
        obs, reward, terminated, truncated, info = self.env.step(actions)
        return obs, reward, terminated, truncated, info

    def _refuse(self, given: Tensor, bad: Tensor, known: str) -> None:
        lanes = bad.nonzero().flatten().tolist()
        if lanes:
            value = given[lanes[0]].tolist()
            raise InputError(f"action {value} in lane {lanes[0]} is out of range: {known}")
