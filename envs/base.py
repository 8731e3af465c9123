"""TensorEnv: a batch of environments whose state is a flat dict of tensors on one device."""

import itertools
import math
from abc import abstractmethod
from collections.abc import Hashable, Iterable, Sequence
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.error import ResetNeeded
from gymnasium.spaces import Box
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray
from torch import Tensor

from neoteny.core import rng
from neoteny.core.errors import InputError
from neoteny.envs.arguments import (
    LANE,
    batch_size,
    check_actions,
    lane_mask,
    member_seeds,
    resolve_device,
    step_limit,
)
from neoteny.envs.limited import LimitedVectorEnv
from neoteny.envs.memory import FixedMemory

State = dict[str, Tensor]
_VERSIONS = itertools.count()


class TensorEnv(LimitedVectorEnv):
    """Batch of independent environments, M members of N lanes, stepped by tensor operations.

    Lanes are member-major along one flat leading axis of L = M * N. A game is three pure methods
    over the state: `_initial`, `_transition` and `_observe`. All lanes run the same operations
    at every step and finished lanes restart at once (SAME_STEP), selected by `torch.where`, so a
    step never waits for the device and contains no data-dependent shape.

    Random numbers are hashed from (seed of the member, lane within the member, `t_env`, slot),
    where `t_env` counts the lane's steps and never resets: a lane's trajectory does not depend on
    `num_envs` or `members`.

    Args:
        single_observation_space: observation space of one lane.
        single_action_space: action space of one lane.
        num_envs: lanes per member, N. The attribute `num_envs` is Gymnasium's: all L lanes.
        members: number of members, M.
        device: where the state lives.
        seed: seed of member 0, member m taking seed + m; or one seed per member; None draws them
            anew.
        max_steps: episodes are truncated after this many steps; None or -1 for no limit.

    Attributes:
        max_steps: the limit of steps, None for none; it can be changed.
        state: game state and counters, each tensor with leading axis L; empty before `reset`.
        final_observations: True if `step` returns `info["final_obs"]`. Set it to False to save
            the time when nothing reads it, as when no episode can be truncated.
        render_lanes: the lanes that `render` draws, every one by default, as Gymnasium asks.

    Raises:
        ValueError: for an argument out of range, or a CUDA device on a machine without one.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012 - Gymnasium declares it so
        "autoreset_mode": AutoresetMode.SAME_STEP,
        "render_modes": [],
    }
    #: Random words a step needs, for the transition and the reset together.
    slots: int = 0
    #: Fields of `state_dict` that are a member's, (M, ...); the others are a lane's.
    of_members: tuple[str, ...] = ("seeds",)
    state: State
    _memory: FixedMemory | None

    def __init__(
        self,
        single_observation_space: gymnasium.Space[Any],
        single_action_space: gymnasium.Space[Any],
        num_envs: int,
        members: int = 1,
        device: torch.device | str = "cpu",
        seed: int | Sequence[int] | None = 0,
        max_steps: int | None = None,
    ) -> None:
        self.device = resolve_device(device)
        seen = single_observation_space
        each = LANE + 2 * math.prod(seen.shape or ()) * np.dtype(seen.dtype).itemsize
        self.lanes, self.members = batch_size(num_envs, members, self.device, each)
        self.num_envs = self.members * self.lanes
        self.max_steps = step_limit(max_steps)
        self.final_observations = True
        self._first_lane = 0
        self.render_lanes: Sequence[int] = range(self.num_envs)
        self.single_observation_space = single_observation_space
        self.single_action_space = single_action_space
        self.observation_space = batch_space(single_observation_space, self.num_envs)
        self.action_space = batch_space(single_action_space, self.num_envs)
        continuous = isinstance(single_action_space, Box)
        self._action_type = torch.float32 if continuous else torch.int64
        self._seed(seed)

    @abstractmethod
    def _initial(self, draws: Tensor) -> State:
        """Fields of a fresh episode, each broadcastable to the lanes: (L, ...) or (1, ...).

        Fields of the state that it leaves out survive a reset.
        """

    @abstractmethod
    def _transition(self, state: State, actions: Tensor, draws: Tensor) -> tuple[State, Any, Any]:
        """One step of every lane: new state, reward (L,) float32 and terminated (L,) bool."""

    @abstractmethod
    def _observe(self, state: State) -> Tensor:
        """Observation of every lane, (L, *observation)."""

    def _persistent(self) -> State:
        """Fields that survive resets, as they are before the first step; broadcastable."""
        return {}

    def _state_info(self) -> State:
        """Entries that the infos of `reset` and `step` have, (L, ...)."""
        return {}

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Tensor, dict[str, Any]]:
        """Starts a new episode in every lane.

        Args:
            seed: reseeds and restarts everything, as if newly made; an int s gives member m the
                seed s + m, a sequence names one seed per member. Without it the draws go on from
                the lanes' counters.
            options: `{"reset_mask": mask}` with mask (L,) bool restarts those lanes alone; a
                first reset, or one with a seed, starts every lane all the same.

        Returns:
            Observation (L, *observation) and an empty info.

        Raises:
            ValueError: for another option, a mask of another shape or seeds out of range.
        """
        options = dict(options or {})
        mask = options.pop("reset_mask", None)
        if options:
            raise InputError(f"reset got options {sorted(options)}, but it takes only reset_mask")
        if seed is not None:
            self._seed(seed)
        if not self.state:
            zero = torch.zeros(self.num_envs, dtype=torch.int64, device=self.device)
            self.state = {"t_env": zero, "elapsed": zero} | self._full(self._persistent())
            mask = None
        t_env = self.state["t_env"]
        if mask is not None:
            mask = lane_mask(mask, self.num_envs, self.device)
            elapsed = self.state["elapsed"].masked_fill(mask, 0)
            restarted = self._restart(mask, self.state, self._draw(t_env))
            self._keep(self.state | restarted | {"t_env": t_env + mask, "elapsed": elapsed})
            return self._observe(self.state), {}
        fresh = self._full(self._initial(self._draw(t_env)))
        counters = {"t_env": t_env + 1, "elapsed": torch.zeros_like(t_env)}
        self._keep(self.state | fresh | counters)
        return self._observe(self.state), {}

    def step(self, actions: Any) -> tuple[Tensor, Tensor, Tensor, Tensor, dict[str, Any]]:
        """Steps every lane and restarts those that finish.

        Args:
            actions: (L,) integers, or (L, *action) floats where the action space is a Box; their
                range is not checked, since that would wait for the device.

        Returns:
            Observation (L, *observation) after restarts, reward (L,) float32, terminated (L,)
            bool, truncated (L,) bool, and info with `final_obs` (L, *observation), the
            observation before restarts. A lane that terminates on its last step is not truncated.

        Raises:
            ValueError: if the actions have another shape, or fractions where there are choices.
            ResetNeeded: before the first `reset`.
        """
        actions = self._checked(actions)
        new, after, reward, terminated, truncated = self._advance(self.state, actions)
        info = {"final_obs": self._observe(after)} if self.final_observations else {}
        if self._memory is not None:
            reward, terminated = map(self._memory.apart, (reward, terminated))
            info = {name: self._memory.apart(value) for name, value in info.items()}
        self._keep(new)
        return self._observe(self.state), reward, terminated, truncated, info

    def _keep(self, new: State) -> None:
        self.state = new if self._memory is None else self._memory.write(new)

    def hold_memory(self) -> None:
        """From now on write each state over the last, so that a step can be recorded."""
        self._words.ahead = False
        self._memory = FixedMemory(self.state)
        self.state = self._memory.state

    def steady(self, horizon: int) -> Hashable:
        """Decisions of the host in the next `horizon` steps, or None if it changes within them.

        While it is equal, steps are the same operations; after `hold_memory` on the same memory.
        """
        return id(self), self._version, self.max_steps, self.final_observations

    def skip(self, steps: int) -> None:
        """Count steps that were replayed, at which no code of this class ran."""

    def _checked(self, actions: Any) -> Tensor:
        """Actions (L, *action) of the right shape and type."""
        if not self.state:
            raise ResetNeeded("step was called before reset: call reset() first")
        given = torch.as_tensor(actions, device=self.device)
        check_actions(given, self.action_space)
        return given.to(self._action_type)

    def _advance(
        self, state: State, actions: Tensor
    ) -> tuple[State, State, Tensor, Tensor, Tensor]:
        """Pure step: state after restarts, state before, reward, terminated, truncated."""
        t_env = state["t_env"]
        draws = self._draw(t_env)
        after, reward, terminated = self._transition(state, actions, draws)
        elapsed = state["elapsed"] + 1
        if self.max_steps is None:
            truncated = torch.zeros_like(terminated)
            done = terminated
        else:
            expired = elapsed >= self.max_steps
            truncated = expired > terminated  # and not terminated
            done = expired | terminated
        counters = {"t_env": t_env + 1, "elapsed": elapsed.masked_fill_(done, 0)}
        self._words.follow(t_env, counters["t_env"])
        after = state | after
        new = after | self._restart(done, after, draws) | counters
        return new, after, reward, terminated, truncated

    def _restart(self, done: Tensor, after: State, draws: Tensor) -> State:
        """Fields of `_initial`, fresh where done and as they were elsewhere."""
        restarted = {}
        for name, fresh in self._initial(draws).items():
            old = after[name]
            where = done if old.ndim == 1 else done.view(-1, *[1] * (old.ndim - 1))
            restarted[name] = torch.where(where, fresh, old)
        return restarted

    def _draw(self, t_env: Tensor) -> Tensor:
        """Random words of one step, (slots, L) int64."""
        return self._words.at(t_env)

    def _full(self, fields: State) -> State:
        """Broadcast fields as tensors of their own with leading axis L."""
        return {
            name: value.expand(self.num_envs, *value.shape[1:]).clone()
            for name, value in fields.items()
        }

    def _table(self, values: Any, kind: Any = None) -> Tensor:
        """Constants on the environment's device, as int64 unless they are bool or of a kind."""
        array = np.asarray(values)
        kind = kind or (np.bool_ if array.dtype == np.bool_ else np.int64)
        return torch.from_numpy(np.ascontiguousarray(array, kind)).to(self.device)

    def _seed(self, seed: int | Sequence[int | None] | None) -> None:
        """Begin anew with other seeds, with a state of its own at the next reset."""
        self.state, self._memory = {}, None
        self._version = next(_VERSIONS)
        self.seeds = member_seeds(seed, self.members)
        keys = rng.lane_keys(self.seeds, self.lanes, "env", self.device, self._first_lane)
        self._words = rng.WordsAhead(keys, self.slots)

    def take_lanes(self, first: int) -> None:
        """Plays the lanes from `first` on of a larger batch, beginning anew."""
        self._first_lane = first
        self._seed(self.seeds)

    def max_truncations(self, horizon: int) -> int:
        """Upper bound on the truncations one lane can see within the next `horizon` steps.

        On a CPU it looks at how long the lanes have played, which elsewhere would wait for the
        device.
        """
        if self.max_steps is None:
            return 0
        if self.device.type == "cpu" and self.state and horizon <= self.max_steps:
            longest = int(self.state["elapsed"].numpy().max())
            return int(longest + horizon >= self.max_steps)
        return -(-horizon // self.max_steps)

    def state_dict(self) -> dict[str, Tensor]:
        """Copies everything a bit-exact resume needs: the state and the members' seeds."""
        seeds = torch.tensor(self.seeds, dtype=torch.int64)
        return {name: value.clone() for name, value in self.state.items()} | {"seeds": seeds}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restores a copy made by `state_dict` of an environment with the same arguments.

        Raises:
            ValueError: if a field is missing, unknown or of another shape.
        """
        if "seeds" not in state:
            raise InputError("state has no field 'seeds': pass what state_dict() returned")
        start = torch.zeros(self.num_envs, dtype=torch.int64, device=self.device)
        expected = self._full(self._initial(self._draw(start)))
        names = {"t_env", "elapsed", *self._persistent(), *expected}
        given = set(state) - {"seeds"}
        if given != names and given:
            raise InputError(f"state has fields {sorted(given)}, expected {sorted(names)}")
        for name in given:
            shape = expected[name].shape if name in expected else (self.num_envs,)
            if state[name].shape != shape:
                raise InputError(
                    f"state field {name} has shape {tuple(state[name].shape)}, expected"
                    f" {tuple(shape)}: make the environment with the same num_envs and members"
                )
        self._seed(state["seeds"].tolist())
        self.state = {name: state[name].to(self.device).clone() for name in given}

    def render(self) -> tuple[NDArray[np.uint8], ...] | None:
        """Draws the lanes of `render_lanes` as they are, whatever their observations hide.

        Finished lanes have restarted, so the frame after an episode's last step shows the next.

        Returns:
            A frame a lane, (height, width, 3) uint8, or None unless `render_mode` is "rgb_array".
        """
        if self.render_mode is None or not self.state:
            return None
        return tuple(self._frames(np.asarray(self.render_lanes, np.int64)))

    def _frames(self, lanes: NDArray[np.int64]) -> Iterable[NDArray[np.uint8]]:
        """A frame of each of `lanes`."""
        raise NotImplementedError(f"{type(self).__name__} draws no frames")

    def close_extras(self, **kwargs: Any) -> None:
        """Drops the state, so that its memory can be reused."""
        self.state = {}
