"""Interventions that penalise weights in the loss, inside gradient clipping and Adam."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from neoteny.plasticity.interventions.intervention import Intervention, Metadata, hidden_layers
from neoteny.plasticity.interventions.ranges import Range
from neoteny.plasticity.interventions.traits import Trait
from neoteny.plasticity.isometry import gram_deviation

if TYPE_CHECKING:
    from neoteny.plasticity.layers import IsoLinear
    from neoteny.plasticity.learner import Learner
    from neoteny.plasticity.networks import Network, Observations


@dataclass
class Penalty(Intervention):
    """A weighted penalty on the parameters; its activity is the penalty summed over updates."""

    static: ClassVar[bool] = True
    traits: ClassVar[Set[Trait]] = {Trait.PENALIZES_WEIGHTS}
    limits: ClassVar[Mapping[str, str]] = {"weight": "at least 0"}

    weight: float = 0.0
    """Weight of the penalty."""

    def loss(self, learner: Learner, obs: Observations) -> Tensor | float:
        """The weighted penalty of each member, (M,)."""
        if self.weight == 0:
            return 0.0
        penalty = self.weight * torch.stack(list(self.terms(learner))).sum(0)
        self.state["activity"] += penalty.detach()
        return penalty

    @abstractmethod
    def terms(self, learner: Learner) -> Iterator[Tensor]:
        """The penalty's summands, each (M,)."""


@dataclass
class GramPenalty(Penalty):
    """The squared distance of each hidden layer's smaller Gram matrix from a multiple of one."""

    traits: ClassVar[Set[Trait]] = {
        Trait.PULLS_TO_ISOMETRY,
        Trait.INITIAL_SINGULAR_VALUES,
        Trait.WHOLE_LAYER,
    }
    limits: ClassVar[Mapping[str, str]] = {"scale": "above 0"}

    scale: float | None = None
    """Target squared singular value; none: each layer's squared gain, at which an orthogonal
    initialisation is at rest. Another one, such as 1 where ReLU's gain is sqrt 2, has a gradient
    from the first update on, which takes up the clipped norm of the task's."""

    def terms(self, learner: Learner) -> Iterator[Tensor]:
        """Each hidden layer's penalty."""
        for layer in hidden_layers(learner.network):
            scale = layer.gain**2 if self.scale is None else self.scale
            yield self.share(layer) * gram_deviation(layer.weight, scale, member_dims=1)

    def share(self, layer: IsoLinear) -> float:
        """Factor of a layer's penalty."""
        return 1.0


@dataclass
class IsometryLoss(GramPenalty):
    """The isometry regulariser in the loss: clipped and rescaled with the task's gradient."""

    name: ClassVar[str] = "isometry_loss"
    metadata: ClassVar[Metadata] = Metadata(
        "Rosseau, Müller, Nowé, ICML 2026, Eq. 16",
        cost="3 products per layer",
    )
    ranges: ClassVar[Mapping[str, Range]] = {"weight": Range(1e-5, 1.0)}

    weight: float = 0.2
    """Weight of the summed penalty; 0.2 is the authors' value for the coupled form."""


@dataclass
class Parseval(GramPenalty):
    """Pull rows to be orthogonal with the norm of the initialisation, more so in narrow layers.

    For more outputs than inputs the rows cannot be orthogonal; the smaller Gram matrix is used,
    which leaves the gradient as it is.
    """

    name: ClassVar[str] = "parseval"
    metadata: ClassVar[Metadata] = Metadata(
        "Chung, Cherif, Meger, Precup, arXiv:2412.07224",
        cost="3 products per layer",
    )
    ranges: ClassVar[Mapping[str, Range]] = {"weight": Range(1e-6, 0.1)}

    weight: float = 1e-3
    """Weight of a layer of 64 units; it falls with the square of the width."""

    def share(self, layer: IsoLinear) -> float:
        """Falls with the square of the layer's width."""
        return float((64 / layer.weight.shape[1]) ** 2)


