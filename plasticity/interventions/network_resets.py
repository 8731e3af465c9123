"""Interventions that move all weights at once: towards a new draw, an average or zero."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from neoteny.core.errors import InputError
from neoteny.plasticity.interventions.intervention import Intervention, Metadata
from neoteny.plasticity.interventions.ranges import Range
from neoteny.plasticity.interventions.resets import Timed, period_in_updates, whole_iterations
from neoteny.plasticity.interventions.traits import Trait
from neoteny.plasticity.optimizer_settings import OptimizerSettings, Tasks, Time
from neoteny.plasticity.surgery import hidden_layers, with_targets

if TYPE_CHECKING:
    from neoteny.plasticity.learner import Learner
    from neoteny.plasticity.networks import Observations


@torch.no_grad()
def blend(
    learner: Learner, generators: Sequence[torch.Generator], shrink: float, perturb: float
) -> None:
    """Replace every parameter p by shrink p + perturb e, with a new draw e of the initial network.

    Target networks receive the same e. Norms are drawn without spread, a gain being 1, and so are a
    policy's log standard deviations; so they are only pulled there: p becomes
    shrink p + (1 - shrink) e.

    Args:
        learner: owner of the network and its targets.
        generators: one per member.
        shrink: factor of the old parameters.
        perturb: factor of the draw.
    """
    network = learner.network
    branches = network.branches.values()
    pulled = {id(parameter) for branch in branches for parameter in branch.body.norms.parameters()}
    pulled |= {id(branch.log_std) for branch in branches}
    parameters = [with_targets(learner, parameter) for parameter in network.parameters()]
    old = [[copy.clone() for copy in copies] for copies in parameters]
    network.reset_parameters(generators)
    for copies, olds in zip(parameters, old, strict=True):
        draw = copies[0].clone()
        weight = 1 - shrink if id(copies[0]) in pulled else perturb
        for copy, before in zip(copies, olds, strict=True):
            copy.copy_(shrink * before + weight * draw)
    learner.edited()


@dataclass
class ShrinkPerturb(Timed):
    """Shrink every parameter, add a new draw of the initial network, and forget the moments."""

    name: ClassVar[str] = "shrink_perturb"
    traits: ClassVar[Set[Trait]] = {
        Trait.DRAWS_WEIGHTS,
        Trait.REDRAWS_LAYERS,
        Trait.EDITS_EVERYTHING,
    }
    metadata: ClassVar[Metadata] = Metadata(
        "Ash, Adams, arXiv:1910.08475",
        needs_boundary=True,
        dqn="shrink=0.8,perturb=0.2",
    )
    limits: ClassVar[Mapping[str, str]] = {"shrink": "in [0, 1]", "perturb": "in [0, 1]"}
    ranges: ClassVar[Mapping[str, Range]] = {"shrink": Range(0.1, 1.0), "perturb": Range(0.0, 1.0)}

    shrink: float = 0.5
    """Factor of the old parameters."""
    perturb: float = 0.5
    """Factor of the new draw."""

    def edit(self, learner: Learner, obs: Observations | None) -> None:
        """Shrink and perturb once."""
        blend(learner, self.draws(learner), self.shrink, self.perturb)
        learner.reset_optimizer()
        self.state["activity"] += 1


@dataclass
class SoftShrinkPerturb(Timed):
    """Shrink parameters a little every period, and add noise of the initial distribution.

    Steps are `period` apart, each with the shrinkage and the noise of all updates since the last;
    as in the reference neither depends on the other. With the defaults the noise alone would come
    to rest at a fifth of a new network's size. Moments are kept.
    """

    name: ClassVar[str] = "soft_shrink_perturb"
    traits: ClassVar[Set[Trait]] = {Trait.DRAWS_WEIGHTS, Trait.EDITS_EVERYTHING}
    metadata: ClassVar[Metadata] = Metadata(
        "Ash, Adams, arXiv:1910.08475, in the form of Dohare et al., Nature 632 (2024)",
        cost="1 pass a period",
    )
    limits: ClassVar[Mapping[str, str]] = {"half_life": "above 0", "noise": "at least 0"}
    ranges: ClassVar[Mapping[str, Range]] = {
        "half_life": Range(Tasks(0.05), Tasks(20)),
        "noise": Range(0.01, 1.0),
    }

    period: Time | None = Tasks(0.02)
    half_life: Time = Tasks(5)
    """Time in which the old weights shrink to a half."""
    noise: float = 0.1
    """Size of the noise that a task adds, relative to a new network."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.period is None:
            raise InputError(f"{self.name}:period=none gives it no time to act; give steps")

    def factors(self, settings: OptimizerSettings) -> tuple[float, float]:
        """Factors of the old parameters and of the draw, for one period."""
        assert self.period is not None
        updates = period_in_updates(self.period, settings)
        shrink = math.exp(-settings.rate(self.half_life) * updates)
        return shrink, self.noise * math.sqrt(updates / settings.updates_per_task)

    def strength(self, settings: OptimizerSettings) -> dict[str, float]:
        """Rate of the shrinkage per update."""
        return {"decay_rate": settings.rate(self.half_life)}

    def edit(self, learner: Learner, obs: Observations | None) -> None:
        """Take the step of one period."""
        shrink, perturb = self.factors(learner.settings)
        blend(learner, self.draws(learner), shrink, perturb)
        self.state["activity"] += 1


