"""Interventions that recycle dormant units: by their activations, by their gradients."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Set
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from neoteny.core.errors import InputError
from neoteny.plasticity.activations import ACTIVATIONS
from neoteny.plasticity.diagnostics.units import dormant_mask
from neoteny.plasticity.interventions.intervention import Metadata
from neoteny.plasticity.interventions.ranges import Range
from neoteny.plasticity.interventions.resets import Timed
from neoteny.plasticity.interventions.traits import Trait
from neoteny.plasticity.optimizer_settings import Tasks, Time
from neoteny.plasticity.surgery import (
    fresh_weight,
    hidden_layers,
    require_own_outputs,
    reset_units,
    unit_activity,
)

if TYPE_CHECKING:
    from neoteny.plasticity.learner import Learner
    from neoteny.plasticity.networks import Observations


@dataclass
class Recycling(Timed):
    """Recycles the units of every hidden layer whose score is at most tau times the layer's mean.

    The pair of a CReLU unit and the group of a GroupSort are judged as one.
    """

    traits: ClassVar[Set[Trait]] = {Trait.DRAWS_WEIGHTS, Trait.RECYCLES_UNITS}
    limits: ClassVar[Mapping[str, str]] = {"tau": "at least 0"}
    ranges: ClassVar[Mapping[str, Range]] = {
        "period": Range(Tasks(0.02), Tasks(2)),
        "tau": Range(0.002, 0.5),
    }
    not_at_switches: ClassVar[str] = "it judges units on a minibatch"

    period: Time | None = Tasks(0.1)
    tau: float = 0.025
    """Largest score, relative to the layer's mean of 1, of a unit that is recycled."""

    def start(self, learner: Learner) -> None:
        """Refuse networks whose units cannot be taken out."""
        super().start(learner)
        require_own_outputs(learner.network, self.name)

    @abstractmethod
    def activities(self, learner: Learner, obs: Observations) -> list[Tensor]:
        """Activity of every hidden layer's units, (M, samples, units) each; means are scores."""

    def edit(self, learner: Learner, obs: Observations | None) -> None:
        """Recycle the dormant units of every hidden layer, all judged before any is changed."""
        assert obs is not None
        generators = self.draws(learner)
        activities = self.activities(learner, obs)
        layers = hidden_layers(learner.network)
        for (branch, index, layer), activity in zip(layers, activities, strict=True):
            recycled = reset_units(
                learner,
                branch,
                index,
                self.dormant(activity),
                fresh_weight(layer, generators),
            )
            self.state["activity"] += recycled.sum(1)

    def dormant(self, activity: Tensor) -> Tensor:
        """Units (M, units) that are recycled for their activity (M, samples, units)."""
        return dormant_mask(activity, self.tau)


@dataclass
class ReDo(Recycling):
    """Recycle dormant units: new incoming weights, no outgoing ones, no moments.

    A unit is dormant if its mean absolute activation over the last minibatch is at most tau times
    the layer's mean.
    """

    name: ClassVar[str] = "redo"
    traits: ClassVar[Set[Trait]] = {Trait.FINDS_DORMANT_UNITS}
    metadata: ClassVar[Metadata] = Metadata(
        "Sokar et al., arXiv:2302.12902",
        probe=True,
        cost="1 forward a period",
        dqn="tau=0.1",
    )

    def start(self, learner: Learner) -> None:
        """Refuse an activation whose units are never dormant."""
        super().start(learner)
        if learner.network.spec.activation == "deep_fourier":
            raise InputError("redo finds no dormant units among sines and cosines: leave it out")

    def activities(self, learner: Learner, obs: Observations) -> list[Tensor]:
        """Absolute activations on the minibatch."""
        activation = ACTIVATIONS[learner.network.spec.activation]
        features = learner.network.features(obs)
        return [
            unit_activity(features[branch][index], activation)
            for branch, index, _ in hidden_layers(learner.network)
        ]


@dataclass
class ReGraMa(Recycling):
    """Recycle units without gradient: ReDo for activations that are never dormant.

    A unit's score is the mean absolute gradient of its incoming weights over the last minibatch,
    relative to the layer's mean. A layer that gets no gradient at all is left alone.
    """

    name: ClassVar[str] = "regrama"
    traits: ClassVar[Set[Trait]] = {Trait.READS_GRADIENTS}
    metadata: ClassVar[Metadata] = Metadata("Liu et al., arXiv:2505.24061", cost="1 pass a period")

    tau: float = 0.01
    """Largest score, relative to the layer's mean of 1, of a unit that is recycled."""

    def activities(self, learner: Learner, obs: Observations) -> list[Tensor]:
        """Absolute gradients of incoming weights, which take the place of samples."""
        # A row of weights belongs to a unit, however many features it has.
        activation = replace(ACTIVATIONS[learner.network.spec.activation], fan=1)
        found = []
        for _, _, layer in hidden_layers(learner.network):
            gradient = layer.weight.grad
            rows = torch.zeros_like(layer.weight) if gradient is None else gradient
            found.append(unit_activity(rows.flatten(2).mT, activation))
        return found

    def dormant(self, activity: Tensor) -> Tensor:
        """None where the layer has no gradient."""
        return super().dormant(activity) & (activity.sum((1, 2), keepdim=True) > 0).squeeze(2)
