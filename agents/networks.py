"""Networks of named branches, each a body of hidden layers and a head, with a leading member axis.

PPO has the branches `policy` and `value`, DQN has `q`, the classifier has `logits`. Hidden layers
and heads are told apart by construction: interventions and diagnostics read `branch.body.layers`
and `branch.head`, never names.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neoteny.agents.sparse import SparseBatch, encode, sparse_linear
from neoteny.agents.stacked import KERNELS, stacked_forward
from neoteny.plasticity.layers import ACTIVATIONS, IsoLinear

__all__ = ["Body", "Branch", "HeadSpec", "MemberLayerNorm", "Network", "NetworkSpec"]

NORMS = ("none", "layer")

Observations = Tensor | SparseBatch
"""A batch (M, B, *shape), or its ones."""


@dataclass(frozen=True)
class NetworkSpec:
    """What every branch's body looks like.

    Activation, bias and norm are separate switches, so that a comparison of optimisers need not
    change them.
    """

    hidden: tuple[int, ...] = (64, 64, 64, 64)
    """Features of each hidden layer; with two features a unit (crelu), half as many units."""
    activation: str = "relu"
    """Name in `ACTIVATIONS`."""
    bias: bool = True
    """Whether layers, heads included, have biases."""
    norm: str = "none"
    """`"layer"` normalises each hidden layer's pre-activations."""
    hidden_gain: float = math.sqrt(2.0)
    """Gain of the orthogonal initialisation of hidden layers; the paper's, for every activation."""

    def __post_init__(self) -> None:
        if not self.hidden or min(self.hidden) <= 0:
            raise ValueError(f"hidden is {self.hidden}: give at least one positive layer width")
        if self.activation not in ACTIVATIONS:
            known = ", ".join(ACTIVATIONS)
            raise ValueError(f"activation {self.activation!r} is unknown: use one of {known}")
        if self.norm not in NORMS:
            raise ValueError(f"norm {self.norm!r} is unknown: use one of {', '.join(NORMS)}")
        activation = ACTIVATIONS[self.activation]
        group = math.lcm(activation.fan, activation.group)
        if any(width % group for width in self.hidden):
            raise ValueError(
                f"hidden is {self.hidden}: {self.activation} takes units in groups, "
                f"so widths must be multiples of {group}"
            )


@dataclass(frozen=True)
class HeadSpec:
    """A branch's output layer: number of outputs, gain of the orthogonal initialisation."""

    outputs: int
    gain: float = 1.0


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


class Branch(nn.Module):
    """A body and its head."""

    def __init__(
        self,
        inputs: int,
        spec: NetworkSpec,
        head: HeadSpec,
        members: int,
        generators: Sequence[torch.Generator],
    ) -> None:
        super().__init__()
        self.body = Body(inputs, spec, members, generators)
        self.head = IsoLinear(
            self.body.outputs,
            head.outputs,
            bias=spec.bias,
            members=members,
            gain=head.gain,
            role="head",
            generator=generators,
        )

    @property
    def hidden(self) -> list[IsoLinear]:
        """The body's layers."""
        return self.body.hidden

    @property
    def stackable(self) -> bool:
        """Whether plain linear layers and a known activation are all there is to compute."""
        plain = type(self) is Branch and type(self.body) is Body and type(self.head) is IsoLinear
        return plain and self.body.plain and self.head.weight.dtype == torch.float32

    def forward(self, x: Observations) -> Tensor:
        """The head's outputs for (M, B, inputs): (M, B, outputs)."""
        output: Tensor = self.head(self.body(x))
        return output

    def reset_parameters(self, generators: Sequence[torch.Generator]) -> None:
        """Draw the branch anew, in place, in the order of construction."""
        for layer, norm in zip(self.hidden, self.body.norms, strict=True):
            layer.reset_parameters(generators)
            if isinstance(norm, MemberLayerNorm):
                norm.reset_parameters()
        self.head.reset_parameters(generators)


class Network(nn.Module):
    """Named branches over one observation, for M members at once.

    Args:
        spec: The shape shared by all bodies.
        observation_shape: Shape of one observation; it is flattened.
        heads: Name and shape of each branch.
        generators: One generator per member; their number is M.
        dense: Multiply binary observations out instead of summing the weights they select.
        stacked: Compute all branches together where their kind allows it; else one by one.
        precision: Type of the products' factors, float32 or bfloat16; weights stay float32.
    """

    def __init__(
        self,
        spec: NetworkSpec,
        observation_shape: Sequence[int],
        heads: Mapping[str, HeadSpec],
        generators: Sequence[torch.Generator],
        dense: bool = False,
        stacked: bool = True,
        precision: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.dense = dense
        self.stacked = stacked
        self.precision = precision
        self.spec = spec
        self.members = len(generators)
        inputs = math.prod(observation_shape)
        self.branches: dict[str, Branch] = {}
        for name, head in heads.items():
            branch = Branch(inputs, spec, head, self.members, generators)
            self.branches[name] = branch
            self.add_module(name, branch)

    def inputs(self, obs: Observations) -> Observations:
        """Observations (M, B, *shape) of any type as the first layers take them.

        Binary observations on a CPU become a :class:`SparseBatch`, all others float features
        (M, B, inputs).
        """
        if isinstance(obs, SparseBatch):
            return obs
        if self.takes_sparse(obs):
            return encode(obs.flatten(0, 1), self.members)
        return obs.flatten(2).to(torch.get_default_dtype())

    def takes_sparse(self, obs: Tensor) -> bool:
        """Whether observations like these are listed by their ones."""
        return not self.dense and obs.dtype == torch.bool and obs.device.type == "cpu"

    def features(self, obs: Observations) -> dict[str, list[Tensor]]:
        """Every hidden activation of every branch, each (M, B, features)."""
        x = self.inputs(obs)
        return {name: branch.body.features(x) for name, branch in self.branches.items()}

    def preactivations(self, obs: Observations) -> dict[str, list[Tensor]]:
        """Every hidden layer's input to its activation, each (M, B, units)."""
        x = self.inputs(obs)
        return {name: branch.body.preactivations(x) for name, branch in self.branches.items()}

    def forward(self, obs: Observations) -> dict[str, Tensor]:
        """Every branch's outputs for (M, B, *shape): each (M, B, outputs)."""
        return self._outputs(obs, self.branches)

    def branch(self, name: str, obs: Observations) -> Tensor:
        """One branch's outputs, (M, B, outputs), without computing the others."""
        return self._outputs(obs, {name: self.branches[name]})[name]

    def _outputs(self, obs: Observations, branches: Mapping[str, Branch]) -> dict[str, Tensor]:
        x = self.inputs(obs)
        if self.stacked and all(branch.stackable for branch in branches.values()):
            outputs = stacked_forward(
                x, list(branches.values()), self.spec.activation, self.precision
            )
            return dict(zip(branches, outputs, strict=True))
        with torch.autocast(
            self._device_type, self.precision, enabled=self.precision != torch.float32
        ):
            return {name: branch(x).float() for name, branch in branches.items()}

    @property
    def _device_type(self) -> str:
        return next(self.parameters()).device.type

    def reset_parameters(self, generators: Sequence[torch.Generator]) -> None:
        """Draw every weight anew, in place; parameters stay the same tensors."""
        for branch in self.branches.values():
            branch.reset_parameters(generators)

    def named_branch_parameters(self) -> dict[str, list[nn.Parameter]]:
        """The parameters of each branch; gradient norms are taken over these lists."""
        return {name: list(branch.parameters()) for name, branch in self.branches.items()}
