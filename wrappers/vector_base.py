"""The base class of all vector wrappers, and the wrapper that checks actions."""

from collections.abc import Hashable, Sequence
from typing import Protocol, cast, runtime_checkable

import torch
from gymnasium.spaces import Discrete
from gymnasium.vector import AutoresetMode, VectorWrapper
from torch import Tensor

from neoteny.core.errors import InputError
from neoteny.envs.arguments import check_actions, lane_mask
from neoteny.wrappers.aliases import AnyVectorEnv, Info, ResetOptions, State
from neoteny.wrappers.arrays import Array
from neoteny.wrappers.change_base import bounds
from neoteny.wrappers.member_schedules import MemberSchedules


@runtime_checkable
class MemberEnv(Protocol):
    """The attributes of a vector environment of members that every wrapper passes on.

    Attributes:
        members: M.
        device: of the tensors; None for NumPy arrays.
        switch_together: True if the tasks of all members switch at the same steps.
        final_observations: True if `step` returns `info["final_obs"]`.
        render_lanes: the lanes that `render` draws.
    """

    members: int
    device: torch.device | None
    switch_together: bool
    final_observations: bool
    render_lanes: Sequence[int]

    def max_truncations(self, horizon: int) -> int:
        """Most truncations one lane can see within its next `horizon` steps."""

    def steady(self, horizon: int) -> Hashable:
        """Decisions of the host in the next `horizon` steps, None if it changes within them."""


class OneMember(VectorWrapper):
    """A vector environment of Gymnasium as a `MemberEnv`: one member, NumPy arrays, no switch."""

    members: int = 1
    device: torch.device | None = None
    switch_together: bool = True
    final_observations: bool = True

    def __init__(self, env: AnyVectorEnv) -> None:
        super().__init__(env)
        self.render_lanes: Sequence[int] = range(env.num_envs)

    def max_truncations(self, horizon: int) -> int:
        """As many as there are steps, as nothing is known of it."""
        return horizon

    def steady(self, horizon: int) -> None:
        """None: it is stepped by the host."""


