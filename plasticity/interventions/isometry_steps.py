"""Isometry steps beside the step of any optimiser, whose strength depends on more than time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from neoteny.core.errors import InputError
from neoteny.core.options import show
from neoteny.plasticity import gram, surgery
from neoteny.plasticity.gram import Scale
from neoteny.plasticity.interventions.intervention import Metadata, as_samples, hidden_layers
from neoteny.plasticity.interventions.outputs import effective_rank
from neoteny.plasticity.interventions.ranges import Range
from neoteny.plasticity.interventions.step_wrappers import StepWrapper
from neoteny.plasticity.interventions.timing import LONGEST
from neoteny.plasticity.interventions.traits import Trait
from neoteny.plasticity.optimizer_settings import OptimizerSettings, Tasks, Time
from neoteny.plasticity.sparse import first_samples

if TYPE_CHECKING:
    from neoteny.plasticity.learner import Learner
    from neoteny.plasticity.networks import Observations

__all__ = ["IsometryBand", "IsometryBudget", "IsometryControl", "IsometryGate", "IsometryStep"]

STRONGEST = 10.0
"""Half-life, in updates, of the strongest pull that a controller chooses."""


@dataclass
class IsometryStep(StepWrapper):
    """A decoupled isometry step beside that of any optimiser, both taken at the same weights.

    With the deviation D of a hidden layer's Gram matrix from isometry, in units of the target, a
    layer is moved by -a P(D) W, where P(D) = D but for the change that keeps the length of W if
    its scale is free. Subclasses bend D, choose a, or limit the step.
    """

    traits: ClassVar[Set[Trait]] = {
        Trait.PULLS_TO_ISOMETRY,
        Trait.UNIT_SINGULAR_VALUES,
        Trait.WHOLE_LAYER,
    }
    static: ClassVar[bool] = True
    limits: ClassVar[Mapping[str, str]] = {"half_life": "above 0, or inf", "scale": "above 0"}

    half_life: Time = Tasks(1)
    """Time in which small deviations from isometry halve where nothing holds the pull back."""
    scale: Scale = "free"
    """Target squared singular value; "free": singular values are pulled towards their own mean."""

    def start(self, learner: Learner) -> None:
        """Refuse a half-life that the steps cannot follow."""
        super().start(learner)
        if self._strength(learner.settings) >= 1:
            shortest = learner.settings.rate(1.0) / 2
            raise InputError(
                f"{self.name}:half_life={show(self.half_life)} is too short, the isometry step "
                f"diverges: give more than {shortest:.3g} steps"
            )

    def parameters(self, learner: Learner) -> list[Tensor]:
        """The weights of hidden layers."""
        return [layer.weight for layer in hidden_layers(learner.network)]

    def strength(self, settings: OptimizerSettings) -> dict[str, float]:
        """Effective strength a, and the rate 2a at which deviations decay, per update."""
        a = self._strength(settings)
        return {"effective_strength": a, "decay_rate": 2 * a}

    def _strength(self, settings: OptimizerSettings) -> float:
        return settings.rate(self.half_life) / 2

    def rewrite(self, learner: Learner, parameters: list[Tensor], before: list[Tensor]) -> None:
        """Take the isometry step from the weights before the optimiser's."""
        for index, (weight, old) in enumerate(zip(parameters, before, strict=True)):
            maps = gram.accurate_maps(old, 1)
            deviation = gram.deviation(maps, self.scale) / gram.target(self.scale)
            pull = self.bend(deviation)
            if self.scale == "free":
                gram.keep_length(pull, deviation)
            strength = gram.bounded(self.choose(learner, index, deviation), pull)
            step = gram.product(pull * strength[:, None, None], maps).view_as(weight)
            weight.sub_(self.limit(step.to(weight.dtype), weight - old))

    def bend(self, deviation: Tensor) -> Tensor:
        """The part of a deviation (M, n, n) that is pulled, a tensor of its own."""
        return deviation.clone()

    def choose(self, learner: Learner, layer: int, deviation: Tensor) -> float | Tensor:
        """The strength a of a layer's pull, a number or (M,)."""
        return self._strength(learner.settings)

    def limit(self, step: Tensor, task: Tensor) -> Tensor:
        """The isometry step to subtract, from a whole one and the optimiser's step (M, ...)."""
        return step


