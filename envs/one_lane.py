"""A device environment of one lane as an ordinary single environment of Gymnasium."""

from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.error import ResetNeeded
from gymnasium.spaces import Box
from torch import Tensor

from neoteny.core.errors import InputError
from neoteny.envs.base import TensorEnv


class OneLane(gymnasium.Env[Any, Any]):
    """Lane 0 of a TensorEnv for `gymnasium.make`: NumPy arrays, and no autoreset.

    It plays the episodes that lane 0 of the vector environment with this seed plays, and `render`
    shows the last state of an episode until `reset`. A step costs as much as one of many lanes,
    so it is for loops that take nothing else, and for pictures.

    Args:
        env: environment of one lane and one member.

    Raises:
        ValueError: if it has more lanes.
    """

    def __init__(self, env: TensorEnv) -> None:
        if env.num_envs != 1:
            raise InputError(
                f"env has {env.num_envs} lanes: one is stepped here, gymnasium.make_vec takes more"
            )
        self.env = env
        self.observation_space = env.single_observation_space
        self.action_space = env.single_action_space
        self.render_mode = env.render_mode
        self.metadata = {k: v for k, v in env.metadata.items() if k != "autoreset_mode"}
        self._following: dict[str, Tensor] | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Starts the next episode, or the first one of `seed`.

        The first time, None stands for the seed that the environment was made with.
        """
        if seed is None and self._np_random is None:
            seed = self.env.seeds[0]
        super().reset(seed=seed)
        going_on = self.env.state and seed is None and not options
        if going_on and self._following is not None:
            self.env.state = self._following
        elif going_on and self.env.state["elapsed"] > 0:  # ended from outside, as by a TimeLimit
            self.env.state = self._cut()
        else:
            self.env.reset(seed=seed, options=options)
        self._following = None
        return self._seen()

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Plays one step, see `TensorEnv.step`; call `reset` after the last of an episode.

        Raises:
            ValueError: if the action has another shape or, where there are choices, is none of
                them; real numbers out of range are left to the dynamics, as in Gymnasium.
            ResetNeeded: before the first `reset`.
        """
        env, space = self.env, self.action_space
        if not env.state:
            raise ResetNeeded("step was called before reset: call reset() first")
        given = np.asarray(action)
        if given.dtype.kind == "b":
            given = given.astype(np.int64)
        fits = given.shape == space.shape and given.dtype.kind in "iuf"
        if not fits or not (isinstance(space, Box) or space.contains(given)):
            raise InputError(f"action {action!r} is not in the action space {space}")
        actions = torch.as_tensor(given[None], device=env.device).to(env._action_type)
        following, after, reward, terminated, truncated = env._advance(env.state, actions)
        done = bool(terminated) or bool(truncated)
        env.state, self._following = (after, following) if done else (following, None)
        obs, info = self._seen()
        return obs, float(reward), bool(terminated), bool(truncated), info

    def _cut(self) -> dict[str, Tensor]:
        """The state that would follow if the last step had ended the episode by truncation."""
        env, state = self.env, self.env.state
        draws = env._draw(state["t_env"] - 1)
        elapsed = torch.zeros_like(state["elapsed"])
        fresh = env._restart(torch.ones_like(elapsed, dtype=torch.bool), state, draws)
        return state | fresh | {"elapsed": elapsed}

    def _seen(self) -> tuple[Any, dict[str, Any]]:
        """Observation and info of the present state."""
        obs = self.env._observe(self.env.state)[0].cpu().numpy()
        values = {name: value[0] for name, value in self.env._state_info().items()}
        info = {k: v.cpu().numpy() if v.ndim else v.item() for k, v in values.items()}
        return obs, info

    def render(self) -> Any:
        """The frame, (height, width, 3) uint8; None without a `render_mode`."""
        frames = self.env.render()
        return None if frames is None else frames[0]

    def close(self) -> None:
        """Drops the environment's memory."""
        self.env.close()
