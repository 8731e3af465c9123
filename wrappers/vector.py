"""The adapter that puts a schedule and changes around a vector environment."""

import itertools
from collections.abc import Hashable, Sequence

import numpy as np
import torch
from gymnasium.vector.utils import batch_space
from torch import Tensor

from neoteny.core.errors import InputError
from neoteny.wrappers.aliases import AnyVectorEnv, Info, ResetOptions, State
from neoteny.wrappers.arrays import Array, Value, ValueT, copied, filled, final_observation, where
from neoteny.wrappers.change_base import Change
from neoteny.wrappers.compose import (
    ComposedChanges,
    OnSwitch,
    check_mode,
    check_parameters,
    forget,
    set_parameters,
)
from neoteny.wrappers.member_schedules import MemberSchedules, ReturnMonitor
from neoteny.wrappers.schedules import Schedule
from neoteny.wrappers.vector_base import MemberWrapper

_VERSIONS = itertools.count()


class NonStationaryVector(MemberWrapper):
    """A vector environment under a schedule of changes, on its own device.

    The step that reaches a switch belongs to the old task, with its reward and
    `info["final_obs"]` (L, *obs), which every lane has; the returned observation belongs to the
    task that follows. `info["task"]` (M,) int64 is the task scheduled for the returned
    transition. "latch" adds `info["lane_task"]` (L,), the task that each lane plays. A switch
    under "reset" adds `info["cut"]` (L,) bool: lanes whose episode only the switch ended.
    `reset` with a seed starts the stream again. Under a schedule that drifts, the changes follow
    its phase at every step (with "latch": keep the phase that their episode began with) and
    nothing is truncated. `render` shows the environment as it is: of the changes, only those of
    its dynamics are seen.

    Args:
        env: a TensorEnv, or a Gymnasium vector environment with SAME_STEP autoreset.
        schedule: when tasks change, in environment steps of one member summed over its lanes; one
            for all members or one for each.
        changes: what a task changes, applied in this order to observations and rewards and in
            the opposite order to actions.
        on_switch: what happens to the episodes under way when the task is switched: "reset"
            truncates them, "latch" lets each end under its own task, "now" changes their rules at
            once.
        task_names: a name for each task index.

    Raises:
        ValueError: `on_switch` is unknown, the number of schedules or of a change's members is
            not M, a change does not fit the environment or the schedule, or autoreset is not
            SAME_STEP.
    """

    def __init__(
        self,
        env: AnyVectorEnv,
        schedule: Schedule | MemberSchedules,
        changes: Sequence[Change] = (),
        on_switch: OnSwitch = "reset",
        task_names: Sequence[str] = (),
    ) -> None:
        super().__init__(env)
        check_mode(on_switch)
        if isinstance(schedule, Schedule):
            schedule = MemberSchedules(schedule, self.members)
        if len(schedule) != self.members:
            raise InputError(f"{len(schedule)} schedules for {self.members} members; give one each")
        self.composed = ComposedChanges(changes, self.members, gradual=schedule.gradual)
        self._adopt_spaces()
        check_parameters(env, self.composed.params(0))
        self._schedule, self.on_switch = schedule, on_switch
        self._hold = False
        self._latches, self._changes_now = on_switch == "latch", on_switch == "now"
        self._drifts = schedule.gradual and not self._latches
        self._names = list(task_names)
        self._places = None if self.device is None else torch.arange(self.lanes, device=self.device)
        self._begin(0)

    def _adopt_spaces(self) -> None:
        """Check the spaces, and widen that of observations as the changes need."""
        space = self.env.single_observation_space
        changed = self.composed.check(space, self.env.single_action_space)
        if changed is not space:
            self.single_observation_space = changed
            self.observation_space = batch_space(changed, self.num_envs)

    @property
    def changes(self) -> tuple[Change, ...]:
        """The changes that the tasks make."""
        return self.composed.changes

    @property
    def schedule(self) -> MemberSchedules:
        """The schedule of each member."""
        return self._schedule

    @property
    def switch_together(self) -> bool:
        """True if the tasks of all members switch at the same steps."""
        return self._schedule.switch_together

    @property
    def task_names(self) -> list[str]:
        """A name for each task index."""
        return self._names

    @property
    def steps(self) -> int:
        """Environment steps of one member played so far."""
        return self._steps

    def max_truncations(self, horizon: int) -> int:
        """Most truncations one lane can see within its next `horizon` steps."""
        natural = super().max_truncations(horizon)
        if self.on_switch != "reset":
            return natural
        switches = self._schedule.most_switches(self._steps, self.lanes, horizon)
        return min(horizon, natural + switches)

    def steady(self, horizon: int) -> Hashable:
        """Decisions of the host in the next `horizon` steps, None if a switch may fall there.

        Tasks that lanes begin on their own, drifts and random changes are decided at every step.
        """
        schedule, composed = self._schedule, self.composed
        irregular = self._latches or schedule.gradual or schedule.delayed or schedule.waits
        if irregular or composed.random or any(change.remembers for change in composed.changes):
            return None
        switches = self._next is not None and self._steps + horizon * self.lanes >= self._next
        below = None if switches and not self._hold else self._below.steady(horizon)
        return None if below is None else (self._version, below)

    def skip(self, steps: int) -> None:
        """Count steps that were replayed."""
        super().skip(steps)
        self._steps += steps * self.lanes

    def seek(self, steps: int, schedule: MemberSchedules | None = None, hold: bool = False) -> None:
        """Go to another place in the stream, see `MemberWrapper.seek`; call `reset` next."""
        if hasattr(self.env, "seek"):
            self.env.seek(steps, schedule, hold)
        self._schedule, self._hold = schedule or self._schedule, hold
        self._begin(steps)

    def _begin(self, steps: int) -> None:
        """Put every lane under the task scheduled at `steps`."""
        self._steps = steps
        self._monitor = ReturnMonitor(self._schedule, self.lanes, self.device)
        self._memory: list[Value] | None = None
        self._lane_task: Array | None = None  # (M, N) where episodes keep the task they began with
        self._lane_force: Array | None = None  # (M, N) its phase, or the task itself
        self._set_tasks()
        if self._latches:
            self._lane_task, self._lane_force = self._tasks, self._spread(self._scheduled)
        self._set_parameters()

    def _set_tasks(self) -> None:
        """Read the tasks of this step from the schedule."""
        self._version = next(_VERSIONS)
        schedule, steps = self._schedule, self._steps
        tasks = schedule.tasks(steps)
        self._next = schedule.next_check(steps, self.lanes)
        self._task = filled(tasks, self.device)  # (M,)
        self._host_visits = schedule.visits(steps)
        if schedule.delayed:
            self._visits: Array = self._of_lanes("visit")
            self._tasks: Array = self._spread(self._of_lanes("task"))  # (M, N)
        else:
            self._visits = filled(self._host_visits, self.device)[:, None]
            self._tasks = self._spread(self._task[:, None])
        self._scheduled = self._phases() if schedule.gradual else self._indices(tasks)

    def _of_lanes(self, name: str) -> Array:
        """`task`, `visit` or `phase` of each lane, (M or 1, N)."""
        return self._schedule.lane_values(name, self._steps, self.lanes, self._places)

    def _indices(self, tasks: list[int]) -> Value:
        """Tasks scheduled, an int or broadcastable to (M, N)."""
        if self._schedule.delayed:
            return self._tasks
        return tasks[0] if len(set(tasks)) == 1 else self._task[:, None]

    def _phases(self) -> Value:
        """Phases scheduled, a float or broadcastable to (M, N)."""
        if self._schedule.delayed:
            return self._of_lanes("phase")
        phases = self._schedule.phases(self._steps)
        return phases[0] if len(set(phases)) == 1 else filled(phases, self.device)[:, None]

    def _spread(self, x: Value) -> Array:
        """A number, or an array broadcastable to (M, N), as (M, N)."""
        shape = (self.members, self.lanes)
        if isinstance(x, int | float):
            x = filled([x], self.device)
        return x.expand(shape) if isinstance(x, Tensor) else np.broadcast_to(x, shape)

    @property
    def _force(self) -> Value:
        """Task or phase in force, a number or broadcastable to (M, N)."""
        return self._scheduled if self._lane_force is None else self._lane_force

    @property
    def _place(self) -> Value:
        """(N,) environment steps of a member, as the changes count them."""
        if not self.composed.random:
            return 0
        places = np.arange(self.lanes) if self._places is None else self._places
        return places + self._steps

    def _grid(self, x: Array) -> Array:
        """(L, …) as (M, N, …)."""
        return x.reshape((self.members, self.lanes, *x.shape[1:]))

    def _observe(self, obs: Array) -> Array:
        if not self.composed.acts_on("observation"):
            return obs
        seen = self.composed.observation(self._grid(obs), self._force, self._place)
        return seen.reshape(obs.shape)

    def _act(self, actions: Array) -> Array:
        if not self.composed.acts_on("action"):
            return actions
        actions = actions if isinstance(actions, Tensor) else np.asarray(actions)
        played, self._memory = self.composed.action(
            self._grid(actions), self._force, self._place, self._memory
        )
        assert not isinstance(played, int | float)
        return played.reshape(actions.shape)

    def _pay(self, reward: Array) -> Array:
        if not self.composed.acts_on("reward"):
            return reward
        paid = self.composed.reward(self._grid(reward), self._force, self._place)
        return paid.reshape(reward.shape)

    def _set_parameters(self) -> None:
        if self.composed.acts_on("params"):
            values = self.composed.params(self._force)
            set_parameters(self.env, values, (self.members, self.lanes))

    def reset(
        self, *, seed: int | Sequence[int] | None = None, options: ResetOptions | None = None
    ) -> tuple[Array, Info]:
        """Begin episodes under the task in force now, in all lanes or in `reset_mask`'s (L,)."""
        mask = self._reset_mask(options)
        if mask is not None:
            options = {**(options or {}), "reset_mask": mask}
        self._hold &= seed is None
        if mask is None or seed is not None:
            self._begin(self._steps if seed is None else 0)
        else:
            self._end(mask)
        obs, info = self.env.reset(seed=seed, options=options)  # type: ignore[arg-type]
        return self._observe(obs), {**info, "task": self._task}

    def step(self, actions: Array) -> tuple[Array, Array, Array, Array, Info]:
        """Play one step in every lane; see the class for what belongs to which task."""
        obs, reward, terminated, truncated, info = self.env.step(self._act(actions))
        reward = self._pay(reward)
        done = terminated | truncated
        info = {**info, "task": self._task}
        if self._lane_task is not None:
            info["lane_task"] = self._lane_task.reshape(-1)
        self._steps += self.lanes
        final = final_observation(obs, info)
        if final is not None:
            info["final_obs"] = self._observe(final)
        self._schedule = self._monitor.look(reward, done, self._steps)
        switched = self._move()
        if switched is not None and self.on_switch == "reset":
            info["cut"] = switched & ~done
            truncated = truncated | info["cut"]
            obs = self._restart(obs, info["cut"])
            done = done | info["cut"]
        self._end(done)
        obs = self._observe(obs)
        if final is not None and (self._drifts or (switched is not None and self._changes_now)):
            info["final_obs"] = where(done, info["final_obs"], obs)
        return obs, reward, terminated, truncated, info

    def _move(self) -> Array | None:
        """Follow the schedule to the present step.

        Returns:
            (L,) bool, lanes whose task is switched, or None when no member has a switch.
        """
        if self._hold:
            return None
        due = self._next is not None and self._steps >= self._next
        if not due and not self._schedule.gradual:
            return None
        before, host_before = self._visits, self._host_visits
        self._set_tasks()
        if not self._latches:
            self._set_parameters()
        if not due or (not self._schedule.delayed and self._host_visits == host_before):
            return None
        return self._spread(self._visits != before).reshape(-1)

    def _restart(self, obs: Array, mask: Array) -> Array:
        """Fresh episodes in the lanes of `mask`; those done were restarted by autoreset."""
        if isinstance(mask, np.ndarray) and not mask.any():
            return obs  # Gymnasium refuses an empty mask
        fresh: Array = self.env.reset(options={"reset_mask": mask})[0]
        return fresh

    def _end(self, done: Array) -> None:
        """Begin episodes in the lanes of `done` (L,): under the scheduled task, without memory."""
        self._memory = forget(self._memory, done)
        self._monitor.forget(done)
        if self._lane_task is not None and self._lane_force is not None:
            done = self._grid(done)
            self._lane_task = where(done, self._tasks, self._lane_task)
            self._lane_force = where(done, self._spread(self._scheduled), self._lane_force)
            self._set_parameters()

    def state_dict(self) -> State:
        """A copy of everything needed to go on exactly from here."""
        own = {
            "steps": self._steps,
            "lane_task": copied(self._lane_task),
            "lane_force": copied(self._lane_force),
            "memory": None if self._memory is None else [copied(x) for x in self._memory],
            "judge": self._monitor.state_dict(),  # the name that stored runs have
        }
        return {**super().state_dict(), **own}

    def load_state_dict(self, state: State) -> None:
        """Go on from where `state` was taken."""
        self._schedule = self._schedule.with_switches(state["judge"]["switches"])
        self._begin(state["steps"])
        self._monitor.load_state_dict(state["judge"])
        if self._latches:
            self._lane_task = self._placed(state["lane_task"])
            self._lane_force = self._placed(state["lane_force"])
        if state["memory"] is not None:
            self._memory = [self._placed(x) for x in state["memory"]]
        self._set_parameters()
        super().load_state_dict(state)

    def _placed(self, x: ValueT) -> ValueT:
        return copied(x.to(self.device) if isinstance(x, Tensor) else x)  # type: ignore[return-value]
