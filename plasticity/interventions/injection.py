"""Plasticity injection, as blocks of units within the last hidden layer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from neoteny.core.errors import InputError
from neoteny.plasticity.activations import ACTIVATIONS
from neoteny.plasticity.interventions.intervention import Intervention, Metadata
from neoteny.plasticity.interventions.resets import period_in_updates
from neoteny.plasticity.interventions.traits import Trait
from neoteny.plasticity.layers import IsoLinear
from neoteny.plasticity.optimizer_settings import OptimizerSettings, Targets, Time
from neoteny.plasticity.surgery import assign, fresh_bias, fresh_weight, redraw

if TYPE_CHECKING:
    from neoteny.plasticity.learner import Learner
    from neoteny.plasticity.networks import Branch, NetworkSpec, Observations


class _Blocks:
    """A layer's units or features as blocks: f, then g and g' of every injection.

    The blocks divide each of `slices` equal slices, which the activation sorts against each other,
    so that no sorted group crosses blocks.
    """

    slices: int
    count: int

    def _apart(self, values: Tensor, dim: int) -> list[Tensor]:
        """Blocks as an axis of their own."""
        return list(torch.unflatten(values, dim, (self.slices, self.count, -1)).unbind(dim + 1))

    def _together(self, blocks: list[Tensor], dim: int) -> Tensor:
        return torch.stack(blocks, dim + 1).flatten(dim, dim + 2)


class _Hidden(_Blocks, IsoLinear):
    """The last hidden layer: g is computed as g' plus their difference.

    Where both have the same weights the difference is a product with zeros, so both are the same
    numbers, whatever the kernel.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map (M, ..., in) to (M, ..., blocks of units)."""
        weight = self._together(_differences(self._apart(self.weight, 1)), 1)
        bias: Tensor | None = None
        if self.bias is not None:
            bias = self._together(_differences(self._apart(self.bias, 1)), 1)
        blocks = self._apart(_linear(x, weight, bias), x.dim() - 1)
        for g, anchor in _pairs(blocks):
            blocks[g] = blocks[anchor] + blocks[g]
        return self._together(blocks, x.dim() - 1)


class _Head(_Blocks, IsoLinear):
    """The head of f + g - g': the weights of g' have the opposite sign.

    What g and g' share is applied to the difference of their features, which is 0 where they are
    alike.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map (M, ..., blocks of features) to (M, ..., out)."""
        weights, features = self._apart(self.weight, 2), self._apart(x, x.dim() - 1)
        for g, anchor in _pairs(weights):
            weights[g], weights[anchor] = weights[g] + weights[anchor], -weights[anchor]
            features[anchor] = features[g] - features[anchor]
        weight, x = self._together(weights, 2), self._together(features, x.dim() - 1)
        return _linear(x, weight, self.bias)


@dataclass
class PlasticityInjection(Intervention):
    """Freeze the function's last two layers and learn on with new ones.

    The last hidden layer and the head, f, become f + g - g': g is newly drawn and trained, g' is
    its frozen copy. So the outputs stay the same, to the last bit, and the head is as plastic as a
    new one. Earlier layers are shared and go on training. A linear head alone would gain nothing:
    training g is then training f. The next injection freezes g and adds a pair of its own.

    All of them live in one hidden layer, three times as wide for one injection, whose blocks are f,
    g and g'; until the injection the latter two are 0. So parameters and optimiser are allocated
    once. Diagnostics of that layer count the blocks that rest.
    """

    name: ClassVar[str] = "plasticity_injection"
    traits: ClassVar[Set[Trait]] = {Trait.LAYER_IN_BLOCKS, Trait.DRAWS_WEIGHTS}
    metadata: ClassVar[Metadata] = Metadata(
        "Nikishin et al., arXiv:2305.15555",
        needs_boundary=True,
        state="frozen weights",
        cost="last hidden layer three times as wide, branches one by one",
        preserves_function=True,
    )
    limits: ClassVar[Mapping[str, str]] = {"at": "above 0", "injections": "from 1 to 100"}

    at: Time | None = None
    """Time until the injection, and from one to the next; none: the first task switches."""
    injections: int = 1
    """Number of injections in a run, after which there is none; each makes the last hidden layer
    wider by twice its width."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.needs_boundaries = self.at is None
        self.acts_at_most = self.injections
        if isinstance(self.at, Targets):
            raise InputError(f"{self.name}:at={self.at}: give steps or tasks")

    def acts_every(self, settings: OptimizerSettings) -> int | None:
        """Updates between the injections, None at switches."""
        return None if self.at is None else period_in_updates(self.at, settings)

    @property
    def _blocks(self) -> int:
        return 1 + 2 * self.injections

    def spec(self, spec: NetworkSpec) -> NetworkSpec:
        """Make room for the blocks."""
        if spec.residual:
            raise InputError(
                f"{self.name} widens the last hidden layer, to which a residual network cannot add "
                "the layer before it: leave out one of the two"
            )
        return replace(spec, hidden=(*spec.hidden[:-1], self._blocks * spec.hidden[-1]))

    def start(self, learner: Learner) -> None:
        """Give the network the weights that it would have had without the blocks."""
        super().start(learner)
        if learner.network.spec.norm != "none":
            raise InputError(f"{self.name} needs hidden layers without norms: set norm=none")
        generators = learner.generators("init", 0)
        activation = ACTIVATIONS[learner.network.spec.activation]
        drawn: set[int] = set()
        for branch in learner.network.branches.values():
            if id(branch.body) not in drawn:
                for layer in branch.hidden[:-1]:
                    redraw(learner, layer, generators)
                self._divide(_Hidden, branch.hidden[-1], activation.group)
            self._divide(_Head, branch.head, activation.fan * activation.group)
            self._draw(learner, branch, generators, {0: 1.0}, hidden=id(branch.body) not in drawn)
            drawn.add(id(branch.body))
        self._remember(learner)

    def _divide(self, kind: type[_Blocks], layer: Any, slices: int) -> None:
        """Let a layer compute by blocks; it stays the same object with the same parameters."""
        layer.__class__ = kind
        layer.slices, layer.count = slices, self._blocks

    def _done(self, learner: Learner, updates: int) -> int:
        """Injections up to a number of updates, known on the host."""
        if self.at is None:
            return min(learner.boundaries, self.injections)
        return min(updates // period_in_updates(self.at, learner.settings), self.injections)

    @torch.no_grad()
    def boundary(self, learner: Learner, task: Tensor) -> None:
        """Inject at the first switches, if no time is set."""
        if self.at is None and learner.boundaries <= self.injections:
            self._inject(learner)

    @torch.no_grad()
    def after_backward(self, learner: Learner, obs: Observations) -> None:
        """Keep resting entries out of the gradient's norm."""
        for _, parameter, resting in self._resting(learner, self._done(learner, learner.updates)):
            if parameter.grad is not None:
                parameter.grad.masked_fill_(resting, 0.0)

    @torch.no_grad()
    def after_step(self, learner: Learner, obs: Observations) -> None:
        """Restore resting entries after the optimiser's step; inject when it is time."""
        before = self._done(learner, learner.updates - 1)
        for name, parameter, resting in self._resting(learner, before):
            parameter.copy_(torch.where(resting, self.state[name], parameter))
        if self._done(learner, learner.updates) > before:
            self._inject(learner)

    def _inject(self, learner: Learner) -> None:
        """Draw the next g and its copy, freeze the rest, and start the optimiser anew."""
        generators = learner.generators(f"intervention/{self.name}", learner.updates)
        g = _trained(self._done(learner, learner.updates))
        drawn: set[int] = set()
        for branch in learner.network.branches.values():
            new = id(branch.body) not in drawn
            self._draw(learner, branch, generators, {g: 1.0, g + 1: -1.0}, hidden=new)
            drawn.add(id(branch.body))
        self._remember(learner)
        learner.reset_optimizer()
        self.state["activity"] += 1

    def _draw(
        self,
        learner: Learner,
        branch: Branch,
        generators: list[torch.Generator],
        signs: dict[int, float],
        hidden: bool,
    ) -> None:
        """Draw one head, and one last layer if asked, for blocks, the head with their signs.

        Drawing f zeroes the other blocks.
        """
        units, features = self.owners(learner)
        first = min(signs)
        chosen = [
            torch.isin(owner, torch.tensor([*signs]).to(owner)) for owner in (units, features)
        ]
        masks = [owner >= 0 for owner in (units, features)] if first == 0 else chosen
        if hidden:
            layer: Any = branch.hidden[-1]
            narrow = (len(units) // self._blocks, *layer.weight.shape[2:])
            rows = fresh_weight(layer, generators, narrow)
            wide = torch.zeros_like(layer.weight)
            for block in signs:
                wide[:, units == block] = rows
            assign(learner, layer.weight, wide, masks[0].unsqueeze(1))
            if layer.bias is not None:
                bias = fresh_bias(layer, generators, rows)
                biases = torch.zeros_like(layer.bias)
                for block in signs:
                    biases[:, units == block] = bias
                assign(learner, layer.bias, biases, masks[0])
        head = branch.head
        narrow = (head.weight.shape[1], len(features) // self._blocks)
        columns = fresh_weight(head, generators, narrow)
        wide = torch.zeros_like(head.weight)
        for block, sign in signs.items():
            wide[:, :, features == block] = sign * columns
        assign(learner, head.weight, wide, masks[1])
        if head.bias is not None:
            bias = fresh_bias(head, generators, columns)
            if first == 0:  # those of g and g' are one that is learnt on
                assign(learner, head.bias, bias)

    def owners(self, learner: Learner) -> tuple[Tensor, Tensor]:
        """Block of each unit of the last hidden layer (units,), and of each feature (features,)."""
        spec = learner.network.spec
        activation = ACTIVATIONS[spec.activation]

        def owners(count: int, slices: int) -> Tensor:
            index = torch.arange(count, device=learner.alive.device)
            return index % (count // slices) * self._blocks * slices // count

        units = owners(spec.hidden[-1] // activation.fan, activation.group)
        features = owners(spec.hidden[-1], activation.fan * activation.group)
        return units, features

    def _remember(self, learner: Learner) -> None:
        """Keep the values of all entries that may rest."""
        for name, parameter in self._parameters(learner):
            self.state[name] = parameter.detach().clone()

    def _parameters(self, learner: Learner) -> Iterator[tuple[str, Tensor]]:
        """The parameters with blocks, each once."""
        seen: set[int] = set()
        for name, branch in learner.network.branches.items():
            yield f"{name}/columns", branch.head.weight
            hidden: Any = branch.hidden[-1]
            if id(hidden) not in seen:
                seen.add(id(hidden))
                yield f"{name}/rows", hidden.weight
                if hidden.bias is not None:
                    yield f"{name}/biases", hidden.bias

    def _resting(self, learner: Learner, done: int) -> Iterator[tuple[str, Tensor, Tensor]]:
        """Name, parameter and mask of the entries that rest after a number of injections."""
        units, features = (owner != _trained(done) for owner in self.owners(learner))
        masks = {"rows": units.unsqueeze(1), "biases": units, "columns": features}
        for name, parameter in self._parameters(learner):
            yield name, parameter, masks[name.rpartition("/")[2]]


def _trained(injections: int) -> int:
    """The block that is trained after a number of injections: f, then each g."""
    return max(0, 2 * injections - 1)


def _pairs(blocks: list[Tensor]) -> Iterator[tuple[int, int]]:
    """Places of g and g' of every injection."""
    return ((g, g + 1) for g in range(1, len(blocks), 2))


def _differences(blocks: list[Tensor]) -> list[Tensor]:
    """f, and for every injection g - g' and g'."""
    for g, anchor in _pairs(blocks):
        blocks[g] = blocks[g] - blocks[anchor]
    return blocks


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Map (M, ..., in) by (M, out, in) and (M, out) to (M, ..., out)."""
    flat = x.flatten(1, -2)
    if bias is None:
        out = torch.bmm(flat, weight.mT)
    else:
        out = torch.baddbmm(bias.unsqueeze(1), flat, weight.mT)
    return out.view(*x.shape[:-1], -1)
