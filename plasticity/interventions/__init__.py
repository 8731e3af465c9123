"""Plasticity-preserving baselines: one small class each, found by name."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from neoteny.core.errors import InputError
from neoteny.core.names import hint, require_known
from neoteny.core.options import Text
from neoteny.plasticity.interventions.architecture import (
    CReLUNet,
    DeepFourier,
    GroupSortNet,
    LayerNorm,
)
from neoteny.plasticity.interventions.base import (
    Facts,
    Intervention,
    require_compatible,
)
from neoteny.plasticity.interventions.clocks import AdamRel, OptimizerReset
from neoteny.plasticity.interventions.injection import PlasticityInjection
from neoteny.plasticity.interventions.muon import MuonIntervention, MuonO
from neoteny.plasticity.interventions.network_resets import (
    Dash,
    HareTortoise,
    ShrinkPerturb,
    SoftShrinkPerturb,
)
from neoteny.plasticity.interventions.optimizers import (
    AdamOIntervention,
    AdamWIntervention,
    NoIntervention,
    TunedAdam,
)
from neoteny.plasticity.interventions.outputs import L2ER, CChain
from neoteny.plasticity.interventions.projections import Fire, NaP, NewtonSchulz, WeightClipping
from neoteny.plasticity.interventions.regularizers import (
    L2,
    IsometryLoss,
    L2Init,
    Parseval,
    Spectral,
    WassersteinInit,
)
from neoteny.plasticity.interventions.resets import Fresh, HeadReset, LayerReset
from neoteny.plasticity.interventions.scale_adamo import ScaleAdamO
from neoteny.plasticity.interventions.unit_resets import SNR, ContinualBackprop, ReDo
from neoteny.plasticity.interventions.wrappers import UPGD, Trac
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
    "Facts",
    "Fresh",
    "Intervention",
    "IsometryLoss",
    "L2Init",
    "LayerNorm",
    "NoIntervention",
    "OptimizerSettings",
    "Targets",
    "Tasks",
    "known_intervention",
    "make_interventions",
    "parse_intervention",
]

INTERVENTIONS: dict[str, type[Intervention]] = {
    cls.name: cls
    for cls in (
        NoIntervention,
        TunedAdam,
        AdamWIntervention,
        AdamOIntervention,
        ScaleAdamO,
        MuonIntervention,
        MuonO,
        UPGD,
        Trac,
        OptimizerReset,
        AdamRel,
        L2,
        L2Init,
        WassersteinInit,
        Spectral,
        Parseval,
        IsometryLoss,
        L2ER,
        CChain,
        WeightClipping,
        NaP,
        NewtonSchulz,
        Fire,
        LayerNorm,
        CReLUNet,
        GroupSortNet,
        DeepFourier,
        Fresh,
        HeadReset,
        LayerReset,
        ShrinkPerturb,
        SoftShrinkPerturb,
        Dash,
        HareTortoise,
        PlasticityInjection,
        ReDo,
        ContinualBackprop,
        SNR,
    )
}


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


def known_intervention(name: str) -> type[Intervention]:
    """The class of a name.

    Raises:
        ValueError: If there is none, with the nearest name.
    """
    require_known("intervention", name, INTERVENTIONS)
    return INTERVENTIONS[name]


def parse_intervention(text: str, agent: str = "ppo") -> Intervention:
    """Build one intervention from `name` or `name:field=value,...`, for an agent."""
    name, colon, settings = text.partition(":")
    cls = known_intervention(name)
    given = _read(cls, settings)
    if colon and not given:
        raise InputError(
            f"{text!r} has no setting after the colon: write {name}, or {name}:field=value"
        )
    intervention = cls(**_read(cls, cls.facts.dqn if agent == "dqn" else "") | given)
    for decides, other in cls.exclusive:
        if {decides, other} <= given.keys() and getattr(intervention, decides) is not None:
            raise InputError(
                f"{name}:{decides}={given[decides]} decides and {other}={given[other]} would be "
                f"unused: give one of {decides} and {other}"
            )
    return intervention


def _read(cls: type[Intervention], settings: str) -> dict[str, Any]:
    """Read `field=value,...` into texts, which the class fits to the fields' types."""
    known = [f.name for f in dataclasses.fields(cls) if f.init]
    values: dict[str, Any] = {}
    for part in filter(None, settings.split(",")):
        key, equals, value = part.partition("=")
        if key not in known:
            raise InputError(f"intervention {cls.name!r} has no field {key!r}: " + hint(key, known))
        if not equals:
            raise InputError(f"{cls.name}:{key} has no value: write {cls.name}:{key}=...")
        if key in values:
            raise InputError(f"{cls.name}:{key} is given twice: give it once")
        values[key] = Text(value)
    return values
