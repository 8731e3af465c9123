"""Interventions that penalise outputs and features of the network."""

from __future__ import annotations

import math
from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from neoteny.core.errors import InputError
from neoteny.plasticity.interventions.intervention import (
    Intervention,
    Metadata,
    hidden_layers,
)
from neoteny.plasticity.interventions.ranges import Range
from neoteny.plasticity.interventions.traits import Trait
from neoteny.plasticity.optimizer_settings import Tasks, Time
from neoteny.plasticity.sparse import as_tensor, first_samples
from neoteny.plasticity.surgery import as_samples

if TYPE_CHECKING:
    from neoteny.plasticity.learner import Learner
    from neoteny.plasticity.network_spec import OutputDistribution
    from neoteny.plasticity.networks import Observations


@dataclass
class L2ER(Intervention):
    """Decay of the weights, and a reward for the effective rank of every hidden layer's features.

    The rank is exp(entropy of the normalised singular values), from the eigenvalues of the
    features' Gram matrix, whose gradient stays finite where singular values meet. It is capped by
    the minibatch, which should hold twice as many samples as a layer has features; every position
    of an image is one. On an accelerator the host waits for the eigenvalues.
    """

    name: ClassVar[str] = "l2_er"
    traits: ClassVar[Set[Trait]] = {Trait.PENALIZES_WEIGHTS, Trait.COUPLED_DECAY}
    metadata: ClassVar[Metadata] = Metadata(
        "He et al., arXiv:2509.22335",
        probe=True,
        cost="1 pass; 1 forward and backward with eigenvalues every 8 updates",
    )
    limits: ClassVar[Mapping[str, str]] = {
        "weight": "at least 0",
        "decay": "at least 0",
        "every": "from 1 to 1,000,000",
        "samples": "from 2 to 1,000,000",
    }
    ranges: ClassVar[Mapping[str, Range]] = {"weight": Range(1e-4, 1.0), "decay": Range(1e-6, 0.01)}

    weight: float = 1e-2
    """Weight of the effective rank, its mean over a body's layers, subtracted from the loss."""
    decay: float = 1e-4
    """Weight of the squared norm of the hidden weights, added to the loss."""
    every: int = 8
    """Updates from one evaluation of the rank to the next."""
    samples: int = 512
    """Largest number of a minibatch's samples that the rank is taken over."""

    def loss(self, learner: Learner, obs: Observations) -> Tensor | float:
        """Minus the mean effective rank over layers, summed over bodies, (M,)."""
        if self.weight == 0 or learner.updates % self.every:
            return 0.0
        features = learner.network.features(first_samples(obs, self.samples))
        ranks = [
            torch.stack([effective_rank(as_samples(h)) for h in layers]).mean(0)
            for layers in {id(layers): layers for layers in features.values()}.values()
        ]
        self.state["activity"] += 1
        return -self.weight * torch.stack(ranks).sum(0)

    @torch.no_grad()
    def after_backward(self, learner: Learner, obs: Observations) -> None:
        """Add the decay's gradient."""
        for layer in hidden_layers(learner.network):
            if self.decay and layer.weight.grad is not None:
                layer.weight.grad.add_(layer.weight, alpha=2 * self.decay)


