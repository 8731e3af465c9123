"""Interventions that bring their own optimiser."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor
from torch.optim import Adam, Optimizer

from neoteny.plasticity.adamo import AdamO
from neoteny.plasticity.gram import Scale
from neoteny.plasticity.groups import isometry_groups
from neoteny.plasticity.interventions.intervention import Intervention, Metadata, hidden_layers
from neoteny.plasticity.interventions.ranges import Range
from neoteny.plasticity.interventions.traits import Trait
from neoteny.plasticity.isometry import DEFAULT_ISOMETRY, decay_rate, effective_strength
from neoteny.plasticity.optimizer_settings import OptimizerSettings, Tasks, Time

if TYPE_CHECKING:
    from torch import nn

    from neoteny.plasticity.learner import Learner
    from neoteny.plasticity.networks import Network


@dataclass
class OptimizerIntervention(Intervention):
    """One that acts through its optimiser; its activity counts the steps."""

    static: ClassVar[bool] = True

    def start(self, learner: Learner) -> None:
        """Remember whose updates are counted."""
        super().start(learner)
        self._learner = learner

    @property
    def activity(self) -> Tensor:
        """Steps of the optimiser, (M,)."""
        return torch.full_like(self.state["activity"], self._learner.updates)


@dataclass
class TunedAdam(OptimizerIntervention):
    """Adam with equal decay rates of both moments, a cheap and strong baseline."""

    name: ClassVar[str] = "adam"
    traits: ClassVar[Set[Trait]] = {Trait.EQUAL_MOMENT_DECAYS}
    metadata: ClassVar[Metadata] = Metadata(
        "Dohare et al., Nature 632 (2024); Lyle et al., arXiv:2303.01486", dqn="beta1=0.9"
    )
    limits: ClassVar[Mapping[str, str]] = {
        "beta1": "in [0, 1)",
        "beta2": "in [0, 1)",
        "eps": "at least 0",
    }
    ranges: ClassVar[Mapping[str, Range]] = {"beta1": Range(0.5, 0.999), "beta2": Range(0.9, 0.999)}

    beta1: float = 0.99
    """Decay rate of the first moment."""
    beta2: float = 0.99
    """Decay rate of the second moment."""
    eps: float | None = None
    """Added to the root of the second moment; unset, it is that of the compared optimisers."""

    def optimizer(self, network: Network, settings: OptimizerSettings) -> Optimizer:
        """Adam with these constants."""
        eps = settings.eps if self.eps is None else self.eps
        tuned = replace(settings, betas=(self.beta1, self.beta2), eps=eps)
        return Adam(network.parameters(), **tuned.adam)


@dataclass
class AdamWIntervention(OptimizerIntervention):
    """Adam with decoupled weight decay of the hidden layers' weights; nothing else decays."""

    name: ClassVar[str] = "adamw"
    traits: ClassVar[Set[Trait]] = {Trait.DECOUPLED_DECAY, Trait.ONLY_SHRINKS}
    metadata: ClassVar[Metadata] = Metadata("Loshchilov & Hutter, arXiv:1711.05101")
    limits: ClassVar[Mapping[str, str]] = {"weight_decay": "at least 0", "half_life": "above 0"}
    exclusive: ClassVar[Sequence[tuple[str, str]]] = (("weight_decay", "half_life"),)
    ranges: ClassVar[Mapping[str, Range]] = {"half_life": Range(Tasks(0.05), Tasks(20))}

    half_life: Time = Tasks(5)
    """Time in which decay alone halves a weight."""
    weight_decay: float | None = None
    """Decay lambda: each update multiplies by 1 - lr * lambda; set, it decides instead. The usual
    1e-4 to 1e-3 halve weights in 93 to 2,310 tasks of the presets here."""
    heads: bool = False
    """Decay the heads' weights, too; biases and norms never decay."""

    def optimizer(self, network: Network, settings: OptimizerSettings) -> Optimizer:
        """AdamW over two groups, told apart by the layers' roles."""
        decaying = [layer.weight for layer in hidden_layers(network)]
        if self.heads:
            decaying += [branch.head.weight for branch in network.branches.values()]
        groups = [
            {"params": decaying, "weight_decay": self._decay(settings)},
            {"params": others(network, decaying), "weight_decay": 0.0},
        ]
        return Adam(groups, **settings.adam, decoupled_weight_decay=True)

    def strength(self, settings: OptimizerSettings) -> dict[str, float]:
        """Rate at which weights decay, per update."""
        return {"decay_rate": settings.learning_rate * self._decay(settings)}

    def _decay(self, settings: OptimizerSettings) -> float:
        if self.weight_decay is not None:
            return self.weight_decay
        if settings.learning_rate == 0:
            return 0.0
        return settings.rate(self.half_life) / settings.learning_rate


