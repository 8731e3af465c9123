"""Interventions that rewrite the step of whichever optimiser the learner has."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from neoteny.core.rng import gaussian, member_keys
from neoteny.plasticity.interventions.intervention import Intervention, Metadata
from neoteny.plasticity.interventions.ranges import Range
from neoteny.plasticity.interventions.traits import Trait
from neoteny.plasticity.optimizer_settings import OptimizerSettings, Tasks, Time

if TYPE_CHECKING:
    from neoteny.plasticity.learner import Learner

_SMALLEST = torch.finfo(torch.float32).tiny


@dataclass
class StepWrapper(Intervention):
    """Rewrites each step of the optimiser from the parameters before and after it.

    It hooks into the optimiser itself, so that the edits of other interventions are never taken for
    part of the step. The gradients it sees are clipped.
    """

    traits: ClassVar[Set[Trait]] = {Trait.REWRITES_STEPS}

    def start(self, learner: Learner) -> None:
        """Hook into the optimiser."""
        super().start(learner)
        parameters = self.parameters(learner)
        before = [torch.empty_like(parameter) for parameter in parameters]

        def remember(*_: Any) -> None:
            torch._foreach_copy_(before, [parameter.detach() for parameter in parameters])

        def rewrite(*_: Any) -> None:
            with torch.no_grad():
                self.rewrite(learner, parameters, before)
            self.state["activity"] += 1

        learner.optimizer.register_step_pre_hook(remember)
        learner.optimizer.register_step_post_hook(rewrite)

    def parameters(self, learner: Learner) -> list[Tensor]:
        """The parameters whose step is rewritten."""
        return [*learner.network.parameters()]

    @abstractmethod
    def rewrite(self, learner: Learner, parameters: list[Tensor], before: list[Tensor]) -> None:
        """Replace the step from `before` to `parameters`, in place."""


@dataclass
class UPGD(StepWrapper):
    """Utility-based perturbed gradient descent: useful weights move less, useless ones wander.

    A weight's utility is the running mean of the loss it saves to first order, -gradient times
    weight. With the Adam step d and noise e, theta <- (1 - r) theta + 2 (1 - w) (d - lr e)
    where w = sigmoid(utility / largest utility of the member) and r is the rate of decay; a weight
    of no utility takes Adam's step. While no utility is positive, weights of negative utility take
    twice that.
    """

    name: ClassVar[str] = "upgd"
    traits: ClassVar[Set[Trait]] = {
        Trait.ONE_LEARNING_RATE,
        Trait.READS_GRADIENTS,
        Trait.DECOUPLED_DECAY,
    }
    metadata: ClassVar[Metadata] = Metadata(
        "Elsayed & Mahmood, arXiv:2404.00781",
        state="utility of each parameter",
        cost="4 passes and noise",
    )
    limits: ClassVar[Mapping[str, str]] = {
        "sigma": "at least 0",
        "half_life": "above 0",
        "decay": "at least 0",
        "beta": "in [0, 1]",
    }
    exclusive: ClassVar[Sequence[tuple[str, str]]] = (("decay", "half_life"),)
    ranges: ClassVar[Mapping[str, Range]] = {
        "half_life": Range(Tasks(0.05), Tasks(20)),
        "sigma": Range(1e-3, 1.0),
    }

    sigma: float = 0.1
    """Standard deviation of the noise, in units of the learning rate. The authors' 1e-3 adds some
    0.02 % of a weight in a task of the presets here, this 1 to 4 %."""
    half_life: Time = Tasks(5)
    """Time in which decay alone halves a parameter; all of them decay."""
    decay: float | None = None
    """Decay lambda: each update multiplies by 1 - lr * lambda; set, it decides instead."""
    beta: float = 0.999
    """Decay rate per update of the utility's running mean."""

    def parameters(self, learner: Learner) -> list[Tensor]:
        """All but a policy's log standard deviations, which neither decay nor wander."""
        return [*learner.network.weights()]

    def start(self, learner: Learner) -> None:
        """Utilities start at zero."""
        super().start(learner)
        for index, parameter in enumerate(self.parameters(learner)):
            self.state[f"utility{index}"] = torch.zeros_like(parameter)
        device = learner.alive.device
        self.state["draws"] = torch.zeros((), dtype=torch.int64, device=device)
        self.state["keys"] = member_keys(learner.generators("intervention/upgd", 0), device)

    def strength(self, settings: OptimizerSettings) -> dict[str, float]:
        """Rate at which parameters decay, per update."""
        if self.decay is not None:
            return {"decay_rate": settings.learning_rate * self.decay}
        return {"decay_rate": settings.rate(self.half_life)}

    def edited(self, learner: Learner, layer: Any = None, units: Tensor | None = None) -> None:
        """New units have no utility yet."""
        for index, parameter in enumerate(self.parameters(learner)):
            if layer is not None and any(parameter is own for own in layer.parameters()):
                utility = self.state[f"utility{index}"]
                if units is None:
                    utility.zero_()
                else:
                    utility.masked_fill_(units.view(*units.shape, *[1] * (utility.dim() - 2)), 0.0)

    def rewrite(self, learner: Learner, parameters: list[Tensor], before: list[Tensor]) -> None:
        """Gate the step by utility, with noise and decay."""
        rate = self.strength(learner.settings)["decay_rate"]
        beta = self.beta
        utilities = [self.state[f"utility{index}"] for index in range(len(parameters))]
        for utility, parameter, old in zip(utilities, parameters, before, strict=True):
            if parameter.grad is not None:
                utility.mul_(beta).addcmul_(parameter.grad, old, value=beta - 1)
        largest = torch.stack([utility.flatten(1).amax(1) for utility in utilities]).amax(0)
        largest = largest.clamp_(min=_SMALLEST)
        lr = learner.optimizer.param_groups[0]["lr"]
        noise = self._noise(parameters)
        for utility, parameter, old, draw in zip(utilities, parameters, before, noise, strict=True):
            scaled = utility / largest.view(-1, *[1] * (utility.dim() - 1))
            step = parameter - old - self.sigma * lr * draw
            gate = 2 * torch.sigmoid(-scaled)  # 2 (1 - w)
            parameter.copy_(old * (1 - rate) + gate * step)

    def _noise(self, parameters: list[Tensor]) -> list[Tensor]:
        """Standard normal numbers for every parameter."""
        self.state["draws"] += 1
        sizes = [parameter[0].numel() for parameter in parameters]
        flat = gaussian(self.state["keys"], self.state["draws"], sum(sizes))
        parts = torch.split(flat, sizes, dim=1)
        return [part.view_as(like) for part, like in zip(parts, parameters, strict=True)]


