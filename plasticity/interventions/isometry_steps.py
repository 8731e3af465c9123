"""Isometry steps beside the step of any optimiser, whose strength depends on more than time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from neoteny.core.errors import InputError
from neoteny.core.options import show
from neoteny.plasticity import gram, surgery
from neoteny.plasticity.adamo_pull import worth_stacking
from neoteny.plasticity.gram import Scale
from neoteny.plasticity.interventions.intervention import Metadata, hidden_layers
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
        self._alike = list(worth_stacking(self.parameters(learner)))
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
        for index, places in enumerate(self._alike):
            weights = [parameters[place] for place in places]
            maps = _stacked([before[place] for place in places])
            deviation = gram.deviation(maps, self.scale).div_(gram.target(self.scale))
            strength = self.choose(learner, index, deviation)
            pull = self.bend(deviation)
            if self.scale == "free":
                gram.keep_length(pull, deviation)
            pull = pull * gram.bounded(strength, pull)[..., None, None]
            step = self.limit(gram.product(pull, maps), weights, maps).to(weights[0].dtype)
            torch._foreach_sub_(weights, step.reshape(len(places), *weights[0].shape).unbind())

    def choose(self, learner: Learner, index: int, deviation: Tensor) -> float | Tensor:
        """The strength a of the pull of layers of one shape, a number or (layers, M).

        Args:
            learner: owner of the network.
            index: which layers.
            deviation: theirs, (layers, M, n, n).
        """
        return self._strength(learner.settings)

    def bend(self, deviation: Tensor) -> Tensor:
        """The part of a deviation (layers, M, n, n) that is pulled."""
        return deviation

    def limit(self, step: Tensor, weights: Sequence[Tensor], before: Tensor) -> Tensor:
        """The isometry step to take.

        Args:
            step: the whole one, (layers, M, out, in).
            weights: those after the optimiser's step.
            before: those before it, as maps.
        """
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
    deviation: float = 0.25
    """Root mean square of the deviations of squared singular values to hold, in units of the
    target."""
    response: Time = Tasks(0.1)
    """Time in which the strength doubles, at the most, or halves."""

    def start(self, learner: Learner) -> None:
        """Every layer begins with the strength of the half-life."""
        super().start(learner)
        for index, places in enumerate(self._alike):
            strength = torch.ones(len(places), *learner.alive.shape, device=learner.alive.device)
            self.state[f"strength{index}"] = strength * self._strength(learner.settings)

    def choose(self, learner: Learner, index: int, deviation: Tensor) -> Tensor:
        """Adapt the strength of each layer to its deviation."""
        settings = learner.settings
        found = (gram.squared_norm(deviation) / deviation.shape[-1]).sqrt()
        change = (found / self.deviation).clamp(0.5, 2.0) ** (1 / settings.updates(self.response))
        weakest, strongest = settings.rate(Tasks(LONGEST)) / 2, math.log(2) / (2 * STRONGEST)
        strength = self.state[f"strength{index}"]
        strength.mul_(change).clamp_(min(weakest, strongest), strongest)
        return strength

    def measured(self) -> dict[str, Tensor]:
        """The strength, too: its mean over layers."""
        strengths = [value for name, value in self.state.items() if name.startswith("strength")]
        return {**super().measured(), "strength": torch.cat(strengths).mean(0)}


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

    def limit(self, step: Tensor, weights: Sequence[Tensor], before: Tensor) -> Tensor:
        """The step without its part against the optimiser's, within the budget."""
        return within_budget(step, _stacked(weights) - before, self.budget)


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
        for index, places in enumerate(self._alike):
            zeros = torch.zeros(len(places), *learner.alive.shape, device=learner.alive.device)
            self.state[f"highest{index}"], self.state[f"open{index}"] = zeros, zeros.clone()
        self.state["pulled"] = torch.zeros_like(self.state["activity"])

    def choose(self, learner: Learner, index: int, deviation: Tensor) -> Tensor:
        """The strength where the rank has fallen, 0 elsewhere."""
        return self._strength(learner.settings) * self.state[f"open{index}"]

    def after_step(self, learner: Learner, obs: Observations) -> None:
        """Measure the ranks at the end of every period, and after the first update."""
        every = learner.settings.updates(self.period)
        if learner.updates % every and learner.updates > 1:
            return
        features = learner.network.features(first_samples(obs, self.samples))
        ranks = [
            effective_rank(surgery.as_samples(features[branch][layer]))
            for branch, layer, _ in surgery.hidden_layers(learner.network)
        ]
        for index, places in enumerate(self._alike):
            rank = torch.stack([ranks[place] for place in places])
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
        return torch.cat([value for name, value in self.state.items() if name.startswith("open")])


def within_budget(step: Tensor, task: Tensor, budget: float) -> Tensor:
    """An isometry step, to be subtracted, that suits the task's step.

    Args:
        step: the whole one, (..., out, in).
        task: the optimiser's, to be added, of that shape.
        budget: largest norm of the result, in units of the task's step.

    Returns:
        The step without its part along `task`, which would undo that, shortened to the budget.
    """
    square = _inner(task, task)
    tiny = torch.finfo(step.dtype).tiny
    against = (_inner(step, task) / square.clamp(min=tiny)).clamp(min=0)
    step = step - against * task
    share = budget * (square / _inner(step, step).clamp(min=tiny)).sqrt()
    return step * share.clamp(max=1.0)


def _inner(one: Tensor, other: Tensor) -> Tensor:
    """Inner products of matrices, (..., 1, 1)."""
    return (one * other).sum((-2, -1), keepdim=True)


def _stacked(weights: Sequence[Tensor]) -> Tensor:
    """Weights (M, out, in, ...) of one shape as maps (layers, M, out, in)."""
    stack = torch.stack([*weights]) if len(weights) > 1 else weights[0].unsqueeze(0)
    return gram.accurate_maps(stack, 2)
