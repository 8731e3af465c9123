"""Interventions that bring their own optimiser."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from torch.optim import Optimizer

from neoteny.plasticity.adamo import AdamO, isometry_groups
from neoteny.plasticity.interventions.base import Intervention, OptimizerSettings
from neoteny.plasticity.isometry import effective_strength

if TYPE_CHECKING:
    from neoteny.agents.learner import Learner
    from neoteny.agents.networks import Network, Observations

__all__ = ["AdamOIntervention", "NoIntervention"]


@dataclass
class NoIntervention(Intervention):
    """Plain Adam, the baseline."""

    name: ClassVar[str] = "none"
    source: ClassVar[str] = "Kingma & Ba, arXiv:1412.6980"


@dataclass
class AdamOIntervention(Intervention):
    """Adam with a decoupled isometry step on hidden weights; the rest sees Adam only."""

    name: ClassVar[str] = "adamo"
    hooks: ClassVar[str] = "optimizer"
    source: ClassVar[str] = "Rosseau, Müller, Nowé, ICML 2026, Eqs. 16, 19, 20"

    isometry: float = 0.05
    """Strength, the paper's lambda; 0.05 equals the authors' reinforcement-learning code at 0.1."""
    isometry_lr: float | None = None
    """Learning rate of the isometry step; unset, it is the learning rate of Adam."""
    half_life: float | None = None
    """Environment steps in which deviations from isometry halve; set, it decides the strength."""
    scale: float = 1.0
    """Target squared singular value."""

    def optimizer(self, network: Network, settings: OptimizerSettings) -> Optimizer:
        """AdamO over groups declared by role."""
        return AdamO(
            isometry_groups(network),
            lr=settings.learning_rate,
            betas=settings.betas,
            eps=settings.eps,
            isometry=self._isometry(settings),
            isometry_lr=self.isometry_lr,
            scale=self.scale,
            member_dims=1,
            fused=settings.fused,
        )

    def after_step(self, learner: Learner, obs: Observations) -> None:
        """Count isometry steps."""
        self.state["activity"] += float(self.half_life is not None or self.isometry > 0)

    def strength(self, settings: OptimizerSettings) -> dict[str, float]:
        """Effective strength a, and the rate 2as at which deviations decay, per update."""
        a = effective_strength(self._lr(settings), self._isometry(settings))
        return {"effective_strength": a, "decay_rate": 2 * a * self.scale}

    def _lr(self, settings: OptimizerSettings) -> float:
        return settings.learning_rate if self.isometry_lr is None else self.isometry_lr

    def _isometry(self, settings: OptimizerSettings) -> float:
        """The strength lambda, from the half-life if there is one: exp(-2as t) = 1/2."""
        if self.half_life is None:
            return self.isometry
        if self.half_life <= 0:
            raise ValueError(f"adamo:half_life={self.half_life:g} must be above 0 steps")
        rate = math.log(2) / (self.half_life * settings.updates_per_step)
        return rate / (2 * self.scale * effective_strength(self._lr(settings), 1.0))
