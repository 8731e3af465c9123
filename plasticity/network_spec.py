"""Specification of a network: the hidden layers, equal in shape for all branches, and the heads."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from neoteny.core.errors import InputError
from neoteny.core.names import require_known
from neoteny.plasticity.initial import INITS, Init
from neoteny.plasticity.layers import ACTIVATIONS

NORMS = ("none", "layer")
TORSOS = ("mlp", "conv")
PAPER_GAIN = math.sqrt(2.0)
MOST_GROWTH = math.log(1e4)
"""Logarithm of the factor by which an initial network may multiply its input."""

Shape = tuple[int, ...]
"""Features (n,), or an image (channels, height, width)."""


@dataclass(frozen=True)
class Convolution:
    """One convolution of a torso."""

    channels: int
    """Features at each position; with two features a unit (crelu), half as many units."""
    kernel: int
    """Side of the square kernel."""
    stride: int
    """Step of the kernel."""
    padding: int
    """Rows and columns of zeros added on each side."""

    def of(self, image: Shape) -> Shape:
        """Shape (channels, height, width) of the output for an input (channels, height, width).

        Raises:
            ValueError: If the kernel is larger than the padded input.
        """
        height, width = image[1:]
        if self.kernel > min(height, width) + 2 * self.padding:
            raise InputError(
                f"kernel {self.kernel} is larger than the {height} x {width} grid that a "
                f"convolution gets with padding {self.padding}: use a smaller kernel or stride, "
                "fewer convolutions or more padding"
            )
        sides = (
            (side + 2 * self.padding - self.kernel) // self.stride + 1 for side in (height, width)
        )
        return (self.channels, *sides)


@dataclass(frozen=True)
class LayerSpec:
    """One hidden layer."""

    inputs: Shape
    """Shape of its input; a linear layer flattens an image."""
    outputs: Shape
    """Its features."""
    convolution: Convolution | None
    """The convolution of an image; none for a linear layer."""
    skip: bool
    """True if its output is its input plus a share of its activation."""

    @property
    def size(self) -> int:
        """Number of inputs."""
        return math.prod(self.inputs)

    @property
    def flattens(self) -> bool:
        """True for a linear layer whose input is an image."""
        return self.convolution is None and len(self.inputs) > 1


@dataclass(frozen=True)
class NetworkShape:
    """Shape of every branch's body, as a user chooses it."""

    hidden: tuple[int, ...] = (64, 64, 64, 64)
    """Features of each linear hidden layer; with two features a unit (crelu), half as many
    units."""
    activation: str = "relu"
    """Activation of hidden layers: relu, groupsort, crelu, tanh, ..."""
    bias: bool = True
    """Give layers, heads included, biases."""
    init: Init = "orthogonal"
    """Initial weights; `uniform` draws weights and biases as torch's own layers do, heads
    included, without regard to gains, as Stable-Baselines3's DQN has them."""
    torso: Literal["mlp", "conv"] = "mlp"
    """`conv` puts convolutions before the linear layers, for observations that are grids."""
    channels: tuple[int, ...] = (16,)
    """Channels of each convolution of a conv torso; they count features, as `hidden` does."""
    kernel: tuple[int, ...] = (3,)
    """Side of the convolutions' kernels: one for all of them, or one each."""
    stride: tuple[int, ...] = (1,)
    """Step of the convolutions' kernels: one for all of them, or one each."""
    padding: tuple[int, ...] = (0,)
    """Zeros on each side of the convolutions' inputs: one for all of them, or one each."""
    residual: bool = False
    """Add skip connections: a hidden layer outputs its input plus 1 / n of its activation, if both
    have one shape and the input is not the observation; n is the number of such layers. The share
    keeps the size of the signal at any depth, which would else double at every layer."""
    shared: bool = False
    """Let policy and value, or the branches of a dueling DQN, read one body."""


