"""SOAP as an intervention."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from neoteny.plasticity.interventions.intervention import Metadata, hidden_layers
from neoteny.plasticity.interventions.optimizers import OptimizerIntervention, others
from neoteny.plasticity.interventions.ranges import Range
from neoteny.plasticity.interventions.traits import Trait
from neoteny.plasticity.optimizer_settings import OptimizerSettings
from neoteny.plasticity.soap import SOAP

if TYPE_CHECKING:
    from torch.optim import Optimizer

    from neoteny.plasticity.networks import Network


@dataclass
class SOAPIntervention(OptimizerIntervention):
    """SOAP on the hidden layers' weights, Adam on everything else.

    Adam in the eigenbasis of Shampoo's preconditioners: the control for the claim that any
    second-order structure keeps networks plastic.
    """

    name: ClassVar[str] = "soap"
    static: ClassVar[bool] = False
    traits: ClassVar[Set[Trait]] = {Trait.WHOLE_LAYER}
    metadata: ClassVar[Metadata] = Metadata(
        "Vyas et al., arXiv:2409.11321",
        state="2 preconditioners and eigenbases of each layer",
        cost="8 products per layer; 2 QR decompositions a refresh",
    )
    limits: ClassVar[Mapping[str, str]] = {
        "beta1": "in [0, 1)",
        "beta2": "in [0, 1)",
        "refresh": "from 1 to 1,000,000",
        "largest": "from 1 to 1,000,000",
    }
    ranges: ClassVar[Mapping[str, Range]] = {"beta1": Range(0.5, 0.99), "beta2": Range(0.9, 0.999)}

    beta1: float = 0.95
    """Decay rate of the first moment."""
    beta2: float = 0.95
    """Decay rate of the second moments and of the preconditioners."""
    refresh: int = 10
    """Updates between two refreshes of the eigenbases."""
    largest: int = 256
    """Most rows or columns of a weight that get an eigenbasis on their side; the other side of a
    layer that reads a wide observation still has one."""

    def optimizer(self, network: Network, settings: OptimizerSettings) -> Optimizer:
        """SOAP over two groups, told apart by the layers' roles."""
        hidden = [layer.weight for layer in hidden_layers(network)]
        groups: list[dict[str, Any]] = [
            {"params": hidden, "soap": True},
            {"params": others(network, hidden)},
        ]
        tuned = replace(settings, betas=(self.beta1, self.beta2))
        return SOAP(groups, refresh=self.refresh, largest=self.largest, member_dims=1, **tuned.adam)
