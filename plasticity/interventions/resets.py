"""Interventions that draw weights anew."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from torch import Tensor

from neoteny.plasticity.interventions.base import Intervention

if TYPE_CHECKING:
    from neoteny.agents.learner import Learner

__all__ = ["Fresh"]


@dataclass
class Fresh(Intervention):
    """A new network and optimiser at every switch: the oracle that cannot lose plasticity."""

    name: ClassVar[str] = "fresh"
    needs_boundaries: ClassVar[bool] = True
    hooks: ClassVar[str] = "boundary"
    source: ClassVar[str] = "the fresh-agent reference of Nikishin et al., arXiv:2205.07802"

    def boundary(self, learner: Learner, task: Tensor) -> None:
        """Draw every parameter from its initial distribution, in place, and forget the moments."""
        learner.network.reset_parameters(learner.generators("intervention", learner.boundaries))
        learner.reset_optimizer()
        self.state["activity"] += 1
