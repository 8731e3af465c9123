"""Settings that an agent gives its interventions: Adam's constants, and its units of time.

A strength has a meaning only over time, and agents differ in updates per environment step by a
factor of 80. So settings of interventions that are times have a unit: a plain number is environment
steps of one member, `Tasks(0.1)` a tenth of a task, `Targets(1)` from one change of the targets to
the next. In text these are `10000`, `0.1tasks` and `1targets`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from neoteny.core.errors import InputError
from neoteny.core.options import check_fields, read_text

TASK_STEPS = 500_000.0
"""Environment steps that count as a task where nobody says how long one is."""


class _Unit(float):
    """A time in another unit than environment steps."""

    name: ClassVar[str]
    wanted: ClassVar[str]
    """Words for a value of this type, in messages."""

    @classmethod
    def from_text(cls, text: str) -> Self | None:
        """The time that a text states in this unit, None if it does not."""
        number = read_text(text.removesuffix(cls.name))
        stated = text.endswith(cls.name) and type(number) in (int, float)
        return cls(number) if stated and math.isfinite(number) else None

    def __str__(self) -> str:
        return f"{float(self):g}{self.name}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({float(self):g})"


class Tasks(_Unit):
    """A time in multiples of a task, written as in `0.1tasks`."""

    name = "tasks"
    wanted = "tasks, as in 0.1tasks,"


class Targets(_Unit):
    """A time in changes of the learning targets, written as in `1targets`.

    These are the rollouts of PPO and the moves of DQN's target network. A classifier's targets
    change with the task alone.
    """

    name = "targets"
    wanted = "targets, as in 1targets,"


Time = float | Tasks | Targets


@dataclass(frozen=True)
class OptimizerSettings:
    """The constants of Adam that all compared optimisers share, and the agent's time."""

    learning_rate: float = 2.5e-4
    eps: float = 1e-5
    betas: tuple[float, float] = (0.9, 0.999)
    updates_per_step: float = 1.0
    """Gradient steps per environment step, by which times are translated to updates."""
    updates_per_iteration: int = 1
    """Gradient steps between two collections of experience; rare edits wait for the last one."""
    updates_per_target: int | None = None
    """Gradient steps from one change of the targets to the next; None: they change with the task
    alone."""
    task_steps: float = TASK_STEPS
    """Environment steps that a task lasts, the mean if they differ; the run's steps if there is one
    task."""

    limits: ClassVar[Mapping[str, str]] = {
        "learning_rate": "at least 0",
        "eps": "at least 0",
        "betas": "in [0, 1)",
        "updates_per_step": "above 0",
        "updates_per_iteration": "at least 1",
        "updates_per_target": "at least 1",
        "task_steps": "above 0",
    }

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    def adam(self) -> dict[str, Any]:
        """The settings as keyword arguments of `torch.optim.Adam` and its relatives.

        torch's fused kernels are the fastest on CPU and on CUDA.
        """
        return {"lr": self.learning_rate, "betas": self.betas, "eps": self.eps, "fused": True}

    @property
    def updates_per_task(self) -> float:
        """Gradient steps in a task."""
        return self.task_steps * self.updates_per_step

    def exact_updates(self, time: Time) -> float:
        """Updates in a time, not rounded; infinite for targets that change with the task alone."""
        if not time > 0:
            raise InputError(f"a time is {time}: it must be above 0, as in 10000 or 0.1tasks")
        if isinstance(time, Targets):
            return math.inf if self.updates_per_target is None else time * self.updates_per_target
        return time * (self.updates_per_task if isinstance(time, Tasks) else self.updates_per_step)

    def updates(self, time: Time) -> int:
        """Whole updates, at least one, in a time."""
        return max(1, round(self.exact_updates(time)))

    def rate(self, half_life: Time) -> float:
        """Rate r per update of a decay exp(-r t) that halves in `half_life`."""
        return math.log(2) / self.exact_updates(half_life)