@dataclass
class Trac(StepWrapper):
    """TRAC: scale the distance from the initial weights, tuned online without hyper-parameters.

    The optimiser's steps add up to a displacement D; the weights are reference + S D, where the
    scale S of each member follows from the products h of gradient and displacement. D is kept as it
    is, not recovered from the weights, which loses it to rounding while S is 1e-8. What others do
    to the weights between two steps moves the reference. DQN hardly learns with it (CartPole: a
    return of 15, against 165 without, in two seeds).
    """

    name: ClassVar[str] = "trac"
    metadata: ClassVar[Metadata] = Metadata(
        "Muppidi et al., arXiv:2405.16642",
        state="reference and displacement of each parameter; 12 numbers per member",
        cost="6 passes",
    )
    limits: ClassVar[Mapping[str, str]] = {"initial_scale": "above 0", "eps": "above 0"}

    betas: ClassVar[tuple[float, ...]] = (0.9, 0.99, 0.999, 0.9999, 0.99999, 0.999999)
    ranges: ClassVar[Mapping[str, Range]] = {"initial_scale": Range(1e-10, 1e-4)}

    initial_scale: float = 1e-8
    """Scale at which the tuners start."""
    eps: float = 1e-8
    """Added to the root of the second moment of h."""

    def start(self, learner: Learner) -> None:
        """The reference is the initial network."""
        super().start(learner)
        for index, parameter in enumerate(learner.network.parameters()):
            self.state[f"reference{index}"] = parameter.detach().clone()
            self.state[f"displacement{index}"] = torch.zeros_like(parameter)
        members, device = learner.network.members, learner.alive.device
        self.state["scale"] = torch.zeros(members, device=device)
        self.state["variance"] = torch.zeros(len(self.betas), members, device=device)
        self.state["sum"] = torch.full_like(self.state["variance"], 1e-8)
        self.state["beta"] = torch.tensor(self.betas, device=device).unsqueeze(1)

    def rewrite(self, learner: Learner, parameters: list[Tensor], before: list[Tensor]) -> None:
        """Put the weights at the reference plus the scaled displacement."""
        count = range(len(parameters))
        reference = [self.state[f"reference{index}"] for index in count]
        displacement = [self.state[f"displacement{index}"] for index in count]
        old_scale, product = self.state["scale"], torch.zeros_like(self.state["scale"])
        for index in count:
            gradient = parameters[index].grad
            if gradient is not None:
                product += (gradient * displacement[index]).flatten(1).sum(1)
            expected = _at(reference[index], displacement[index], old_scale)
            reference[index] += before[index] - expected  # 0 unless others have edited the weights
            displacement[index] += parameters[index] - before[index]
        scale = self._tune(product)
        for index in count:
            parameters[index].copy_(_at(reference[index], displacement[index], scale))

    def _tune(self, product: Tensor) -> Tensor:
        """The new scale, (M,), from the product of gradient and displacement."""
        beta, variance, total = (self.state[name] for name in ("beta", "variance", "sum"))
        variance.mul_(beta.square()).add_(product.square())
        total.mul_(beta).sub_(product)
        ratio = total / (math.sqrt(2) * variance.sqrt() + self.eps)
        scales = self.initial_scale * erfi(ratio.double()) / _ERFI_UNIT
        self.state["scale"] = scales.sum(0).clamp(min=0).to(product.dtype)
        return self.state["scale"]


def erfi(x: Tensor) -> Tensor:
    """The imaginary error function of float64 numbers, which are clamped to [-9, 9].

    Beyond, the result would leave the range of float32.

    Source: Rybicki, "Dawson's integral and the sampling theorem", Computers in Physics 3 (1989),
        with step 1/4: the error is below rounding.
    """
    x = x.clamp(-9, 9)
    points = torch.arange(1, 65, 2, device=x.device, dtype=x.dtype) / 4
    terms = (2 * points * x.unsqueeze(-1) - points.square()).exp()
    terms = terms - (-2 * points * x.unsqueeze(-1) - points.square()).exp()
    return (terms / (4 * points)).sum(-1) * (2 / math.pi)


_ERFI_UNIT = float(erfi(torch.tensor(math.sqrt(0.5), dtype=torch.float64)))


def _at(reference: Tensor, displacement: Tensor, scale: Tensor) -> Tensor:
    """The weights at a scale (M,)."""
    return reference + displacement * scale.view(-1, *[1] * (displacement.dim() - 1))