@dataclass
class L2(Intervention):
    """Coupled weight decay: `weight` times the weights joins the gradient, ahead of Adam.

    It is clipped with the gradient, as a penalty in the loss is.
    """

    name: ClassVar[str] = "l2"
    traits: ClassVar[Set[Trait]] = {
        Trait.PENALIZES_WEIGHTS,
        Trait.COUPLED_DECAY,
        Trait.ONLY_SHRINKS,
    }
    static: ClassVar[bool] = True
    metadata: ClassVar[Metadata] = Metadata(
        "Krogh & Hertz, NIPS 1991; in Adam as in Dohare et al., Nature 632 (2024)",
        dqn="weight=1e-4",
    )
    limits: ClassVar[Mapping[str, str]] = {"weight": "at least 0"}
    ranges: ClassVar[Mapping[str, Range]] = {"weight": Range(1e-6, 0.1)}

    weight: float = 1e-3
    """Decay lambda of the penalty lambda / 2 times the squared norm."""
    everything: bool = False
    """Decay heads, biases and norms, too, and not the hidden layers' weights alone. What a
    Gaussian policy explores by never decays."""

    @torch.no_grad()
    def after_backward(self, learner: Learner, obs: Observations) -> None:
        """Add the penalty's gradient."""
        if self.weight == 0:
            return
        for parameter in _decaying(learner.network, self.everything):
            if parameter.grad is not None:
                parameter.grad.add_(parameter, alpha=self.weight)
        self.state["activity"] += 1


@dataclass
class L2Init(Penalty):
    """Pull every parameter towards its value at initialisation by the squared distance."""

    name: ClassVar[str] = "l2_init"
    traits: ClassVar[Set[Trait]] = {Trait.REFERS_TO_INITIAL_WEIGHTS}
    metadata: ClassVar[Metadata] = Metadata(
        "Kumar, Marklund, Van Roy, arXiv:2308.11958",
        state="initial parameters",
        cost="1 pass",
    )
    ranges: ClassVar[Mapping[str, Range]] = {"weight": Range(1e-6, 0.1)}

    weight: float = 1e-3
    """Weight of the summed squared distance."""
    hidden_kernels_only: bool = False
    """Leave biases and heads out, as the isometry paper's code does."""

    def start(self, learner: Learner) -> None:
        """Remember the initial parameters, outside the network so that no optimiser sees them."""
        super().start(learner)
        for index, parameter in enumerate(self._parameters(learner)):
            self.state[f"initial{index}"] = parameter.detach().clone()

    def terms(self, learner: Learner) -> Iterator[Tensor]:
        """Each parameter's squared distance to its initial value."""
        for index, parameter in enumerate(self._parameters(learner)):
            yield (parameter - self.state[f"initial{index}"]).square().flatten(1).sum(1)

    def _parameters(self, learner: Learner) -> list[Tensor]:
        return _decaying(learner.network, everything=not self.hidden_kernels_only)


@dataclass
class WassersteinInit(Penalty):
    """Pull the distribution of each hidden layer's weights towards the initial one.

    Each layer keeps its own. The squared distance of the sorted weights to the sorted initial
    weights lets weights trade places freely. Biases, all equal at the start, have no distribution
    to keep and are left out.
    """

    name: ClassVar[str] = "wasserstein_init"
    traits: ClassVar[Set[Trait]] = {Trait.REFERS_TO_INITIAL_WEIGHTS}
    metadata: ClassVar[Metadata] = Metadata(
        "Lewandowski et al., arXiv:2312.00246",
        state="initial weights, sorted",
        cost="1 sort per layer",
    )
    ranges: ClassVar[Mapping[str, Range]] = {"weight": Range(1e-6, 0.1)}

    weight: float = 1e-3
    """Weight of the summed squared distance."""
    heads: bool = False
    """Keep the heads' distributions, too, as the paper does."""

    def start(self, learner: Learner) -> None:
        """Sort the initial weights once."""
        super().start(learner)
        for index, layer in enumerate(_layers(learner.network, self.heads)):
            self.state[f"sorted{index}"] = layer.weight.detach().flatten(1).sort().values

    def terms(self, learner: Learner) -> Iterator[Tensor]:
        """Each hidden layer's squared 2-Wasserstein distance times its number of weights."""
        for index, layer in enumerate(_layers(learner.network, self.heads)):
            weights = layer.weight.flatten(1).sort().values
            yield (weights - self.state[f"sorted{index}"]).square().sum(1)


