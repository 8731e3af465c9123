"""Soft resets: every layer drifts towards the initial weights as far as the gradient asks."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from neoteny.plasticity.interventions.intervention import Metadata
from neoteny.plasticity.interventions.ranges import Range
from neoteny.plasticity.interventions.step_wrappers import StepWrapper
from neoteny.plasticity.interventions.traits import Trait

if TYPE_CHECKING:
    from neoteny.plasticity.learner import Learner
    from neoteny.plasticity.networks import Observations


@dataclass
class SoftReset(StepWrapper):
    """Drift towards the initial weights, learnt from the loss, with a longer step after a drift.

    The model of change is theta' ~ N(gamma theta + (1 - gamma) mu, (1 - gamma^2) sigma^2), an
    Ornstein-Uhlenbeck process around the initial weights mu. Each parameter of each member begins
    every update at gamma = 1, no change, and takes one gradient step on the new minibatch's loss
    at the mean, gamma = 1 - rate <g, theta - mu>, clipped to [0, 1]. The optimiser's step d
    starts from that mean, (gamma^2 + (1 - gamma^2) / s^2) times as long.
    Of the paper's form, this leaves out the noise around the mean, and takes d at theta, which
    saves a second pass.
    """

    name: ClassVar[str] = "soft_reset"
    traits: ClassVar[Set[Trait]] = {
        Trait.READS_GRADIENTS,
        Trait.REFERS_TO_INITIAL_WEIGHTS,
    }
    metadata: ClassVar[Metadata] = Metadata(
        "Galashov et al., arXiv:2411.04034",
        state="initial parameters",
        cost="5 passes",
    )
    limits: ClassVar[Mapping[str, str]] = {"rate": "at least 0", "spread": "in (0, 1]"}
    ranges: ClassVar[Mapping[str, Range]] = {
        "rate": Range(1e-3, 10.0),
        "spread": Range(0.1, 1.0),
    }

    rate: float = 0.05
    """Learning rate of the drift, per unit of loss that going back all the way would save; 0 never
    drifts. On permuted Breakout, 0.01 drifts by 7 % a task."""
    spread: float = 0.5
    """Standard deviation s of what is learnt, relative to the initial weights'; the smaller, the
    longer the step after a drift. 1 leaves the step as it is."""

    def parameters(self, learner: Learner) -> list[Tensor]:
        """All but a policy's log standard deviations, which have no initial distribution."""
        return [*learner.network.weights()]

    def start(self, learner: Learner) -> None:
        """Remember the initial weights."""
        super().start(learner)
        self._parameters = self.parameters(learner)
        self._drifts: list[Tensor] = []
        self.state["drift"] = torch.zeros_like(self.state["activity"])
        for index, parameter in enumerate(self._parameters):
            self.state[f"initial{index}"] = parameter.detach().clone()

    @torch.no_grad()
    def after_backward(self, learner: Learner, obs: Observations) -> None:
        """Find how far each parameter drifts, by gradients that are not clipped yet."""
        self._drifts = []
        for index, parameter in enumerate(self._parameters):
            away = parameter - self.state[f"initial{index}"]
            slope = torch.zeros_like(self.state["activity"])
            if parameter.grad is not None:
                slope = (parameter.grad * away).flatten(1).sum(1)
            self._drifts.append((self.rate * slope).clamp(0.0, 1.0))  # 1 - gamma

    def rewrite(self, learner: Learner, parameters: list[Tensor], before: list[Tensor]) -> None:
        """Start the step from the drifted weights, and lengthen it."""
        for index, (parameter, old) in enumerate(zip(parameters, before, strict=True)):
            drift = self._drifts[index].view(-1, *[1] * (old.dim() - 1))
            # gamma^2 + (1 - gamma^2) / s^2 - 1, exactly 0 without a drift
            longer = drift * (2 - drift) * (self.spread**-2 - 1)
            parameter += drift * (self.state[f"initial{index}"] - old) + longer * (parameter - old)
        self.state["drift"] += torch.stack(self._drifts).mean(0)

    def measured(self) -> dict[str, Tensor]:
        """Its steps, and the sum of 1 - gamma so far, averaged over parameters: each (M,)."""
        return super().measured() | {"drift": self.state["drift"]}
