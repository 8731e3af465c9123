"""Interventions on the network's architecture."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from neoteny.plasticity.interventions.base import Intervention

if TYPE_CHECKING:
    from neoteny.agents.learner import Learner
    from neoteny.agents.networks import NetworkSpec

__all__ = ["LayerNorm"]


@dataclass
class LayerNorm(Intervention):
    """Layer normalisation of every hidden layer's pre-activations, with an affine map."""

    name: ClassVar[str] = "layer_norm"
    hooks: ClassVar[str] = "spec"
    source: ClassVar[str] = "Ba, Kiros, Hinton, arXiv:1607.06450; Lyle et al., arXiv:2303.01486"

    def spec(self, spec: NetworkSpec) -> NetworkSpec:
        """The same network with norms."""
        return replace(spec, norm="layer")

    def start(self, learner: Learner) -> None:
        """Count the normalised layers."""
        super().start(learner)
        branches = learner.network.branches.values()
        self.state["activity"] += float(sum(len(branch.body.norms) for branch in branches))