@dataclass
class HareTortoise(Timed):
    """Fast weights learn, slow weights are their running mean, and now and then replace them.

    Moments and target networks are left alone, as in the reference. By default at task switches,
    with a running mean over more than a task: with the former quarter of a task it took a third of
    what the first one teaches, on both streams (results/breakout-tuning, results/digits-tuning).
    """

    name: ClassVar[str] = "hare_tortoise"
    traits: ClassVar[Set[Trait]] = {Trait.AVERAGES_WEIGHTS, Trait.EDITS_EVERYTHING}
    metadata: ClassVar[Metadata] = Metadata(
        "Lee et al., arXiv:2406.02596",
        state="slow weights",
        cost="1 pass",
        needs_boundary=True,
    )
    limits: ClassVar[Mapping[str, str]] = {"half_life": "above 0"}
    ranges: ClassVar[Mapping[str, Range]] = {
        "period": Range(Tasks(0.02), Tasks(2)),
        "half_life": Range(Tasks(0.05), Tasks(5)),
    }

    half_life: Time = Tasks(1.5)
    """Half-life of the running mean."""
    moments: bool = True
    """Keep the optimiser's moments when weights are replaced, rather than begin with none."""

    def start(self, learner: Learner) -> None:
        """Begin with slow weights that equal the fast ones."""
        super().start(learner)
        for index, parameter in enumerate(learner.network.parameters()):
            self.state[f"slow{index}"] = parameter.detach().clone()

    def strength(self, settings: OptimizerSettings) -> dict[str, float]:
        """Rate per update at which the slow weights follow."""
        return {"decay_rate": settings.rate(self.half_life)}

    def after_step(self, learner: Learner, obs: Observations) -> None:
        """Move the slow weights; at the end of a period, the fast ones take their place."""
        rate = 1 - math.exp(-learner.settings.rate(self.half_life))
        fast = [parameter.detach() for parameter in learner.network.parameters()]
        torch._foreach_lerp_(self._slow(len(fast)), fast, rate)
        super().after_step(learner, obs)

    def edit(self, learner: Learner, obs: Observations | None) -> None:
        """Replace the fast weights."""
        parameters = list(learner.network.parameters())
        for parameter, slow in zip(parameters, self._slow(len(parameters)), strict=True):
            parameter.copy_(slow)
        if not self.moments:
            learner.reset_optimizer()
        learner.edited()
        self.state["activity"] += 1

    def _slow(self, count: int) -> list[Tensor]:
        return [self.state[f"slow{index}"] for index in range(count)]


