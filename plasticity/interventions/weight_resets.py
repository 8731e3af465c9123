"""Selective reinitialisation: single weights are drawn anew, whatever unit they belong to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from neoteny.plasticity.interventions.intervention import Metadata
from neoteny.plasticity.interventions.ranges import Range
from neoteny.plasticity.interventions.resets import Timed
from neoteny.plasticity.interventions.traits import Trait
from neoteny.plasticity.optimizer_settings import OptimizerSettings, Tasks, Time
from neoteny.plasticity.surgery import assign, fresh_parameters

if TYPE_CHECKING:
    from neoteny.plasticity.learner import Learner
    from neoteny.plasticity.networks import Observations


@dataclass
class SelectiveReinit(Timed):
    """Draw the least useful single weights anew, a share of every layer at a time.

    A weight's utility is |weight x gradient|, summed over the updates of a period, by which
    removing it would change the loss to first order. At the end of a period as many of the least
    useful entries of each hidden layer's weights, and of its biases and norm, as are due take
    entries of a new initial draw; ties are broken at random. Nothing is asked of activations or of
    outgoing weights, so it works with norms, skips and GroupSort.
    """

    name: ClassVar[str] = "swr"
    traits: ClassVar[Set[Trait]] = {
        Trait.DRAWS_WEIGHTS,
        Trait.REDRAWS_WEIGHTS,
        Trait.READS_GRADIENTS,
    }
    metadata: ClassVar[Metadata] = Metadata(
        "Hernandez-Garcia, Dohare, Luo, Sutton, arXiv:2508.00212",
        state="utility of each weight",
        cost="1 pass; 1 sort a period",
    )
    limits: ClassVar[Mapping[str, str]] = {"lifetime": "above 0"}
    ranges: ClassVar[Mapping[str, Range]] = {
        "lifetime": Range(Tasks(0.2), Tasks(40)),
        "period": Range(Tasks(0.01), Tasks(0.5)),
    }
    not_at_switches: ClassVar[str] = "it judges weights over a period"

    period: Time | None = Tasks(0.02)
    lifetime: Time = Tasks(4)
    """Time in which as many weights are drawn anew as there are."""
    heads: bool = False
    """Draw the heads' weights and biases anew, too."""

    def start(self, learner: Learner) -> None:
        """Utilities start at zero."""
        super().start(learner)
        self._parameters = self._listed(learner)
        for index, parameter in enumerate(self._parameters):
            self.state[f"utility{index}"] = torch.zeros_like(parameter)

    def strength(self, settings: OptimizerSettings) -> dict[str, float]:
        """Share of the weights that is drawn anew per update."""
        return {"redraw_rate": 1 / settings.exact_updates(self.lifetime)}

    @torch.no_grad()
    def after_backward(self, learner: Learner, obs: Observations) -> None:
        """Take the update's |weight x gradient| into the utilities."""
        used = [
            (parameter, parameter.grad, self.state[f"utility{index}"])
            for index, parameter in enumerate(self._parameters)
            if parameter.grad is not None
        ]
        parameters, gradients, utilities = zip(*used, strict=True)
        products = torch._foreach_mul(parameters, gradients)
        torch._foreach_abs_(products)
        torch._foreach_add_(utilities, products)

    def edit(self, learner: Learner, obs: Observations | None) -> None:
        """Draw the least useful entries of every parameter anew; measure all from zero again."""
        generators = self.draws(learner)
        fresh = [
            pair
            for layer, norm in self._layers(learner)
            for pair in fresh_parameters(layer, generators, norm)
        ]
        for index, (parameter, value) in enumerate(fresh):
            utility = self.state[f"utility{index}"]
            count = self.due(learner, parameter[0].numel())
            if count:
                assign(learner, parameter, value, _least(utility, count, generators))
                self.state["activity"] += count
            utility.zero_()
        learner.edited()

    def due(self, learner: Learner, entries: int) -> int:
        """Entries of a parameter to draw anew now; fractions add up from edit to edit."""
        every = self.acts_every(learner.settings)
        assert every is not None
        edits = learner.updates // every
        share = entries * min(1.0, every * self.strength(learner.settings)["redraw_rate"])
        return int(edits * share) - int((edits - 1) * share)

    @torch.no_grad()
    def edited(self, learner: Learner, layer: Any = None, units: Tensor | None = None) -> None:
        """Measure a layer that another intervention has drawn from zero again."""
        own = set() if layer is None else set(map(id, layer.parameters()))
        for index, parameter in enumerate(self._parameters):
            if id(parameter) in own:
                self.state[f"utility{index}"].zero_()

    def _layers(self, learner: Learner) -> Iterator[tuple[Any, Any]]:
        """Every layer with the norm that follows it, None after a head."""
        for body in learner.network.bodies:
            yield from zip(body.hidden, body.norms, strict=True)
        if self.heads:
            yield from ((branch.head, None) for branch in learner.network.branches.values())

    def _listed(self, learner: Learner) -> list[Tensor]:
        """The parameters in the order of `fresh_parameters`."""
        found: list[Tensor] = []
        for layer, norm in self._layers(learner):
            found += [layer.weight] if layer.bias is None else [layer.weight, layer.bias]
            found += [] if norm is None else norm.parameters()
        return found


def _least(utility: Tensor, count: int, generators: Sequence[torch.Generator]) -> Tensor:
    """Mask of each member's `count` entries of least utility, ties broken at random."""
    flat = utility.flatten(1)
    size = flat.shape[1]
    shuffle = torch.stack([torch.randperm(size, generator=generator) for generator in generators])
    shuffle = shuffle.to(flat.device)
    chosen = flat.gather(1, shuffle).argsort(dim=1, stable=True)[:, :count]
    mask = torch.zeros_like(flat, dtype=torch.bool)
    return mask.scatter_(1, shuffle.gather(1, chosen), True).view_as(utility)
