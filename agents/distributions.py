"""Action distributions: the parameters that a policy outputs, and the actions drawn from them.

A distribution follows from the action space and does everything that depends on it: sampling,
densities and divergences, how actions are stored and how the environment takes them. Its functions
are pure and leave the member axis alone.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from neoteny.agents.spaces import action_count
from neoteny.core import rng
from neoteny.core.errors import InputError

Gradient = Callable[[Tensor, float], Tensor]
"""From the slope d objective / d log-probability (M, B) and the entropy's coefficient to the
gradient of -objective - coefficient * entropy with respect to the outputs."""


class ActionDistribution(ABC):
    """Distributions over actions, each given by the outputs (..., P) of a branch."""

    log_std: float | None = None
    """Initial value of the log standard deviations that the branch learns beside its head, one for
    each of the head's outputs; none if the head gives all parameters."""

    @property
    @abstractmethod
    def size(self) -> int:
        """Outputs of the branch's head."""

    @property
    @abstractmethod
    def action_dim(self) -> int:
        """Numbers that an action has in a minibatch, and uniform numbers that it is drawn from."""

    def read(self, outputs: Tensor) -> Tensor:
        """The outputs (..., P) themselves, which diagnostics are taken of."""
        return outputs

    @abstractmethod
    def allocate(self, *lead: int, device: torch.device) -> Tensor:
        """Zeroed memory for actions with leading axes `lead`."""

    @abstractmethod
    def sample(self, outputs: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
        """Draw actions by inverting the distribution function.

        Args:
            outputs: (..., P).
            uniform: (..., action_dim) in [0, 1).

        Returns:
            Actions, as they are stored, and their log-probabilities (...).
        """

    @abstractmethod
    def mode(self, outputs: Tensor) -> Tensor:
        """The most probable actions, as they are stored, for outputs (..., P)."""

    @abstractmethod
    def log_prob(self, outputs: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probability (...) of actions, in nats, and entropy (...) of their distributions."""

    @abstractmethod
    def closed_form(self, outputs: Tensor, action: Tensor) -> tuple[Tensor, Tensor, Gradient]:
        """Results of :meth:`log_prob` without autograd, and their gradient as a function."""

    @abstractmethod
    def entropy(self, outputs: Tensor) -> Tensor:
        """Entropy (...) of the distributions, in nats."""

    @abstractmethod
    def kl(self, old: Tensor, new: Tensor) -> Tensor:
        """Kullback-Leibler divergence (...) of the distributions `new` from `old`, in nats."""

    @abstractmethod
    def split(self, action: Tensor) -> Sequence[Tensor]:
        """Actions as `action_dim` tensors (...) of floats."""

    @abstractmethod
    def join(self, numbers: Tensor) -> Tensor:
        """Actions from their numbers (..., action_dim)."""

    @abstractmethod
    def to_env(self, action: Tensor) -> Tensor:
        """Actions (M, N, ...) as the environment takes them: (L, *action), within its bounds."""

    def draw(self, keys: Tensor, step: Tensor | int, members: int) -> Tensor:
        """The uniform numbers of one step: (M, N, action_dim) from keys (L,).

        A lane's numbers depend on its key and the step alone.
        """
        slots = torch.arange(self.action_dim, device=keys.device).unsqueeze(1)
        uniform = rng.uniform(rng.bits(keys, step, slots))  # (action_dim, L)
        return uniform.view(self.action_dim, members, -1).movedim(0, -1)


@dataclass(frozen=True)
class Categorical(ActionDistribution):
    """One of some choices; the outputs are logits.

    Args:
        choices: number of actions.
    """

    choices: int

    @property
    def size(self) -> int:
        """One logit a choice."""
        return self.choices

    @property
    def action_dim(self) -> int:
        """One: the index."""
        return 1

    def allocate(self, *lead: int, device: torch.device) -> Tensor:
        """(*lead) int64."""
        return torch.zeros(lead, dtype=torch.int64, device=device)

    def sample(self, outputs: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
        """Draws actions (...) int64, with their log-probabilities (...)."""
        log_probs = F.log_softmax(outputs, dim=-1)
        below = log_probs.exp().cumsum(-1) <= uniform
        action = below[..., :-1].sum(-1)  # round-off in the last entry must not reach past it
        return action, log_probs.gather(-1, action.unsqueeze(-1)).squeeze(-1)

    def mode(self, outputs: Tensor) -> Tensor:
        """The most probable choices (...) for logits (..., P)."""
        return outputs.argmax(-1)

    def log_prob(self, outputs: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probability (...) of actions and entropy (...), in nats."""
        log_probs = F.log_softmax(outputs, dim=-1)
        log_prob = log_probs.gather(-1, action.unsqueeze(-1)).squeeze(-1)
        return log_prob, -(log_probs.exp() * log_probs).sum(-1)

    def closed_form(self, outputs: Tensor, action: Tensor) -> tuple[Tensor, Tensor, Gradient]:
        """Log-probability and entropy with their gradient as a function."""
        log_probs = F.log_softmax(outputs, dim=-1)
        chosen = action.unsqueeze(-1)
        probs = log_probs.exp()
        entropy = (probs * log_probs).sum(-1).neg_()

        def gradient(slope: Tensor, ent_coef: float) -> Tensor:
            # The chosen action's logit gets the slope whole, and every logit loses its
            # probability's share.
            slope = slope.unsqueeze(-1)
            found = probs * (slope + ent_coef * (log_probs + entropy.unsqueeze(-1)))
            return found.scatter_add_(-1, chosen, -slope)

        return log_probs.gather(-1, chosen).squeeze(-1), entropy, gradient

    def entropy(self, outputs: Tensor) -> Tensor:
        """Entropy (...), in nats."""
        entropy: Tensor = torch.special.entr(outputs.softmax(-1)).sum(-1)
        return entropy

    def kl(self, old: Tensor, new: Tensor) -> Tensor:
        """Kullback-Leibler divergence (...) of `new` from `old`, in nats."""
        target = old.log_softmax(-1)
        divergence = F.kl_div(new.log_softmax(-1), target, reduction="none", log_target=True)
        return divergence.sum(-1)

    def split(self, action: Tensor) -> Sequence[Tensor]:
        """Actions as `action_dim` tensors (...) of floats."""
        return [action.float()]

    def join(self, numbers: Tensor) -> Tensor:
        """Actions from their numbers (..., action_dim)."""
        return numbers.squeeze(-1).long()

    def to_env(self, action: Tensor) -> Tensor:
        """Actions (L, *action) as the environment takes them."""
        return action.flatten()


@dataclass(frozen=True, eq=False)
class Gaussian(ActionDistribution):
    """A vector of independent normal numbers, clipped to its bounds only when it is played.

    The branch's outputs are the A means, which its head gives, followed by the A log standard
    deviations, which do not depend on the observation. Densities are those of the unclipped
    action, which is what is stored, as in Stable-Baselines3 and CleanRL.

    Args:
        shape: of one action, of A numbers in all.
        low: (A,) the least numbers that the environment takes.
        high: (A,) the largest.
        log_std: initial value of the log standard deviations.
    """

    shape: tuple[int, ...]
    low: Tensor
    high: Tensor
    log_std: float = 0.0

    @property
    def size(self) -> int:
        """One mean for each of the A numbers."""
        return math.prod(self.shape)

    @property
    def action_dim(self) -> int:
        """The A numbers."""
        return self.size

    def allocate(self, *lead: int, device: torch.device) -> Tensor:
        """(*lead, A) float."""
        return torch.zeros(*lead, self.size, device=device)

    def sample(self, outputs: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
        """Draws actions (..., A) float, with their log-probabilities (...)."""
        mean, log_std = outputs.chunk(2, -1)
        action = torch.addcmul(mean, log_std.exp(), _standard_normal(uniform))
        return action, self.log_prob(outputs, action)[0]

    def mode(self, outputs: Tensor) -> Tensor:
        """The means (..., A), unclipped."""
        return outputs.chunk(2, -1)[0]

    def log_prob(self, outputs: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probability (...) of actions, and entropy (...) of unclipped actions, in nats."""
        mean, log_std = outputs.chunk(2, -1)
        spread = log_std.sum(-1)
        error = ((action - mean) * (-log_std).exp()).square().sum(-1)
        return -0.5 * error - spread - self._constant, spread + (self._constant + 0.5 * self.size)

    def closed_form(self, outputs: Tensor, action: Tensor) -> tuple[Tensor, Tensor, Gradient]:
        """Log-probability and entropy with their gradient as a function."""
        mean, log_std = outputs.chunk(2, -1)
        precision = (-log_std).exp()
        error = (action - mean).mul_(precision)

        def gradient(slope: Tensor, ent_coef: float) -> Tensor:
            slope = slope.unsqueeze(-1)
            d_log_std = slope * (1 - error.square()) - ent_coef
            return torch.cat([-slope * error * precision, d_log_std], -1)

        return *self.log_prob(outputs, action), gradient

    def entropy(self, outputs: Tensor) -> Tensor:
        """Entropy (...) of unclipped actions, in nats."""
        return outputs.chunk(2, -1)[1].sum(-1) + (self._constant + 0.5 * self.size)

    def kl(self, old: Tensor, new: Tensor) -> Tensor:
        """Kullback-Leibler divergence (...) of `new` from `old`, in nats."""
        (old_mean, old_log_std), (mean, log_std) = old.chunk(2, -1), new.chunk(2, -1)
        change = log_std - old_log_std
        moved = ((mean - old_mean) * (-log_std).exp()).square()
        return (change + 0.5 * ((-2 * change).exp() + moved - 1)).sum(-1)

    def split(self, action: Tensor) -> Sequence[Tensor]:
        """Actions as `action_dim` tensors (...) of floats."""
        return action.unbind(-1)

    def join(self, numbers: Tensor) -> Tensor:
        """Actions from their numbers (..., action_dim)."""
        return numbers

    def to_env(self, action: Tensor) -> Tensor:
        """Actions (L, *action) as the environment takes them."""
        return action.flatten(0, 1).clamp(self.low, self.high).view(-1, *self.shape)

    @property
    def _constant(self) -> float:
        """The part of the log-density that normalises A unit normal numbers."""
        return 0.5 * self.size * math.log(2 * math.pi)


def action_distribution(
    space: gymnasium.Space[Any], log_std_init: float = 0.0, device: torch.device | str = "cpu"
) -> ActionDistribution:
    """The distribution for an action space: categorical for Discrete, Gaussian for a Box of floats.

    Args:
        space: of one action.
        log_std_init: initial log standard deviations of a Gaussian policy.
        device: of the actions.

    Raises:
        ValueError: For any other space, and discrete actions that do not count from 0.
    """
    if isinstance(space, gymnasium.spaces.Discrete):
        return Categorical(action_count(space))
    if not isinstance(space, gymnasium.spaces.Box) or space.dtype.kind != "f":
        raise InputError(
            f"a policy needs discrete actions or a Box of floats, the environment has {space}"
        )
    if not math.isfinite(log_std_init):
        raise InputError(f"log_std_init is {log_std_init}: it must be finite, such as 0 or -1")
    low, high = space.low.ravel(), space.high.ravel()
    return Gaussian(
        tuple(space.shape),
        torch.from_numpy(_inward(low, np.inf)).to(device),
        torch.from_numpy(_inward(high, -np.inf)).to(device),
        float(log_std_init),
    )


def _inward(bound: np.ndarray[Any, Any], inside: float) -> np.ndarray[Any, Any]:
    """Bounds in float32 that do not round to where `bound` excludes; `inside` says which way in."""
    with np.errstate(over="ignore"):  # bounds beyond float32 end at its largest number
        rounded = bound.astype(np.float32)
    out = rounded < bound if inside > 0 else rounded > bound
    return np.where(out, np.nextafter(rounded, np.float32(inside)), rounded)


def _standard_normal(uniform: Tensor) -> Tensor:
    """Normal numbers from uniform multiples of 2**-24 in [0, 1), by the inverse of their CDF.

    The middle of each multiple's cell, as a number in (-1, 1), is exact in float32; so the result
    is symmetric, finite and off by less than 1e-6.
    """
    return math.sqrt(2) * torch.erfinv(2 * uniform - (1 - 2**-24))