@dataclass
class Dash(Intervention):
    """Shrink weights the more, the less they point along the new task's descent direction.

    From a switch on, the task's gradients are averaged over some minibatches; then each row of a
    weight (each filter of a convolution, each bias as a whole) is multiplied by the cosine between
    it and the descent direction, clipped to [floor, 1], and the moments are forgotten. Training
    goes on meanwhile, and the shrinkage waits for the end of the iteration.
    """

    name: ClassVar[str] = "dash"
    traits: ClassVar[Set[Trait]] = {Trait.SHRINKS_BY_GRADIENTS, Trait.WHOLE_LAYER}
    metadata: ClassVar[Metadata] = Metadata(
        "Shin et al., arXiv:2410.23495",
        needs_boundary=True,
        state="mean gradients",
        cost="1 pass for some updates after a switch",
    )
    limits: ClassVar[Mapping[str, str]] = {
        "minibatches": "from 1 to 1,000,000",
        "alpha": "in (0, 1]",
        "floor": "in [0, 1]",
    }
    ranges: ClassVar[Mapping[str, Range]] = {"floor": Range(0.05, 0.95), "alpha": Range(0.01, 0.5)}

    minibatches: int = 64
    """Minibatches whose gradients are averaged."""
    alpha: float = 0.05
    """Weight of the newest minibatch in the running mean; 0.3 in the paper, on images."""
    floor: float = 0.7
    """Smallest factor of a row, the paper's lambda. Its 0.05 is for networks with norms, which do
    not see the length of a row; without any, half of all rows and more come to the floor and the
    layers' factors multiply, so that 0.05 all but erases the network."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._begun: tuple[Tensor | None, int] = (None, -1)

    def start(self, learner: Learner) -> None:
        """Reserve memory for the gradients."""
        super().start(learner)
        self.state["begun"] = torch.tensor(-1)
        for index, parameter in enumerate(self._parameters(learner)):
            self.state[f"gradient{index}"] = torch.zeros_like(parameter)

    def acts_every(self, settings: OptimizerSettings) -> int | None:
        """After switches alone."""
        return None

    def _parameters(self, learner: Learner) -> list[Tensor]:
        """Weights and biases of all layers, heads included."""
        layers = [layer for _, _, layer in hidden_layers(learner.network)]
        layers += [branch.head for branch in learner.network.branches.values()]
        found = [parameter for layer in layers for parameter in (layer.weight, layer.bias)]
        return [parameter for parameter in found if parameter is not None]

    def _age(self, learner: Learner) -> int:
        """Updates since the last switch, negative before the first; read once from a checkpoint."""
        begun = self.state["begun"]
        if self._begun[0] is not begun:
            self._begun = (begun, int(begun))
        return learner.updates - self._begun[1] if self._begun[1] >= 0 else -1

    def boundary(self, learner: Learner, task: Tensor) -> None:
        """Begin to average gradients."""
        self.state["begun"] = torch.tensor(learner.updates)
        for index in range(len(self._parameters(learner))):
            self.state[f"gradient{index}"].zero_()

    @torch.no_grad()
    def after_backward(self, learner: Learner, obs: Observations) -> None:
        """Take the minibatch's gradient into the mean."""
        if not 0 <= self._age(learner) < self.minibatches:
            return
        for index, parameter in enumerate(self._parameters(learner)):
            assert parameter.grad is not None
            self.state[f"gradient{index}"].lerp_(parameter.grad, self.alpha)

    @torch.no_grad()
    def after_step(self, learner: Learner, obs: Observations) -> None:
        """Shrink once, when enough minibatches were seen."""
        if self._age(learner) != whole_iterations(self.minibatches, learner.settings):
            return
        for index, parameter in enumerate(self._parameters(learner)):
            factor = self.factor(parameter, -self.state[f"gradient{index}"])
            for copy in with_targets(learner, parameter):
                copy.mul_(factor)
        learner.reset_optimizer()
        learner.edited()
        self.state["activity"] += 1

    def factor(self, parameter: Tensor, descent: Tensor) -> Tensor:
        """Factors of a weight (M, out, in), a kernel (M, out, in, kh, kw) or a bias (M, out)."""
        tiny = torch.finfo(parameter.dtype).tiny
        rows, there = (x.flatten(3) if x.dim() > 3 else x for x in (parameter, descent))
        cosine = F.normalize(rows, dim=-1, eps=tiny) * F.normalize(there, dim=-1, eps=tiny)
        factor = cosine.sum(-1, keepdim=True).clamp(self.floor, 1.0)
        return factor.view(*factor.shape, *[1] * (parameter.dim() - rows.dim()))
