"""What a network looks like: the hidden layers that its branches share in shape, and the heads."""

from __future__ import annotations

import math
from dataclasses import dataclass

from neoteny.agents.policies import Family
from neoteny.plasticity.layers import ACTIVATIONS

__all__ = ["HeadSpec", "NetworkSpec"]

NORMS = ("none", "layer")


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
    family: Family | None = None
    """The distributions whose parameters the branch's outputs are; none where they are values."""
