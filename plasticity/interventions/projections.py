"""Interventions that project weights: after every step, at a period, or at task switches."""

from __future__ import annotations

import math
from collections.abc import Mapping, Set
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from neoteny.plasticity.interventions.intervention import Intervention, Metadata, hidden_layers
from neoteny.plasticity.interventions.ranges import Range
from neoteny.plasticity.interventions.resets import Timed
from neoteny.plasticity.interventions.traits import Trait
from neoteny.plasticity.optimizer_settings import OptimizerSettings, Tasks, Time
from neoteny.plasticity.polar import newton_schulz, polar
from neoteny.plasticity.surgery import assign

if TYPE_CHECKING:
    from neoteny.plasticity.learner import Learner
    from neoteny.plasticity.networks import NetworkSpec, Observations


@dataclass
class WeightClipping(Intervention):
    """Keep weights and biases of all layers within a multiple of torch's default initial bound."""

    name: ClassVar[str] = "weight_clipping"
    static: ClassVar[bool] = True
    metadata: ClassVar[Metadata] = Metadata(
        "Elsayed, Lan, Lyle, Mahmood, arXiv:2407.01704", cost="2 passes"
    )
    limits: ClassVar[Mapping[str, str]] = {"kappa": "above 0, or inf"}
    ranges: ClassVar[Mapping[str, Range]] = {"kappa": Range(0.5, 10.0)}

    kappa: float = 5.0
    """Multiple of 1 / sqrt(inputs). Of an orthogonal initialisation with gain sqrt 2 it cuts 48 %
    at 1, 16 % at 2, 3 % at 3 and less than 0.1 % at 5."""
    heads: bool = True
    """Clip the heads, too, as the paper does."""

    def after_step(self, learner: Learner, obs: Observations) -> None:
        """Clip in place, and count the clipped entries."""
        layers = hidden_layers(learner.network)
        if self.heads:
            layers += [branch.head for branch in learner.network.branches.values()]
        for layer in layers:
            bound = self.kappa / math.sqrt(layer.weight[0, 0].numel())
            for parameter in (layer.weight, layer.bias):
                if parameter is not None:
                    self.state["activity"] += (parameter.abs() > bound).flatten(1).sum(1)
                    parameter.clamp_(-bound, bound)


@dataclass
class NaP(Intervention):
    """Normalise and project: norms, no biases, and weights of constant length.

    With a norm behind every hidden layer the length of its weights means nothing to the network but
    sets the effective learning rate; after every step it goes back to the initial length, and so
    does that of each norm's gain and offset taken together. Heads stay free. The learning rate's
    schedule is then the agent's alone.
    """

    name: ClassVar[str] = "nap"
    traits: ClassVar[Set[Trait]] = {Trait.FIXES_LENGTHS, Trait.WHOLE_LAYER}
    static: ClassVar[bool] = True
    metadata: ClassVar[Metadata] = Metadata(
        "Lyle et al., arXiv:2407.01800",
        state="1 length per layer",
        cost="1 pass, and that of layer_norm",
    )

    def spec(self, spec: NetworkSpec) -> NetworkSpec:
        """The same network with norms and without biases."""
        return replace(spec, norm="layer", bias=False)

    def start(self, learner: Learner) -> None:
        """Remember the initial lengths."""
        super().start(learner)
        for index, group in enumerate(_projected(learner)):
            self.state[f"length{index}"] = _length(group)

    def after_step(self, learner: Learner, obs: Observations) -> None:
        """Project in place."""
        for index, group in enumerate(_projected(learner)):
            factor = self.state[f"length{index}"] / _length(group)
            for parameter in group:
                parameter.mul_(factor.view(-1, *[1] * (parameter.dim() - 1)))
        self.state["activity"] += 1


