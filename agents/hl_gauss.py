"""Values as histograms, fitted by cross-entropy to Gaussians around their targets (HL-Gauss).

A value is the mean of a categorical distribution over bins of equal width, whose logits a head
gives. A target y becomes the masses of the bins under a Gaussian around y, within the support:
p_k = (Phi((e_k+1 - y) / sigma) - Phi((e_k - y) / sigma)) / Z, with the edges e of the bins and
sigma = 0.75 bin widths. A target outside the support counts as the edge next to it. The mean of p
is y, but near an edge, where a part of the Gaussian is outside: there it is up to 0.7 bin widths
nearer to the middle.

Source: Farebrother et al., arXiv:2403.03950, section 3.1 and appendix A; Imani & White,
arXiv:1806.04613.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from neoteny.core.errors import InputError

SIGMA = 0.75
"""Standard deviation of a target's Gaussian in bin widths, the paper's."""


class HLGauss:
    """Histograms of values over one support, and their loss.

    Args:
        low: Lower edge of the support, in units of return.
        high: Upper edge.
        bins: Number of bins K of equal width.
        values: Number of values n that the outputs of a branch stand for.
        device: Device of the outputs.
    """

    log_std: float | None = None

    def __init__(
        self,
        low: float,
        high: float,
        bins: int,
        values: int = 1,
        device: torch.device | None = None,
    ) -> None:
        self.low, self.high = low, high
        self.bins, self.values = bins, values
        edges = torch.linspace(low, high, bins + 1, dtype=torch.float64)
        self._scale = math.sqrt(2.0) * SIGMA * (high - low) / bins  # erf has no sqrt(2)
        kind = torch.get_default_dtype()
        self._edges = (edges / self._scale).to(device, kind)
        self._centres = ((edges[1:] + edges[:-1]) / 2).to(device, kind)

    @property
    def outputs(self) -> int:
        """Outputs of the branch's head."""
        return self.values * self.bins

    def logits(self, outputs: Tensor) -> Tensor:
        """Outputs (..., n K) as the logits of each value, (..., n, K)."""
        return torch.unflatten(outputs, -1, (self.values, self.bins))

    def read(self, outputs: Tensor) -> Tensor:
        """Values (..., n) for outputs (..., n K)."""
        return self.mean(self.logits(outputs))

    def mean(self, logits: Tensor) -> Tensor:
        """Values (...) of histograms with logits (..., K)."""
        return (logits.softmax(-1) * self._centres).sum(-1)

    def probabilities(self, target: Tensor) -> Tensor:
        """Masses (..., K) of the bins for targets (...)."""
        centre = target.clamp(self.low, self.high).div(self._scale).unsqueeze(-1)
        below = torch.erf(self._edges - centre)
        return below.diff(dim=-1) / (below[..., -1:] - below[..., :1])

    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """Cross-entropies (...) in nats of logits (..., K) and targets (...)."""
        return -(self.probabilities(target) * logits.log_softmax(-1)).sum(-1)

    def closed_form(self, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Results of :meth:`loss` without autograd, and their gradient (..., K)."""
        wanted, log_probs = self.probabilities(target), logits.log_softmax(-1)
        return -(wanted * log_probs).sum(-1), log_probs.exp().sub_(wanted)

    def outside(self, target: Tensor) -> Tensor:
        """1 where a target (...) is outside the support, else 0, as floats."""
        return ((target < self.low) | (target > self.high)).to(target.dtype)

    def entropy(self, outputs: Tensor) -> Tensor:
        """Mean entropy (...) in nats of the histograms of outputs (..., n K)."""
        log_probs = self.logits(outputs).log_softmax(-1)
        return -(log_probs.exp() * log_probs).sum(-1).mean(-1)

    def kl(self, old: Tensor, new: Tensor) -> Tensor:
        """Mean divergence KL(old, new) (...) in nats of histograms with outputs (..., n K)."""
        before, after = self.logits(old).log_softmax(-1), self.logits(new).log_softmax(-1)
        return (before.exp() * (before - after)).sum(-1).mean(-1)


def check_support(low: float, high: float) -> None:
    """Check the support that a user chooses.

    Raises:
        InputError: If it is empty.
    """
    if low >= high:
        raise InputError(
            f"value_min {low:g} is not below value_max {high:g}: give the lowest and the highest "
            "value that a state may have, in units of return"
        )
