"""What every stream is built from."""

from dataclasses import dataclass
from typing import Any, TypeAlias

import torch

from neoteny import envs
from neoteny.wrappers.nonstationary import NonStationaryVector
from neoteny.wrappers.taskswitch import TaskSwitch

Stream: TypeAlias = TaskSwitch | NonStationaryVector

TASK_STEPS = 2_000_000


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
    """

    num_envs: int
    device: torch.device
    seeds: tuple[int, ...]
    task_steps: int | None
    steps_per_iteration: int
    render_mode: str | None = None

    @property
    def members(self) -> int:
        """M."""
        return len(self.seeds)

    def period(self, default: int) -> int:
        """Steps a task lasts, a multiple of `steps_per_iteration`."""
        steps = default if self.task_steps is None else self.task_steps
        return -(-steps // self.steps_per_iteration) * self.steps_per_iteration

    @property
    def rendering(self) -> dict[str, Any]:
        """Options of an environment that can be drawn; none for one that need not be."""
        return {} if self.render_mode is None else {"render_mode": self.render_mode}

    def make(self, name: str, **options: Any) -> Any:
        """The environment `name` for all members."""
        options = options | self.rendering
        return envs.make(
            name, self.num_envs, self.members, self.device, list(self.seeds), **options
        )