@dataclass
class CChain(Intervention):
    """Continual churn reduction: outputs on other samples should not change with an update.

    Penalises the divergence between the network before the last update and now, on a minibatch that
    neither the last nor this update trains on: the one before. Policies and classifiers are
    compared by the Kullback-Leibler divergence, whose gradient is that of the paper's cross-entropy
    without its floor; Q-values by their squared difference, or their histograms by the divergence.
    The old outputs are computed when they are new, so no old network is kept; where the network was
    edited in between, such as by a reset, the two are not compared.

    With a target the weight is target * mean |loss| / mean churn, over running means of each
    member. For a policy or classifier that is the paper's cross-entropy and not the divergence
    alone: relative to the latter, a weight that lowers it would raise itself without end.
    """

    name: ClassVar[str] = "c_chain"
    metadata: ClassVar[Metadata] = Metadata(
        "Tang et al., arXiv:2506.00592",
        probe=True,
        state="2 minibatches of observations, 1 of outputs, 2 running means",
        cost="2 forwards, 1 backward",
        dqn="weight=50",
    )
    limits: ClassVar[Mapping[str, str]] = {
        "weight": "at least 0",
        "target": "above 0",
        "half_life": "above 0",
        "after": "at least 0",
    }
    ranges: ClassVar[Mapping[str, Range]] = {"weight": Range(0.1, 1000.0)}

    weight: float = 10.0
    """Weight of the divergence; with a target, only for the first `after` steps."""
    target: float | None = None
    """Size of the penalty relative to the loss; none keeps the weight as it is. The authors' are
    1e4 for policies and 0.01 for Q-values."""
    half_life: Time = Tasks(0.2)
    """Half-life of the running means that the weight follows."""
    after: Time = Tasks(0.2)
    """Time from which on the weight follows."""
    restart: bool = False
    """Begin at `weight` anew at every task switch, as the authors do, which makes runs
    task-aware."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.needs_boundaries = self.restart

    def start(self, learner: Learner) -> None:
        """Find the branch whose churn is defined, and clear the state."""
        super().start(learner)
        known = learner.network.branches
        names = [name for name in ("policy", "logits", "q") if name in known]
        if not names:
            raise InputError(
                f"c_chain compares a policy, logits or q, not {', '.join(known)}: leave it out"
            )
        if self.target is not None and not learner.reports_losses:
            raise InputError(
                f"c_chain:target={self.target:g} is relative to losses that this agent keeps to "
                "itself: set c_chain:target=none"
            )
        self._branch = names[0]
        for name in ("mean_loss", "mean_churn"):
            self.state[name] = torch.zeros_like(self.state["activity"])
        self.state["count"] = torch.zeros((), device=learner.alive.device)
        self.state["weight"] = torch.full_like(self.state["activity"], self.weight)

    def loss(self, learner: Learner, obs: Observations) -> Tensor | float:
        """The weighted divergence, (M,), from the third update on."""
        if self.weight == 0 and self.target is None:
            return 0.0
        penalty: Tensor | float = 0.0
        state, branch = self.state, learner.network.branches[self._branch]
        if "old" in state:
            new = learner.network.branch(self._branch, state["reference"])
            churn = _divergence(branch.distribution, state["old"], new)
            if self.target is not None:
                floor = _floor(branch.distribution, state["old"])
                self._follow(learner, churn.detach().clamp(min=0) + floor, self.target)
            penalty = state["weight"] * churn
            state["activity"] += penalty.detach().clamp(min=0)  # round-off has either sign
        self._remember(learner, obs)
        return penalty

    @torch.no_grad()
    def _follow(self, learner: Learner, churn: Tensor, target: float) -> None:
        """Take this update's loss and churn (M,) into the means, and set the weight by them."""
        state, settings = self.state, learner.settings
        state["count"] += 1
        # At first the plain mean of what there is, so that nothing is biased towards 0.
        rate = state["count"].reciprocal().clamp(min=1 - math.exp(-settings.rate(self.half_life)))
        state["mean_loss"].lerp_(learner.losses[self._branch].abs(), rate)
        state["mean_churn"].lerp_(churn, rate)
        followed = target * state["mean_loss"] / (state["mean_churn"] + 1e-8)
        early = state["count"] <= (settings.exact_updates(self.after) if self.after else 0)
        state["weight"] = torch.where(early, self.weight, followed)

    @torch.no_grad()
    def _remember(self, learner: Learner, obs: Observations) -> None:
        """The last minibatch becomes the reference, with its outputs before this update."""
        if "last" in self.state:
            self.state["reference"] = self.state["last"]
            self.state["old"] = learner.network.branch(self._branch, self.state["reference"])
        self.state["last"] = as_tensor(obs).clone()

    def edited(self, learner: Learner, layer: Any = None, units: Tensor | None = None) -> None:
        """Forget the outputs from before the edit, which the next penalty would compare with."""
        self.state.pop("old", None)

    def boundary(self, learner: Learner, task: Tensor) -> None:
        """Forget the means, if asked."""
        if self.restart:
            self.state["count"].zero_()  # whose next mean is the first value
            self.state["weight"].fill_(self.weight)

    def measured(self) -> dict[str, Tensor]:
        """The weight besides the penalties' sum."""
        return {**super().measured(), "weight": self.state["weight"]}


def effective_rank(features: Tensor) -> Tensor:
    """Differentiable effective rank of features.

    Args:
        features: (M, B, features).

    Returns:
        (M,) exp of the entropy of the singular values divided by their sum; 1 where not finite.

    Source: Roy & Vetterli, "The effective rank" (2007).
    """
    # A Gram matrix squares the singular values, so float32 would keep but half of their digits.
    wide = features.double()
    small = wide.mT if wide.shape[1] > wide.shape[2] else wide
    gram = small @ small.mT
    gram = gram / gram.diagonal(dim1=-2, dim2=-1).sum(-1).clamp(min=1e-12)[:, None, None]
    # LAPACK raises on NaN, so features that are not finite take a placeholder of rank 1.
    finite = gram.isfinite().all((-2, -1))[:, None, None]
    corner = torch.zeros_like(gram)
    corner[:, 0, 0] = 1.0
    squares = torch.linalg.eigvalsh(torch.where(finite, gram, corner))
    # Singular values of float32 features are noise below this; the clamp also stops the gradient.
    sigma = squares.clamp(min=1e-12).sqrt()
    p = sigma / sigma.sum(-1, keepdim=True)
    rank: Tensor = (-(p * p.log()).sum(-1)).exp()
    return rank.to(features.dtype)


def _divergence(distribution: OutputDistribution | None, old: Tensor, new: Tensor) -> Tensor:
    """Mean churn of a branch's outputs (M, B, outputs), (M,)."""
    if distribution is None:
        return (new - old).square().mean((1, 2))
    return distribution.kl(old, new).mean(1)


def _floor(distribution: OutputDistribution | None, old: Tensor) -> Tensor | float:
    """Entropy by which a cross-entropy exceeds the divergence, (M,); none where it is negative."""
    return 0.0 if distribution is None else distribution.entropy(old).mean(1).clamp(min=0)