@dataclass
class KeepNorm(Intervention):
    """Pull the norm of every hidden layer's weights back to its initial value.

    All singular values are multiplied by one factor, so that their ratios stay: what is left of the
    isometry step without isometry, as `adamo:scale=free` is what is left of it without the size.
    """

    name: ClassVar[str] = "keep_norm"
    traits: ClassVar[Set[Trait]] = {Trait.FIXES_LENGTHS, Trait.WHOLE_LAYER}
    static: ClassVar[bool] = True
    metadata: ClassVar[Metadata] = Metadata(
        "the control of this suite for the isometry step",
        state="1 length per layer",
        cost="2 passes",
    )
    limits: ClassVar[Mapping[str, str]] = {"half_life": "above 0, or inf"}
    ranges: ClassVar[Mapping[str, Range]] = {"half_life": Range(Tasks(0.05), Tasks(20))}

    half_life: Time = Tasks(5)
    """Time in which the logarithm of the norm's ratio to the initial one halves."""

    def start(self, learner: Learner) -> None:
        """Remember the initial norms, and how fast they come back."""
        super().start(learner)
        self._share = -math.expm1(-learner.settings.rate(self.half_life))
        for index, layer in enumerate(hidden_layers(learner.network)):
            self.state[f"length{index}"] = _length([layer.weight])

    def after_step(self, learner: Learner, obs: Observations) -> None:
        """Rescale in place."""
        if self._share == 0:
            return
        for index, layer in enumerate(hidden_layers(learner.network)):
            ratio = self.state[f"length{index}"] / _length([layer.weight])
            layer.weight.mul_(ratio.pow(self._share).view(-1, *[1] * (layer.weight.dim() - 1)))
        self.state["activity"] += 1

    def strength(self, settings: OptimizerSettings) -> dict[str, float]:
        """Rate at which the norm comes back, per update."""
        return {"decay_rate": settings.rate(self.half_life)}


@dataclass
class Fire(Timed):
    """Replace hidden weights by the nearest orthogonal ones, which restores dead directions.

    The squared singular values become out / in, per tap of a convolution's kernel divided by the
    number of taps squared. Heads, biases and moments stay.
    """

    name: ClassVar[str] = "fire"
    traits: ClassVar[Set[Trait]] = {Trait.PROJECTS_TO_ISOMETRY, Trait.WHOLE_LAYER}
    metadata: ClassVar[Metadata] = Metadata(
        "Han et al., arXiv:2602.08040",
        needs_boundary=True,
        cost="1 decomposition per layer and switch",
    )

    def edit(self, learner: Learner, obs: Observations | None) -> None:
        """Project every hidden layer."""
        for layer in hidden_layers(learner.network):
            weight: Any = layer.weight
            taps = weight.flatten(3) if weight.dim() > 3 else weight.unsqueeze(3)
            out, inputs, count = taps.shape[1:]
            factor = polar(taps.movedim(3, 1)).movedim(1, 3)
            scale = math.sqrt(out / inputs) / count
            assign(learner, weight, scale * factor.reshape(weight.shape), moments=False)
        learner.edited()
        self.state["activity"] += 1


@dataclass
class NewtonSchulz(Timed):
    """Bring hidden weights near an isometry by a few Newton-Schulz steps.

    Small singular values need many steps: a value s grows by 1.5 a step. Heads, biases and moments
    stay. By default at task switches: every quarter of a task it took two thirds of what the first
    one teaches (results/breakout-tuning).
    """

    name: ClassVar[str] = "newton_schulz"
    traits: ClassVar[Set[Trait]] = {Trait.PROJECTS_TO_ISOMETRY, Trait.WHOLE_LAYER}
    metadata: ClassVar[Metadata] = Metadata(
        "a baseline of Rosseau, Müller, Nowé, ICML 2026; Björck & Bowie, SIAM J. Num. Anal. (1971)",
        cost="30 products per layer and switch",
        needs_boundary=True,
    )
    limits: ClassVar[Mapping[str, str]] = {"steps": "from 1 to 1,000", "scale": "above 0"}
    ranges: ClassVar[Mapping[str, Range]] = {"period": Range(Tasks(0.02), Tasks(2))}

    steps: int = 15
    """Newton-Schulz steps per projection."""
    scale: float = 1.0
    """Target squared singular value."""

    def edit(self, learner: Learner, obs: Observations | None) -> None:
        """Project every hidden layer; kernels as (out, in * taps)."""
        for layer in hidden_layers(learner.network):
            factor = newton_schulz(layer.weight.flatten(2), self.steps)
            value = math.sqrt(self.scale) * factor.reshape(layer.weight.shape)
            assign(learner, layer.weight, value, moments=False)
        learner.edited()
        self.state["activity"] += 1


def _projected(learner: Learner) -> list[list[Tensor]]:
    """Groups of parameters that NaP keeps at a joint length."""
    groups: list[list[Tensor]] = [[layer.weight] for layer in hidden_layers(learner.network)]
    norms = [norm for body in learner.network.bodies for norm in body.norms]
    affine: list[list[Tensor]] = [list(norm.parameters()) for norm in norms]
    return groups + [group for group in affine if group]


def _length(group: list[Tensor]) -> Tensor:
    """Joint Frobenius norm of a group of parameters, (M,)."""
    parts = [parameter.detach().flatten(1).norm(dim=1) for parameter in group]
    total: Tensor = torch.linalg.vector_norm(torch.stack(parts), dim=0)
    return total
