"""Plasticity injection, as blocks of units within the last hidden layer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from neoteny.plasticity.activations import ACTIVATIONS
from neoteny.plasticity.interventions.base import Facts, Intervention
from neoteny.plasticity.interventions.network_resets import RECYCLING, REDRAWING
from neoteny.plasticity.interventions.resets import period_in_updates
from neoteny.plasticity.surgery import fresh_weight, write

if TYPE_CHECKING:
    from neoteny.agents.learner import Learner
    from neoteny.agents.networks import Branch, NetworkSpec, Observations

__all__ = ["PlasticityInjection"]

OLD, NEW, ANCHOR = range(3)

WHOLE_LAYER = frozenset(
    {"soft_shrink_perturb", "dash", "layer_norm", "adamo", "scale_adamo", "muono", "isometry_loss"}
    | {"parseval", "spectral", "fire", "newton_schulz", "nap", "muon"}
    | {"l2_init", "wasserstein_init"}
)
"""Interventions for which the blocks of a layer would be one matrix."""


@dataclass
class PlasticityInjection(Intervention):
    """Freeze the function's last two layers and learn on with new ones, once.

    The last hidden layer and the head, f, become f + g - g': g is newly drawn and trained, g' is
    its frozen copy, so the function is the same at the injection (up to the rounding of the sums)
    and its head as plastic as a new one. Earlier layers are shared and go on training. A linear
    head alone would gain nothing: training g is then training f.

    All three live in one hidden layer of three times the width, whose blocks are f, g and g'; until
    the injection the latter two are 0. So parameters and optimiser are allocated once. Diagnostics
    of that layer count the blocks that rest.
    """

    name: ClassVar[str] = "plasticity_injection"
    facts: ClassVar[Facts] = Facts(
        "Nikishin et al., arXiv:2305.15555",
        needs_boundary=True,
        state="frozen weights",
        cost="last hidden layer three times as wide",
        conflicts=REDRAWING | RECYCLING | WHOLE_LAYER,
        preserves_function=True,
    )

    at: float | None = None
    """Environment steps until the injection; none: the first task switch."""

    def __post_init__(self) -> None:
        if self.at is not None and not self.at > 0:
            raise ValueError(f"{self.name}:at={self.at:g} must be above 0 steps, or none")
        self.needs_boundaries = self.at is None

    def spec(self, spec: NetworkSpec) -> NetworkSpec:
        """Make room for the blocks."""
        return replace(spec, hidden=(*spec.hidden[:-1], 3 * spec.hidden[-1]))

    def start(self, learner: Learner) -> None:
        """Give the network the weights that it would have had without the blocks."""
        super().start(learner)
        if learner.network.spec.norm != "none":
            raise ValueError(f"{self.name} needs hidden layers without norms: set norm=none")
        generators = learner.generators("init", 0)
        for branch in learner.network.branches.values():
            for layer in branch.hidden[:-1]:
                write(learner, layer.weight, fresh_weight(layer, generators))
            self._draw(learner, branch, generators, {OLD: 1.0})
        self._remember(learner)

    def _time(self, learner: Learner) -> int | None:
        return None if self.at is None else period_in_updates(self.at, learner.settings)

    def injected(self, learner: Learner) -> bool:
        """Whether the injection lies behind, known on the host."""
        time = self._time(learner)
        return learner.boundaries > 0 if time is None else learner.updates >= time

    @torch.no_grad()
    def boundary(self, learner: Learner, task: Tensor) -> None:
        """Inject at the first switch, if no time is set."""
        if self.at is None and learner.boundaries == 1:
            self._inject(learner)

    @torch.no_grad()
    def after_backward(self, learner: Learner, obs: Observations) -> None:
        """Keep resting entries out of the gradient's norm."""
        for _, parameter, resting in self._resting(learner, self.injected(learner)):
            if parameter.grad is not None:
                parameter.grad.masked_fill_(resting, 0.0)

    @torch.no_grad()
    def after_step(self, learner: Learner, obs: Observations) -> None:
        """Undo what the optimiser did to resting entries (decay, say); inject when it is time."""
        now = learner.updates == self._time(learner)
        for name, parameter, resting in self._resting(learner, self.injected(learner) and not now):
            parameter.copy_(torch.where(resting, self.state[name], parameter))
        if now:
            self._inject(learner)

    def _inject(self, learner: Learner) -> None:
        """Draw g and its copy, freeze f, and start the optimiser anew."""
        generators = learner.generators(f"intervention/{self.name}", learner.updates)
        for branch in learner.network.branches.values():
            self._draw(learner, branch, generators, {NEW: 1.0, ANCHOR: -1.0})
        self._remember(learner)
        learner.reset_optimizer()
        self.state["activity"] += 1

    def _draw(
        self,
        learner: Learner,
        branch: Branch,
        generators: list[torch.Generator],
        signs: dict[int, float],
    ) -> None:
        """Draw one last layer and head, and write them to blocks, the head with their signs.

        Drawing f zeroes the other blocks.
        """
        hidden: Any = branch.hidden[-1]
        units, features = self._owners(learner)
        narrow = (len(units) // 3, *hidden.weight.shape[2:])
        rows = fresh_weight(hidden, generators, narrow)
        narrow = (branch.head.weight.shape[1], len(features) // 3)
        columns = fresh_weight(branch.head, generators, narrow)
        wide = torch.zeros_like(hidden.weight), torch.zeros_like(branch.head.weight)
        for block, sign in signs.items():
            wide[0][:, units == block] = rows
            wide[1][:, :, features == block] = sign * columns
        first = OLD if OLD in signs else NEW
        write(learner, hidden.weight, wide[0], _rows(units >= first, hidden.weight))
        write(learner, branch.head.weight, wide[1], features >= first)
        if hidden.bias is not None:
            write(learner, hidden.bias, 0.0, units >= first)

    def _owners(self, learner: Learner) -> tuple[Tensor, Tensor]:
        """Block of each unit of the last hidden layer (units,), and of each feature (features,).

        Blocks divide every slice of units that the activation sorts against each other, so that no
        group crosses blocks.
        """
        spec = learner.network.spec
        activation = ACTIVATIONS[spec.activation]

        def owners(count: int, slices: int) -> Tensor:
            index = torch.arange(count, device=learner.alive.device)
            return index % (count // slices) * 3 * slices // count

        units = owners(spec.hidden[-1] // activation.fan, activation.group)
        features = owners(spec.hidden[-1], activation.fan * activation.group)
        return units, features

    def _remember(self, learner: Learner) -> None:
        """Keep the values of all entries that may rest."""
        for name, parameter in self._parameters(learner):
            self.state[name] = parameter.detach().clone()

    def _parameters(self, learner: Learner) -> Iterator[tuple[str, Tensor]]:
        """The parameters with blocks."""
        for name, branch in learner.network.branches.items():
            hidden: Any = branch.hidden[-1]
            yield f"{name}/rows", hidden.weight
            yield f"{name}/columns", branch.head.weight
            if hidden.bias is not None:
                yield f"{name}/biases", hidden.bias

    def _resting(self, learner: Learner, injected: bool) -> Iterator[tuple[str, Tensor, Tensor]]:
        """Name, parameter and mask of the entries that rest, before or after the injection."""
        units, features = (owner != (NEW if injected else OLD) for owner in self._owners(learner))
        for name, parameter in self._parameters(learner):
            mask = features if name.endswith("/columns") else units
            yield name, parameter, _rows(mask, parameter) if name.endswith("/rows") else mask


def _rows(mask: Tensor, weight: Tensor) -> Tensor:
    """Let a mask (units,) broadcast to a weight (M, units, in, ...)."""
    return mask.view(-1, *[1] * (weight.dim() - 2))
