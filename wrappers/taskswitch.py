"""TaskSwitch: environments of different kinds, played one after another by each member."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from gymnasium.spaces import Discrete
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from torch import Tensor

from neoteny import envs
from neoteny.core.errors import InputError
from neoteny.core.seeding import visit_seed
from neoteny.envs.arguments import check_actions, lane_mask, member_seeds
from neoteny.wrappers.aliases import AnyVectorEnv, Content, Info, Picture, ResetOptions, State
from neoteny.wrappers.arrays import Array, filled
from neoteny.wrappers.member_schedules import MemberSchedules
from neoteny.wrappers.schedules import Schedule
from neoteny.wrappers.taskswitch_checks import checked_orders, checked_tables, shared

Make = Callable[..., AnyVectorEnv]


@dataclass
class _Play:
    """An environment in play and the members that play it.

    Args:
        env: the environment, with the lanes of its members only.
        members: (P,) indices of the members, None when all members play it.
        actions: (A,) the game's action for each common action, None when they are the same.
    """

    env: Any
    members: Tensor | None
    actions: Tensor | None


class TaskSwitch(VectorEnv[Tensor, Array, Tensor]):
    """Plays environment ids by a schedule that may differ between members.

    Task k is `ids[k]`. A switch truncates every episode and builds the next environments afresh,
    with seeds made from the member's seed and the number of switches so far. Each distinct game in
    play steps once for all its members; when there is only one, it is stepped without any copy.
    The step that reaches a switch returns the old game's reward and `info["final_obs"]`, and the
    new game's observation; `info["task"]` (M,) int64 is the game of the returned transition, and
    `info["cut"]` (L,) bool, on that step alone, marks lanes whose episode only the switch ended.

    Args:
        ids: environment ids, one a task. Their spaces must agree once `options` are applied.
        schedule: when tasks change, in environment steps of one member summed over its lanes; one
            for all members or one for each, which must then switch at the same steps.
        num_envs: N, lanes a member.
        members: M.
        device: where tensors live.
        seed: of member 0, member m having `seed + m`; or M seeds; None draws them anew.
        action_tables: for each id, which of its actions each common action stands for; the tables
            have one length, the number of common actions. None passes actions on.
        channel_orders: (M, V, C) int; during visit v member m sees the channels in the order
            `channel_orders[m, v % V]`. Given to `make` as the option `channel_order`.
        task_names: a name for each task; the ids by default.
        task_options: for each id, options of its own beside the common `options`.
        make: builds an environment; `neoteny.envs.make` by default.
        **options: given to every environment.

    Raises:
        ValueError: a count is wrong, spaces differ, members switch at different steps, or a task
            index has no id.
    """

    def __init__(
        self,
        ids: Sequence[str],
        schedule: Schedule | MemberSchedules,
        num_envs: int,
        members: int = 1,
        device: torch.device | str = "cpu",
        seed: int | Sequence[int] | None = 0,
        *,
        action_tables: Sequence[Sequence[int]] | None = None,
        channel_orders: npt.NDArray[np.int64] | None = None,
        task_names: Sequence[str] | None = None,
        task_options: Sequence[Content] | None = None,
        make: Make | None = None,
        **options: object,
    ) -> None:
        if num_envs <= 0 or members <= 0:
            raise InputError(f"num_envs {num_envs} and members {members} must both be positive")
        self.members, self.lanes, self.num_envs = members, num_envs, num_envs * members
        self.seeds = member_seeds(seed, members)
        self.ids = list(ids)
        self.options = [{**options, **own} for own in task_options or [{}] * len(self.ids)]
        self.task_names = list(task_names or ids)
        self.schedule = shared(schedule, members)
        self._make = make or envs.make
        self._orders = checked_orders(channel_orders, members)
        self.metadata = {"autoreset_mode": AutoresetMode.SAME_STEP, "render_modes": ["rgb_array"]}
        self.render_mode = self.options[0].get("render_mode")
        self.render_lanes: Sequence[int] = range(self.num_envs)
        self._tables = checked_tables(action_tables, len(self.ids))
        self._set_spaces(device)
        self._skip_final = False
        self._next: int | None = None
        self._begin(0)

    def _set_spaces(self, device: torch.device | str) -> None:
        """Check once, on one lane each, that all ids agree and the device exists."""
        samples = [
            self._make(name, 1, 1, device, 0, **options)
            for name, options in zip(self.ids, self.options, strict=True)
        ]
        self.device: torch.device = samples[0].device  # type: ignore[attr-defined]
        for name, env in zip(self.ids, samples, strict=True):
            if env.single_observation_space != samples[0].single_observation_space:
                raise InputError(
                    f"{name} has observations {env.single_observation_space}, {self.ids[0]} has "
                    f"{samples[0].single_observation_space}; pad them with an option of the "
                    "environments such as channels=10"
                )
            if self._tables is None and env.single_action_space != samples[0].single_action_space:
                raise InputError(f"{self.ids} differ in their actions; give action_tables")
        self.single_observation_space = samples[0].single_observation_space
        if self._tables is None:
            self.single_action_space = samples[0].single_action_space
        else:
            self._tables = self._tables.to(self.device)
            self.single_action_space = Discrete(self._tables.shape[1])
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)

    def tasks_at(self, step: int) -> list[int]:
        """(M,) task of each member for the transition that starts at `step`."""
        return self.schedule.tasks(step)

    def boundaries(self, total: int) -> list[int]:
        """Ascending steps b, 0 < b < total, at which the tasks are switched."""
        return self.schedule.boundaries(total)

    def max_truncations(self, horizon: int) -> int:
        """Most truncations one lane can see within its next `horizon` steps."""
        natural: int = max(play.env.max_truncations(horizon) for play in self._plays)
        return min(horizon, natural + self.schedule.most_switches(self.steps, self.lanes, horizon))

    def steady(self, horizon: int) -> Hashable:
        """Decisions of the host in the next `horizon` steps, None if a switch may fall there."""
        if self._next is not None and self.steps + horizon * self.lanes >= self._next:
            return None
        parts = tuple(play.env.steady(horizon) for play in self._plays)
        return None if None in parts else parts

    def hold_memory(self) -> None:
        """Write each state over the last, see `TensorEnv.hold_memory`."""
        for play in self._plays:
            play.env.hold_memory()

    def skip(self, steps: int) -> None:
        """Count steps that were replayed."""
        self.steps += steps * self.lanes

    @property
    def switch_together(self) -> bool:
        """True: schedules of members that switch apart are refused."""
        return self.schedule.switch_together

    @property
    def final_observations(self) -> bool:
        """True if `step` returns `info["final_obs"]`."""
        return not self._skip_final

    @final_observations.setter
    def final_observations(self, wanted: bool) -> None:
        self._skip_final = not wanted
        for play in self._plays:
            play.env.final_observations = wanted

    def seek(self, steps: int, schedule: MemberSchedules | None = None, hold: bool = False) -> None:
        """Go to another place in the stream, see `MemberWrapper.seek`; `schedule` is known."""
        self._begin(steps)
        if hold:
            self._next = None

    def _begin(self, steps: int) -> None:
        """Build the environments to be played from `steps` on; they still need a reset."""
        self.steps = steps
        self._next = self.schedule.next_boundary(steps)
        tasks = self.schedule.tasks(steps)
        if not 0 <= min(tasks) <= max(tasks) < len(self.ids):
            raise InputError(f"tasks {tasks} at step {steps}, but there are {len(self.ids)} ids")
        self._task = filled(tasks, self.device)  # (M,)
        self._plays: list[_Play] = []  # drops the old environments before the new ones are built
        visit = self.schedule.visits(steps)[0]
        for task in dict.fromkeys(tasks):
            self._plays.append(
                self._build(task, [m for m, t in enumerate(tasks) if t == task], visit)
            )

    def _build(self, task: int, players: list[int], visit: int) -> _Play:
        """One game for the members who play it during `visit`."""
        options = dict(self.options[task])
        if self._orders is not None:
            options["channel_order"] = self._orders[players, visit % self._orders.shape[1]]
        seeds = [visit_seed(self.seeds[member], visit) for member in players]
        name = self.ids[task]
        env = self._make(name, self.lanes, len(players), self.device, seeds, **options)
        if self._skip_final:
            env.final_observations = False  # type: ignore[attr-defined]
        everyone = len(players) == self.members
        return _Play(
            env=env,
            members=None if everyone else torch.tensor(players, device=self.device),
            actions=None if self._tables is None else self._tables[task],
        )

    def _part(self, x: Tensor, play: _Play) -> Tensor:
        """The lanes (P * N, …) of `x` (L, …) that belong to a play."""
        if play.members is None:
            return x
        grid = x.reshape(self.members, self.lanes, *x.shape[1:])
        return grid.index_select(0, play.members).flatten(0, 1)

    def _gather(self, parts: list[Tensor]) -> Tensor:
        """Put each play's lanes in their place, (L, …)."""
        if self._plays[0].members is None:
            return parts[0]
        event = parts[0].shape[1:]
        whole = parts[0].new_empty((self.members, self.lanes, *event))
        for play, part in zip(self._plays, parts, strict=True):
            assert play.members is not None
            whole.index_copy_(0, play.members, part.reshape(-1, self.lanes, *event))
        return whole.flatten(0, 1)

    def reset(
        self, *, seed: int | Sequence[int] | None = None, options: ResetOptions | None = None
    ) -> tuple[Tensor, Info]:
        """Begin episodes of the games in play.

        Args:
            seed: starts the whole stream again with this seed, or these M seeds; orders of tasks
                and channels stay as they were given.
            options: `{"reset_mask": (L,) bool}` restarts those lanes alone.

        Returns:
            Observations (L, *obs) and `info["task"]` (M,).
        """
        if seed is not None:
            self.seeds = member_seeds(seed, self.members)
            self._begin(0)
        mask = (options or {}).get("reset_mask")
        if mask is not None:
            mask = lane_mask(mask, self.num_envs, self.device)
        parts = []
        for play in self._plays:
            masked = None if mask is None else {"reset_mask": self._part(mask, play)}
            parts.append(play.env.reset(options=masked)[0])
        return self._gather(parts), {"task": self._task}

    def step(self, actions: Array) -> tuple[Tensor, Tensor, Tensor, Tensor, Info]:
        """Play one step in every lane.

        Args:
            actions: (L,) common actions.

        Returns:
            Observations (L, *obs), rewards (L,), terminated (L,), truncated (L,) and info.
        """
        outcomes = []
        actions = torch.as_tensor(actions, device=self.device)
        check_actions(actions, self.action_space)
        for play in self._plays:
            part = self._part(actions, play)
            part = part if play.actions is None else play.actions[part.long()]
            obs, reward, terminated, truncated, info = play.env.step(part)
            final = [] if self._skip_final else [info["final_obs"]]
            outcomes.append([obs, reward, terminated, truncated, *final])
        columns = zip(*outcomes, strict=True)
        obs, reward, terminated, truncated, *final = [self._gather(list(c)) for c in columns]
        info = {"task": self._task} | ({"final_obs": final[0]} if final else {})
        self.steps += self.lanes
        if self._next is not None and self.steps >= self._next:
            info["cut"] = ~(terminated | truncated)
            truncated = truncated | info["cut"]
            self._begin(self.steps)
            obs, _ = self.reset()
        return obs, reward, terminated, truncated, info

    def render(self) -> tuple[Picture, ...] | None:
        """A frame of each of `render_lanes` by the game that it plays, see `TensorEnv.render`.

        Channels in another order and renamed actions do not show: a frame is the game as it is.
        """
        if self.render_mode is None:
            return None
        frames: dict[int, Picture] = {}
        for play in self._plays:
            lanes = self._part(torch.arange(self.num_envs, device=self.device), play).tolist()
            places = {lane: place for place, lane in enumerate(lanes)}
            own = [lane for lane in self.render_lanes if lane in places]
            play.env.render_lanes = [places[lane] for lane in own]
            drawn = play.env.render()
            if drawn is None:
                return None
            frames |= zip(own, drawn, strict=True)
        return tuple(frames[lane] for lane in self.render_lanes)

    def state_dict(self) -> State:
        """A copy of everything needed to go on exactly from here."""
        plays = [play.env.state_dict() for play in self._plays]
        return {"steps": self.steps, "seeds": list(self.seeds), "plays": plays}

    def load_state_dict(self, state: State) -> None:
        """Go on from where `state` was taken, on an instance built with the same arguments.

        Raises:
            ValueError: the state holds another number of games.
        """
        self.seeds = member_seeds(state["seeds"], self.members)
        self._begin(state["steps"])
        if len(state["plays"]) != len(self._plays):
            raise InputError(
                f"state holds {len(state['plays'])} games in play at step {self.steps}, expected "
                f"{len(self._plays)}; build the stream with the arguments it was saved with"
            )
        for play, saved in zip(self._plays, state["plays"], strict=True):
            play.env.load_state_dict(saved)

    def close_extras(self, **kwargs: object) -> None:
        """Close the environments in play."""
        for play in self._plays:
            play.env.close()
