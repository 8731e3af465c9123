"""What an intervention is: a small class whose hooks the learner calls.

Every hook is optional and does nothing by default. Hooks loop over `learner.network.branches`, so
an intervention acts on every branch of every algorithm alike; heads are known by construction and
left alone unless a class says otherwise.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor
from torch.optim import Optimizer

from neoteny.core.errors import InputError
from neoteny.core.options import check_fields
from neoteny.plasticity import surgery
from neoteny.plasticity.quick_adam import QuickAdam

if TYPE_CHECKING:
    from neoteny.agents.learner import Learner
    from neoteny.agents.networks import Network, NetworkSpec, Observations
    from neoteny.plasticity.layers import IsoLinear

__all__ = [
    "Facts",
    "Intervention",
    "OptimizerSettings",
    "as_samples",
    "first_samples",
    "hidden_layers",
    "make_optimizer",
    "require_compatible",
]

HOOKS = ("spec", "optimizer", "loss", "after_backward", "after_step", "boundary")


@dataclass(frozen=True)
class OptimizerSettings:
    """The constants of Adam that all compared optimisers share."""

    learning_rate: float = 2.5e-4
    eps: float = 1e-5
    betas: tuple[float, float] = (0.9, 0.999)
    updates_per_step: float = 1.0
    """Gradient steps per environment step, by which half-lives are translated to updates."""
    updates_per_iteration: int = 1
    """Gradient steps between two collections of experience; rare edits wait for the last one."""

    limits: ClassVar[Mapping[str, str]] = {
        "learning_rate": "at least 0",
        "eps": "at least 0",
        "betas": "in [0, 1)",
    }

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    def fused(self) -> bool:
        """Whether to ask for torch's fused kernels; measured fastest on CPU and on CUDA."""
        return True

    @property
    def adam(self) -> dict[str, Any]:
        """The settings as keyword arguments of `torch.optim.Adam` and its relatives."""
        return {
            "lr": self.learning_rate,
            "betas": self.betas,
            "eps": self.eps,
            "fused": self.fused,
        }

    def updates(self, steps: float) -> int:
        """Whole updates, at least one, in a period of `steps` environment steps."""
        if not steps > 0:
            raise InputError(
                f"period={steps:g} must be above 0: environment steps between two edits"
            )
        return max(1, round(steps * self.updates_per_step))

    def rate(self, half_life: float) -> float:
        """Rate r per update of a decay exp(-r t) that halves in `half_life` environment steps."""
        if not half_life > 0:
            raise InputError(
                f"half_life={half_life:g}: a half-life in environment steps must be above 0"
            )
        return math.log(2) / (half_life * self.updates_per_step)


@dataclass(frozen=True)
class Facts:
    """What the registry knows about an intervention besides its fields."""

    paper: str = "-"
    needs_boundary: bool = False
    """Whether it acts only when told of task switches, which makes a run task-aware."""
    probe: bool = False
    """Whether it runs the network on a batch of observations of its own accord."""
    state: str = "-"
    """Tensors that it keeps besides the optimiser's, in words."""
    cost: str = "none"
    """Extra time per update, in words."""
    dqn: str = ""
    """Settings with which it starts for DQN, `field=value,...`; a class's defaults are those for
    PPO and the classifier."""
    conflicts: frozenset[str] = frozenset()
    """Names of interventions that it cannot be combined with; one side of a pair is enough."""
    preserves_function: bool = False
    """Whether a boundary leaves the network's outputs as they were."""


@dataclass
class Intervention:
    """Does nothing; subclasses override the hooks that they need.

    Subclasses are dataclasses whose fields are the strengths, settable from the command line as
    `name:field=value,...`. Tensors that a resume needs live in `state`.
    """

    name: ClassVar[str] = "none"
    facts: ClassVar[Facts] = Facts()
    hooks: ClassVar[str] = "-"
    """The hooks that the class overrides, for `list interventions`."""
    source: ClassVar[str] = "-"
    """The paper it comes from."""
    static: ClassVar[bool] = False
    """Whether its hooks run the same operations on the same memory at every update, whatever the
    number of the update, so that a CUDA graph may replay them."""
    limits: ClassVar[Mapping[str, str]] = {}
    """Field to what its value must be, see `neoteny.core.options`; a subclass adds to those of its
    bases."""
    # Not a field and not a ClassVar: an instance whose settings replace boundaries by a period
    # sets it to False.
    needs_boundaries = False

    state: dict[str, Tensor] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        overridden = [
            hook for hook in HOOKS if getattr(cls, hook) is not getattr(Intervention, hook)
        ]
        cls.hooks = ", ".join(overridden) or "-"
        if "facts" in vars(cls):
            cls.source = cls.facts.paper
            cls.needs_boundaries = cls.facts.needs_boundary

    def __post_init__(self) -> None:
        check_fields(self, f"{self.name}:{{}}={{}}")

    @property
    def settings(self) -> dict[str, Any]:
        """The values of its fields, as `config.json` keeps them."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.init}

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

    def measured(self) -> dict[str, Tensor]:
        """What is recorded of it now and then: name to (M,)."""
        return {"activity": self.activity}

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
        raise InputError(f"interventions {' and '.join(answers)} each bring an optimiser: keep one")
    if answers:
        return next(iter(answers.values()))
    return QuickAdam(network.parameters(), **settings.adam)


def require_compatible(interventions: Sequence[Intervention]) -> None:
    """Check that no two interventions are declared to be in conflict.

    Raises:
        ValueError: Naming the two.
    """
    for one, other in itertools.permutations(interventions, 2):
        if other.name in one.facts.conflicts:
            raise InputError(
                f"interventions {one.name!r} and {other.name!r} are in conflict: keep one"
            )


def hidden_layers(network: Network) -> list[IsoLinear]:
    """The hidden layers of every branch; one that branches share comes once."""
    return [layer for _, _, layer in surgery.hidden_layers(network)]


def first_samples(obs: Observations, count: int) -> Observations:
    """The first `count` samples of each member's minibatch, which suffice for statistics."""
    if isinstance(obs, Tensor):
        return obs[:, :count]
    batch = len(obs) // obs.members
    first = torch.arange(obs.members).unsqueeze(1) * batch
    return obs.select(first + torch.arange(min(count, batch)))


def as_samples(features: Tensor) -> Tensor:
    """Features (M, B, n), or (M, B, channels, H, W) with every position as a sample."""
    return features if features.dim() == 3 else features.movedim(2, -1).flatten(1, -2)
