"""AdamO with a learnt scale per hidden layer."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from neoteny.plasticity.interventions.intervention import Metadata, hidden_layers
from neoteny.plasticity.interventions.optimizers import AdamOIntervention
from neoteny.plasticity.interventions.ranges import Range
from neoteny.plasticity.interventions.traits import Trait
from neoteny.plasticity.optimizer_settings import OptimizerSettings, Tasks

if TYPE_CHECKING:
    from neoteny.plasticity.learner import Learner
    from neoteny.plasticity.networks import Network

PARAMETER = "hidden_scales"


@dataclass
class ScaleAdamO(AdamOIntervention):
    """AdamO in which each hidden layer computes alpha (V x + c), with V isometric and alpha learnt.

    The network's weights and biases are the products alpha V and alpha c, so that code that reads
    the network needs no change. For the optimiser's step alone they are taken apart into V, c and
    alpha, whose gradients follow by the chain rule, clipped like the network's.
    """

    name: ClassVar[str] = "scale_adamo"
    traits: ClassVar[Set[Trait]] = {Trait.SCALES_LAYERS}
    static: ClassVar[bool] = False
    metadata: ClassVar[Metadata] = Metadata(
        "the scale-AdamO of the authors' rejax (2026)",
        state="1 scale per layer",
        cost="2 products and 4 passes per layer",
    )
    limits: ClassVar[Mapping[str, str]] = {"weight": "at least 0"}
    ranges: ClassVar[Mapping[str, Range]] = {
        "half_life": Range(Tasks(0.05), Tasks(20)),
        "weight": Range(1e-4, 1.0),
    }

    scale: float = 1.0
    """Target squared singular value; a free one would be learnt twice."""
    weight: float = 0.01
    """Weight of the penalty (log |alpha|)^2 on every scale."""

    def optimizer(self, network: Network, settings: OptimizerSettings) -> Optimizer:
        """AdamO, with the scales (M, layers) as one more of the network's parameters."""
        device = next(network.parameters()).device
        scales = torch.ones(network.members, len(hidden_layers(network)), device=device)
        network.register_parameter(PARAMETER, nn.Parameter(scales))
        return super().optimizer(network, settings)

    def start(self, learner: Learner) -> None:
        """Hook into the optimiser."""
        super().start(learner)
        layers = hidden_layers(learner.network)
        parameters = [
            [parameter for parameter in (layer.weight, layer.bias) if parameter is not None]
            for layer in layers
        ]
        scales = learner.network.get_parameter(PARAMETER)
        learner.optimizer.register_step_pre_hook(lambda *_: self._take_apart(scales, parameters))
        learner.optimizer.register_step_post_hook(lambda *_: _multiply(scales, parameters))

    @torch.no_grad()
    def _take_apart(self, scales: nn.Parameter, layers: list[list[nn.Parameter]]) -> None:
        """Divide weights by their scale; give weights and scales the gradients they then have."""
        gradients = []
        for parameters, scale in zip(layers, scales.unbind(1), strict=True):
            gradient = self.weight * 2 * scale.abs().add(1e-8).log() / scale
            for parameter in parameters:
                factor = _leading(scale, parameter)
                parameter.div_(factor)
                if parameter.grad is not None:
                    gradient += (parameter.grad * parameter).flatten(1).sum(1)
                    parameter.grad.mul_(factor)
            gradients.append(gradient)
        scales.grad = torch.stack(gradients, 1)


@torch.no_grad()
def _multiply(scales: Tensor, layers: list[list[nn.Parameter]]) -> None:
    """Put the products of scales, weights and biases back into the network."""
    for parameters, scale in zip(layers, scales.unbind(1), strict=True):
        for parameter in parameters:
            parameter.mul_(_leading(scale, parameter))


def _leading(scale: Tensor, like: Tensor) -> Tensor:
    return scale.view(-1, *[1] * (like.dim() - 1))
