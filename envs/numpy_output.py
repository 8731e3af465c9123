"""A device environment as an ordinary Gymnasium vector environment of NumPy arrays."""

from typing import Any

import torch
from gymnasium.vector import VectorWrapper
from torch import Tensor


class NumpyOutput(VectorWrapper):
    """Returns NumPy arrays in place of tensors, with `final_obs` as Gymnasium gives it.

    `info["final_obs"]` (L, *observation) is there when an episode ended, together with the lanes
    for which it holds, `info["_final_obs"]` (L,) bool.

    Args:
        env: environment of tensors with SAME_STEP autoreset.
    """

    def reset(
        self, *, seed: Any = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Starts new episodes; observation (L, *observation) ndarray."""
        obs, info = self.env.reset(seed=seed, options=options)
        return _numpy(obs), {name: _numpy(value) for name, value in info.items()}

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Plays one step with actions (L, *action); see `TensorEnv.step`."""
        *outcome, info = self.env.step(torch.as_tensor(actions))
        obs, reward, terminated, truncated = map(_numpy, outcome)
        info = {name: _numpy(value) for name, value in info.items()}
        done = terminated | truncated
        final = info.pop("final_obs", None)
        if final is not None and done.any():
            info |= {"final_obs": final, "_final_obs": done}
        return obs, reward, terminated, truncated, info


def _numpy(value: Any) -> Any:
    return value.cpu().numpy() if isinstance(value, Tensor) else value
