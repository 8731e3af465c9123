"""The hidden layers of a branch, for M members at once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neoteny.agents.network_spec import NetworkSpec
from neoteny.agents.sparse import SparseBatch, sparse_linear
from neoteny.agents.stacked import KERNELS
from neoteny.plasticity.layers import ACTIVATIONS, IsoLinear

__all__ = ["Body", "MemberLayerNorm", "Observations"]

Observations = Tensor | SparseBatch
"""A batch (M, B, *shape), or its ones."""


class MemberLayerNorm(nn.Module):
    """Layer normalisation over features with one affine map per member.

    Args:
        members: Number of members M.
        features: Number of normalised features.
    """

    def __init__(self, members: int, features: int) -> None:
        super().__init__()
        self.features = features
        self.weight = nn.Parameter(torch.ones(members, features))
        self.bias = nn.Parameter(torch.zeros(members, features))

    def reset_parameters(self) -> None:
        """Restore the identity map, in place."""
        with torch.no_grad():
            self.weight.fill_(1.0)
            self.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (M, B, features)."""
        normed = F.layer_norm(x, (self.features,))
        return normed * self.weight.unsqueeze(1) + self.bias.unsqueeze(1)


class Body(nn.Module):
    """The hidden layers of a branch.

    Args:
        inputs: Number of input features.
        spec: Widths, activation, bias, norm and gain.
        members: Number of members M.
        generators: One generator per member for the initial weights.
    """

    def __init__(
        self, inputs: int, spec: NetworkSpec, members: int, generators: Sequence[torch.Generator]
    ) -> None:
        super().__init__()
        activation = ACTIVATIONS[spec.activation]
        self.activation = activation.function
        self.layers = nn.ModuleList()
        self.norms = nn.ModuleList()
        for width in spec.hidden:
            units = width // activation.fan
            self.layers.append(
                IsoLinear(
                    inputs,
                    units,
                    bias=spec.bias,
                    members=members,
                    gain=spec.hidden_gain,
                    role="hidden",
                    generator=generators,
                )
            )
            self.norms.append(
                MemberLayerNorm(members, units) if spec.norm == "layer" else nn.Identity()
            )
            inputs = width
        self.outputs = inputs
        self.plain = spec.norm == "none" and spec.activation in KERNELS

    @property
    def hidden(self) -> list[IsoLinear]:
        """The layers, typed."""
        return [layer for layer in self.layers if isinstance(layer, IsoLinear)]

    def _apply_layer(self, index: int, layer: IsoLinear, x: Observations) -> Tensor:
        """A hidden layer's input to its activation."""
        out = sparse_linear(x, layer.weight, layer.bias) if isinstance(x, SparseBatch) else layer(x)
        normed: Tensor = self.norms[index](out)
        return normed

    def preactivations(self, x: Observations) -> list[Tensor]:
        """What each hidden layer's activation is applied to, from the first layer to the last."""
        preactivations = []
        for index, layer in enumerate(self.hidden):
            preactivations.append(self._apply_layer(index, layer, x))
            x = self.activation(preactivations[-1])
        return preactivations

    def features(self, x: Observations) -> list[Tensor]:
        """Every hidden activation of (M, B, inputs), from the first layer to the last."""
        features = []
        for index, layer in enumerate(self.hidden):
            x = self.activation(self._apply_layer(index, layer, x))
            features.append(x)
        return features

    def forward(self, x: Observations) -> Tensor:
        """The last hidden activation, (M, B, outputs)."""
        return self.features(x)[-1]
