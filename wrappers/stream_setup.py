"""What every stream is built from."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch

from neoteny import envs
from neoteny.core.errors import InputError
from neoteny.wrappers.nonstationary import NonStationaryVector
from neoteny.wrappers.taskswitch import TaskSwitch

Stream: TypeAlias = TaskSwitch | NonStationaryVector

TASK_STEPS = 2_000_000
TAKEN = {*inspect.signature(envs.make).parameters, *inspect.signature(TaskSwitch).parameters}
TAKEN = TAKEN - {"backend", "options"} | {"name", "setup"}
"""Names that options of an environment cannot have, since builders of streams take them."""


@dataclass(frozen=True)
class Setup:
    """What every stream is built from.

    Args:
        num_envs: N, lanes a member.
        device: where tensors live.
        seeds: (M,) seeds.
        task_steps: environment steps of one member in a task, None for the stream's own choice.
        steps_per_iteration: a task lasts a whole number of so many steps, rounded up.
        render_mode: None or "rgb_array".
        steps: environment steps of one member in the run, None if nobody knows.
    """

    num_envs: int
    device: torch.device
    seeds: tuple[int, ...]
    task_steps: int | None
    steps_per_iteration: int
    render_mode: str | None = None
    steps: int | None = None

    @property
    def members(self) -> int:
        """M."""
        return len(self.seeds)

    def period(self, default: int) -> int:
        """Steps a task lasts, a multiple of `steps_per_iteration`."""
        steps = default if self.task_steps is None else self.task_steps
        return -(-steps // self.steps_per_iteration) * self.steps_per_iteration

    def complete(self, options: Mapping[str, Any], **fixed: Any) -> dict[str, Any]:
        """Options of a user's with those that a stream gives its environments itself.

        Args:
            options: the user's.
            **fixed: the stream's.

        Raises:
            InputError: an option is fixed, or is not one of the environment.
        """
        for name in options:
            if name in fixed:
                raise InputError(f"option {name!r} is fixed by the stream: leave it out")
            if name in TAKEN:
                raise InputError(
                    f"option {name!r} is none of the environment's: see --help for what sets it"
                )
        drawn = {} if self.render_mode is None else {"render_mode": self.render_mode}
        return {**options, **fixed, **drawn}

    def make(self, name: str, **options: Any) -> Any:
        """The environment `name` for all members."""
        options = self.complete(options)
        return envs.make(
            name, self.num_envs, self.members, self.device, list(self.seeds), **options
        )
