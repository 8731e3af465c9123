"""Interventions on the optimiser's memory alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from neoteny.plasticity.interventions.base import Facts
from neoteny.plasticity.interventions.resets import Timed

if TYPE_CHECKING:
    from neoteny.agents.learner import Learner
    from neoteny.agents.networks import Observations

__all__ = ["AdamRel", "OptimizerReset"]


@dataclass
class OptimizerReset(Timed):
    """Forget all moments and step counts where the objective changes; weights stay."""

    name: ClassVar[str] = "optimizer_reset"
    facts: ClassVar[Facts] = Facts(
        "Asadi, Fakoor, Sabach, arXiv:2306.17833",
        needs_boundary=True,
        dqn="period=8000",
        preserves_function=True,
    )

    def edit(self, learner: Learner, obs: Observations | None) -> None:
        """Reset the optimiser in place."""
        learner.reset_optimizer()
        self.state["activity"] += 1


@dataclass
class AdamRel(Timed):
    """Adam's step count starts anew at every period, its moments stay.

    With the usual decay rates the first step is then 0.32 times what the moments ask for: a warm-up
    after each change of the targets, which are a rollout for PPO and a target network for DQN.
    """

    name: ClassVar[str] = "adam_rel"
    facts: ClassVar[Facts] = Facts(
        "Ellis et al., arXiv:2412.17113",
        dqn="period=8000",
        preserves_function=True,
    )

    period: float | None = 1.0
    """Environment steps between two starts, rounded up to whole iterations: every one of PPO; for
    DQN, the target network's period unless that was changed; none: task switches."""

    def edit(self, learner: Learner, obs: Observations | None) -> None:
        """Zero the step counts in place."""
        for state in learner.optimizer.state.values():
            if "step" in state:
                state["step"].zero_()
        self.state["activity"] += 1
