"""Base of interventions: small classes whose hooks the learner calls.

Every hook is optional and does nothing by default, see `Hooks`. Hooks loop over
`learner.network.branches`, so an intervention acts on every branch of every algorithm alike; heads
are known by construction and left alone unless a class says otherwise.
"""

from __future__ import annotations

import itertools
import math
import typing
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, fields
from functools import lru_cache
from typing import Any, ClassVar

import torch
from torch import Tensor

from neoteny.core.errors import InputError
from neoteny.core.options import check_fields
from neoteny.core.registry import Registry
from neoteny.plasticity import surgery
from neoteny.plasticity.interventions.ranges import Range
from neoteny.plasticity.interventions.traits import Trait, why_not
from neoteny.plasticity.layers import IsoLinear
from neoteny.plasticity.learner import Hooks, Learner
from neoteny.plasticity.networks import Network
from neoteny.plasticity.optimizer_settings import OptimizerSettings, Targets, Tasks

HOOKS = (
    "spec",
    "optimizer",
    "loss",
    "after_backward",
    "rewrite",
    "after_step",
    "edited",
    "boundary",
)
"""Hooks that a class may override, in the order of an update; `rewrite` is of `StepWrapper`."""

INTERVENTIONS: Registry[type[Intervention]] = Registry("intervention")
"""Every intervention by its name; a subclass with a name of its own registers itself."""


@dataclass(frozen=True)
class Metadata:
    """Properties of an intervention besides its fields."""

    paper: str = "-"
    needs_boundary: bool = False
    """True if it acts only when told of task switches, which makes a run task-aware."""
    probe: bool = False
    """True if it runs the network on a batch of observations itself."""
    state: str = "-"
    """Tensors that it keeps besides the optimiser's, in words."""
    cost: str = "none"
    """Extra time per update, in words."""
    dqn: str = ""
    """Settings with which it starts for DQN, `field=value,...`; a class's defaults are those for
    PPO and the classifier. Times need none: they are given in tasks or targets."""
    optimizer_alone: bool = False
    """True if its edits are those that the protocol makes at switches in all arms."""
    preserves_function: bool = False
    """True if a boundary leaves the network's outputs as they were."""


@dataclass
class Intervention(Hooks):
    """Does nothing; subclasses override the hooks that they need.

    Subclasses are dataclasses whose fields are the strengths, settable from the command line as
    `name:field=value,...`. One with a `name` of its own registers itself in `INTERVENTIONS`.
    Tensors that a resume needs live in `state`.
    """

    name: ClassVar[str] = "none"
    metadata: ClassVar[Metadata] = Metadata()
    traits: ClassVar[Set[Trait]] = frozenset()
    """Traits that decide which others it can be combined with; added to those of its bases."""
    limits: ClassVar[Mapping[str, str]] = {}
    """Field to the condition on its value, see `neoteny.core.options`; a subclass adds to those of
    its bases."""
    ranges: ClassVar[Mapping[str, Range]] = {}
    """The one or two fields that say how strongly it acts, to the values that `tune` tries."""
    exclusive: ClassVar[Sequence[tuple[str, str]]] = ()
    """Pairs of fields of which the first, if it is set, decides what else the second does: only one
    of them can be given."""
    # Not a field and not a ClassVar: an instance whose settings replace boundaries by a period
    # sets it to False.
    needs_boundaries = False
    acts_at_most = math.inf
    """Acts in a run after which there is none."""

    state: dict[str, Tensor] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls.hooks = frozenset(
            hook for hook in HOOKS if getattr(cls, hook, None) is not getattr(Hooks, hook, None)
        )
        owned = {Trait.OWNS_OPTIMIZER} if "optimizer" in cls.hooks else set()
        cls.traits = frozenset(owned).union(*(vars(base).get("traits", ()) for base in cls.__mro__))
        if "name" in vars(cls):
            INTERVENTIONS.add(cls.name, cls)
        if "metadata" in vars(cls):
            cls.needs_boundaries = cls.metadata.needs_boundary

    def __post_init__(self) -> None:
        check_fields(self, f"{self.name}:{{}}={{}}")
        kind: Any = type(self)
        for name in _times(kind):
            time = getattr(self, name)
            if type(time) is float and 0 < time < 1:
                raise InputError(
                    f"{self.name}:{name}={time:g} must be at least 1 environment step, or tasks, "
                    f"as in {time:g}tasks"
                )

    @property
    def resets_as_all_do(self) -> bool:
        """True if all its edits are made in every arm whose runs have `reset_optimizer`."""
        return self.metadata.optimizer_alone and self.needs_boundaries

    @property
    def settings(self) -> dict[str, Any]:
        """The values of its fields, as `config.json` keeps them."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.init}
        return {
            name: str(value) if isinstance(value, Tasks | Targets) else value
            for name, value in values.items()
        }

    def start(self, learner: Learner) -> None:
        """Take snapshots of the initial network; overriding classes call this first."""
        self.state["activity"] = torch.zeros(learner.network.members, device=learner.alive.device)

    @property
    def activity(self) -> Tensor:
        """Amount of its edits so far, (M,) in units of the class; above 0 once it acted."""
        return self.state["activity"]

    def measured(self) -> dict[str, Tensor]:
        """Measurements for the record: name to (M,)."""
        return {"activity": self.activity}

    def strength(self, settings: OptimizerSettings) -> dict[str, float]:
        """Rates per update that say how strongly it acts; empty if it has none."""
        return {}

    def step_length(self, settings: OptimizerSettings) -> float:
        """Learning rate of the weights that it pulls."""
        return settings.learning_rate

    def acts_every(self, settings: OptimizerSettings) -> int | None:
        """Updates from one act to the next; 0: when the network is built; None: task switches."""
        return 1


@dataclass
class NoIntervention(Intervention):
    """Plain Adam, the baseline."""

    name: ClassVar[str] = "none"
    static: ClassVar[bool] = True
    metadata: ClassVar[Metadata] = Metadata("Kingma & Ba, arXiv:1412.6980")


@lru_cache(maxsize=256)
def _times(cls: type[Any]) -> tuple[str, ...]:
    """The fields of a class that are times."""
    hints = typing.get_type_hints(cls)
    names = (f.name for f in fields(cls) if f.init)
    return tuple(name for name in names if Tasks in typing.get_args(hints[name]))


def require_compatible(interventions: Sequence[Intervention]) -> None:
    """Check that no two interventions have traits that exclude each other.

    Raises:
        InputError: Naming the two, and why.
    """
    for one, other in itertools.combinations(interventions, 2):
        if found := why_not(one.traits, other.traits):
            raise InputError(
                f"interventions {one.name!r} and {other.name!r} do not go together: {one.name} "
                f"{found[0].value}, {other.name} {found[1].value}; keep one"
            )


def hidden_layers(network: Network) -> list[IsoLinear]:
    """The hidden layers of every branch; one that branches share comes once."""
    return [layer for _, _, layer in surgery.hidden_layers(network)]
