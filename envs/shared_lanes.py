"""A batch of environments whose lanes several processes play, as all of them see it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray
from torch import Tensor

from neoteny.core.errors import InputError
from neoteny.core.ranks import Ranks
from neoteny.envs.base import TensorEnv
from neoteny.envs.host import HostEnv
from neoteny.envs.limited import LimitedVectorEnv


class SharedLanes(LimitedVectorEnv):
    """All lanes of an environment, of which each process plays its part and tells the others.

    Every process is given the actions of all lanes and returns what has become of all of them: it
    is an environment of one process, whose work is shared. A lane plays as it would there. States
    are those of all lanes too, so that a run can go on in another number of processes.

    Args:
        make: makes the environment with a number of lanes per member.
        num_envs: lanes per member of all processes together, a multiple of their number.
        ranks: the processes.

    Raises:
        InputError: the environment is one of the host.
    """

    def __init__(self, make: Callable[[int], TensorEnv | HostEnv], num_envs: int, ranks: Ranks):
        env = make(num_envs // ranks.size)
        if not isinstance(env, TensorEnv):
            env.close()
            raise InputError(
                f"{env.id} is stepped by the host, whose lanes processes cannot share: give as many"
                f" seeds as processes, {ranks.size} or more"
            )
        env.take_lanes(ranks.rank * env.lanes)
        self.env, self.ranks = env, ranks
        self.lanes, self.members, self.device = num_envs, env.members, env.device
        self.num_envs = self.members * num_envs
        self.max_steps, self.render_mode = env.max_steps, env.render_mode
        self.metadata = {**env.metadata, "autoreset_mode": AutoresetMode.SAME_STEP}
        self.render_lanes: Sequence[int] = range(self.num_envs)
        self.single_observation_space = env.single_observation_space
        self.single_action_space = env.single_action_space
        self.observation_space = batch_space(env.single_observation_space, self.num_envs)
        self.action_space = batch_space(env.single_action_space, self.num_envs)

    def __getattr__(self, name: str) -> Any:
        """Parameters and what else an environment may have, which is the same in all lanes."""
        if name.startswith("_") or name == "env":
            raise AttributeError(name)
        found = getattr(self.env, name)
        return self._set_parameters if name == "set_parameters" else found

    @property
    def final_observations(self) -> bool:
        """True if `step` returns `info["final_obs"]`."""
        return self.env.final_observations

    @final_observations.setter
    def final_observations(self, wanted: bool) -> None:
        self.env.final_observations = wanted

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Tensor, dict[str, Any]]:
        """Starts a new episode in every lane, or in those of `reset_mask`; see `TensorEnv`."""
        if "reset_mask" in (options or {}):
            mask = torch.as_tensor(options["reset_mask"], device=self.device)  # type: ignore[index]
            options = {**(options or {}), "reset_mask": self._own(mask)}
        own, info = self.env.reset(seed=seed, options=options)
        obs, *more = self._all([own, *info.values()])
        return obs, dict(zip(info, more, strict=True))

    def step(self, actions: Any) -> tuple[Tensor, Tensor, Tensor, Tensor, dict[str, Any]]:
        """Steps this process's lanes; actions and outcome are those of all, see `TensorEnv`."""
        own = self._own(torch.as_tensor(actions, device=self.device))
        *outcome, info = self.env.step(own)
        obs, reward, terminated, truncated, *more = self._all([*outcome, *info.values()])
        return obs, reward, terminated, truncated, dict(zip(info, more, strict=True))

    def max_truncations(self, horizon: int) -> int:
        """Upper bound on the truncations one lane can see within the next `horizon` steps."""
        most = self.env.max_truncations(horizon)
        if self.device.type != "cpu":  # it is the same in all lanes, whatever they have played
            return most
        return self.ranks.largest(most, device=self.device)[0]

    def _set_parameters(self, **values: float | Sequence[float] | NDArray[Any] | Tensor) -> None:
        """Changes parameters of the dynamics, of all lanes or of each."""
        own = {}
        for name, value in values.items():
            given = torch.as_tensor(value)
            own[name] = self._own(given) if given.shape == (self.num_envs,) else value
        self.env.set_parameters(**own)  # type: ignore[attr-defined]

    def state_dict(self) -> dict[str, Tensor]:
        """The state of all lanes, as an environment of one process has it."""
        state = self.env.state_dict()
        names = [name for name in state if name not in self.env.of_members]
        return state | dict(zip(names, self._all([state[name] for name in names]), strict=True))

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Goes on from a state of all lanes."""
        own = {
            name: value if name in self.env.of_members else self._own(value.to(self.device))
            for name, value in state.items()
        }
        self.env.load_state_dict(own)

    def close_extras(self, **kwargs: Any) -> None:
        """Drops the state."""
        self.env.close()

    def _own(self, values: Tensor) -> Tensor:
        return self.ranks.lanes(values, self.members)

    def _all(self, values: Sequence[Tensor]) -> list[Tensor]:
        return self.ranks.all_lanes(values, self.members)
