"""Debugging: refuse actions that no environment can play."""

from typing import Any

import torch
from gymnasium.spaces import Discrete
from torch import Tensor

from neoteny.core.errors import InputError
from neoteny.envs.arguments import check_actions
from neoteny.wrappers.members import MemberWrapper
from neoteny.wrappers.spaces import bounds


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
        check_actions(given, self.env.action_space)
        if isinstance(space, Discrete):
            low, high = space.start, space.start + space.n - 1
            known = f"the actions are {low} to {high}"
        else:
            low, high = bounds(space)
            known = f"actions lie in {space}"
        low, high = (torch.as_tensor(bound, device=given.device) for bound in (low, high))
        inside = (given >= low) & (given <= high)  # False for NaN
        self._refuse(given, ~inside.view(self.num_envs, -1).all(1), known)
        obs, reward, terminated, truncated, info = self.env.step(actions)
        return obs, reward, terminated, truncated, info

    def _refuse(self, given: Tensor, bad: Tensor, known: str) -> None:
        lanes = bad.nonzero().flatten().tolist()
        if lanes:
            value = given[lanes[0]].tolist()
            raise InputError(f"action {value} in lane {lanes[0]} is out of range: {known}")
