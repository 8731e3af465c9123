"""Keeping networks plastic: isometric layers, AdamO, interventions and diagnostics."""

from neoteny.plasticity.adamo import AdamO
from neoteny.plasticity.diagnostics import diagnose
from neoteny.plasticity.groups import isometry_groups
from neoteny.plasticity.isometry import (
    effective_strength,
    gram_deviation,
    half_life,
    isometry_grad,
    isometry_loss,
    isometry_step,
)
from neoteny.plasticity.layers import (
    ACTIVATIONS,
    Activation,
    CReLU,
    GroupSort,
    IsoConv2d,
    IsoLinear,
    MaxMin,
    groupsort,
)
from neoteny.plasticity.probe import probe

__all__ = [
    "ACTIVATIONS",
    "Activation",
    "AdamO",
    "CReLU",
    "GroupSort",
    "IsoConv2d",
    "IsoLinear",
    "MaxMin",
    "diagnose",
    "effective_strength",
    "gram_deviation",
    "groupsort",
    "half_life",
    "isometry_grad",
    "isometry_groups",
    "isometry_loss",
    "isometry_step",
    "probe",
]
