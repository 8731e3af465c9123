"""Interventions on the network's architecture."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Set
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from neoteny.core.errors import InputError
from neoteny.plasticity.activations import ACTIVATIONS
from neoteny.plasticity.interventions.intervention import Intervention, Metadata, hidden_layers
from neoteny.plasticity.interventions.traits import Trait
from neoteny.plasticity.optimizer_settings import OptimizerSettings

if TYPE_CHECKING:
    from neoteny.plasticity.learner import Learner
    from neoteny.plasticity.networks import NetworkSpec


@dataclass
class _Architecture(Intervention):
    """Acts once, when the network is built; its activity is the number of hidden layers."""

    static: ClassVar[bool] = True

    def start(self, learner: Learner) -> None:
        """Count the hidden layers."""
        super().start(learner)
        self.state["activity"] += float(len(hidden_layers(learner.network)))

    def acts_every(self, settings: OptimizerSettings) -> int | None:
        """Never after the network is built."""
        return 0


@dataclass
class LayerNorm(_Architecture):
    """Layer normalisation of every hidden layer's pre-activations, with an affine map."""

    name: ClassVar[str] = "layer_norm"
    traits: ClassVar[Set[Trait]] = {Trait.WHOLE_LAYER}
    metadata: ClassVar[Metadata] = Metadata(
        "Ba, Kiros, Hinton, arXiv:1607.06450; Lyle et al., arXiv:2303.01486"
    )

    def spec(self, spec: NetworkSpec) -> NetworkSpec:
        """The same network with norms."""
        return replace(spec, norm="layer")


@dataclass
class CReLUNet(_Architecture):
    """Concatenated ReLU in every hidden layer.

    Widths count features, so layers keep their width with half the units and about half the
    parameters; half of all features are 0 by construction.
    """

    name: ClassVar[str] = "crelu"
    traits: ClassVar[Set[Trait]] = {Trait.SETS_ACTIVATION}
    metadata: ClassVar[Metadata] = Metadata("Abbas et al., arXiv:2303.07507")

    def spec(self, spec: NetworkSpec) -> NetworkSpec:
        """The same widths with CReLU."""
        return replace(spec, activation="crelu")


@dataclass
class DeepFourier(_Architecture):
    """Sine and cosine of every unit, in every hidden layer; to be combined with a decay.

    Widths count features, as for CReLU. Measures of dead or dormant units say nothing here.
    """

    name: ClassVar[str] = "deep_fourier"
    traits: ClassVar[Set[Trait]] = {Trait.SETS_ACTIVATION, Trait.ACTIVATION_NEVER_DORMANT}
    metadata: ClassVar[Metadata] = Metadata("Lewandowski et al., arXiv:2410.20634")

    def spec(self, spec: NetworkSpec) -> NetworkSpec:
        """The same widths with sines and cosines."""
        return replace(spec, activation="deep_fourier")


@dataclass
class GroupSortNet(_Architecture):
    """GroupSort in every hidden layer: a permutation almost everywhere, which keeps norms."""

    name: ClassVar[str] = "groupsort"
    traits: ClassVar[Set[Trait]] = {Trait.SETS_ACTIVATION}
    metadata: ClassVar[Metadata] = Metadata("Anil, Lucas, Grosse, arXiv:1811.05381")

    size: int = 2
    """Units that are sorted together: 2, 4 or 8."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.size not in (2, 4, 8):
            raise InputError(f"groupsort:size={self.size} is not available; use 2, 4 or 8")

    def spec(self, spec: NetworkSpec) -> NetworkSpec:
        """The same widths with sorted groups."""
        name = "groupsort" if self.size == 2 else f"groupsort{self.size}"
        return replace(spec, activation=name)


@dataclass
class SimBa(_Architecture):
    """SimBa's trunk: a linear layer, residual blocks with a norm before them, and a last norm.

    The trunk is as wide as the first hidden layer. A block widens to as many units as give all
    blocks together as many weights as there were between the hidden layers, so that networks with
    and without differ by the norms alone; a single hidden layer gets blocks of half its width. The
    authors widen four times and normalise observations. The initialisation is that of all networks
    here.
    """

    name: ClassVar[str] = "simba"
    traits: ClassVar[Set[Trait]] = {Trait.WHOLE_LAYER, Trait.ADDS_UNITS}
    metadata: ClassVar[Metadata] = Metadata("Lee et al., arXiv:2410.09754")
    limits: ClassVar[Mapping[str, str]] = {"blocks": "from 1 to 100"}

    blocks: int = 1
    """Residual blocks, of two layers each."""

    def spec(self, spec: NetworkSpec) -> NetworkSpec:
        """As many weights, in blocks."""
        width = spec.hidden[0]
        weights = sum(one * other for one, other in itertools.pairwise(spec.hidden))
        exact = weights / (2 * self.blocks * width) if weights else width / (2 * self.blocks)
        step = math.lcm(2, ACTIVATIONS[spec.activation].group)
        wide = max(step, round(exact / step) * step)
        return replace(spec, hidden=(width, *(wide, width) * self.blocks), trunk="simba")
