"""Orthogonally initialised layers that hold M independent members and declare their role.

A layer with `members=M` has a weight (M, out, in, ...) and maps member m's slice of its input by
member m's weight only; with `members=None` it is an ordinary layer. The role, "hidden" or "head",
is what `isometry_groups` reads. Activations are re-exported from `neoteny.plasticity.activations`.
"""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neoteny.core.errors import InputError
from neoteny.plasticity.activations import (
    ACTIVATIONS,
    Activation,
    CReLU,
    GroupSort,
    MaxMin,
    crelu,
    groupsort,
)
from neoteny.plasticity.initial import INITS, Init, draw_bias, draw_weight

__all__ = [
    "ACTIVATIONS",
    "Activation",
    "CReLU",
    "Generators",
    "GroupSort",
    "IsoConv2d",
    "IsoLayer",
    "IsoLinear",
    "MaxMin",
    "Role",
    "crelu",
    "groupsort",
]

Role = Literal["hidden", "head"]
Generators = torch.Generator | Sequence[torch.Generator] | None

CHANNELS_AT_ONCE = 8
"""Members' input channels are filled up with zeros to a multiple of this on a CPU: its grouped
convolutions are up to twice as fast then."""


class IsoLayer(nn.Module):
    """Weight, bias, role and initialisation shared by the layers below."""

    weight: nn.Parameter
    bias: nn.Parameter | None

    def __init__(
        self,
        shape: tuple[int, ...],
        bias: bool,
        members: int | None,
        gain: float,
        role: Role,
        generator: Generators,
        init: Init,
    ) -> None:
        super().__init__()
        if init not in INITS:
            raise InputError(f"init {init!r} is unknown: use one of {', '.join(INITS)}")
        if role not in ("hidden", "head"):
            raise InputError(f'role {role!r} is unknown; use "hidden" or "head"')
        if min(shape) < 1 or (members is not None and members < 1):
            raise InputError(f"sizes {shape} and members={members} must be at least 1")
        self.members = members
        self.gain = gain
        self.init: Init = init
        self.role: Role = role
        lead = () if members is None else (members,)
        self.weight = nn.Parameter(torch.empty(*lead, *shape))
        self.register_parameter(
            "bias", nn.Parameter(torch.empty(*lead, shape[0])) if bias else None
        )
        self.reset_parameters(generator)

    @torch.no_grad()
    def reset_parameters(self, generator: Generators = None) -> None:
        """Draw weights and biases in place, as `init` says; see `plasticity.initial`.

        Each member draws what a layer of one member draws from the same generator, so its weights
        do not depend on M.

        Args:
            generator: one generator per member, on any device; None draws from the global one.

        Raises:
            ValueError: if the number of generators is not the number of members.
        """
        count = 1 if self.members is None else self.members
        generators: Sequence[torch.Generator | None]
        if generator is None or isinstance(generator, torch.Generator):
            generators = [generator] * (count if generator is None else 1)
        else:
            generators = generator
        if len(generators) != count:
            raise InputError(
                f"{len(generators)} generators for {count} members; give one per member"
            )
        for index, source in enumerate(generators):
            weight = self.weight if self.members is None else self.weight[index]
            device = weight.device if source is None else source.device
            draw = torch.empty(weight.shape, dtype=weight.dtype, device=device)
            weight.copy_(draw_weight(draw, self.init, self.gain, source))
            if self.bias is not None:
                bias = self.bias if self.members is None else self.bias[index]
                bias.copy_(draw_bias(draw.new_empty(bias.shape), self.init, draw, source))

    def extra_repr(self) -> str:
        """Settings shown by print."""
        sizes = ", ".join(map(str, self.weight.shape[0 if self.members is None else 1 :]))
        return (
            f"{sizes}, bias={self.bias is not None}, members={self.members}, "
            f"init={self.init}, gain={self.gain:g}, role={self.role}"
        )