@dataclass
class AdamOIntervention(OptimizerIntervention):
    """Adam with a decoupled isometry step on hidden weights; the rest sees Adam only."""

    name: ClassVar[str] = "adamo"
    traits: ClassVar[Set[Trait]] = {
        Trait.PULLS_TO_ISOMETRY,
        Trait.UNIT_SINGULAR_VALUES,
        Trait.WHOLE_LAYER,
    }
    metadata: ClassVar[Metadata] = Metadata(
        "Rosseau, Müller, Nowé, ICML 2026, Eqs. 16, 19, 20", cost="2 products per layer"
    )
    limits: ClassVar[Mapping[str, str]] = {
        "isometry": "at least 0",
        "isometry_lr": "at least 0",
        "half_life": "above 0",
        "scale": "above 0",
    }
    exclusive: ClassVar[Sequence[tuple[str, str]]] = (("half_life", "isometry"),)
    ranges: ClassVar[Mapping[str, Range]] = {"half_life": Range(Tasks(0.05), Tasks(20))}

    isometry: float = DEFAULT_ISOMETRY
    """Strength, the paper's lambda; 0.05 equals the authors' reinforcement-learning code at 0.1."""
    isometry_lr: float | None = None
    """Learning rate of the isometry step; unset, it is the learning rate of Adam."""
    half_life: Time | None = None
    """Time in which deviations from isometry halve; set, it decides the strength."""
    scale: Scale = 1.0
    """Target squared singular value; "free": singular values are pulled towards their own mean."""

    def optimizer(self, network: Network, settings: OptimizerSettings) -> Optimizer:
        """AdamO over groups declared by role."""
        optimizer = AdamO(
            isometry_groups(network),
            **settings.adam,
            isometry=self._isometry(settings),
            isometry_lr=self.isometry_lr,
            scale=self.scale,
            member_dims=1,
        )
        optimizer.require_stable()
        return optimizer

    @property
    def activity(self) -> Tensor:
        """Isometry steps, (M,)."""
        return super().activity * (self.half_life is not None or self.isometry > 0)

    def strength(self, settings: OptimizerSettings) -> dict[str, float]:
        """Effective strength a, and the rate 2as at which deviations decay, per update."""
        a = effective_strength(self._lr(settings), self._isometry(settings))
        return {"effective_strength": a, "decay_rate": decay_rate(a, self.scale)}

    def _lr(self, settings: OptimizerSettings) -> float:
        return settings.learning_rate if self.isometry_lr is None else self.isometry_lr

    def _isometry(self, settings: OptimizerSettings) -> float:
        """The strength lambda, from the half-life if there is one: exp(-2as t) = 1/2."""
        if self.half_life is None:
            return self.isometry
        unit = effective_strength(self._lr(settings), 1.0)
        return settings.rate(self.half_life) / decay_rate(unit, self.scale)


def others(network: Network, chosen: Iterable[nn.Parameter]) -> list[nn.Parameter]:
    """The network's parameters that are not among the chosen ones."""
    known = set(map(id, chosen))
    return [parameter for parameter in network.parameters() if id(parameter) not in known]
