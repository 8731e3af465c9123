"""The two adapters that put a schedule and changes around an environment."""

from collections.abc import Sequence
from typing import Any, Literal, get_args

import gymnasium
import numpy as np
import torch
from torch import Tensor

from neoteny.wrappers.arrays import integers, where
from neoteny.wrappers.changes import Change
from neoteny.wrappers.member_schedules import MemberSchedules
from neoteny.wrappers.members import AnyVectorEnv, MemberWrapper
from neoteny.wrappers.schedule import Schedule

OnSwitch = Literal["reset", "latch", "now"]


def _check_mode(on_switch: str) -> None:
    if on_switch not in get_args(OnSwitch):
        modes = ", ".join(get_args(OnSwitch))
        raise ValueError(f"on_switch must be one of {modes}, got {on_switch!r}")


def switch_steps(schedule: Schedule | MemberSchedules, steps: int, lanes: int, horizon: int) -> int:
    """Vector steps among the next `horizon` that reach a switch.

    Args:
        schedule: when tasks change.
        steps: environment steps of one member played so far.
        lanes: N, environment steps of one member in a vector step.
        horizon: vector steps.

    Returns:
        A count, at most `horizon`.
    """
    reached = set()
    boundary = schedule.next_boundary(steps)
    while boundary is not None and boundary <= steps + horizon * lanes:
        reached.add(-(-(boundary - steps) // lanes))
        boundary = schedule.next_boundary(boundary)
    return len(reached)


class NonStationary(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Any Gymnasium environment under a schedule of changes.

    The step that reaches a switch still belongs to the old task, its observation and reward too.
    `info["task"]` is the task of the returned transition; `reset` returns the one to be played.
    `reset` without a seed goes on with the stream, with a seed it starts the stream again.

    Args:
        env: the environment.
        schedule: when tasks change, in environment steps summed over the parallel environments.
        changes: what a task changes, applied in this order to observations and rewards and in
            the opposite order to actions.
        on_switch: what happens to the episode under way when the task is switched: "reset"
            truncates it, "latch" lets it end under its own task, "now" changes its rules at once.
        stride: number of environments run in parallel, each counting its own steps.

    Raises:
        ValueError: `on_switch` is unknown, `stride` is not positive, a change keeps tables for
            several members, or the environment lacks an attribute that a change sets.
    """

    def __init__(
        self,
        env: gymnasium.Env[Any, Any],
        schedule: Schedule,
        changes: Sequence[Change] = (),
        on_switch: OnSwitch = "reset",
        stride: int = 1,
    ) -> None:
        super().__init__(env)
        _check_mode(on_switch)
        if stride <= 0:
            raise ValueError(f"stride must be positive, got {stride}; give the number of envs")
        for change in changes:
            if change.members > 1:
                raise ValueError(f"{change} is for {change.members} members; a single env is one")
        self.schedule, self.changes, self.on_switch = schedule, tuple(changes), on_switch
        self.stride = stride
        self.steps = 0
        self._enter(schedule.task(0))

    def _enter(self, task: int) -> None:
        self.task = task
        for change in self.changes:
            for name, value in change.params(task).items():
                if not hasattr(self.env.unwrapped, name):
                    raise ValueError(f"{change} sets {name!r}, which {self.env.unwrapped} lacks")
                setattr(self.env.unwrapped, name, value)

    def _observe(self, obs: Any) -> Any:
        for change in self.changes:
            obs = change.observation(obs, self.task)
        return obs

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin an episode under the task in force now; see the class for `seed`."""
        if seed is not None:
            self.steps = 0
        self._enter(self.schedule.task(self.steps))
        obs, info = self.env.reset(seed=seed, options=options)
        return self._observe(obs), {**info, "task": self.task}

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Play one step; see the class for what belongs to which task."""
        task = self.task
        for change in reversed(self.changes):
            action = change.action(action, task)
        obs, reward, terminated, truncated, info = self.env.step(action)
        for change in self.changes:
            reward = change.reward(reward, task)
        before = self.schedule.visit(self.steps)
        self.steps += self.stride
        if self.schedule.visit(self.steps) != before:
            if self.on_switch == "reset":
                truncated = truncated or not terminated
            elif self.on_switch == "now" and not (terminated or truncated):
                self._enter(self.schedule.task(self.steps))
        return self._observe(obs), reward, terminated, truncated, {**info, "task": task}


class NonStationaryVector(MemberWrapper):
    """A vector environment under a schedule of changes, on its own device.

    The step that reaches a switch belongs to the old task, with its reward and
    `info["final_obs"]` (L, *obs), which every lane has; the returned observation belongs to the
    task that follows. `info["task"]` (M,) int64 is the task scheduled for the returned
    transition. "latch" adds `info["lane_task"]` (L,), the task that each lane plays. A switch
    under "reset" adds `info["cut"]` (L,) bool: lanes whose episode only the switch ended.
    `reset` with a seed starts the stream again.

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
            not M, a change sets attributes, or autoreset is not SAME_STEP.
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
        _check_mode(on_switch)
        if isinstance(schedule, Schedule):
            schedule = MemberSchedules(schedule, self.members)
        if len(schedule) != self.members:
            raise ValueError(f"{len(schedule)} schedules for {self.members} members; give one each")
        for change in changes:
            if change.members not in (1, self.members):
                raise ValueError(f"{change} is for {change.members} members, not {self.members}")
            if change.params(0):
                raise ValueError(f"{change} sets attributes, which only NonStationary can do")
        self._schedule, self.changes, self.on_switch = schedule, tuple(changes), on_switch
        self._names = list(task_names)
        self._begin(0)

    @property
    def schedule(self) -> MemberSchedules:
        """What is played when, for each member."""
        return self._schedule

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
        return min(
            horizon, natural + switch_steps(self._schedule, self._steps, self.lanes, horizon)
        )

    def seek(self, steps: int) -> None:
        """Go to another place in the stream; call `reset` next."""
        self._begin(steps)

    def _begin(self, steps: int) -> None:
        """Put every lane under the task scheduled at `steps`."""
        self._steps = steps
        self._set_tasks()
        latch = self.on_switch == "latch"
        self._lane_task: Any = self._spread(self._task) if latch else None  # (M, N)

    def _set_tasks(self) -> None:
        """Refresh all that depends on the step only through the number of switches."""
        tasks = self._schedule.tasks(self._steps)
        self._visits = self._schedule.visits(self._steps)
        self._next = self._schedule.next_boundary(self._steps)
        self._task = integers(tasks, self.device)  # (M,)
        self._scheduled: Any = tasks[0] if len(set(tasks)) == 1 else self._task[:, None]

    def _spread(self, per_member: Any) -> Any:
        """(M,) to (M, N)."""
        shape = (self.members, self.lanes)
        if isinstance(per_member, Tensor):
            return per_member[:, None].expand(shape)
        return np.broadcast_to(per_member[:, None], shape)

    @property
    def _force(self) -> Any:
        """Task in force, an int or broadcastable to (M, N)."""
        return self._scheduled if self._lane_task is None else self._lane_task

    def _apply(self, name: str, x: Any) -> Any:
        """All changes of one kind to `x` (L, …), seen as (M, N, …)."""
        shape = x.shape
        x = x.reshape((self.members, self.lanes, *shape[1:]))
        for change in reversed(self.changes) if name == "action" else self.changes:
            x = getattr(change, name)(x, self._force)
        return x.reshape(shape)

    def reset(
        self, *, seed: Any = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin episodes under the task in force now, in all lanes or in `reset_mask`'s (L,)."""
        mask = (options or {}).get("reset_mask")
        if mask is None or seed is not None:
            self._begin(self._steps if seed is None else 0)
        elif self._lane_task is not None:
            self._latch(mask)
        obs, info = self.env.reset(seed=seed, options=options)
        return self._apply("observation", obs), {**info, "task": self._task}

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Play one step in every lane; see the class for what belongs to which task."""
        obs, reward, terminated, truncated, info = self.env.step(self._apply("action", actions))
        reward = self._apply("reward", reward)
        done = terminated | truncated
        info = {**info, "task": self._task}
        final = _final_observation(obs, info)
        if final is not None:
            info["final_obs"] = self._apply("observation", final)
        if self._lane_task is not None:
            info["lane_task"] = self._lane_task.reshape(-1)
        self._steps += self.lanes
        switched = self._next is not None and self._steps >= self._next
        if switched:
            before = self._visits
            self._set_tasks()
            if self.on_switch == "reset":
                info["cut"] = self._cut(before, done)
                truncated = truncated | info["cut"]
                obs = self._restart(obs, info["cut"])
        if self._lane_task is not None:
            self._latch(done)
        obs = self._apply("observation", obs)
        if switched and self.on_switch == "now" and final is not None:
            info["final_obs"] = where(done, info["final_obs"], obs)
        return obs, reward, terminated, truncated, info

    def _cut(self, before: list[int], done: Any) -> Any:
        """(L,) bool: lanes of the members that switch, less those that are done anyway."""
        switched = [int(old != new) for old, new in zip(before, self._visits, strict=True)]
        mask = self._spread(integers(switched, self.device)).reshape(-1)
        return (mask > 0) & ~done

    def _restart(self, obs: Any, mask: Any) -> Any:
        """Fresh episodes in the lanes of `mask`; those done were restarted by autoreset."""
        if isinstance(mask, np.ndarray) and not mask.any():
            return obs  # Gymnasium refuses an empty mask
        return self.env.reset(options={"reset_mask": mask})[0]

    def _latch(self, done: Any) -> None:
        """Let the lanes of `done` (L,) adopt the scheduled task."""
        done = done.reshape(self._lane_task.shape)
        self._lane_task = where(done, self._spread(self._task), self._lane_task)

    def state_dict(self) -> dict[str, Any]:
        """A copy of everything needed to go on exactly from here."""
        lane_task = self._lane_task
        copy = lane_task.clone() if isinstance(lane_task, Tensor) else lane_task
        return {**super().state_dict(), "steps": self._steps, "lane_task": copy}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from where `state` was taken."""
        super().load_state_dict(state)
        self._begin(state["steps"])
        if self._lane_task is not None:
            self._lane_task = torch.as_tensor(state["lane_task"], device=self.device).clone()


def _final_observation(obs: Any, info: dict[str, Any]) -> Any:
    """(L, *obs) observations before autoreset; None when the environment was told to skip them.

    Gymnasium gives an object array with entries only where an episode ended.
    """
    if isinstance(obs, Tensor):
        return info.get("final_obs")
    final = obs.copy()
    for lane in np.flatnonzero(info.get("_final_obs", ())):
        final[lane] = info["final_obs"][lane]
    return final
