"""Any Gymnasium environment, stepped on the host behind the interface of a TensorEnv."""

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal, get_args

import numpy as np
import torch
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray
from torch import Tensor

from neoteny.core import rng
from neoteny.core.errors import InputError, RunError
from neoteny.core.names import hint
from neoteny.envs.arguments import (
    batch_size,
    by_lane,
    check_actions,
    lane_mask,
    member_seeds,
    resolve_device,
    step_limit,
)
from neoteny.envs.host_single import Place, Replayable, host_ids, is_host_id, make_single
from neoteny.envs.limited import LimitedVectorEnv
from neoteny.envs.truncation_bound import TruncationBound
from neoteny.envs.workers import Workers

Vectorization = Literal["sync", "async"]

OBJECT, PROCESS = 3_000, 10_000_000
"""Bytes that an environment takes at the least, in this process and in one of its own."""


class HostEnv(LimitedVectorEnv):
    """M members of N lanes of any Gymnasium id, stepped one by one, tensors in and out.

    Slower than a TensorEnv, and otherwise like one: lanes are member-major, finished lanes
    restart at once (SAME_STEP), a lane that terminates on its last step is not truncated, and
    Gymnasium's infos are dropped. Observations are always one tensor: of a Dict the entry
    `observation`, by default "image" (MiniGrid's); other spaces flattened, a Discrete one to a
    one-hot vector, a single number to a vector of one; uint16 as int32, uint32 and types of 64
    bits as float32. Rewards are float32, discrete actions count from 0.

    Every episode is seeded anew from (seed of the member, lane within the member, number of the
    episode), so a lane does not depend on `num_envs` or `members`. Saving keeps the actions of
    the episodes under way and loading plays them again: a resume is bit exact if the environment
    is a function of its seed, its actions and what `set_parameters` set, as Gymnasium asks.

    Errors keep their traceback and name the id; see `CheckedSingle` and `Workers`.

    Args:
        id: an id of Gymnasium or of a package that registers there.
        num_envs: lanes per member, N. The attribute `num_envs` is Gymnasium's: all L lanes.
        members: number of members, M.
        device: where the returned tensors live.
        seed: seed of member 0, member m taking seed + m; or one seed per member; None draws them
            anew.
        vectorization: "sync" steps lane after lane, "async" every lane in a process of its own.
        env_timeout: seconds that a reset or a step may take, for "async" alone: nothing could
            interrupt an environment in this process; None for no limit.
        observation: entry of a Dict observation to show.
        flatten: flatten observations to vectors, with all entries of a Dict unless it has an
            image or `observation` names one.
        max_steps: limit of steps in place of the registered one, -1 for none. An environment's own
            limit, as MiniGrid's attribute `max_steps`, stays.
        bounded: True if only limits of steps truncate; False if the environment may truncate
            earlier by itself, which makes `max_truncations` as large as the horizon. It is taken
            back when a limit turns out to differ between episodes, or an episode ends before it.
        **options: given to `gymnasium.make`, such as `render_mode`.

    Attributes:
        final_observations: True if `step` returns `info["final_obs"]`.
        max_steps: the limit of steps, None if it is not known.
        render_lanes: the lanes that `render` draws, every one by default.

    Raises:
        ValueError: for an unknown id, an option out of range or that the environment refuses, a
            package that is not installed, and spaces that are not supported.
    """

    def __init__(
        self,
        id: str,
        num_envs: int = 1,
        members: int = 1,
        device: torch.device | str = "cpu",
        seed: int | Sequence[int] | None = 0,
        *,
        vectorization: Vectorization = "sync",
        env_timeout: float | None = None,
        observation: str | None = None,
        flatten: bool = False,
        max_steps: int | None = None,
        bounded: bool = True,
        **options: Any,
    ) -> None:
        if max_steps is not None:
            options["max_episode_steps"] = step_limit(max_steps) or -1
        _check_vectorization(vectorization, env_timeout)
        if not is_host_id(id):
            raise InputError(f"Gymnasium knows no environment {id!r}: {hint(id, host_ids())}")
        each = OBJECT if vectorization == "sync" else PROCESS
        self.lanes, self.members = batch_size(num_envs, members, "cpu", each)
        self.num_envs = self.members * self.lanes
        self.device = resolve_device(device)
        self.final_observations = True
        self.render_lanes: Sequence[int] = range(self.num_envs)
        self._seed(seed)
        build = partial(make_single, id, observation, flatten, options)
        self.id = id
        self._describe(build())
        limit = self.max_steps if bounded else None
        self._truncations = TruncationBound(self.num_envs, limit, id)
        if vectorization == "sync":
            self._envs: Any = SyncVectorEnv(
                [build] * self.num_envs, autoreset_mode=AutoresetMode.SAME_STEP
            )
        else:
            self._envs = Workers(partial(build, as_text=True), self.num_envs, id, env_timeout)
        self._obs: Tensor | None = None

    def _describe(self, sample: Replayable) -> None:
        """Takes spaces, limits and parameters from one environment, and closes it."""
        self._own_limit = sample.own_limit
        registered = sample.spec and sample.spec.max_episode_steps
        limits = [limit for limit in (registered, self._own_limit) if limit and limit > 0]
        self.max_steps = min(limits, default=None)
        self.spec = sample.spec
        self.render_mode = sample.render_mode
        self._parameters = list(sample.parameters)
        self.metadata = {**sample.metadata, "autoreset_mode": AutoresetMode.SAME_STEP}
        self.single_observation_space = sample.observation_space
        self.single_action_space = sample.action_space
        self.observation_space = batch_space(sample.observation_space, self.num_envs)
        self.action_space = batch_space(sample.action_space, self.num_envs)
        sample.close()

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Tensor, dict[str, Any]]:
        """Starts a new episode in every lane, or in those of `reset_mask`; see `TensorEnv.reset`.

        Raises:
            ValueError: for another option, a mask of another shape or seeds out of range.
        """
        options = dict(options or {})
        mask = options.pop("reset_mask", None)
        if options:
            raise InputError(f"reset got options {sorted(options)}, but it takes only reset_mask")
        if seed is not None:
            self._seed(seed)
            self._obs = None
        if self._obs is None:
            obs = self._begin(self._envs.reset(seed=self._lane_seeds)[0])
            self._look_at_limits()
            return obs, {}
        if mask is None:
            return self._begin(self._envs.reset()[0]), {}
        mask = lane_mask(torch.as_tensor(mask).cpu(), self.num_envs, None)
        if mask.any():  # Gymnasium refuses an empty mask
            obs, _ = self._envs.reset(options={"reset_mask": mask})
            self._obs = self._shown(obs)
            self._truncations.elapsed[mask] = 0
        return self._obs, {}

    def _look_at_limits(self) -> None:
        """Gives up the bound on truncations where a reset, as in BabyAI, sets other limits."""
        if any(limit != self._own_limit for limit in self._envs.get_attr("own_limit")):
            self._truncations.limit = None

    def _begin(self, obs: NDArray[Any]) -> Tensor:
        self._truncations.elapsed[:] = 0
        self._obs = self._shown(obs)
        return self._obs

    def _shown(self, obs: NDArray[Any]) -> Tensor:
        self._require_finite("observation", obs)
        return torch.as_tensor(obs, device=self.device)

    def _require_finite(self, what: str, values: NDArray[Any]) -> None:
        """Names the environment, before its values make a network's weights as bad."""
        if values.dtype.kind != "f" or np.isfinite(values).all():
            return
        finite = np.isfinite(values.reshape(self.num_envs, -1))
        lane = int(np.flatnonzero(~finite.all(1))[0])
        value = values.reshape(self.num_envs, -1)[lane][~finite[lane]][0]
        raise RunError(
            f"{self.id} returned the {what} {value} in lane {lane % self.lanes} of seed"
            f" {self.seeds[lane // self.lanes]}: mend the environment, or bound what it returns"
        )

    def step(self, actions: Any) -> tuple[Tensor, Tensor, Tensor, Tensor, dict[str, Any]]:
        """Steps every lane and restarts those that finish.

        Args:
            actions: (L, *action), Tensor or ndarray.

        Returns:
            As `TensorEnv.step`.

        Raises:
            ValueError: if the actions have another shape, or fractions where there are choices.
            ResetNeeded: before the first `reset`.
            RunError: if a lane was truncated more often than `max_truncations` said, or a reward
                or an observation is not finite.
        """
        if self._obs is None:
            raise ResetNeeded("step was called before reset: call reset() first")
        actions = torch.as_tensor(actions).cpu().numpy()
        check_actions(actions, self.action_space)
        obs, reward, terminated, truncated, info = self._envs.step(
            actions.astype(self.action_space.dtype)
        )
        with np.errstate(over="ignore"):
            reward = np.asarray(reward, np.float32)
        self._require_finite("reward", reward)
        truncated &= ~terminated
        self._truncations.count(terminated, truncated)
        self._obs = self._shown(obs)
        final = {}
        if self.final_observations:
            before = obs.copy()
            for lane in np.flatnonzero(info.get("_final_obs", ())):
                before[lane] = info["final_obs"][lane]
            self._require_finite("observation", before)
            final["final_obs"] = torch.as_tensor(before, device=self.device)
        return (
            self._obs,
            torch.as_tensor(reward, device=self.device),
            torch.as_tensor(terminated, device=self.device),
            torch.as_tensor(truncated, device=self.device),
            final,
        )

    def _seed(self, seed: int | Sequence[int | None] | None) -> None:
        self.seeds = member_seeds(seed, self.members)
        self._lane_seeds = rng.lane_keys(self.seeds, self.lanes, "env").tolist()

    def max_truncations(self, horizon: int) -> int:
        """Upper bound on the truncations one lane can see within the next `horizon` steps."""
        return self._truncations.most(horizon)

    @property
    def parameters(self) -> dict[str, Tensor]:
        """The environments' attributes that are numbers: name to value per lane, (L,) float64."""
        rows = self._envs.get_attr("parameters")
        return {
            name: torch.tensor([row[name] for row in rows], dtype=torch.float64)
            for name in self._parameters
        }

    def set_parameters(self, **values: float | Sequence[float] | NDArray[Any] | Tensor) -> None:
        """Sets attributes of the environments, from the next step on.

        Args:
            **values: name to a number, (M,) numbers, one a member, or (L,) numbers, one a lane.

        Raises:
            ValueError: for a name that is not in `parameters`, or another shape.
        """
        columns = {name: self._by_lane(name, value) for name, value in values.items()}
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        if rows:
            self._envs.set_attr("parameters", rows)

    def _by_lane(self, name: str, value: Any) -> list[float]:
        if name not in self._parameters:
            raise InputError(
                f"{self.id} has no parameter {name!r}: its parameters are {self._parameters}"
            )
        given = torch.as_tensor(value, dtype=torch.float64).cpu()
        found: list[float] = by_lane(name, given, self.members, self.lanes).tolist()
        return found

    def state_dict(self) -> dict[str, Any]:
        """Copies the members' seeds and where every lane is, by what leads there again."""
        state: dict[str, Any] = {"seeds": torch.tensor(self.seeds, dtype=torch.int64)}
        if self._obs is not None:
            places = [vars(place) for place in self._envs.get_attr("place")]
            state["places"] = [
                place | {"actions": torch.from_numpy(place["actions"])} for place in places
            ]
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what `state_dict` copied, by playing the episodes under way again.

        Raises:
            ValueError: if it was saved with another number of lanes or members.
        """
        self._seed(state["seeds"].tolist())
        self._obs = None
        if "places" not in state:
            return
        if len(state["places"]) != self.num_envs:
            raise InputError(
                f"state has {len(state['places'])} lanes, expected {self.num_envs}: make the"
                " environment with the same num_envs and members"
            )
        places = [
            Place(**place | {"actions": place["actions"].cpu().numpy()})
            for place in state["places"]
        ]
        self._envs.set_attr("place", places)
        self._begin(self._envs.reset()[0])
        self._look_at_limits()
        self._truncations.elapsed[:] = [len(place.actions) for place in places]

    def render(self) -> tuple[Any, ...] | None:
        """Frames of `render_lanes` as the environments draw them; None without a `render_mode`.

        Finished lanes have restarted, so the frame after an episode's last step shows the next.
        """
        if self.render_mode is None or self._obs is None:
            return None
        if isinstance(self._envs, SyncVectorEnv):
            return tuple(self._envs.envs[lane].render() for lane in self.render_lanes)
        frames = self._envs.render()
        return tuple(frames[lane] for lane in self.render_lanes)

    def close_extras(self, **kwargs: Any) -> None:
        """Closes the environments and ends their processes."""
        self._envs.close(**kwargs)


def _check_vectorization(vectorization: str, timeout: float | None) -> None:
    if vectorization not in get_args(Vectorization):
        raise InputError(f"vectorization is {vectorization!r}: use 'sync' or 'async'")
    if timeout is None:
        return
    if vectorization == "sync":
        raise InputError(
            f"env_timeout is {timeout!r}, but an environment in this process cannot be"
            " interrupted: add vectorization=async"
        )
    number = isinstance(timeout, int | float) and not isinstance(timeout, bool)
    if not number or not 0 < timeout < float("inf"):
        raise InputError(f"env_timeout is {timeout!r}: it must be a number of seconds above 0")
