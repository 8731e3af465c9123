"""Bodies of hidden layers, and branches of a body and a head, for M members at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neoteny.plasticity.layers import ACTIVATIONS, IsoConv2d, IsoLayer, IsoLinear
from neoteny.plasticity.network_spec import HeadSpec, LayerSpec, NetworkSpec
from neoteny.plasticity.sparse import SparseBatch, sparse_linear

Observations = Tensor | SparseBatch
"""A batch (M, B, *shape), or its ones."""

UNITS = 2
"""Axis of the units in features (M, B, n) and in images (M, B, n, height, width)."""


class MemberLayerNorm(nn.Module):
    """Layer normalisation of each sample with one affine map per member.

    An image is normalised over channels and positions together, which keeps what distinguishes its
    positions; the affine map has one gain and one offset a channel.

    Args:
        members: Number of members M.
        features: Number of features or channels.
    """

    def __init__(self, members: int, features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(members, features))
        self.bias = nn.Parameter(torch.zeros(members, features))

    def reset_parameters(self) -> None:
        """Restore the identity map, in place."""
        with torch.no_grad():
            self.weight.fill_(1.0)
            self.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (M, B, features) or (M, B, channels, height, width)."""
        members, features = self.weight.shape
        affine = (members, 1, features, *[1] * (x.dim() - 3))
        return F.layer_norm(x, x.shape[2:]) * self.weight.view(affine) + self.bias.view(affine)


class Body(nn.Module):
    """The hidden layers of a branch: convolutions, if any, then linear layers.

    A layer maps its input x to act(norm(W x + b)). In a residual network, the n layers for which
    both have one shape hand on x + act(norm(W x + b)) / n; x is never the observation.

    Args:
        spec: Torso, widths, activation, bias, norm, skips and gain.
        observation_shape: Shape of one observation.
        members: Number of members M.
        generators: One generator per member for the initial weights.

    Raises:
        ValueError: If the observations do not suit the torso.
    """

    def __init__(
        self,
        spec: NetworkSpec,
        observation_shape: Sequence[int],
        members: int,
        generators: Sequence[torch.Generator],
    ) -> None:
        super().__init__()
        activation = ACTIVATIONS[spec.activation]
        plan = spec.layers(observation_shape)
        self.activation = activation.function
        self.layers = nn.ModuleList()
        self.hidden: list[IsoLayer] = []
        """The layers, typed."""
        self.norms = nn.ModuleList()
        for layer in plan:
            units = layer.outputs[0] // activation.fan
            self.hidden.append(_make(layer, units, spec, members, generators))
            self.norms.append(
                MemberLayerNorm(members, units) if spec.norm == "layer" else nn.Identity()
            )
        self.layers.extend(self.hidden)
        skips = sum(layer.skip for layer in plan)
        self.shares = [1 / skips if layer.skip else None for layer in plan]
        self.flattens = [layer.flattens for layer in plan]
        self.activates = [True] * len(plan)
        """False for layers without an activation."""
        self.outputs = plan[-1].outputs[0]

    def steps(self, x: Observations) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Pre-activation, activation and features of every layer; the next one reads the last."""
        for layer, norm, share, flatten in zip(
            self.hidden, self.norms, self.shares, self.flattens, strict=True
        ):
            if isinstance(x, SparseBatch):
                z = norm(sparse_linear(x, layer.weight, layer.bias))
            else:
                z = norm(layer(x.flatten(UNITS) if flatten else x))
            h = self.activation(z, UNITS)
            x = h if share is None or isinstance(x, SparseBatch) else x + share * h
            yield z, h, x

    def preactivations(self, x: Observations) -> list[Tensor]:
        """Inputs of each hidden layer's activation, from the first layer to the last."""
        return [z for z, _, _ in self.steps(x)]

    def activations(self, x: Observations) -> list[Tensor]:
        """Activations of the units of each hidden layer; a residual one adds its input to them."""
        return [h for _, h, _ in self.steps(x)]

    def features(self, x: Observations) -> list[Tensor]:
        """Outputs of each hidden layer, (M, B, features) or (M, B, channels, H, W)."""
        return [out for _, _, out in self.steps(x)]

    def forward(self, x: Observations) -> Tensor:
        """The last layer's features, (M, B, outputs)."""
        return self.features(x)[-1]

    def reset_parameters(self, generators: Sequence[torch.Generator]) -> None:
        """Draw the layers anew, in place, in the order of construction."""
        for layer, norm in zip(self.hidden, self.norms, strict=True):
            layer.reset_parameters(generators)
            if isinstance(norm, MemberLayerNorm):
                norm.reset_parameters()


class Branch(nn.Module):
    """A body and its head; of a Gaussian policy also log standard deviations, (M, outputs).

    These are no weights: nothing decays, clips, perturbs or keeps them isometric.

    Args:
        body: The hidden layers, which other branches may read, too.
        spec: What the body was made from.
        head: The output layer.
        members: Number of members M.
        generators: One generator per member for the head's initial weights.
    """

    log_std: nn.Parameter | None

    def __init__(
        self,
        body: Body,
        spec: NetworkSpec,
        head: HeadSpec,
        members: int,
        generators: Sequence[torch.Generator],
    ) -> None:
        super().__init__()
        self.body = body
        self.head = IsoLinear(
            self.body.outputs,
            head.outputs,
            bias=spec.bias,
            members=members,
            gain=head.gain,
            role="head",
            generator=generators,
            init=spec.init,
        )
        self.distribution = head.distribution
        self.log_std_init = None if head.distribution is None else head.distribution.log_std
        spread = None
        if self.log_std_init is not None:
            spread = nn.Parameter(torch.full((members, head.outputs), self.log_std_init))
        self.register_parameter("log_std", spread)

    @property
    def hidden(self) -> list[IsoLayer]:
        """The body's layers."""
        return self.body.hidden

    def forward(self, x: Observations) -> Tensor:
        """The outputs for (M, B, inputs): (M, B, outputs)."""
        return self.complete(self.head(self.body(x)))

    def complete(self, output: Tensor) -> Tensor:
        """The head's outputs (M, B, A), followed by the log standard deviations, if any."""
        if self.log_std is None:
            return output
        return torch.cat([output, self.log_std.unsqueeze(1).expand_as(output)], -1)

    def read(self, output: Tensor) -> Tensor:
        """The head's outputs (M, B, A), or the values (M, B, n) that they stand for."""
        return output if self.distribution is None else self.distribution.read(output)

    def reset_head(self, generators: Sequence[torch.Generator]) -> None:
        """Draw the head and the log standard deviations anew, in place."""
        self.head.reset_parameters(generators)
        if self.log_std is not None and self.log_std_init is not None:
            nn.init.constant_(self.log_std, self.log_std_init)


def _make(
    layer: LayerSpec,
    units: int,
    spec: NetworkSpec,
    members: int,
    generators: Sequence[torch.Generator],
) -> IsoLayer:
    """One hidden layer."""
    options: dict[str, Any] = {
        "bias": spec.bias,
        "members": members,
        "gain": spec.gain,
        "role": "hidden",
        "generator": generators,
        "init": spec.init,
    }
    if layer.convolution is None:
        return IsoLinear(layer.size, units, **options)
    convolution = layer.convolution
    return IsoConv2d(
        layer.inputs[0],
        units,
        convolution.kernel,
        convolution.stride,
        convolution.padding,
        **options,
    )
