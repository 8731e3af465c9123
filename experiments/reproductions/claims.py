"""The claims of the paper about what keeps networks plastic, each with its plans."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from neoteny.experiments.reproductions.reproduction import (
    REPRODUCTIONS,
    Plan,
    Reproduction,
    imported_on_use,
)
from neoteny.experiments.reproductions.streams import (
    IMAGE_PULL,
    PULL,
    WEAK,
    breakout,
    changing_labels,
    digits,
    games,
    images,
    paper,
)

__all__: list[str] = []

ISOMETRIC: Mapping[str, Any] = {"activation": "groupsort", "bias": False}
"""The network of the paper's arms in streams of games."""
FACTORS: Mapping[str, Any] = {"activations": ("relu", "groupsort"), "biases": (True, False)}
FRESH: Mapping[str, Any] = {"name": "fresh", "interventions": ("fresh",)}
SPECTRA: Mapping[str, Any] = {"diagnose_switches": ("jacobians", "kernel")}
PROJECTIONS = ("newton_schulz:period=1tasks", "newton_schulz:period=0.1tasks")
PARTS = ("none", "l2_init", "layer_norm", "nap", "spectral", "redo", "shrink_perturb", WEAK)
"""Methods that are said to hold a part of the spectrum each."""
RELU_ARMS: Mapping[str, Any] = {
    "interventions": ("none", "l2_init", "layer_norm", "redo", "shrink_perturb", "fresh"),
}
"""Baselines beside the paper's arm in supervised streams, with ReLU and biases."""
LIKE_PAPER = "adamo:half_life=0.25tasks"
"""The paper's pull beside a task: a quarter of one, whatever its length."""
STEADY = "adamo:half_life=96000"
"""The weak pull where tasks differ in length, in samples."""
RECIPE = "muon:first_layer=true"
"""Muon on every hidden matrix; heads stay under Adam."""


def _both_forms(*strengths: float) -> dict[str, Any]:
    """AdamO and the same penalty in the loss, at the same values of the paper's lambda."""
    arms = ["none"]
    for each in strengths:
        arms += [f"adamo:isometry={each}", f"isometry_loss:weight={each},scale=1"]
    return {**ISOMETRIC, "interventions": (*arms, "fresh")}


def _paper_arms(pull: str) -> tuple[dict[str, Any], ...]:
    """The paper's arms in its stream, each with the network that it has there, and two of ours.

    The paper has no arm without biases under plain Adam, and none of GroupSort under it.
    """
    return (
        {"interventions": ("none", "l2_init:weight=1e-3", "spectral:weight=1e-3", "fresh")},
        {"name": "unbiased", "interventions": ("none", pull, "nap"), "bias": False},
        _isometric(pull, "none", "scale_adamo"),
    )


def _depths(pull: str, *depths: int, hidden: tuple[int, ...] = (64,)) -> tuple[dict[str, Any], ...]:
    """The paper's arm and the plain one at several depths, and fresh networks of four layers."""
    crossed = {"hidden": hidden, "depths": depths}
    return (
        {"interventions": ("none",), **crossed},
        _isometric(pull, gain="activation", **crossed),
        {**FRESH, "hidden": hidden, "depth": 4},
    )


def _recipe(pull: str) -> tuple[dict[str, Any], ...]:
    """The later recipe, its parts, and the paper's arm."""
    compensated = {"gain": "activation", "residual": True}
    return (
        {"name": "recipe", "interventions": (RECIPE, "none"), **compensated},
        {"interventions": ("none", RECIPE, "fresh")},
        _isometric(pull),
    )


def _isometric(*interventions: str, **more: Any) -> dict[str, Any]:
    return {"name": "isometric", **ISOMETRIC, "interventions": interventions, **more}


