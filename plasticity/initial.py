"""Initial weights and biases, drawn before learning and when a layer or unit is reset."""

import math
from typing import Literal, get_args

import torch
from torch import Tensor, nn

Init = Literal["orthogonal", "uniform"]
INITS: tuple[str, ...] = get_args(Init)


def draw_weight(
    weight: Tensor, init: Init, gain: float, generator: torch.Generator | None
) -> Tensor:
    """Draw a member's weight in place.

    Args:
        weight: (out, in, ...); kernels are drawn as (out, in * kh * kw).
        init: "orthogonal": all singular values are `gain`. "uniform": between -b and b with
            b = 1 / sqrt(in * kh * kw), what `torch.nn.Linear` begins with; it knows no gain.
        gain: see `init`.
        generator: on the weight's device; None draws from the global one.

    Returns:
        The weight.

    Source: Saxe, McClelland, Ganguli, arXiv:1312.6120; LeCun, Bottou, Orr, Müller, "Efficient
        BackProp" (1998), in the form of torch.
    """
    if init == "orthogonal":
        return nn.init.orthogonal_(weight, gain, generator=generator)
    bound = _bound(weight)
    return weight.uniform_(-bound, bound, generator=generator)


def draw_bias(
    bias: Tensor, init: Init, weight: Tensor, generator: torch.Generator | None
) -> Tensor:
    """Draw a member's bias (out,) in place: zero, or uniform between the weight's bounds.

    Args:
        bias: (out,).
        init: as of the weight.
        weight: (out, in, ...) that the bias goes with.
        generator: on the bias's device; None draws from the global one.
    """
    if init == "orthogonal":
        return bias.zero_()
    bound = _bound(weight)
    return bias.uniform_(-bound, bound, generator=generator)


def _bound(weight: Tensor) -> float:
    return 1 / math.sqrt(weight[0].numel())
