"""The claims of the paper on streams of games, each with its plans."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from neoteny.experiments.reproductions.reproduction import (
    REPRODUCTIONS,
    Reproduction,
    imported_on_use,
)
from neoteny.experiments.reproductions.streams import PULL, WEAK, plans

__all__: list[str] = []

ISOMETRIC: Mapping[str, Any] = {"activation": "groupsort", "bias": False}
"""The network of the paper's arms in streams of games."""
FACTORS: Mapping[str, Any] = {"activations": ("relu", "groupsort"), "biases": (True, False)}


def _both_forms(*strengths: float) -> dict[str, Any]:
    """AdamO and the same penalty in the loss, at the same values of the paper's lambda."""
    pairs = [(f"adamo:isometry={s}", f"isometry_loss:weight={s},scale=1") for s in strengths]
    return {**ISOMETRIC, "interventions": ("none", *sum(pairs, ()), "fresh")}


CLAIMS = (
    Reproduction(
        "factors",
        "GroupSort layers without biases that AdamO holds near isometry keep the ability to learn "
        "that ReLU layers lose under Adam.",
        "abstract and section 4; its arms differ in all three at once",
        plans(
            {"interventions": ("none", WEAK), **FACTORS},
            {"name": "fresh", "interventions": ("fresh",), "bias": False},
            paper=(
                {"interventions": ("none", PULL), **FACTORS},
                {"name": "fresh", "interventions": ("fresh",)},
            ),
            tasks=(4, 12),
        ),
        imported_on_use("factors:analyse"),
    ),
    Reproduction(
        "decoupled",
        "The isometry step decoupled from Adam keeps more of the ability to learn than the same "
        "penalty in the loss.",
        "section 4.4, equations 16, 19 and 20",
        plans(
            _both_forms(0.0036, 0.036),  # deviations halve in five tasks, in half a one
            paper=(_both_forms(0.05, 0.1),),  # the authors' 0.1 and 0.2, whose penalty is half ours
            tasks=(4, 12),
        ),
        imported_on_use("decoupled:analyse"),
    ),
)

for _each in CLAIMS:
    REPRODUCTIONS.add(_each.name, _each, _each.claim)