CLAIMS = (
    Reproduction(
        "factors",
        "GroupSort layers without biases that AdamO holds near isometry keep the ability to learn "
        "that ReLU layers lose under Adam.",
        "abstract and section 4; its arms differ in all three at once",
        {
            "preview": digits({"interventions": ("none", WEAK), **FACTORS}, FRESH),
            "laptop": breakout(
                {"interventions": ("none", WEAK), **FACTORS}, {**FRESH, "bias": False}
            ),
            "full": paper({"interventions": ("none", PULL), **FACTORS}, FRESH),
        },
        imported_on_use("factors:analyse"),
    ),
    Reproduction(
        "decoupled",
        "The isometry step decoupled from Adam keeps more of the ability to learn than the same "
        "penalty in the loss.",
        "section 4.4, equations 16, 19 and 20",
        {
            # Under AdamO deviations halve in five tasks and in half a one
            "preview": digits(_both_forms(0.04, 0.4)),
            "laptop": breakout(_both_forms(0.0036, 0.036)),
            # The authors' 0.1 decoupled and 0.2 coupled, whose penalty is half as steep
            "full": paper(_both_forms(0.05, 0.1)),
        },
        imported_on_use("decoupled:analyse"),
    ),
    Reproduction(
        "newton-schulz",
        "A gradual pull towards isometry keeps more of the ability to learn than projections by "
        "Newton-Schulz steps, once a period.",
        "a baseline of its experiments; their period is not known",
        {
            "preview": digits(_isometric(WEAK, "none", *PROJECTIONS, "fresh"), ours=WEAK),
            "laptop": breakout(_isometric(WEAK, "none", *PROJECTIONS, "fresh"), ours=WEAK),
            "full": paper(_isometric(PULL, "none", *PROJECTIONS, "fresh"), ours=PULL),
        },
        imported_on_use("matches:analyse"),
    ),
    Reproduction(
        "revival",
        "The isometry regulariser makes dormant ReLU units active again.",
        "section 4.2, equation 16; how it was tested is not known",
        {
            "preview": Plan(minutes=1, settings={"steps": 800, "width": 128, "seeds": 5}),
            "laptop": Plan(minutes=20, settings={"steps": 4000, "width": 256, "seeds": 20}),
            "full": Plan(minutes=120, settings={"steps": 20_000, "width": 256, "seeds": 20}),
        },
        imported_on_use("revival:analyse"),
    ),
    Reproduction(
        "spectra",
        "Plasticity is lost as the empirical tangent kernel becomes anisotropic, which isometry "
        "prevents.",
        "section 3",
        {
            "preview": digits(
                {"interventions": ("none", "fresh"), **SPECTRA},
                _isometric(WEAK, "none", **SPECTRA),
                ours=WEAK,
            ),
            "laptop": breakout(
                {"interventions": ("none", "fresh"), "bias": False, **SPECTRA},
                _isometric(WEAK, "none", **SPECTRA),
                seeds=12,
                ours=WEAK,
            ),
            "full": paper(
                {"interventions": ("none", "fresh"), **SPECTRA},
                _isometric(PULL, "none", **SPECTRA),
                ours=PULL,
            ),
        },
        imported_on_use("spectra:analyse"),
        version=2,
    ),
    Reproduction(
        "lens",
        "Earlier methods hold a part of the spectrum each, and AdamO holds all of it.",
        "section 3, as later accounts have it",
        {
            "preview": digits(
                {"interventions": (*PARTS, "fresh"), **SPECTRA},
                _isometric(WEAK, "none", **SPECTRA),
                ours=WEAK,
            ),
            "laptop": breakout(
                {"interventions": (*PARTS, "fresh"), "bias": False, **SPECTRA},
                _isometric(WEAK, "none", **SPECTRA),
                seeds=8,
                ours=WEAK,
            ),
            "full": paper(
                {"interventions": (*PARTS[:-1], PULL, "fresh"), **SPECTRA},
                _isometric(PULL, "none", **SPECTRA),
                ours=PULL,
            ),
        },
        imported_on_use("parts:analyse"),
    ),
    Reproduction(
        "continual-minatar",
        "In four games that come again and again with shuffled channels, AdamO with GroupSort "
        "keeps learning and matches or beats the baselines.",
        "section 5, in eight seeds of twenty cycles",
        {
            "preview": games(
                {"interventions": ("none", "fresh")},
                _isometric(LIKE_PAPER),
                {"name": "unbiased", "interventions": ("none", LIKE_PAPER), "bias": False},
                ours=LIKE_PAPER,
                seeds=2,
                cycles=2,
                task_steps=16_384,
            ),
            "laptop": games(
                *_paper_arms(LIKE_PAPER), ours=LIKE_PAPER, seeds=3, cycles=4, task_steps=262_144
            ),
            "full": paper(*_paper_arms(PULL), ours=PULL),
        },
        imported_on_use("minatar:analyse"),
    ),
    Reproduction(
        "random-labels",
        "On random labels AdamO with GroupSort keeps learning where Adam with ReLU stops, and "
        "matches or beats the baselines.",
        "section 5; the lengths of its streams are not known",
        {
            "preview": digits(RELU_ARMS, _isometric(WEAK, "none"), ours=WEAK),
            "laptop": images(
                {**RELU_ARMS, "env": "mnist-random-labels", "env_option": {"images": 1200}},
                _isometric(WEAK, "none", env="mnist-random-labels", env_option={"images": 1200}),
                seeds=3,
                tasks=30,
                samples=38_400,
                ours=WEAK,
            ),
            "full": images(
                {**RELU_ARMS, "env": "cifar10-random-labels", "env_option": {"images": 1200}},
                _isometric(
                    IMAGE_PULL, "none", env="cifar10-random-labels", env_option={"images": 1200}
                ),
                seeds=8,
                tasks=80,
                samples=76_800,
                ours=IMAGE_PULL,
            ),
        },
        imported_on_use("matches:analyse"),
    ),
    Reproduction(
        "permuted-inputs",
        "On images whose pixels are shuffled anew in every task AdamO with GroupSort keeps "
        "learning, and matches or beats the baselines.",
        "section 5; the lengths of its streams are not known",
        {
            "preview": digits(
                {**RELU_ARMS, "env": "digits-permuted"},
                _isometric(WEAK, "none", env="digits-permuted"),
                ours=WEAK,
            ),
            "laptop": images(
                {**RELU_ARMS, "env": "mnist-permuted"},
                _isometric(WEAK, "none", env="mnist-permuted"),
                seeds=3,
                tasks=20,
                samples=57_600,
                ours=WEAK,
            ),
            "full": images(
                {**RELU_ARMS, "env": "cifar10-permuted"},
                _isometric(IMAGE_PULL, "none", env="cifar10-permuted"),
                seeds=8,
                tasks=80,
                samples=51_200,
                ours=IMAGE_PULL,
            ),
        },
        imported_on_use("matches:analyse"),
    ),
    Reproduction(
        "depth",
        "Isometric networks learn at depths at which ReLU networks under Adam do not.",
        "the authors' studies of depth, 2 to 64 layers",
        {
            "preview": digits(*_depths(WEAK, 2, 8, 32), seeds=2, tasks=4, rate=33_000),
            "laptop": digits(*_depths(WEAK, 2, 4, 8, 16, 32, 64), seeds=5, tasks=20, rate=26_000),
            "full": paper(*_depths(PULL, 2, 4, 8, 16, 32, 64, hidden=(256,)), rate=600),
        },
        imported_on_use("depth:analyse"),
    ),
    Reproduction(
        "without-penalty",
        "Once the gain of the initialisation is compensated, networks with skips under Muon need "
        "no penalty on their spectrum.",
        "a co-author's later recipe, here without its smoothed ReLU and with heads under Adam",
        {
            "preview": digits(*_recipe(WEAK), ours=RECIPE),
            "laptop": breakout(*_recipe(WEAK), ours=RECIPE),
            "full": paper(*_recipe(PULL), ours=RECIPE),
        },
        imported_on_use("matches:analyse"),
    ),
    Reproduction(
        "gradual",
        "The ability to learn is lost less where the world changes gradually than where it changes "
        "abruptly, with as much change in all.",
        "Do Neural Networks Lose Plasticity in a Gradually Changing World?; not a claim of the "
        "paper's, and on a stream of ours",
        {
            "preview": changing_labels(
                STEADY, {"slow": 19_200, "fast": 6_400}, (1.0, 0.1), seeds=3, samples=153_600
            ),
            "laptop": changing_labels(
                STEADY,
                {"slow": 38_400, "middle": 19_200, "fast": 6_400},
                (1.0, 0.5, 0.1),
                seeds=8,
                samples=768_000,
            ),
            "full": changing_labels(
                STEADY,
                {"slow": 64_000, "middle": 19_200, "fast": 6_400},
                (1.0, 0.5, 0.2, 0.1),
                seeds=16,
                samples=5_760_000,
            ),
        },
        imported_on_use("gradual:analyse"),
    ),
)

for _each in CLAIMS:
    REPRODUCTIONS.add(_each.name, _each, _each.claim)