@dataclass
class IsometryBand(IsometryStep):
    """An isometry step that leaves small deviations of singular values alone.

    A deviation d of a squared singular value, in units of the target, is pulled as if it were
    d^3 / (d^2 + band^2): hardly within the band, wholly beyond it. The edge is smooth, so that an
    inverse of the Gram matrix's size does in place of its eigenvalues.
    """

    name: ClassVar[str] = "isometry_band"
    static: ClassVar[bool] = False
    metadata: ClassVar[Metadata] = Metadata(
        "proposed here", cost="4 products and 1 inverse per layer"
    )
    limits: ClassVar[Mapping[str, str]] = {"band": "above 0"}
    ranges: ClassVar[Mapping[str, Range]] = {
        "half_life": Range(Tasks(0.05), Tasks(20)),
        "band": Range(0.05, 5.0),
    }

    band: float = 0.5
    """Deviation of a squared singular value, in units of the target, that is pulled by half."""

    def bend(self, deviation: Tensor) -> Tensor:
        """The deviation beyond the band."""
        return gram.dead_band(deviation, self.band)


@dataclass
class IsometryControl(IsometryStep):
    """An isometry step whose strength follows each layer's deviation, up and down to a target.

    Where the deviation is twice the target the strength doubles within `response`, where it is half
    of it the strength halves, each layer and member by itself, from a half-life of 40 tasks, which
    is as good as none, to one of ten updates.
    """

    name: ClassVar[str] = "isometry_control"
    metadata: ClassVar[Metadata] = Metadata(
        "proposed here", state="1 strength per layer", cost="2 products per layer"
    )
    limits: ClassVar[Mapping[str, str]] = {"deviation": "above 0", "response": "above 0"}
    ranges: ClassVar[Mapping[str, Range]] = {"deviation": Range(0.05, 5.0)}

    half_life: Time = Tasks(1)
    """Half-life to begin with."""
    deviation: float = 0.5
    """Root mean square of the deviations of squared singular values to hold, in units of the
    target."""
    response: Time = Tasks(0.1)
    """Time in which the strength doubles, at the most, or halves."""

    def start(self, learner: Learner) -> None:
        """Every layer begins with the strength of the half-life."""
        super().start(learner)
        for index, weight in enumerate(self.parameters(learner)):
            strength = torch.full_like(learner.alive, 0.0, dtype=weight.dtype)
            self.state[f"strength{index}"] = strength + self._strength(learner.settings)

    def choose(self, learner: Learner, layer: int, deviation: Tensor) -> Tensor:
        """Adapt the layer's strength to its deviation."""
        settings = learner.settings
        size = deviation.shape[-1]
        found = (gram.squared_norm(deviation) / size).sqrt()
        change = (found / self.deviation).clamp(0.5, 2.0) ** (1 / settings.updates(self.response))
        weakest, strongest = settings.rate(Tasks(LONGEST)) / 2, math.log(2) / (2 * STRONGEST)
        strength = self.state[f"strength{layer}"]
        strength.mul_(change).clamp_(min(weakest, strongest), strongest)
        return strength

    def measured(self) -> dict[str, Tensor]:
        """The strength, too: its mean over layers."""
        strengths = [value for name, value in self.state.items() if name.startswith("strength")]
        return {**super().measured(), "strength": torch.stack(strengths).mean(0)}


@dataclass
class IsometryBudget(IsometryStep):
    """An isometry step that neither undoes the task's step nor outgrows a share of it.

    Of each layer's isometry step the part that points against the optimiser's step is taken out,
    and its norm is brought down to `budget` times that of the optimiser's step.
    """

    name: ClassVar[str] = "isometry_budget"
    metadata: ClassVar[Metadata] = Metadata(
        "proposed here, after the budget of arXiv:2605.01968",
        cost="2 products and 4 passes per layer",
    )
    limits: ClassVar[Mapping[str, str]] = {"budget": "above 0"}
    ranges: ClassVar[Mapping[str, Range]] = {
        "half_life": Range(Tasks(0.05), Tasks(20)),
        "budget": Range(0.01, 2.0),
    }

    budget: float = 0.3
    """Largest norm of the isometry step, in units of the optimiser's."""

    def limit(self, step: Tensor, task: Tensor) -> Tensor:
        """The step without its part against the task's, within the budget."""
        square = _inner(task, task)
        tiny = torch.finfo(step.dtype).tiny
        against = (_inner(step, task) / square.clamp(min=tiny)).clamp(min=0)
        step = step - against * task
        share = self.budget * (square / _inner(step, step).clamp(min=tiny)).sqrt()
        return step * share.clamp(max=1.0)


