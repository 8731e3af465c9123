"""Plasticity-preserving baselines: one small class each, registered by its name."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pkgutil import iter_modules

from neoteny.core.errors import InputError
from neoteny.core.registry import check_fields_given, read_settings
from neoteny.plasticity.interventions.architecture import LayerNorm
from neoteny.plasticity.interventions.intervention import (
    INTERVENTIONS,
    Intervention,
    Metadata,
    NoIntervention,
    hidden_layers,
    require_compatible,
)
from neoteny.plasticity.interventions.optimizers import AdamOIntervention
from neoteny.plasticity.interventions.regularizers import IsometryLoss, L2Init
from neoteny.plasticity.interventions.resets import Fresh
from neoteny.plasticity.learner import Learner
from neoteny.plasticity.optimizer_settings import (
    TASK_STEPS,
    OptimizerSettings,
    Targets,
    Tasks,
)

__all__ = [
    "INTERVENTIONS",
    "TASK_STEPS",
    "AdamOIntervention",
    "Fresh",
    "Intervention",
    "IsometryLoss",
    "L2Init",
    "LayerNorm",
    "Learner",
    "Metadata",
    "NoIntervention",
    "OptimizerSettings",
    "Targets",
    "Tasks",
    "canonical",
    "changes_network",
    "file_of",
    "hidden_layers",
    "make_interventions",
    "parse_intervention",
]


for _module in iter_modules(__path__):  # the classes of each register themselves
    import_module(f"{__name__}.{_module.name}")


def make_interventions(names: Sequence[str], agent: str = "ppo") -> list[Intervention]:
    """Build interventions from texts such as `adamo` or `adamo:isometry=0.1,scale=1`.

    Args:
        names: One text for each, composed left to right.
        agent: `ppo`, `dqn` or `classifier`, whose defaults hold for fields that a text leaves out.

    Raises:
        ValueError: If a name or a field is unknown, a value has the wrong type, a name is given
            twice, or two interventions are in conflict.
    """
    interventions = [parse_intervention(text, agent) for text in names]
    seen: set[str] = set()
    for intervention in interventions:
        if intervention.name in seen:
            raise InputError(f"intervention {intervention.name!r} is given twice: name it once")
        seen.add(intervention.name)
    require_compatible(interventions)
    return interventions


def file_of(text: str) -> str | None:
    """The file that the text of an intervention names, as in `my_method.py:Shrink:weight=1`."""
    name = text.partition(":")[0]
    return name if name.endswith(".py") else None


def canonical(text: str) -> str:
    """The text of an intervention with its registered name in place of file and class.

    Raises:
        InputError: If the file has registered no such class.
    """
    if (file := file_of(text)) is None:
        return text
    name, colon, settings = text.removeprefix(f"{file}:").partition(":")
    return INTERVENTIONS.defined_in(file, name) + colon + settings


def changes_network(text: str) -> bool:
    """True if the intervention of a text changes the layers, as `crelu` or `layer_norm` does."""
    known = INTERVENTIONS.get(text.partition(":")[0])
    return known is not None and "spec" in known.hooks


def parse_intervention(text: str, agent: str = "ppo") -> Intervention:
    """Build one intervention from `name` or `name:field=value,...`, for an agent."""
    name, colon, typed = text.partition(":")
    cls = INTERVENTIONS.find(name)
    given = read_settings(name, cls, typed)
    if colon and not given:
        raise InputError(
            f"{text!r} has no setting after the colon: write {name}, or {name}:field=value"
        )
    settings = read_settings(name, cls, cls.metadata.dqn if agent == "dqn" else "") | given
    check_fields_given(name, cls, settings, complete=True)
    intervention = cls(**settings)
    for decides, other in cls.exclusive:
        if {decides, other} <= given.keys() and getattr(intervention, decides) is not None:
            raise InputError(
                f"{name}:{decides}={given[decides]} decides and {other}={given[other]} would be "
                f"unused: give one of {decides} and {other}"
            )
    return intervention
