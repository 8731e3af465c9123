"""Muon, with and without the isometry step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from neoteny.core.errors import InputError
from neoteny.plasticity.gram import Scale
from neoteny.plasticity.interventions.intervention import Metadata, hidden_layers
from neoteny.plasticity.interventions.optimizers import OptimizerIntervention, others
from neoteny.plasticity.interventions.ranges import Range
from neoteny.plasticity.interventions.traits import Trait
from neoteny.plasticity.isometry import decay_rate, effective_strength
from neoteny.plasticity.muon import Muon
from neoteny.plasticity.optimizer_settings import OptimizerSettings, Tasks, Time

if TYPE_CHECKING:
    from torch.optim import Optimizer

    from neoteny.plasticity.networks import Network


@dataclass
class MuonIntervention(OptimizerIntervention):
    """Muon on the hidden layers' weights from the second layer on, Adam on everything else.

    The first layer and the heads can join.
    """

    name: ClassVar[str] = "muon"
    traits: ClassVar[Set[Trait]] = {Trait.SEVERAL_LEARNING_RATES, Trait.WHOLE_LAYER}
    metadata: ClassVar[Metadata] = Metadata(
        "Jordan et al. (2024), kellerjordan.github.io/posts/muon",
        state="momentum in place of Adam's moments",
        cost="15 products per layer",
    )
    limits: ClassVar[Mapping[str, str]] = {
        "lr": "at least 0",
        "momentum": "in [0, 1)",
        "weight_decay": "at least 0",
    }
    ranges: ClassVar[Mapping[str, Range]] = {"momentum": Range(0.8, 0.99)}

    lr: float | None = None
    """Spectral norm of an update, whatever the gradient's norm; none: five times the agent's
    learning rate."""
    momentum: float = 0.95
    """Decay rate of the momentum."""
    weight_decay: float = 0.0
    """Decoupled decay of these weights; without any, their norm grows steadily."""
    first_layer: bool = False
    """Step the layers that read the observation by Muon, too."""
    heads: bool = False
    """Step the weights of the heads by Muon, too; the isometry step leaves them alone."""

    def optimizer(self, network: Network, settings: OptimizerSettings) -> Optimizer:
        """Muon over groups told apart by the layers' roles and places."""
        firsts = {id(branch.hidden[0]) for branch in network.branches.values()}
        layers = hidden_layers(network)
        inner = [la.weight for la in layers if self.first_layer or id(la) not in firsts]
        if not inner:
            raise InputError(
                f"{self.name} leaves out the first layer, and the network has no other: "
                f"set {self.name}:first_layer=true"
            )
        outer = [la.weight for la in layers if not self.first_layer and id(la) in firsts]
        heads = [br.head.weight for br in network.branches.values()] if self.heads else []
        muon = {"muon": True, "lr": self.step_length(settings), "weight_decay": self.weight_decay}
        groups: list[dict[str, Any]] = [
            {"params": inner, **muon, **self.isometric(settings)},
            {"params": outer, **self.isometric(settings)},
            {"params": heads, **muon},
            {"params": others(network, [*inner, *outer, *heads])},
        ]
        groups = [group for group in groups if group["params"]]
        return Muon(groups, momentum=self.momentum, member_dims=1, **settings.adam)

    def step_length(self, settings: OptimizerSettings) -> float:
        """Muon's learning rate, by default five times the agent's."""
        return 5 * settings.learning_rate if self.lr is None else self.lr

    def isometric(self, settings: OptimizerSettings) -> dict[str, Any]:
        """Settings of the isometry step for hidden weights: none here."""
        return {}


@dataclass
class MuonO(MuonIntervention):
    """Muon with AdamO's decoupled isometry step on every hidden layer's weights."""

    name: ClassVar[str] = "muono"
    traits: ClassVar[Set[Trait]] = {
        Trait.PULLS_TO_ISOMETRY,
        Trait.UNIT_SINGULAR_VALUES,
        Trait.SEVERAL_LEARNING_RATES,
        Trait.WHOLE_LAYER,
    }
    metadata: ClassVar[Metadata] = Metadata(
        "the MuonO of Rosseau's nanochat-isometry (2026)",
        state="momentum in place of Adam's moments",
        cost="17 products per layer",
    )
    limits: ClassVar[Mapping[str, str]] = {
        "isometry": "at least 0",
        "half_life": "above 0",
        "scale": "above 0",
    }
    exclusive: ClassVar[Sequence[tuple[str, str]]] = (("half_life", "isometry"),)
    ranges: ClassVar[Mapping[str, Range]] = {"half_life": Range(Tasks(0.02), Tasks(20))}

    isometry: float = 0.05
    """Strength lambda at Muon's learning rate. AdamO's, and not AdamO's pull at Adam's learning
    rate: what the pull must hold against are Muon's updates, as long as its learning rate."""
    half_life: Time | None = None
    """Time in which deviations from isometry halve; set, it decides the strength."""
    scale: Scale = 1.0
    """Target squared singular value; "free": singular values are pulled towards their own mean."""

    def isometric(self, settings: OptimizerSettings) -> dict[str, Any]:
        """Settings of the isometry step for hidden weights, first layers included."""
        isometry = self._isometry(settings)
        return {
            "isometry": isometry,
            "isometry_lr": self.step_length(settings),
            "scale": self.scale,
        }

    def strength(self, settings: OptimizerSettings) -> dict[str, float]:
        """Effective strength a, and the rate 2as at which deviations decay, per update."""
        a = effective_strength(self.step_length(settings), self._isometry(settings))
        return {"effective_strength": a, "decay_rate": decay_rate(a, self.scale)}

    def _isometry(self, settings: OptimizerSettings) -> float:
        if self.half_life is None:
            return self.isometry
        unit = effective_strength(self.step_length(settings), 1.0)
        return settings.rate(self.half_life) / decay_rate(unit, self.scale)