class MemberWrapper(VectorWrapper):
    """A vector wrapper that passes on the members and the stream of the environment below.

    Args:
        env: a TensorEnv, a wrapper of one, or any Gymnasium vector environment with SAME_STEP
            autoreset, which then counts as one member.

    Raises:
        ValueError: the autoreset mode is another one, or the environment is on a device and lacks
            attributes of a `MemberEnv`.
    """

    def __init__(self, env: AnyVectorEnv) -> None:
        super().__init__(_with_members(env))
        mode = env.metadata.get("autoreset_mode")
        if mode not in (AutoresetMode.SAME_STEP, AutoresetMode.SAME_STEP.value):
            raise InputError(
                f"autoreset mode {mode} is not supported; build the environment with "
                "autoreset_mode=gymnasium.vector.AutoresetMode.SAME_STEP"
            )

    @property
    def _below(self) -> MemberEnv:
        return cast(MemberEnv, self.env)

    @property
    def members(self) -> int:
        """M, the number of independent members."""
        return self._below.members

    @property
    def lanes(self) -> int:
        """N, the number of parallel environments of a member."""
        return int(self.num_envs // self.members)

    @property
    def device(self) -> torch.device | None:
        """Device of the tensors; None for an environment that returns NumPy arrays."""
        return self._below.device

    @property
    def seeds(self) -> tuple[int, ...]:
        """(M,) seeds of the members."""
        return tuple(self.env.seeds)  # type: ignore[attr-defined]

    @property
    def schedule(self) -> MemberSchedules:
        """The schedule of each member."""
        schedule: MemberSchedules = self.env.schedule  # type: ignore[attr-defined]
        return schedule

    @property
    def switch_together(self) -> bool:
        """True if the tasks of all members switch at the same steps."""
        return self._below.switch_together

    @property
    def task_names(self) -> list[str]:
        """A name for each task index."""
        return list(self.env.task_names)  # type: ignore[attr-defined]

    @property
    def steps(self) -> int:
        """Environment steps of one member played so far."""
        return int(self.env.steps)  # type: ignore[attr-defined]

    @property
    def final_observations(self) -> bool:
        """True if `step` returns `info["final_obs"]`; set it to False to save the time."""
        return self._below.final_observations

    @final_observations.setter
    def final_observations(self, wanted: bool) -> None:
        self._below.final_observations = wanted

    @property
    def render_lanes(self) -> Sequence[int]:
        """The lanes that `render` draws."""
        return self._below.render_lanes

    @render_lanes.setter
    def render_lanes(self, lanes: Sequence[int]) -> None:
        self._below.render_lanes = lanes

    def _reset_mask(self, options: ResetOptions | None) -> Array | None:
        """The lanes (L,) bool to be restarted alone, beside the environment; None for all."""
        mask = (options or {}).get("reset_mask")
        return None if mask is None else lane_mask(mask, self.num_envs, self.device)

    def tasks_at(self, step: int) -> list[int]:
        """(M,) task of each member for the transition that starts at `step`."""
        return self.schedule.tasks(step)

    def boundaries(self, total: int) -> list[int]:
        """Ascending steps b, 0 < b < total, at which any member's task is switched."""
        return self.schedule.boundaries(total)

    def seek(self, steps: int, schedule: MemberSchedules | None = None, hold: bool = False) -> None:
        """Go to another place in the stream; call `reset` next.

        Args:
            steps: environment steps of one member.
            schedule: of another instance of the same stream, whose switches have waited for
                returns and so are known to it alone.
            hold: stay under the task, or the phase of a drift, that is in force there.
        """
        self.env.seek(steps, schedule, hold)  # type: ignore[attr-defined]

    def max_truncations(self, horizon: int) -> int:
        """Most truncations one lane can see within its next `horizon` steps."""
        return min(horizon, self._below.max_truncations(horizon))

    def steady(self, horizon: int) -> Hashable:
        """Decisions of the host in the next `horizon` steps, see `TensorEnv.steady`.

        None, as nothing is known of a wrapper that does not say otherwise.
        """
        return None

    def hold_memory(self) -> None:
        """Write each state of the environment over the last, see `TensorEnv.hold_memory`."""
        self.env.hold_memory()  # type: ignore[attr-defined]

    def skip(self, steps: int) -> None:
        """Count steps that were replayed, at which no code of this class ran."""
        self.env.skip(steps)  # type: ignore[attr-defined]

    def state_dict(self) -> State:
        """A copy of everything needed to go on exactly from here."""
        return {"env": self.env.state_dict()}  # type: ignore[attr-defined]

    def load_state_dict(self, state: State) -> None:
        """Go on from where `state` was taken."""
        self.env.load_state_dict(state["env"])  # type: ignore[attr-defined]


def _with_members(env: AnyVectorEnv) -> AnyVectorEnv:
    """The environment as a `MemberEnv`."""
    if isinstance(env, MemberEnv):
        return env
    if hasattr(env, "device"):
        needed = ("members", "switch_together", "final_observations", "render_lanes")
        lacks = [name for name in (*needed, "max_truncations", "steady") if not hasattr(env, name)]
        raise InputError(
            f"{env} is on a device, but lacks {', '.join(lacks)}: derive it from"
            " neoteny.envs.TensorEnv, or from neoteny.wrappers.vector_base.MemberWrapper"
        )
    return OneMember(env)


class CheckActions(MemberWrapper):
    """Checks the range of every action before it is played.

    Environments on a device do not look at actions, since that would wait for the device;
    an action out of range then has an arbitrary effect. This wrapper waits, so it is for debugging.

    Args:
        env: any vector environment.
    """

    def step(self, actions: Array) -> tuple[Array, Array, Array, Array, Info]:
        """Play one step.

        Raises:
            ValueError: an action lies outside the action space.
        """
        space = self.env.single_action_space
        given = actions if isinstance(actions, Tensor) else torch.as_tensor(actions)
        check_actions(given, self.env.action_space)
        if isinstance(space, Discrete):
            low, high = space.start, space.start + space.n - 1
            known = f"the actions are {low} to {high}"
        else:
            low, high = bounds(space)
            known = f"actions lie in {space}"
        low, high = (torch.as_tensor(bound, device=given.device) for bound in (low, high))
        inside = (given >= low) & (given <= high)  # False for NaN
        self._refuse(given, ~inside.view(self.num_envs, -1).all(1), known)
        obs, reward, terminated, truncated, info = self.env.step(actions)
        return obs, reward, terminated, truncated, info

    def _refuse(self, given: Tensor, bad: Tensor, known: str) -> None:
        lanes = bad.nonzero().flatten().tolist()
        if lanes:
            value = given[lanes[0]].tolist()
            raise InputError(f"action {value} in lane {lanes[0]} is out of range: {known}")
