"""Interventions that draw whole layers anew, and the timer that rare edits share."""

from __future__ import annotations

import math
from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from neoteny.core.errors import InputError
from neoteny.plasticity.interventions.intervention import Intervention, Metadata
from neoteny.plasticity.interventions.ranges import Range
from neoteny.plasticity.interventions.traits import Trait
from neoteny.plasticity.optimizer_settings import OptimizerSettings, Tasks, Time
from neoteny.plasticity.surgery import assign, hidden_layers, redraw, with_targets

if TYPE_CHECKING:
    from neoteny.plasticity.learner import Learner
    from neoteny.plasticity.networks import Observations


def whole_iterations(updates: int, settings: OptimizerSettings) -> int:
    """Round a number of updates up to whole iterations.

    Weights that are edited inside an iteration of PPO leave its stored log-probabilities behind.
    """
    return math.ceil(updates / settings.updates_per_iteration) * settings.updates_per_iteration


def period_in_updates(period: Time, settings: OptimizerSettings) -> int:
    """Updates between two edits a period apart, in whole iterations."""
    return whole_iterations(settings.updates(period), settings)


@dataclass
class Timed(Intervention):
    """An edit that is made every so often: at a period if there is one, else at task switches."""

    static: ClassVar[bool] = True
    limits: ClassVar[Mapping[str, str]] = {"period": "above 0"}
    not_at_switches: ClassVar[str] = ""
    """Reason that a class cannot act at switches; empty if it can."""

    period: Time | None = None
    """Time between two edits, rounded up to whole iterations; none: task switches."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require_period(self.period is None)

    def start(self, learner: Learner) -> None:
        """Read from the settings if the agent has targets that change within a task."""
        super().start(learner)
        self._require_period(self.acts_every(learner.settings) is None)

    def _require_period(self, at_switches: bool) -> None:
        self.needs_boundaries = at_switches
        if at_switches and self.not_at_switches:
            period = "none" if self.period is None else self.period
            raise InputError(
                f"{self.name}:period={period} means task switches here, but "
                f"{self.not_at_switches}: give steps or tasks, as in 0.1tasks"
            )

    def acts_every(self, settings: OptimizerSettings) -> int | None:
        """Updates between two edits, None at switches."""
        if self.period is None or math.isinf(settings.exact_updates(self.period)):
            return None
        return period_in_updates(self.period, settings)

    def edit(self, learner: Learner, obs: Observations | None) -> None:
        """Make the edit; `obs` is the last minibatch (M, B, *shape), None at a task switch."""

    def after_step(self, learner: Learner, obs: Observations) -> None:
        """Edit at the end of every period."""
        every = self.acts_every(learner.settings)
        if every is not None and learner.updates % every == 0:
            self.edit(learner, obs)

    def rests(self, learner: Learner) -> bool:
        """True but at the end of a period, when the edit comes."""
        every = self.acts_every(learner.settings)
        return self.static and (every is None or (learner.updates + 1) % every != 0)

    @torch.no_grad()
    def boundary(self, learner: Learner, task: Tensor) -> None:
        """Edit at the switch, if there is no period."""
        if self.needs_boundaries:
            self.edit(learner, None)

    def draws(self, learner: Learner) -> list[torch.Generator]:
        """One generator per member for this edit, the same whatever the number of members."""
        return learner.generators(f"intervention/{self.name}/{learner.boundaries}", learner.updates)


@dataclass
class Fresh(Timed):
    """A new network, targets and optimiser at every switch: the oracle that keeps its plasticity.

    Whatever else the agent has learnt or is on its way to goes as well, which for DQN is its replay
    and exploration, so that it is an agent that has just begun. Set a period and it is the full
    reset on a timer.
    """

    name: ClassVar[str] = "fresh"
    traits: ClassVar[Set[Trait]] = {
        Trait.DRAWS_WEIGHTS,
        Trait.REDRAWS_LAYERS,
        Trait.EDITS_EVERYTHING,
    }
    metadata: ClassVar[Metadata] = Metadata(
        "the fresh-agent reference of Nikishin et al., arXiv:2205.07802", needs_boundary=True
    )

    agent: bool = True
    """Let the agent begin anew, too, and not its network alone: DQN's replay and exploration."""

    def edit(self, learner: Learner, obs: Observations | None) -> None:
        """Draw every parameter from its initial distribution, in place, and forget the moments."""
        learner.network.reset_parameters(self.draws(learner))
        for parameter in learner.network.parameters():
            for copy in with_targets(learner, parameter)[1:]:
                copy.copy_(parameter)
        learner.reset_optimizer()
        for _, _, layer in hidden_layers(learner.network):
            learner.edited(layer)
        for begin_anew in learner.beginnings if self.agent else ():
            begin_anew()
        self.state["activity"] += 1

    def draws(self, learner: Learner) -> list[torch.Generator]:
        """At switches, draws that depend on their number alone."""
        if self.period is None:
            return learner.generators("intervention", learner.boundaries)
        return super().draws(learner)


@dataclass
class HeadReset(Timed):
    """New heads, and the hidden layers before them if asked, with their optimiser state.

    Earlier layers and their moments stay, and so do replay, normalisers and schedules. The authors
    reset on a timer, every 40,000 updates; a head takes a good part of a task to learn again, so
    here the default is where there is a new task to learn anyway.
    """

    name: ClassVar[str] = "head_reset"
    traits: ClassVar[Set[Trait]] = {Trait.DRAWS_WEIGHTS, Trait.REDRAWS_LAYERS}
    metadata: ClassVar[Metadata] = Metadata(
        "Nikishin et al., arXiv:2205.07802", needs_boundary=True
    )
    limits: ClassVar[Mapping[str, str]] = {"hidden": "from 0 to 1,000"}
    ranges: ClassVar[Mapping[str, Range]] = {"period": Range(Tasks(0.1), Tasks(4))}

    hidden: int = 0
    """Hidden layers, counted from the last, that are drawn anew too."""

    def edit(self, learner: Learner, obs: Observations | None) -> None:
        """Draw the last layers of every branch anew."""
        generators = self.draws(learner)
        for branch in learner.network.branches.values():
            redraw(learner, branch.head, generators)
            if branch.log_std is not None:
                assign(learner, branch.log_std, branch.log_std_init or 0.0)
        for body in learner.network.bodies:
            layers = list(zip(body.hidden, body.norms, strict=True))
            for layer, norm in layers[max(0, len(layers) - self.hidden) :]:
                redraw(learner, layer, generators, norm)
        self.state["activity"] += 1


@dataclass
class LayerReset(HeadReset):
    """New heads and last hidden layers: the resets of deeper agents."""

    name: ClassVar[str] = "layer_reset"
    metadata: ClassVar[Metadata] = Metadata(
        "Nikishin et al., arXiv:2205.07802", needs_boundary=True
    )

    hidden: int = 1
