"""The network's options on the command line, from which its specification follows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import ClassVar, Literal

from neoteny.core.errors import InputError
from neoteny.core.options import check_fields
from neoteny.plasticity.network_spec import PAPER_GAIN, NetworkShape, NetworkSpec

__all__ = ["NetworkOptions"]


@dataclass(frozen=True)
class NetworkOptions(NetworkShape):
    """The shape of the network, with a short form for deep ones."""

    depth: int | None = None
    """Number of linear hidden layers, all of the one width that `hidden` then gives, as in
    `--hidden 64 --depth 64`; unset, as many as `hidden` lists."""
    gain: Literal["paper", "activation"] = "paper"
    """Gain of the orthogonal initialisation of hidden layers: `paper` is sqrt(2) for all,
    `activation` the one that keeps the signal's size, which deep networks need."""

    limits: ClassVar[Mapping[str, str]] = {
        "depth": "from 1 to 1,000",
        **dict.fromkeys(("hidden", "channels"), "from 1 to 1,000,000"),
        **dict.fromkeys(("kernel", "stride"), "from 1 to 1,000"),
        "padding": "from 0 to 1,000",
    }

    def __post_init__(self) -> None:
        check_fields(self)
        _ = self.spec

    @property
    def spec(self) -> NetworkSpec:
        """The base network, before interventions change it."""
        shape = {field.name: getattr(self, field.name) for field in fields(NetworkShape)}
        gain = PAPER_GAIN if self.gain == "paper" else None
        return NetworkSpec(**shape | {"hidden": self.widths}, hidden_gain=gain)

    @property
    def widths(self) -> tuple[int, ...]:
        """Features of each linear hidden layer."""
        if self.depth is None:
            return self.hidden
        if len(set(self.hidden)) != 1:
            raise InputError(
                f"hidden is {self.hidden} and depth is {self.depth}: with a depth, give one width"
            )
        return self.hidden[:1] * self.depth

    @property
    def label(self) -> list[str]:
        """Differences from the default, as in the names of arms."""
        parts = [] if self.activation == "relu" else [self.activation]
        parts += [] if self.bias else ["nobias"]
        if self.torso == "conv":
            parts.append("conv" + _times(self.channels))
            defaults = NetworkSpec()
            for name in ("kernel", "stride", "padding"):
                if getattr(self, name) != getattr(defaults, name):
                    parts.append(name + _times(getattr(self, name)))
        if self.depth is not None:
            parts.append(f"depth{self.depth}")
            parts += [f"width{width}" for width in self.hidden[:1] if width != 64]
        parts += [self.init] * (self.init != "orthogonal")
        parts += [f"{self.gain}gain"] * (self.gain != "paper")
        return parts + [name for name in ("residual", "shared") if getattr(self, name)]


def _times(values: tuple[int, ...]) -> str:
    return "x".join(map(str, values))
