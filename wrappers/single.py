"""The adapter that puts a schedule and changes around a single host environment."""

from collections.abc import Sequence
from typing import SupportsFloat, TypeVar, cast

import gymnasium
import numpy as np
from gymnasium.utils import RecordConstructorArgs

from neoteny.core.errors import InputError
from neoteny.envs.host_single import set_attributes
from neoteny.wrappers.aliases import Info, ResetOptions
from neoteny.wrappers.arrays import Value
from neoteny.wrappers.change_base import Change
from neoteny.wrappers.compose import (
    ComposedChanges,
    OnSwitch,
    check_attributes,
    check_mode,
)
from neoteny.wrappers.member_schedules import MemberSchedules, ReturnMonitor
from neoteny.wrappers.schedules import Schedule

ObsT = TypeVar("ObsT")
ActT = TypeVar("ActT")


class NonStationary(gymnasium.Wrapper[ObsT, ActT, ObsT, ActT], RecordConstructorArgs):
    """Any Gymnasium environment under a schedule of changes.

    The step that reaches a switch still belongs to the old task, its observation and reward too.
    `info["task"]` is the task of the returned transition; `reset` returns the one to be played.
    `reset` without a seed goes on with the stream, with a seed it starts the stream again.
    `render` shows the environment as it is: of the changes, only those of its dynamics are seen.

    Args:
        env: the environment.
        schedule: when tasks change, in environment steps summed over the parallel environments.
        changes: what a task changes, applied in this order to observations and rewards and in
            the opposite order to actions.
        on_switch: what happens to the episode under way when the task is switched: "reset"
            truncates it, "latch" lets it end under its own task, "now" changes its rules at once.
            A drift goes on within an episode unless it is "latch".
        stride: N, number of environments run in parallel, each counting its own steps.
        lane: which of them this one is, 0 <= lane < N.

    Raises:
        ValueError: `on_switch` is unknown, `stride` is not positive, `lane` not below it, or a
            change does not fit the environment or the schedule.
    """

    def __init__(
        self,
        env: gymnasium.Env[ObsT, ActT],
        schedule: Schedule,
        changes: Sequence[Change] = (),
        on_switch: OnSwitch = "reset",
        stride: int = 1,
        lane: int = 0,
    ) -> None:
        RecordConstructorArgs.__init__(
            self,
            schedule=schedule,
            changes=changes,
            on_switch=on_switch,
            stride=stride,
            lane=lane,
        )
        gymnasium.Wrapper.__init__(self, env)
        check_mode(on_switch)
        if stride <= 0:
            raise InputError(f"stride must be positive, got {stride}; give the number of envs")
        if not 0 <= lane < stride:
            raise InputError(f"lane must lie in [0, {stride}), got {lane}; give stride as well")
        self.composed = ComposedChanges(changes, gradual=schedule.gradual)
        self.changes = self.composed.changes
        self.observation_space = self.composed.check(env.observation_space, env.action_space)
        check_attributes(env, self.composed.params(0))
        self.schedule, self.on_switch = schedule, on_switch
        self.stride, self.lane = stride, lane
        delays = schedule.delays(stride)
        self._delay = 0 if delays is None else int(delays[lane])
        self._memory: list[Value] | None = None
        self._begin()

    def _begin(self) -> None:
        """Go to the beginning of the stream."""
        self.steps = 0
        self._monitor = ReturnMonitor(MemberSchedules(self.schedule), 1, None)
        self._enter()

    @property
    def _here(self) -> int:
        """Steps of this environment's own place in the schedule."""
        return max(self.steps - self._delay, 0)

    def _enter(self) -> None:
        """Put the task scheduled now into force."""
        self.task = self.schedule.task(self._here)
        self._force = self.schedule.phase(self._here) if self.schedule.gradual else self.task
        set_attributes(self.env, self.composed.params(self._force))

    def _observe(self, obs: ObsT) -> ObsT:
        if not self.composed.acts_on("observation"):
            return obs
        dtype = None if isinstance(obs, np.ndarray) else self.env.observation_space.dtype
        numbers = np.asarray(obs, dtype)
        changed = self.composed.observation(numbers, self._force, self.steps + self.lane)
        return cast(ObsT, changed)

    def reset(
        self, *, seed: int | None = None, options: ResetOptions | None = None
    ) -> tuple[ObsT, Info]:
        """Begin an episode under the task in force now; see the class for `seed`."""
        if seed is not None:
            self._begin()
        self._enter()
        self._memory = None
        self._monitor.forget(True)
        obs, info = self.env.reset(seed=seed, options=options)
        return self._observe(obs), {**info, "task": self.task}

    def step(self, action: ActT) -> tuple[ObsT, SupportsFloat, bool, bool, Info]:
        """Play one step; see the class for what belongs to which task."""
        task, place = self.task, self.steps + self.lane
        played, self._memory = self.composed.action(
            cast(Value, action), self._force, place, self._memory
        )
        obs, paid, terminated, truncated, info = self.env.step(cast(ActT, played))
        reward: Value = self.composed.reward(cast(Value, paid), self._force, place)
        done = bool(terminated or truncated)
        before = self.schedule.visit(self._here)
        self.steps += self.stride
        self.schedule = self._monitor.look(reward, done, self.steps).members[0]
        switched = self.schedule.visit(self._here) != before
        if switched and self.on_switch == "reset":
            truncated = truncated or not terminated
        moves = switched or self.schedule.gradual
        if moves and not done and self.on_switch != "latch" and not (truncated or terminated):
            self._enter()
        return self._observe(obs), reward, terminated, truncated, {**info, "task": task}
