"""Interventions that penalise what the network computes on observations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from neoteny.plasticity.interventions.base import Facts, Intervention, hidden_layers

if TYPE_CHECKING:
    from neoteny.agents.learner import Learner
    from neoteny.agents.networks import Observations

__all__ = ["L2ER", "CChain"]


@dataclass
class L2ER(Intervention):
    """Decay of the weights, and a reward for the effective rank of every hidden layer's features.

    The rank is exp(entropy of the normalised singular values), from the eigenvalues of the
    features' Gram matrix, whose gradient stays finite where singular values meet. It is capped by
    the minibatch, which should hold twice as many samples as a layer has features. On an
    accelerator the host waits for the eigenvalues.
    """

    name: ClassVar[str] = "l2_er"
    facts: ClassVar[Facts] = Facts(
        "He et al., arXiv:2509.22335",
        probe=True,
        cost="1 pass; 1 forward and backward with eigenvalues every 8 updates",
        dqn="weight=1e-3",
        conflicts=frozenset({"l2"}),
    )

    weight: float = 1e-2
    """Weight of the mean effective rank, subtracted from the loss."""
    decay: float = 1e-4
    """Weight of the squared norm of the hidden weights, added to the loss."""
    every: int = 8
    """Updates from one evaluation of the rank to the next."""

    def __post_init__(self) -> None:
        if self.every < 1:
            raise ValueError(f"l2_er:every={self.every} must be at least 1 update")

    def loss(self, learner: Learner, obs: Observations) -> Tensor | float:
        """Minus the mean effective rank over layers, (M,)."""
        if self.weight == 0 or learner.updates % self.every:
            return 0.0
        features = [h for layers in learner.network.features(obs).values() for h in layers]
        ranks = [effective_rank(h.flatten(2)) for h in features]
        self.state["activity"] += 1
        return -self.weight * torch.stack(ranks).mean(0)

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
    without its floor; Q-values by their squared difference. The old outputs are computed when they
    are new, so no old network is kept.
    """

    name: ClassVar[str] = "c_chain"
    facts: ClassVar[Facts] = Facts(
        "Tang et al., arXiv:2506.00592",
        probe=True,
        state="2 minibatches of observations, 1 of outputs",
        cost="2 forwards, 1 backward",
        dqn="weight=50",
    )

    weight: float = 10.0
    """Weight of the divergence."""

    def start(self, learner: Learner) -> None:
        """Find the branches whose churn is defined."""
        super().start(learner)
        if not self._branches(learner):
            known = ", ".join(learner.network.branches)
            raise ValueError(f"c_chain compares a policy, logits or q, not {known}: leave it out")

    def loss(self, learner: Learner, obs: Observations) -> Tensor | float:
        """The weighted divergence, (M,), from the third update on."""
        if self.weight == 0:
            return 0.0
        penalty: Tensor | float = 0.0
        network, state, branches = learner.network, self.state, self._branches(learner)
        if "old/" + branches[0] in state:
            churn = [
                _divergence(name, state[f"old/{name}"], network.branch(name, state["reference"]))
                for name in branches
            ]
            penalty = self.weight * torch.stack(churn).sum(0)
            self.state["activity"] += penalty.detach()
        self._remember(learner, obs)
        return penalty

    @torch.no_grad()
    def _remember(self, learner: Learner, obs: Observations) -> None:
        """The last minibatch becomes the reference, with its outputs before this update."""
        if "last" in self.state:
            self.state["reference"] = self.state["last"]
            for name in self._branches(learner):
                old = learner.network.branch(name, self.state["reference"])
                self.state[f"old/{name}"] = old
        self.state["last"] = _dense(obs)

    def _branches(self, learner: Learner) -> list[str]:
        return [name for name in ("policy", "logits", "q") if name in learner.network.branches]


def effective_rank(features: Tensor) -> Tensor:
    """Differentiable effective rank of features.

    Args:
        features: (M, B, features).

    Returns:
        (M,) exp of the entropy of the singular values divided by their sum; 1 where not finite.

    Source: Roy & Vetterli, "The effective rank" (2007).
    """
    small = features.mT if features.shape[1] > features.shape[2] else features
    gram = small @ small.mT
    gram = gram / gram.diagonal(dim1=-2, dim2=-1).sum(-1).clamp(min=1e-12)[:, None, None]
    # LAPACK raises on NaN, so features that are not finite take a placeholder of rank 1.
    finite = gram.isfinite().all((-2, -1))[:, None, None]
    corner = torch.zeros_like(gram)
    corner[:, 0, 0] = 1.0
    squares = torch.linalg.eigvalsh(torch.where(finite, gram, corner))
    # Below the precision of float32 an eigenvalue is noise; the clamp also stops its gradient.
    sigma = squares.clamp(min=1e-7).sqrt()
    p = sigma / sigma.sum(-1, keepdim=True)
    rank: Tensor = (-(p * p.log()).sum(-1)).exp()
    return rank


def _divergence(branch: str, old: Tensor, new: Tensor) -> Tensor:
    """Mean churn of a branch's outputs (M, B, outputs), (M,)."""
    if branch == "q":
        return (new - old).square().mean((1, 2))
    target = old.log_softmax(-1)
    divergence = F.kl_div(new.log_softmax(-1), target, reduction="none", log_target=True)
    return divergence.sum(-1).mean(1)


def _dense(obs: Any) -> Tensor:
    """A copy of observations (M, B, ...) as one tensor, which a resume can restore."""
    if isinstance(obs, Tensor):
        return obs.clone()
    ones = torch.arange(len(obs)).repeat_interleave(obs.offsets.diff())
    dense = torch.zeros(len(obs), obs.features, dtype=torch.bool)
    dense[ones, obs.index.long() % obs.features] = True
    return dense.view(obs.members, -1, obs.features)