class IsoLinear(IsoLayer):
    """Linear map, orthogonal at initialisation, per member.

    Args:
        in_features: inputs of each member.
        out_features: outputs of each member.
        bias: True to add a bias, initially zero.
        members: M, or None for an ordinary layer without a member axis.
        gain: all singular values at initialisation.
        role: "hidden" layers are kept isometric, "head" layers are not.
        generator: one generator per member for the initial weights.
        init: "orthogonal", or "uniform" as of `nn.Linear`.

    Raises:
        ValueError: for an unknown role, sizes below 1, or a wrong number of generators.

    Source: Saxe, McClelland, Ganguli, "Exact solutions to the nonlinear dynamics of learning in
    deep linear neural networks" (2014), for the initialisation.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        members: int | None = None,
        gain: float = 1.0,
        role: Role = "hidden",
        generator: Generators = None,
        init: Init = "orthogonal",
    ) -> None:
        super().__init__((out_features, in_features), bias, members, gain, role, generator, init)
        self.in_features = in_features
        self.out_features = out_features

    def forward(self, x: Tensor) -> Tensor:
        """Map (M, ..., in) to (M, ..., out); without members, (..., in) to (..., out)."""
        if self.members is None:
            return F.linear(x, self.weight, self.bias)
        members = len(self.weight)  # not self.members where one or clones are looked at
        if members == 1:
            bias = None if self.bias is None else self.bias.squeeze(0)
            return F.linear(x, self.weight.squeeze(0), bias)
        flat = x if x.dim() == 3 else x.reshape(members, -1, self.in_features)
        if self.bias is None:
            out = torch.bmm(flat, self.weight.mT)
        else:
            out = torch.baddbmm(self.bias.unsqueeze(1), flat, self.weight.mT)
        return out if x.dim() == 3 else out.reshape(*x.shape[:-1], self.out_features)


class IsoConv2d(IsoLayer):
    """2-D convolution, orthogonal at initialisation as (out, in * kh * kw), per member.

    Orthogonality of the reshaped kernel is not isometry of the convolution: its largest singular
    value lies within a factor sqrt(kh * kw), and is exact where stride equals kernel size.

    Args:
        in_channels: input channels of each member.
        out_channels: output channels of each member.
        kernel_size: side of the square kernel, or (kh, kw).
        stride: step of the kernel.
        padding: zeros added on each side.
        bias: True to add a bias, initially zero.
        members: M, or None for an ordinary layer without a member axis.
        gain: all singular values of the reshaped kernel at initialisation.
        role: "hidden" layers are kept isometric, "head" layers are not.
        generator: one generator per member for the initial weights.
        init: "orthogonal", or "uniform" as of `nn.Conv2d`.

    Raises:
        ValueError: for an unknown role, sizes below 1, or a wrong number of generators.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int = 1,
        padding: int = 0,
        bias: bool = True,
        members: int | None = None,
        gain: float = 1.0,
        role: Role = "hidden",
        generator: Generators = None,
        init: Init = "orthogonal",
    ) -> None:
        kernel = (kernel_size, kernel_size) if isinstance(kernel_size, int) else kernel_size
        shape = (out_channels, in_channels, *kernel)
        super().__init__(shape, bias, members, gain, role, generator, init)
        self.stride = stride
        self.padding = padding

    def forward(self, x: Tensor) -> Tensor:
        """Map (M, B, C, H, W) to (M, B, out, H', W'); without members, as `nn.Conv2d`."""
        if self.members is None:
            return F.conv2d(x, self.weight, self.bias, self.stride, self.padding)
        members = len(self.weight)  # not self.members where one or clones are looked at
        if members == 1:
            bias = None if self.bias is None else self.bias.squeeze(0)
            alone = F.conv2d(x.squeeze(0), self.weight.squeeze(0), bias, self.stride, self.padding)
            return alone.unsqueeze(0)
        # Members become groups of channels of one convolution, next to each other in each sample.
        samples, weight = x.transpose(0, 1), self.weight.flatten(0, 1)
        extra = 0 if x.is_cuda else -x.shape[2] % CHANNELS_AT_ONCE
        if extra:
            samples, weight = (F.pad(part, (0, 0, 0, 0, 0, extra)) for part in (samples, weight))
        out = F.conv2d(
            samples.flatten(1, 2),
            weight,
            None if self.bias is None else self.bias.flatten(),
            self.stride,
            self.padding,
            groups=members,
        )
        return torch.unflatten(out, 1, (members, -1)).transpose(0, 1)
