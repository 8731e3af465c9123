"""The hooks by which the learner calls interventions; all of them do nothing here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor
from torch.optim import Optimizer

if TYPE_CHECKING:
    from neoteny.plasticity.learner import Learner
    from neoteny.plasticity.networks import Network, NetworkSpec, Observations
    from neoteny.plasticity.optimizer_settings import OptimizerSettings


class Hooks:
    """An intervention as the learner calls it; `Intervention` adds what runs and reports read."""

    name: ClassVar[str]
    """Its name in the registry."""
    hooks: ClassVar[frozenset[str]] = frozenset()
    """The hooks that the class overrides; the learner calls no others in an update."""
    static: ClassVar[bool] = False
    """True if its hooks run the same operations on the same memory at every update, whatever its
    number, at which it `rests`."""
    state: dict[str, Tensor]
    """Tensors that a resume needs."""

    def rests(self, learner: Learner) -> bool:
        """True if a CUDA graph may replay its hooks in the coming update."""
        return self.static

    def spec(self, spec: NetworkSpec) -> NetworkSpec:
        """Change the architecture before the network is built."""
        return spec

    def optimizer(self, network: Network, settings: OptimizerSettings) -> Optimizer | None:
        """Replace the optimiser; at most one intervention may answer."""
        return None

    def start(self, learner: Learner) -> None:
        """Take snapshots of the initial network."""

    def loss(self, learner: Learner, obs: Observations) -> Tensor | float:
        """A penalty (M,) added to the loss, inside gradient clipping."""
        return 0.0

    def after_backward(self, learner: Learner, obs: Observations) -> None:
        """Edit gradients before they are clipped."""

    def after_step(self, learner: Learner, obs: Observations) -> None:
        """Edit weights after the optimiser's step."""

    def edited(self, learner: Learner, layer: Any = None, units: Tensor | None = None) -> None:
        """Discard state about weights that were changed other than by a step.

        Args:
            learner: owner of the network.
            layer: the layer with new units, None if no unit is a new one.
            units: (M, units) bool, the new ones; None for all.
        """

    def boundary(self, learner: Learner, task: Tensor) -> None:
        """The task has changed to `task` (M,)."""
