"""The agent as the run loop uses it: one class, which registers itself by its name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor

from neoteny.agents.graphs import CudaGraph
from neoteny.core.options import check_fields
from neoteny.core.registry import Registry
from neoteny.plasticity.interventions import Intervention
from neoteny.plasticity.network_spec import NetworkSpec
from neoteny.plasticity.optimizer_settings import TASK_STEPS, OptimizerSettings

PRECISIONS = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16}

AGENTS: Registry[type[Agent]] = Registry("agent")
"""Every agent by its name for `--agent`."""


@dataclass(frozen=True)
class AgentConfig(ABC):
    """Base of the hyper-parameters of an agent, a frozen dataclass whose fields are options.

    One that plays in environments has a field `num_envs`, the lanes of a member.
    """

    limits: ClassVar[Mapping[str, str]] = {}
    """Field to the condition on its value, see `neoteny.core.options`."""
    split: ClassVar[tuple[str, ...]] = ()
    """Counts that are split evenly among the processes that train a member together; empty if an
    agent cannot be."""

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    @abstractmethod
    def steps_per_iteration(self) -> int:
        """Environment steps of one member in an iteration."""

    @property
    @abstractmethod
    def updates_per_step(self) -> float:
        """Gradient steps per environment step."""

    @abstractmethod
    def optimizer_settings(self, task_steps: float = TASK_STEPS) -> OptimizerSettings:
        """Constants and times for interventions; a task has `task_steps` environment steps."""


@dataclass(frozen=True)
class AgentSettings:
    """Settings of a run from which an agent of any kind is built."""

    config: Any
    """Hyper-parameters, an instance of the agent's `config_class`."""
    spec: NetworkSpec
    make_interventions: Callable[[], list[Intervention]]
    """New interventions at every call; Stable-Baselines3 takes a list for each member."""
    seeds: Sequence[int]
    steps: int
    """Environment steps of one member in the run."""
    fast: bool = True
    precision: str = "fp32"
    """A name in `PRECISIONS`."""
    cuda_graphs: bool = False
    check_graphs: int = 0

    def task_steps(self, stream: Any) -> float:
        """Environment steps of a task: the mean if they differ, the run if there is one task.

        Of members that switch at steps of their own, the first counts.
        """
        boundaries = stream.schedule.members[0].boundaries(self.steps)
        return boundaries[-1] / len(boundaries) if boundaries else float(self.steps)

    def arguments(self, stream: Any) -> dict[str, Any]:
        """Arguments of the constructors of agents on the device."""
        return {
            "config": self.config,
            "spec": self.spec,
            "interventions": self.make_interventions(),
            "seeds": self.seeds,
            "fast": self.fast,
            "precision": PRECISIONS[self.precision],
            "task_steps": self.task_steps(stream),
        }

    def recording(self, stream: Any) -> dict[str, Any]:
        """Arguments of those that record steps, see `neoteny.agents.graphs.Recordings`."""
        recorder = partial(CudaGraph, stream.device) if self.cuda_graphs else None
        return {"recorder": recorder, "checks": self.check_graphs}


class Agent(ABC):
    """A learning algorithm of M members.

    A subclass with a `name` of its own registers itself in `AGENTS`. Its attributes `learner`, a
    `Learner`, `network` and `device` are read by the run loop.
    """

    name: ClassVar[str]
    """Name for `--agent`."""
    config_class: ClassVar[type[AgentConfig]]
    """Its hyper-parameters, whose fields are options on the command line."""
    family: ClassVar[str]
    """Key of the hyper-parameters in config.json and in presets, and the algorithm whose defaults
    interventions take; unset, the name."""
    preset: ClassVar[str] = "cpu"
    """Preset that it starts from unless another one is named."""
    supervised: ClassVar[bool] = False
    """True if it learns from a supervised stream."""
    separate: ClassVar[bool] = False
    """True if each member has a stream of its own."""
    step_bytes: ClassVar[int] = 0
    """Least memory for a step that it learns from, beside the observation, as far as is known."""
    records: ClassVar[bool] = False
    """True if it can record an update as a CUDA graph."""
    plays: ClassVar[bool] = False
    """True if it can be watched and evaluated: it overrides `play` and `play_best`."""

    learner: Any
    network: Any
    device: torch.device

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.plays = cls.play is not Agent.play
        if "name" in vars(cls):
            cls.family = vars(cls).get("family", getattr(cls, "family", cls.name))
            AGENTS.add(cls.name, cls)

    @classmethod
    def build(cls, settings: AgentSettings, stream: Any) -> Agent:
        """The agent of a run.

        Args:
            settings: Settings of the run.
            stream: The stream to act in or to learn from.
        """
        make: Callable[..., Agent] = cls
        recording = settings.recording(stream) if cls.records else {}
        return make(stream, **settings.arguments(stream), **recording)

    @abstractmethod
    def iterate(self, stream: Any) -> Mapping[str, Tensor | float]:
        """One iteration: act, and learn from it.

        Returns:
            Metrics, name to (M,) or a number.
        """

    @abstractmethod
    def recent(self, count: int) -> Tensor:
        """At most `count` observations of each member in the last iteration, (M, B, *shape)."""

    def recent_targets(self, count: int) -> Mapping[str, Tensor]:
        """Directions in which to move outputs on the observations of `recent`, by branch.

        The alignment of tangent kernels is measured by them. Empty unless an agent gives them.

        Returns:
            Branch to (M, B, k), for k outputs: returns or labels, less their mean.
        """
        return {}

    def play(self, obs: Tensor, keys: Tensor, step: int) -> Tensor:
        """Actions outside training, which leave the agent as it is.

        Args:
            obs: (M, N, *shape) observations.
            keys: (L,) keys of the random numbers of lanes.
            step: Number of the step that the random numbers are for.

        Returns:
            (L, *action) actions.
        """
        raise NotImplementedError

    def play_best(self, obs: Tensor) -> Tensor:
        """The most probable or valuable actions (L, *action) on observations (M, N, *shape)."""
        raise NotImplementedError

    def switch(self) -> None:  # noqa: B027 (most agents do nothing of their own accord)
        """React to a task switch."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Everything a bit-exact resume needs, the learner included."""

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
