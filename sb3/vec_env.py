"""An environment of tensors as a vector environment of Stable-Baselines3."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor

from neoteny.core.errors import InputError
from neoteny.envs import NumpyOutput


class SB3VecEnv(VecEnv):
    """Lets agents of Stable-Baselines3 train on a TensorEnv, a HostEnv or a wrapper of one.

    The agent sees all L = M * N lanes as its parallel environments, members or not, and NumPy
    arrays, which costs a copy from the device every step. An info holds what Stable-Baselines3
    asks for: `terminal_observation`, and `TimeLimit.truncated`, by which it bootstraps. Wrap the
    result in its VecMonitor for episode statistics. Attributes belong to all lanes at once, so
    `indices` only say how often they are returned.

    Args:
        env: environment of tensors with SAME_STEP autoreset, or what `gymnasium.make_vec` makes of
            an id of neoteny.

    Raises:
        ValueError: the environment returns NumPy arrays.

    Example:
        >>> from stable_baselines3 import PPO
        >>> from neoteny import envs
        >>> from neoteny.sb3.vec_env import SB3VecEnv
        >>> agent = PPO("MlpPolicy", SB3VecEnv(envs.make("CartPole-v1", 8)))
    """

    def __init__(self, env: VectorEnv[Any, Any, Any]) -> None:
        if isinstance(env, NumpyOutput):
            env = env.unwrapped
        if getattr(env, "device", None) is None:
            raise InputError(
                f"{env} returns no tensors: give what neoteny.envs.make or, for ids of neoteny,"
                " gymnasium.make_vec returns, and wrap SB3VecEnv, as by VecMonitor"
            )
        self.env: Any = env
        env.final_observations = True  # type: ignore[attr-defined]
        self._actions: NDArray[Any] | None = None
        super().__init__(env.num_envs, env.single_observation_space, env.single_action_space)

    def reset(self) -> NDArray[Any]:
        """Starts new episodes, from the seeds given to `seed` if it was called since the last."""
        obs, _ = self.env.reset(seed=self._seeds[0])
        self._reset_seeds()
        self._reset_options()
        return _numpy(obs)

    def step_async(self, actions: NDArray[Any]) -> None:
        """Keeps the actions (L, *action) for `step_wait`."""
        self._actions = actions

    def step_wait(self) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], list[dict[str, Any]]]:
        """Plays one step: observation (L, *observation), reward (L,), done (L,), an info a lane."""
        obs, reward, terminated, truncated, info = self.env.step(torch.as_tensor(self._actions))
        truncated = truncated & ~terminated
        done = _numpy(terminated | truncated)
        infos = [{"TimeLimit.truncated": bool(flag)} for flag in _numpy(truncated)]
        if done.any():
            final = _numpy(info["final_obs"])
            for lane in np.flatnonzero(done):
                infos[lane]["terminal_observation"] = final[lane]
        return _numpy(obs), _numpy(reward), done, infos

    def close(self) -> None:
        """Closes the environment."""
        self.env.close()

    def get_images(self) -> Sequence[NDArray[np.uint8] | None]:
        """A frame a lane, or None a lane without a `render_mode`."""
        return self.env.render() or [None] * self.num_envs

    def get_attr(self, attr_name: str, indices: int | Iterable[int] | None = None) -> list[Any]:
        """An attribute of the environment, once for each of `indices`."""
        value = getattr(self.env, attr_name)
        return [value for _ in self._get_indices(indices)]

    def set_attr(
        self, attr_name: str, value: Any, indices: int | Iterable[int] | None = None
    ) -> None:
        """Sets an attribute of the environment, for all lanes."""
        setattr(self.env, attr_name, value)

    def env_method(
        self,
        method_name: str,
        *method_args: Any,
        indices: int | Iterable[int] | None = None,
        **method_kwargs: Any,
    ) -> list[Any]:
        """Calls a method of the environment once; its result for each of `indices`."""
        result = getattr(self.env, method_name)(*method_args, **method_kwargs)
        return [result for _ in self._get_indices(indices)]

    def env_is_wrapped(
        self, wrapper_class: type[Any], indices: int | Iterable[int] | None = None
    ) -> list[bool]:
        """False for each of `indices`: no lane is a single Gymnasium environment."""
        return [False for _ in self._get_indices(indices)]


def _numpy(value: Tensor) -> NDArray[Any]:
    array: NDArray[Any] = value.cpu().numpy()
    return array