@dataclass
class Spectral(Penalty):
    """Pull every hidden layer's largest singular value to 1, and its biases to 0.

    The singular vectors are carried from update to update, so that a few steps of power iteration
    each keep up with the weights: of an orthogonal initialisation, whose singular values are all
    alike, one step an update reads 0.92 to 0.96 of the largest over the first tasks, four steps
    0.97 to 0.99. Norms are left alone.
    """

    name: ClassVar[str] = "spectral"
    traits: ClassVar[Set[Trait]] = {Trait.UNIT_SINGULAR_VALUES, Trait.WHOLE_LAYER}
    metadata: ClassVar[Metadata] = Metadata(
        "Lewandowski et al., arXiv:2406.06811",
        state="2 vectors per layer",
        cost="10 matrix-vector products per layer",
    )
    limits: ClassVar[Mapping[str, str]] = {
        "exponent": "from 1 to 100",
        "iterations": "from 1 to 1,000",
    }
    ranges: ClassVar[Mapping[str, Range]] = {"weight": Range(1e-6, 0.1)}

    weight: float = 1e-3
    """Weight of the summed penalties (sigma^k - 1)^2 and |bias|^2k."""
    exponent: int = 2
    """The k above."""
    iterations: int = 4
    """Steps of power iteration per update."""
    heads: bool = False
    """Pull the heads' singular values and biases, too, as the paper does."""

    def start(self, learner: Learner) -> None:
        """Find the initial singular vectors."""
        super().start(learner)
        generators = learner.generators("intervention/spectral", 0)
        for index, layer in enumerate(_layers(learner.network, self.heads)):
            draws = [torch.randn(layer.weight.shape[1], generator=g) for g in generators]
            self.state[f"left{index}"] = F.normalize(torch.stack(draws), dim=1).to(layer.weight)
            self.state[f"right{index}"] = torch.zeros_like(layer.weight[:, 0].flatten(1))
            self.power_iterate(index, layer.weight.flatten(2), 30)

    def terms(self, learner: Learner) -> Iterator[Tensor]:
        """Each hidden layer's distance of its largest singular value from 1; its bias's norm."""
        for index, layer in enumerate(_layers(learner.network, self.heads)):
            weight = layer.weight.flatten(2)
            left, right = self.power_iterate(index, weight, self.iterations)
            # The vectors are constants: the derivative of sigma is left right^T.
            sigma = torch.einsum("mo,moi,mi->m", left, weight, right)
            yield (sigma**self.exponent - 1).square()
            if layer.bias is not None:
                yield layer.bias.square().sum(1) ** self.exponent

    @torch.no_grad()
    def power_iterate(self, index: int, weight: Tensor, iterations: int) -> tuple[Tensor, Tensor]:
        """Improve the singular vectors of the largest singular value: (M, out), (M, in)."""
        left, right = self.state[f"left{index}"], self.state[f"right{index}"]
        for _ in range(iterations):
            right.copy_(F.normalize(torch.einsum("moi,mo->mi", weight, left), dim=1))
            left.copy_(F.normalize(torch.einsum("moi,mi->mo", weight, right), dim=1))
        return left, right


def _layers(network: Network, heads: bool) -> list[IsoLinear]:
    """The hidden layers, and the heads if asked."""
    layers = hidden_layers(network)
    return layers + [branch.head for branch in network.branches.values()] if heads else layers


def _decaying(network: Network, everything: bool) -> list[Tensor]:
    """All parameters but a policy's log standard deviations, or the hidden layers' weights."""
    if everything:
        return [*network.weights()]
    return [layer.weight for layer in hidden_layers(network)]
