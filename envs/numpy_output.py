"""A device environment as an ordinary Gymnasium vector environment of NumPy arrays."""

from typing import Any

import numpy as np
import torch
from gymnasium.vector import VectorWrapper
from torch import Tensor


class NumpyOutput(VectorWrapper):
    """Returns NumPy arrays in place of tensors, and infos as Gymnasium gives them.

    Each entry of an info has the lanes for which it holds beside it: `info["_name"]` (L,) bool.
    `info["final_obs"]` (L, *observation) is there when an episode ended and the environment
    restarts at once (SAME_STEP).

    Args:
        env: environment of tensors.
    """

    def reset(
        self, *, seed: Any = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Starts new episodes; observation (L, *observation) ndarray."""
        obs, info = self.env.reset(seed=seed, options=options)
        return _numpy(obs), self._infos(info)

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Plays one step with actions (L, *action); see `TensorEnv.step`."""
        *outcome, info = self.env.step(torch.as_tensor(actions))
        obs, reward, terminated, truncated = map(_numpy, outcome)
        done = terminated | truncated
        final = info.pop("final_obs", None)
        info = self._infos(info)
        if final is not None and done.any():
            info |= {"final_obs": _numpy(final), "_final_obs": done}
        return obs, reward, terminated, truncated, info

    def _infos(self, info: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, value in info.items():
            found |= {name: _numpy(value), f"_{name}": np.ones(self.num_envs, np.bool_)}
        return found


def _numpy(value: Any) -> Any:
    return value.cpu().numpy() if isinstance(value, Tensor) else value
