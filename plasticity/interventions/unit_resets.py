"""Interventions that replace single units: by utility, by time without activity."""

from __future__ import annotations

import math
from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from neoteny.core.errors import InputError
from neoteny.plasticity.activations import ACTIVATIONS, Activation
from neoteny.plasticity.interventions.intervention import Intervention, Metadata
from neoteny.plasticity.interventions.ranges import Range
from neoteny.plasticity.interventions.resets import Timed
from neoteny.plasticity.interventions.traits import Trait
from neoteny.plasticity.optimizer_settings import OptimizerSettings, Tasks, Time
from neoteny.plasticity.sparse import first_samples
from neoteny.plasticity.surgery import (
    as_samples,
    fresh_weight,
    hidden_layers,
    outgoing_magnitude,
    require_own_outputs,
    reset_units,
)

if TYPE_CHECKING:
    from neoteny.plasticity.learner import Learner
    from neoteny.plasticity.networks import Observations


def _activation(learner: Learner) -> Activation:
    return ACTIVATIONS[learner.network.spec.activation]


@dataclass
class ContinualBackprop(Intervention):
    """Replace the least useful mature units, a small share at a time.

    A unit's utility is the running mean of |activation| times its mean |outgoing weight|; what it
    contributed on average moves into the next biases. Budgets are fractional and kept on the
    device; of CReLU's pairs and GroupSort's groups, each counts as one unit.
    """

    name: ClassVar[str] = "continual_backprop"
    static: ClassVar[bool] = True
    traits: ClassVar[Set[Trait]] = {Trait.DRAWS_WEIGHTS, Trait.RECYCLES_UNITS}
    metadata: ClassVar[Metadata] = Metadata(
        "Dohare et al., Nature 632 (2024), algorithm 1",
        probe=True,
        state="ages, utilities, mean activations, the next rows of each layer",
        cost="1 small forward",
    )
    limits: ClassVar[Mapping[str, str]] = {
        "lifetime": "above 0",
        "maturity": "above 0",
        "samples": "from 1 to 1,000,000",
        "decay": "in [0, 1)",
    }
    ranges: ClassVar[Mapping[str, Range]] = {"lifetime": Range(Tasks(0.2), Tasks(40))}

    lifetime: Time = Tasks(4)
    """Time in which as many units are replaced as there are mature ones."""
    maturity: Time = Tasks(0.1)
    """Time in which a new unit is safe."""
    decay: float = 0.99
    """Decay per update of the running means."""
    samples: int = 256
    """Largest number of a minibatch's samples that the means are taken over."""
    moments: bool = True
    """Start new units without moments; the authors' code keeps those of the old unit."""

    def start(self, learner: Learner) -> None:
        """Begin with units of age 0."""
        super().start(learner)
        require_own_outputs(learner.network, self.name)
        for branch, index, layer in hidden_layers(learner.network):
            units = layer.weight.shape[1]
            zeros = layer.weight.new_zeros(learner.network.members, units)
            for part in ("age", "utility"):
                self.state[f"{branch}/{index}/{part}"] = zeros.clone()
            self.state[f"{branch}/{index}/mean"] = zeros.repeat(1, _activation(learner).fan)
            self.state[f"{branch}/{index}/budget"] = zeros[:, 0].clone()
            self.state[f"{branch}/{index}/next"] = torch.empty_like(layer.weight)
        self._prepare(learner)

    def strength(self, settings: OptimizerSettings) -> dict[str, float]:
        """Share of the mature units that is replaced per update."""
        return {"replacement_rate": 1 / settings.exact_updates(self.lifetime)}

    @torch.no_grad()
    def edited(self, learner: Learner, layer: Any = None, units: Tensor | None = None) -> None:
        """Begin anew with the units that another intervention has drawn."""
        for branch, index, own in hidden_layers(learner.network):
            if own is layer:
                parts = self._parts(branch, index)
                new = torch.ones_like(parts["age"], dtype=torch.bool) if units is None else units
                self._begin(parts, new)

    def _begin(self, parts: dict[str, Tensor], units: Tensor) -> None:
        """Let units (M, units) begin at age 0."""
        for name in ("age", "utility"):
            parts[name].masked_fill_(units, 0.0)
        fan = parts["mean"].shape[1] // units.shape[1]
        parts["mean"].masked_fill_(units.repeat(1, fan), 0.0)

    @torch.no_grad()
    def after_step(self, learner: Learner, obs: Observations) -> None:
        """Update utilities, and replace as many units as the budget allows."""
        features = learner.network.features(first_samples(obs, self.samples))
        due, draws = self._acts(learner, learner.updates)
        for branch, index, layer in hidden_layers(learner.network):
            parts = self._parts(branch, index)
            magnitude = outgoing_magnitude(learner.network, layer)
            self._observe(parts, features[branch][index], magnitude)
            if due:
                self._replace(learner, branch, index, parts)
        if draws:
            self._prepare(learner)

    def rests(self, learner: Learner) -> bool:
        """True where no unit is replaced and none drawn ahead, so that all are observed alone."""
        return not any(self._acts(learner, learner.updates + 1))

    def _acts(self, learner: Learner, update: int) -> tuple[bool, bool]:
        """True if units are replaced after an update, and if the next ones are drawn."""
        maturity = learner.settings.updates(self.maturity)
        due = update > maturity and update % self.interval(learner) == 0
        return due, update % maturity == 0

    def interval(self, learner: Learner) -> int:
        """Updates between two replacements: so many that a layer's budget grows by at most 1.

        Fewer would change nothing but the moment, by less than an interval, and cost time.
        """
        layers = hidden_layers(learner.network)
        units = max(layer.weight.shape[1] // _activation(learner).group for _, _, layer in layers)
        rate = self.strength(learner.settings)["replacement_rate"]
        return max(1, int(1 / (rate * units)))

    def _parts(self, branch: str, index: int) -> dict[str, Tensor]:
        names = ("age", "utility", "mean", "budget", "next")
        return {name: self.state[f"{branch}/{index}/{name}"] for name in names}

    def _observe(self, parts: dict[str, Tensor], features: Tensor, outgoing: Tensor) -> None:
        """Age all units by one update and take the minibatch (M, B, ...) into the means."""
        samples = as_samples(features)
        useful = (samples.abs().mean(1) * outgoing).reshape(len(samples), -1, parts["age"].shape[1])
        parts["age"] += 1
        parts["utility"].lerp_(useful.sum(1), 1 - self.decay)
        parts["mean"].lerp_(samples.mean(1), 1 - self.decay)

    def _replace(self, learner: Learner, branch: str, index: int, parts: dict[str, Tensor]) -> None:
        """Replace the units of least utility as far as the budget goes."""
        maturity = learner.settings.updates(self.maturity)
        group = _activation(learner).group
        age = parts["age"]
        unbiased = 1 - self.decay**age
        utility = (parts["utility"] / unbiased).reshape(len(age), group, -1).sum(1)
        eligible = age[:, : age.shape[1] // group] > maturity
        rate = self.strength(learner.settings)["replacement_rate"] * self.interval(learner)
        budget = parts["budget"]
        budget += rate * eligible.sum(1)
        count = budget.floor()
        budget -= count
        order = utility.masked_fill(~eligible, math.inf).argsort(stable=True, dim=1).argsort(1)
        mask = (eligible & (order < count.unsqueeze(1))).repeat(1, group)
        fan = parts["mean"].shape[1] // age.shape[1]
        reset_units(
            learner,
            branch,
            index,
            mask,
            parts["next"],
            mean=parts["mean"] / unbiased.repeat(1, fan),
            moments=self.moments,
        )
        self.state["activity"] += mask.sum(1)

    def _prepare(self, learner: Learner) -> None:
        """Draw the next row of every unit, on the host.

        A new unit is safe for as long as a draw serves, so no row is ever used twice.
        """
        generators = learner.generators(f"intervention/{self.name}", learner.updates)
        for branch, index, layer in hidden_layers(learner.network):
            self.state[f"{branch}/{index}/next"].copy_(fresh_weight(layer, generators))


@dataclass
class SNR(Timed):
    """Reset units that have been silent for longer than their own past makes plausible.

    A unit fires in a minibatch if any activation is above 0. It is reset when at most the share
    `rejection` of its past gaps between firings were as long as its present silence, in the
    cautious estimate (1 + longer gaps) / (1 + gaps), or when it has been silent for `longest`.
    Gaps are counted in updates, in bins of half an octave.
    """

    name: ClassVar[str] = "snr"
    traits: ClassVar[Set[Trait]] = {
        Trait.DRAWS_WEIGHTS,
        Trait.RECYCLES_UNITS,
        Trait.FINDS_SILENT_UNITS,
    }
    metadata: ClassVar[Metadata] = Metadata(
        "Farias, Jozefiak, arXiv:2410.20098",
        probe=True,
        state="silences, histograms of gaps",
        cost="1 small forward",
    )
    limits: ClassVar[Mapping[str, str]] = {
        "rejection": "between 0 and 1",
        "longest": "above 0",
        "memory": "above 0",
        "samples": "from 1 to 1,000,000",
    }
    bins: ClassVar[int] = 48
    ranges: ClassVar[Mapping[str, Range]] = {
        "rejection": Range(1e-3, 0.2),
        "longest": Range(Tasks(0.02), Tasks(2)),
    }
    not_at_switches: ClassVar[str] = "silences end at no switch"

    period: Time | None = Tasks(0.02)
    rejection: float = 0.02
    """Largest p-value of a silence that is rejected."""
    longest: Time = Tasks(0.2)
    """Time of silence after which a unit is reset whatever its past."""
    memory: Time = Tasks(10)
    """Half-life of past gaps."""
    samples: int = 256
    """Largest number of a minibatch's samples in which a unit may fire."""

    def start(self, learner: Learner) -> None:
        """Clear the histories of units; refuse activations that do not fall silent."""
        super().start(learner)
        require_own_outputs(learner.network, self.name)
        activation = learner.network.spec.activation
        if activation != "relu":
            raise InputError(f"snr needs units that fall silent, not {activation}: use relu")
        for branch, index, layer in hidden_layers(learner.network):
            silence = layer.weight.new_zeros(layer.weight.shape[:2])
            self.state[f"{branch}/{index}/silence"] = silence
            self.state[f"{branch}/{index}/gaps"] = silence.unsqueeze(2).repeat(1, 1, self.bins)

    @torch.no_grad()
    def after_step(self, learner: Learner, obs: Observations) -> None:
        """Count silences and gaps; at the end of a period, reset."""
        features = learner.network.features(first_samples(obs, self.samples))
        forget = math.exp(-learner.settings.rate(self.memory))
        for branch, index, _ in hidden_layers(learner.network):
            h = features[branch][index]
            fired = (h if h.dim() == 3 else h.flatten(3).amax(3)).amax(1) > 0
            silence, gaps = (self.state[f"{branch}/{index}/{p}"] for p in ("silence", "gaps"))
            gaps *= forget
            gaps.scatter_add_(2, self._bin(silence), fired.to(gaps.dtype).unsqueeze(2))
            silence += 1
            silence.masked_fill_(fired, 0.0)
        super().after_step(learner, obs)

    def _bin(self, silence: Tensor) -> Tensor:
        """Bin (M, units, 1) of the gap that ends after a silence of so many updates."""
        octaves = (silence + 1).log2().mul(2).floor().clamp(max=self.bins - 1)
        return octaves.long().unsqueeze(2)

    def p_value(self, silence: Tensor, gaps: Tensor) -> Tensor:
        """Estimated chance (M, units) of a gap as long as the present silence."""
        as_long = gaps.flip(2).cumsum(2).flip(2).gather(2, self._bin(silence)).squeeze(2)
        return (1 + as_long) / (1 + gaps.sum(2))

    def edit(self, learner: Learner, obs: Observations | None) -> None:
        """Reset the units whose silence is improbable, and clear their histories."""
        generators = self.draws(learner)
        limit = learner.settings.updates(self.longest)
        for branch, index, layer in hidden_layers(learner.network):
            silence, gaps = (self.state[f"{branch}/{index}/{p}"] for p in ("silence", "gaps"))
            mask = (self.p_value(silence, gaps) <= self.rejection) & (silence > 0)
            mask |= silence >= limit
            reset_units(learner, branch, index, mask, fresh_weight(layer, generators))
            self.state["activity"] += mask.sum(1)

    @torch.no_grad()
    def edited(self, learner: Learner, layer: Any = None, units: Tensor | None = None) -> None:
        """Clear the histories of units that were drawn anew."""
        for branch, index, own in hidden_layers(learner.network):
            if own is layer:
                silence, gaps = (self.state[f"{branch}/{index}/{p}"] for p in ("silence", "gaps"))
                new = torch.ones_like(silence, dtype=torch.bool) if units is None else units
                silence.masked_fill_(new, 0.0)
                gaps.masked_fill_(new.unsqueeze(2), 0.0)
