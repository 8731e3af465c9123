"""A device environment with Gymnasium's own way of restarting: on the step after an episode."""

from typing import Any

import torch
from gymnasium.vector import AutoresetMode, VectorWrapper
from torch import Tensor

from neoteny.envs.arguments import lane_mask
from neoteny.envs.base import State, TensorEnv


class NextStep(VectorWrapper):
    """Restarts finished lanes on their next step (NEXT_STEP), as Gymnasium does by default.

    The last step of an episode returns its last observation, and `render` shows it. The step after
    ignores the lane's action and returns the first observation of the next episode with reward 0.
    Gymnasium's wrappers of observations take no other way. Every lane plays the episodes that it
    plays under SAME_STEP; where episodes are short a step takes up to 1.6 times as long.

    Args:
        env: environment whose lanes are to restart so.
    """

    env: TensorEnv

    def __init__(self, env: TensorEnv) -> None:
        super().__init__(env)
        self.metadata = {**env.metadata, "autoreset_mode": AutoresetMode.NEXT_STEP}
        self._ended = torch.zeros(env.num_envs, dtype=torch.bool, device=env.device)
        self._following: State = {}

    def reset(
        self, *, seed: Any = None, options: dict[str, Any] | None = None
    ) -> tuple[Tensor, dict[str, Any]]:
        """Starts new episodes; see `TensorEnv.reset`.

        Lanes of a `reset_mask` whose episode has ended begin the one that would follow.
        """
        env, shown = self.env, self.env.state
        mask = (options or {}).get("reset_mask")
        if mask is None or seed is not None or not shown:
            obs, info = env.reset(seed=seed, options=options)
            self._ended = torch.zeros_like(self._ended)
            self._following = env.state
            return obs, info
        mask = lane_mask(mask, env.num_envs, env.device)
        env.state = self._following
        env.reset(options={**(options or {}), "reset_mask": mask & ~self._ended})
        self._following, self._ended = env.state, self._ended & ~mask
        env.state = _select(self._ended, shown, env.state)
        return env._observe(env.state), env._state_info()

    def step(self, actions: Any) -> tuple[Tensor, Tensor, Tensor, Tensor, dict[str, Any]]:
        """Plays one step of the lanes whose episode goes on and restarts the others.

        Args:
            actions: (L, *action), as `TensorEnv.step` takes them.

        Returns:
            Observation (L, *observation), reward (L,), terminated (L,), truncated (L,) and info.

        Raises:
            ValueError: if the actions have another shape, or fractions where there are choices.
            ResetNeeded: before the first `reset`.
        """
        env, before, ended = self.env, self._following, self._ended
        actions = env._checked(actions)
        following, after, reward, terminated, truncated = env._advance(before, actions)
        # Results go to the host in every step (`NumpyOutput`), so that asking waits no more
        if ended.any():
            following = _select(ended, before, following)
            reward = reward.masked_fill(ended, 0)
            terminated, truncated = terminated & ~ended, truncated & ~ended
        self._following, self._ended = following, terminated | truncated
        env.state = _select(self._ended, after, following) if self._ended.any() else following
        return env._observe(env.state), reward, terminated, truncated, env._state_info()


def _select(lanes: Tensor, chosen: State, others: State) -> State:
    """Fields (L, ...) of one state in some lanes (L,) bool, and of another elsewhere."""
    return {
        name: torch.where(lanes.view(-1, *[1] * (value.ndim - 1)), chosen[name], value)
        for name, value in others.items()
    }
