"""What an intervention is: a small class whose hooks the learner calls.

Every hook is optional and does nothing by default. Hooks loop over `learner.network.branches`, so
an intervention acts on every branch of every algorithm alike; heads are known by construction and
left alone unless a class says otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor
from torch.optim import Adam, Optimizer

if TYPE_CHECKING:
    from neoteny.agents.learner import Learner
    from neoteny.agents.networks import Network, NetworkSpec, Observations

__all__ = ["Intervention", "OptimizerSettings", "make_optimizer"]


@dataclass(frozen=True)
class OptimizerSettings:
    """The constants of Adam that all compared optimisers share."""

    learning_rate: float = 2.5e-4
    eps: float = 1e-5
    betas: tuple[float, float] = (0.9, 0.999)
    updates_per_step: float = 1.0
    """Gradient steps per environment step, by which half-lives are translated to updates."""

    def __post_init__(self) -> None:
        if self.learning_rate < 0:
            raise ValueError(f"learning_rate is {self.learning_rate}: it must not be negative")
        if self.eps < 0:
            raise ValueError(f"adam_eps is {self.eps}: it must not be negative")

    @property
    def fused(self) -> bool:
        """Whether to ask for torch's fused kernels; measured fastest on CPU and on CUDA."""
        return True


@dataclass
class Intervention:
    """Does nothing; subclasses override the hooks that they need.

    Subclasses are dataclasses whose fields are the strengths, settable from the command line as
    `name:field=value,...`. Tensors that a resume needs live in `state`.
    """

    name: ClassVar[str] = "none"
    needs_boundaries: ClassVar[bool] = False
    """Whether it must be told of task switches, which makes a run task-aware."""
    hooks: ClassVar[str] = "-"
    """Where it acts, in words, for `list interventions`."""
    source: ClassVar[str] = "-"
    """The paper it comes from."""

    state: dict[str, Tensor] = field(default_factory=dict, init=False, repr=False, compare=False)

    def spec(self, spec: NetworkSpec) -> NetworkSpec:
        """Change the architecture before the network is built."""
        return spec

    def optimizer(self, network: Network, settings: OptimizerSettings) -> Optimizer | None:
        """Replace the optimiser; at most one intervention may answer."""
        return None

    def start(self, learner: Learner) -> None:
        """Take snapshots of the initial network; overriding classes call this first."""
        self.state["activity"] = torch.zeros(learner.network.members, device=learner.alive.device)

    def loss(self, learner: Learner, obs: Observations) -> Tensor | float:
        """A penalty (M,) added to the loss, inside gradient clipping."""
        return 0.0

    def after_backward(self, learner: Learner, obs: Observations) -> None:
        """Edit gradients before they are clipped."""

    def after_step(self, learner: Learner, obs: Observations) -> None:
        """Edit weights after the optimiser's step."""

    def boundary(self, learner: Learner, task: Tensor) -> None:
        """The task has changed to `task` (M,)."""

    @property
    def activity(self) -> Tensor:
        """How much it has done so far, (M,) in units of the class; above 0 once it acted."""
        return self.state["activity"]

    def strength(self, settings: OptimizerSettings) -> dict[str, float]:
        """Rates per update that say how strongly it acts; empty if it has none."""
        return {}


def make_optimizer(
    network: Network, interventions: Sequence[Intervention], settings: OptimizerSettings
) -> Optimizer:
    """The optimiser that an intervention asks for, or Adam.

    Raises:
        ValueError: If two interventions bring an optimiser.
    """
    answers = {
        intervention.name: optimizer
        for intervention in interventions
        if (optimizer := intervention.optimizer(network, settings)) is not None
    }
    if len(answers) > 1:
        raise ValueError(f"interventions {' and '.join(answers)} each bring an optimiser: keep one")
    if answers:
        return next(iter(answers.values()))
    return Adam(
        network.parameters(),
        lr=settings.learning_rate,
        betas=settings.betas,
        eps=settings.eps,
        fused=settings.fused,
    )
