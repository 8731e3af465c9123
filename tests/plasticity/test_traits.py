"""Compatible interventions: all pairs, against sets written by hand."""

import dataclasses
import itertools
from functools import cache
from typing import ClassVar

import pytest

from neoteny.core.errors import InputError
from neoteny.plasticity.interventions import INTERVENTIONS, Intervention, make_interventions
from neoteny.plasticity.interventions.intervention import HOOKS
from neoteny.plasticity.interventions.traits import EXCLUSIVE, Trait, why_not
from neoteny.plasticity.networks import NetworkSpec

BEFORE = {
    "adam": "adam_rel",
    "adamw": "upgd nap",
    "adamo": "parseval isometry_loss plasticity_injection",
    "scale_adamo": (
        "upgd trac parseval isometry_loss nap fresh shrink_perturb soft_shrink_perturb "
        "hare_tortoise plasticity_injection"
    ),
    "muon": "upgd plasticity_injection",
    "muono": "upgd parseval isometry_loss plasticity_injection",
    "upgd": "trac l2 l2_init wasserstein_init spectral parseval isometry_loss l2_er",
    "l2": "l2_er nap",
    "l2_init": (
        "fresh head_reset layer_reset shrink_perturb soft_shrink_perturb "
        "plasticity_injection redo continual_backprop snr"
    ),
    "wasserstein_init": (
        "fresh head_reset layer_reset shrink_perturb soft_shrink_perturb "
        "plasticity_injection redo continual_backprop snr"
    ),
    "spectral": "parseval plasticity_injection",
    "parseval": "isometry_loss plasticity_injection",
    "isometry_loss": "plasticity_injection",
    "nap": "plasticity_injection",
    "newton_schulz": "fire plasticity_injection",
    "fire": "plasticity_injection",
    "layer_norm": "plasticity_injection",
    "crelu": "groupsort deep_fourier snr",
    "groupsort": "deep_fourier snr",
    "deep_fourier": "redo snr",
    "fresh": "dash hare_tortoise plasticity_injection",
    "head_reset": "dash hare_tortoise plasticity_injection",
    "layer_reset": "dash hare_tortoise plasticity_injection",
    "shrink_perturb": "dash hare_tortoise plasticity_injection",
    "soft_shrink_perturb": "plasticity_injection",
    "dash": "hare_tortoise plasticity_injection",
    "hare_tortoise": "plasticity_injection redo continual_backprop snr",
    "plasticity_injection": "redo continual_backprop snr",
}
"""The pairs that 17 sets of names, audited one by one, refused: each name to others after it."""

STEPS = ("isometry_band", "isometry_control", "isometry_budget", "isometry_gate")
PULLS = ("adamo", "muono", "parseval", "isometry_loss")
OPTIMIZERS = ("adam", "adamw", "adamo", "scale_adamo", "muon", "muono", "soap")

MORE = {
    # Refused before as well, but only when the learner was made.
    **{frozenset(pair): Trait.OWNS_OPTIMIZER for pair in itertools.combinations(OPTIMIZERS, 2)},
    # Singular values cannot be both 1 and the initialisation's gain; parseval was refused for it.
    frozenset({"spectral", "isometry_loss"}): Trait.UNIT_SINGULAR_VALUES,
    # One pull at a time, one rewriter of steps, and nothing that takes layers apart.
    **{frozenset(pair): Trait.PULLS_TO_ISOMETRY for pair in itertools.product(STEPS, PULLS)},
    **{
        frozenset(pair): Trait.REWRITES_STEPS
        for pair in itertools.combinations((*STEPS, "trac", "upgd", "scale_adamo"), 2)
        if set(pair) & set(STEPS)
    },
    **{frozenset({one, "plasticity_injection"}): Trait.WHOLE_LAYER for one in STEPS},
}
"""The pairs that are refused by traits alone, and why that is right."""

