"""Interventions on the optimiser's memory alone."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from neoteny.plasticity.interventions.intervention import Metadata
from neoteny.plasticity.interventions.ranges import Range
from neoteny.plasticity.interventions.resets import Timed
from neoteny.plasticity.interventions.traits import Trait
from neoteny.plasticity.optimizer_settings import Targets, Tasks, Time

if TYPE_CHECKING:
    from neoteny.plasticity.learner import Learner
    from neoteny.plasticity.networks import Observations


@dataclass
class OptimizerReset(Timed):
    """Forget all moments and step counts where the objective changes; weights stay.

    At switches every arm does so where runs have `reset_optimizer`, which is the default; then this
    one differs from `none` only by a period or with `--no-reset-optimizer`, and a run says so.
    """

    name: ClassVar[str] = "optimizer_reset"
    metadata: ClassVar[Metadata] = Metadata(
        "Asadi, Fakoor, Sabach, arXiv:2306.17833",
        needs_boundary=True,
        dqn="period=1targets",
        preserves_function=True,
        optimizer_alone=True,
    )
    ranges: ClassVar[Mapping[str, Range]] = {"period": Range(Tasks(0.005), Tasks(2))}

    def edit(self, learner: Learner, obs: Observations | None) -> None:
        """Reset the optimiser in place."""
        learner.reset_optimizer()
        self.state["activity"] += 1


@dataclass
class AdamRel(Timed):
    """Adam's step count starts anew whenever the targets change, its moments stay.

    With Adam's usual decay rates the first step is then 0.32 times what the moments ask for: a
    warm-up. With equal rates of both moments, as in `adam`, it would be up to ten times as long.
    """

    name: ClassVar[str] = "adam_rel"
    traits: ClassVar[Set[Trait]] = {Trait.RESTARTS_STEP_COUNTS}
    metadata: ClassVar[Metadata] = Metadata(
        "Ellis et al., arXiv:2412.17113",
        preserves_function=True,
    )
    ranges: ClassVar[Mapping[str, Range]] = {"period": Range(Tasks(0.005), Tasks(2))}

    period: Time | None = Targets(1)
    """Time between two starts, rounded up to whole iterations: a rollout of PPO, a target network
    of DQN, a classifier's task; none: task switches."""

    def edit(self, learner: Learner, obs: Observations | None) -> None:
        """Zero the step counts in place."""
        for state in learner.optimizer.state.values():
            if "step" in state:
                state["step"].zero_()
        self.state["activity"] += 1