@dataclass(frozen=True)
class NetworkSpec(NetworkShape):
    """Specification of every branch's body.

    Activation, bias and norm are separate switches, so that a comparison of optimisers need not
    change them.
    """

    norm: str = "none"
    """`"layer"` normalises each hidden layer's pre-activations."""
    trunk: Literal["plain", "simba"] = "plain"
    """`"simba"` takes the linear layers for an embedding and residual blocks of two, see
    :class:`neoteny.plasticity.simba.SimBaBody`."""
    hidden_gain: float | None = PAPER_GAIN
    """Gain of the orthogonal initialisation of hidden layers: the paper's for every activation;
    none is the activation's own, which keeps the signal's size."""

    def __post_init__(self) -> None:
        if not self.hidden or min(self.hidden) <= 0:
            raise InputError(f"hidden is {self.hidden}: give at least one positive layer width")
        ACTIVATIONS.require(self.activation)
        require_known("norm", self.norm, NORMS)
        require_known("torso", self.torso, TORSOS)
        require_known("init", self.init, INITS)
        self._check_widths("hidden", self.hidden)
        if self.torso == "conv":
            self._check_convolutions()
        if self.trunk == "simba":
            self._check_simba()
        elif self.residual:
            self._check_residual()

    def _check_widths(self, name: str, widths: tuple[int, ...]) -> None:
        activation = ACTIVATIONS[self.activation]
        group = math.lcm(activation.fan, activation.group)
        if any(width % group for width in widths):
            raise InputError(
                f"{name} is {widths}: {self.activation} takes units in groups, "
                f"so widths must be multiples of {group}"
            )

    def _check_convolutions(self) -> None:
        if not self.channels or min(self.channels) <= 0:
            raise InputError(f"channels is {self.channels}: give at least one positive number")
        self._check_widths("channels", self.channels)
        for name, least in (("kernel", 1), ("stride", 1), ("padding", 0)):
            values = getattr(self, name)
            if len(values) not in (1, len(self.channels)):
                raise InputError(
                    f"{name} is {values} for {len(self.channels)} convolutions: "
                    "give one number for all of them, or one each"
                )
            if min(values) < least:
                raise InputError(f"{name} is {values}: it must be at least {least}")

    def _check_residual(self) -> None:
        if len(set(self.hidden)) > 1:
            raise InputError(
                f"hidden is {self.hidden}: a residual network adds a layer's input to its output, "
                "so give all hidden layers one width"
            )

    def _check_simba(self) -> None:
        if ACTIVATIONS[self.activation].fan > 1:
            raise InputError(
                f"simba adds units up, which {self.activation} doubles: use another activation"
            )
        for name, switch in (("residual", self.residual), ("a norm", self.norm != "none")):
            if switch:
                raise InputError(f"simba has skips and norms of its own: leave {name} or simba out")
        if len(self.hidden) % 2 == 0 or set(self.hidden[::2]) != {self.hidden[0]}:
            raise InputError(
                f"hidden is {self.hidden}: a simba trunk is a layer and blocks of two that end at "
                "its width, as in (64, 256, 64)"
            )

    @property
    def adds_units(self) -> bool:
        """True if layers read sums of units, none of which has outgoing weights of its own."""
        return self.residual or self.trunk == "simba"

    @property
    def gain(self) -> float:
        """Gain of the orthogonal initialisation of hidden layers."""
        return ACTIVATIONS[self.activation].gain if self.hidden_gain is None else self.hidden_gain

    def require_bounded(self) -> None:
        """Check that the signal does not explode on its way through the initial network.

        Raises:
            ValueError: If it grows by more than `MOST_GROWTH`.
        """
        depth = len(self.convolutions) + len(self.hidden)
        growth = self.gain / ACTIVATIONS[self.activation].gain
        orthogonal = self.init == "orthogonal"  # the other keeps less than the signal's size
        if (
            not orthogonal
            or self.norm != "none"
            or self.adds_units
            or depth * math.log(growth) < MOST_GROWTH
        ):
            return
        raise InputError(
            f"{depth} layers of {self.activation} with gain {self.gain:.3g} multiply what they see "
            f"by 1e{depth * math.log10(growth):.0f}: use the activation's own gain (--gain "
            "activation), layer_norm, residual or fewer layers"
        )

    @property
    def plain(self) -> bool:
        """True if hidden layers are linear, one after the other, without norms."""
        return self.torso == "mlp" and self.norm == "none" and not self.adds_units

    @property
    def convolutions(self) -> tuple[Convolution, ...]:
        """The convolutions before the linear layers; none for an MLP."""
        if self.torso == "mlp":
            return ()
        count = len(self.channels)
        columns = (
            values if len(values) == count else values * count
            for values in (self.kernel, self.stride, self.padding)
        )
        return tuple(Convolution(*row) for row in zip(self.channels, *columns, strict=True))

    def inputs(self, observation_shape: Sequence[int]) -> Shape:
        """Shape of an observation as the first hidden layer takes it.

        Args:
            observation_shape: Any for an MLP, (height, width) or (height, width, channels) for
                convolutions.

        Returns:
            (features,) or (channels, height, width).

        Raises:
            ValueError: If there is no grid to convolve over.
        """
        if self.torso == "mlp":
            return (math.prod(observation_shape),)
        if len(observation_shape) not in (2, 3):
            raise InputError(
                f"torso is conv, but observations have shape {tuple(observation_shape)}: "
                "a convolution needs (height, width, channels); use torso mlp"
            )
        height, width, *channels = observation_shape
        return (*(channels or [1]), height, width)

    def arrange(self, obs: Tensor) -> Tensor:
        """Observations (M, B, *shape) of any type as floats that the first hidden layer sees.

        Returns:
            (M, B, features), or images (M, B, channels, height, width) that lie in memory sample
            by sample, the members' next to each other, as a convolution of all members reads them.
        """
        kind = torch.get_default_dtype()
        if self.torso == "mlp":
            return obs.flatten(2).to(kind)
        images = obs.unsqueeze(-1) if obs.dim() == 4 else obs
        samples = images.permute(1, 0, 4, 2, 3)
        return samples.to(kind, memory_format=torch.contiguous_format).transpose(0, 1)

    def layers(self, observation_shape: Sequence[int]) -> list[LayerSpec]:
        """The hidden layers that observations of a shape go through, in order.

        Raises:
            ValueError: If the observations do not suit the torso, a residual network would have
                no layer whose input can be added to it, or the signal would explode.
        """
        self.require_bounded()
        shapes: list[Shape] = [self.inputs(observation_shape)]
        for convolution in self.convolutions:
            shapes.append(convolution.of(shapes[-1]))
        shapes += [(width,) for width in self.hidden]
        kinds = [*self.convolutions, *[None] * len(self.hidden)]
        layers = [
            LayerSpec(inputs, outputs, kind, self.residual and index > 0 and inputs == outputs)
            for index, (kind, inputs, outputs) in enumerate(
                zip(kinds, shapes[:-1], shapes[1:], strict=True)
            )
        ]
        if self.residual and not any(layer.skip for layer in layers):
            raise InputError(
                f"residual adds a layer's input to its output, but no two of the layers "
                f"{[layer.outputs for layer in layers]} have one shape: add a hidden layer, or "
                "convolutions that keep the grid's size"
            )
        return layers


class OutputDistribution(Protocol):
    """A distribution whose parameters are a branch's outputs, such as a policy over actions."""

    @property
    def log_std(self) -> float | None:
        """Initial log standard deviation that the branch learns beside its head, if any."""

    def read(self, outputs: Tensor) -> Tensor:
        """Numbers (..., n) that diagnostics take for outputs (..., P) of the head."""

    def entropy(self, outputs: Tensor) -> Tensor:
        """Entropy (...) in nats of distributions with outputs (..., P)."""

    def kl(self, old: Tensor, new: Tensor) -> Tensor:
        """Divergence KL(old, new) (...) in nats of distributions with outputs (..., P)."""


@dataclass(frozen=True)
class HeadSpec:
    """A branch's output layer: number of outputs, gain of the orthogonal initialisation."""

    outputs: int
    gain: float = 1.0
    distribution: OutputDistribution | None = None
    """The distributions whose parameters the branch's outputs are; none where they are values."""