JOINED = {
    # A weight's use is read off its gradient, to which a penalty adds.
    ("swr", Trait.READS_GRADIENTS): (
        "l2 l2_init wasserstein_init spectral parseval isometry_loss l2_er"
    ),
    # New units' outgoing weights are 0, and would be redrawn at once.
    ("swr", Trait.REDRAWS_WEIGHTS): "redo regrama continual_backprop snr hare_tortoise",
    ("swr", Trait.DRAWS_WEIGHTS): "plasticity_injection",
    ("regrama", Trait.READS_GRADIENTS): (
        "l2 l2_init wasserstein_init spectral parseval isometry_loss l2_er"
    ),
    ("regrama", Trait.RECYCLES_UNITS): "hare_tortoise",
    ("regrama", Trait.DRAWS_WEIGHTS): "plasticity_injection",
    ("keep_norm", Trait.FIXES_LENGTHS): "l2 adamw scale_adamo",
    ("keep_norm", Trait.WHOLE_LAYER): "plasticity_injection",
    ("simba", Trait.WHOLE_LAYER): "plasticity_injection",
    ("simba", Trait.ADDS_UNITS): "redo regrama continual_backprop snr",
    ("soap", Trait.WHOLE_LAYER): "plasticity_injection",
    ("soft_reset", Trait.REWRITES_STEPS): f"upgd trac scale_adamo {' '.join(STEPS)}",
    ("soft_reset", Trait.READS_GRADIENTS): (
        "l2 l2_init wasserstein_init spectral parseval isometry_loss l2_er"
    ),
    ("soft_reset", Trait.REFERS_TO_INITIAL_WEIGHTS): (
        "fresh head_reset layer_reset shrink_perturb soft_shrink_perturb plasticity_injection "
        "redo regrama continual_backprop snr swr"
    ),
}
"""The pairs of interventions that joined later: name and reason to others."""
MORE |= {
    frozenset({name, other}): trait
    for (name, trait), others in JOINED.items()
    for other in others.split()
}


@cache
def refused():
    return {
        frozenset(pair)
        for pair in itertools.combinations(INTERVENTIONS, 2)
        if why_not(*(INTERVENTIONS[name].traits for name in pair))
    }


def test_traits_refuse_the_pairs_that_the_audited_sets_refused_and_those_that_are_justified():
    before = {frozenset({one, two}) for one, others in BEFORE.items() for two in others.split()}
    assert len(before) == 89
    assert not before & MORE.keys()
    assert refused() == before | MORE.keys()
    for pair, trait in MORE.items():
        assert trait in why_not(*(INTERVENTIONS[name].traits for name in sorted(pair)))


@pytest.mark.parametrize("one", INTERVENTIONS)
def test_every_pair_is_judged_alike_in_both_orders_and_named_with_the_reason(one):
    pairs = refused()
    for other in INTERVENTIONS:
        if other == one:
            continue
        if {one, other} not in pairs:
            make_interventions([one, other])
            continue
        with pytest.raises(InputError) as caught:
            make_interventions([one, other])
        mine, theirs = why_not(INTERVENTIONS[one].traits, INTERVENTIONS[other].traits)
        assert str(caught.value) == (
            f"interventions {one!r} and {other!r} do not go together: {one} {mine.value}, "
            f"{other} {theirs.value}; keep one"
        )


def test_every_trait_is_held_by_one_and_excludes_one():
    held = set().union(*(cls.traits for cls in INTERVENTIONS.values()))
    assert held == set().union(*EXCLUSIVE) == set(Trait)


@pytest.mark.parametrize("name", INTERVENTIONS)
def test_hooks_are_those_that_a_class_overrides_and_traits_are_what_it_does(name):
    cls = INTERVENTIONS[name]
    own = [base for base in cls.__mro__ if base not in Intervention.__mro__]
    assert cls.hooks == {hook for hook in HOOKS if any(hook in vars(base) for base in own)}
    assert (Trait.OWNS_OPTIMIZER in cls.traits) == ("optimizer" in cls.hooks)
    assert (Trait.REWRITES_STEPS in cls.traits) == ("rewrite" in cls.hooks)
    spec = NetworkSpec(hidden=(8, 8))
    sets_activation = cls().spec(spec).activation != spec.activation
    assert (Trait.SETS_ACTIVATION in cls.traits) == sets_activation


def test_an_intervention_from_elsewhere_is_judged_by_its_traits_with_those_of_its_base():
    @dataclasses.dataclass
    class Decay(INTERVENTIONS["l2"]):
        traits: ClassVar = {Trait.REFERS_TO_INITIAL_WEIGHTS}

    assert Decay.traits == INTERVENTIONS["l2"].traits | {Trait.REFERS_TO_INITIAL_WEIGHTS}
    assert why_not(Decay.traits, INTERVENTIONS["redo"].traits) == (
        Trait.REFERS_TO_INITIAL_WEIGHTS,
        Trait.DRAWS_WEIGHTS,
    )
