"""Interventions that add a penalty to the loss, inside gradient clipping and Adam."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from neoteny.plasticity.interventions.base import Intervention
from neoteny.plasticity.isometry import isometry_loss

if TYPE_CHECKING:
    from neoteny.agents.learner import Learner
    from neoteny.agents.networks import Observations

__all__ = ["IsometryLoss", "L2Init"]


@dataclass
class IsometryLoss(Intervention):
    """The isometry regulariser in the loss: clipped and rescaled with the task's gradient."""

    name: ClassVar[str] = "isometry_loss"
    hooks: ClassVar[str] = "loss"
    source: ClassVar[str] = "Rosseau, Müller, Nowé, ICML 2026, Eq. 16"

    weight: float = 0.2
    """Weight of the summed penalty; 0.2 is the authors' value for the coupled form."""
    scale: float = 1.0
    """Target squared singular value."""

    def loss(self, learner: Learner, obs: Observations) -> Tensor | float:
        """Weighted sum over all hidden layers of every branch, (M,)."""
        if self.weight == 0:
            return 0.0
        penalties = [
            isometry_loss(layer.weight, self.scale, member_dims=1)
            for branch in learner.network.branches.values()
            for layer in branch.hidden
        ]
        penalty = self.weight * torch.stack(penalties).sum(0)
        self.state["activity"] += penalty.detach()
        return penalty


@dataclass
class L2Init(Intervention):
    """Pull every parameter towards its value at initialisation by the squared distance."""

    name: ClassVar[str] = "l2_init"
    hooks: ClassVar[str] = "loss"
    source: ClassVar[str] = "Kumar, Marklund, Van Roy, arXiv:2308.11958"

    weight: float = 1e-3
    """Weight of the summed squared distance."""
    hidden_kernels_only: bool = False
    """Leave biases and heads out, as the isometry paper's code does."""

    def start(self, learner: Learner) -> None:
        """Remember the initial parameters, outside the network so that no optimiser sees them."""
        super().start(learner)
        for index, parameter in enumerate(self._parameters(learner)):
            self.state[f"initial{index}"] = parameter.detach().clone()

    def loss(self, learner: Learner, obs: Observations) -> Tensor | float:
        """Weighted squared distance to the initial parameters, (M,)."""
        if self.weight == 0:
            return 0.0
        distances = [
            (parameter - self.state[f"initial{index}"]).square().flatten(1).sum(1)
            for index, parameter in enumerate(self._parameters(learner))
        ]
        penalty = self.weight * torch.stack(distances).sum(0)
        self.state["activity"] += penalty.detach()
        return penalty

    def _parameters(self, learner: Learner) -> Iterator[Tensor]:
        if not self.hidden_kernels_only:
            yield from learner.network.parameters()
            return
        for branch in learner.network.branches.values():
            for layer in branch.hidden:
                yield layer.weight