@dataclass
class IsometryGate(IsometryStep):
    """An isometry step that is taken only where the features' effective rank has fallen.

    Each layer and member is judged by itself, `period` by `period`, against the highest rank that
    its features had so far. That rank predicts the next task best of all that is cheap to
    measure (results/validity); on an accelerator the host waits for its eigenvalues.
    """

    name: ClassVar[str] = "isometry_gate"
    static: ClassVar[bool] = False
    metadata: ClassVar[Metadata] = Metadata(
        "proposed here",
        probe=True,
        state="2 numbers per layer",
        cost="2 products per layer; 1 forward and eigenvalues a period",
    )
    limits: ClassVar[Mapping[str, str]] = {
        "share": "in (0, 1]",
        "period": "above 0",
        "samples": "from 2 to 1,000,000",
    }
    ranges: ClassVar[Mapping[str, Range]] = {
        "half_life": Range(Tasks(0.05), Tasks(20)),
        "share": Range(0.3, 1.0),
    }

    share: float = 0.9
    """Share of the highest rank so far below which a layer is pulled."""
    period: Time = Tasks(0.02)
    """Time between two measurements of the rank."""
    samples: int = 512
    """Largest number of a minibatch's samples that the rank is taken over."""

    def start(self, learner: Learner) -> None:
        """No layer is pulled before its rank is known."""
        super().start(learner)
        for index, weight in enumerate(self.parameters(learner)):
            zeros = torch.zeros_like(learner.alive, dtype=weight.dtype)
            self.state[f"highest{index}"], self.state[f"open{index}"] = zeros, zeros.clone()
        self.state["pulled"] = torch.zeros_like(self.state["activity"])

    def choose(self, learner: Learner, layer: int, deviation: Tensor) -> Tensor:
        """The strength where the rank has fallen, 0 elsewhere."""
        return self._strength(learner.settings) * self.state[f"open{layer}"]

    def after_step(self, learner: Learner, obs: Observations) -> None:
        """Measure the ranks at the end of every period, and after the first update."""
        every = learner.settings.updates(self.period)
        if learner.updates % every and learner.updates > 1:
            return
        features = learner.network.features(first_samples(obs, self.samples))
        places = surgery.hidden_layers(learner.network)
        for index, (branch, layer, _) in enumerate(places):
            rank = effective_rank(as_samples(features[branch][layer]))
            highest = self.state[f"highest{index}"]
            torch.maximum(highest, rank, out=highest)
            self.state[f"open{index}"].copy_(rank < self.share * highest)

    def rewrite(self, learner: Learner, parameters: list[Tensor], before: list[Tensor]) -> None:
        """Count the updates in which at least one layer is pulled."""
        super().rewrite(learner, parameters, before)
        self.state["pulled"] += self._open().amax(0)

    @property
    def activity(self) -> Tensor:
        """Updates in which at least one layer was pulled, (M,)."""
        return self.state["pulled"]

    def measured(self) -> dict[str, Tensor]:
        """The share of layers that are pulled, too."""
        return {**super().measured(), "open": self._open().mean(0)}

    def _open(self) -> Tensor:
        """1 for every layer that is pulled, else 0, (layers, M)."""
        return torch.stack([value for name, value in self.state.items() if name.startswith("open")])


def _inner(one: Tensor, other: Tensor) -> Tensor:
    """Inner product of tensors (M, ...) of each member, (M, 1, ...)."""
    return (one * other).flatten(1).sum(1).view(-1, *[1] * (one.dim() - 1))
