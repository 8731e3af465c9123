"""Names and settings of interventions as text: what they mean, and what is refused."""

import dataclasses

import pytest
import torch

from neoteny.core.errors import InputError
from neoteny.core.options import limits_of
from neoteny.plasticity.interventions import (
    INTERVENTIONS,
    OptimizerSettings,
    parse_intervention,
)
from neoteny.plasticity.isometry import gram_deviation, isometry_grad


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("adamoo", "did you mean 'adamo'"),
        ("adamo:lambda=1", "has no field 'lambda'"),
        ("adamo:isometry=much", "must be a finite number"),
        ("adamo:isometry", "has no value: write adamo:isometry="),
        ("weight_clipping:kappa=0", "must be above 0"),
        ("fire:period=-1", "must be above 0"),
        ("l2_er:every=0", "from 1 to"),
        ("adamo:", "'adamo:' has no setting after the colon: write adamo, or adamo:field=value"),
        ("adamo:,", "has no setting after the colon"),
    ],
)
def test_bad_names_and_fields_are_named(text, message):
    with pytest.raises(ValueError, match=message):
        parse_intervention(text)


@pytest.mark.parametrize(
    ("name", "decides", "other"),
    [
        ("adamo", "half_life=5000", "isometry=0.1"),
        ("scale_adamo", "half_life=5tasks", "isometry=0.1"),
        ("muono", "half_life=5000", "isometry=0.05"),
        ("adamw", "weight_decay=0.1", "half_life=5000"),
        ("upgd", "decay=0", "half_life=5000"),
    ],
)
def test_a_setting_that_another_would_override_is_refused(name, decides, other):
    for pair in (f"{decides},{other}", f"{other},{decides}"):
        for agent in ("ppo", "dqn"):
            with pytest.raises(InputError, match=rf"^{name}:{decides} decides and {other} [^\n]*$"):
                parse_intervention(f"{name}:{pair}", agent)
    field, _, value = other.partition("=")
    unset = decides.partition("=")[0]
    kept = parse_intervention(f"{name}:{unset}=none,{other}")
    assert getattr(kept, field) == float(value)
    assert parse_intervention(f"{name}:{decides}")


@pytest.mark.parametrize("name", INTERVENTIONS)
def test_every_count_has_an_upper_limit(name):
    """Fields are found by their defaults; groupsort's size is one of three."""
    cls = INTERVENTIONS[name]
    for field in dataclasses.fields(cls):
        if type(field.default) is int and field.name != "size":
            limit = limits_of(cls).get(field.name, "")
            assert limit.startswith("from "), (name, field.name)
            with pytest.raises(InputError, match=f"must be {limit}$"):
                parse_intervention(f"{name}:{field.name}=1e9")


@pytest.mark.parametrize(
    "text", ["adamo:isometry=-1", "adamo:isometry=30", "muono:isometry=100", "adamo:half_life=0"]
)
def test_strengths_that_cannot_work_are_refused_when_the_optimizer_is_made(text, make_learner):
    with pytest.raises(ValueError, match=r"isometry|half_life"):
        make_learner(text)


def test_fields_are_read_from_text():
    adamo = parse_intervention("adamo:isometry=0.1,isometry_lr=none,scale=2")
    assert (adamo.isometry, adamo.isometry_lr, adamo.scale) == (0.1, None, 2.0)


@pytest.mark.parametrize("name", ["adamo", "muono"])
def test_a_half_life_in_environment_steps_sets_the_strength(name):
    """Deviations of the squared singular values from 1 halve in 1,000 steps of 1/50 update each."""
    settings = OptimizerSettings(learning_rate=1e-3, updates_per_step=0.02)
    layer = torch.nn.Linear(8, 8, bias=False)
    torch.nn.init.orthogonal_(layer.weight, gain=1.01)
    strength = parse_intervention(f"{name}:half_life=1000").strength(settings)["effective_strength"]
    deviation = gram_deviation(layer.weight.detach()).sqrt()
    for _ in range(20):  # 20 updates are 1,000 environment steps
        with torch.no_grad():
            layer.weight -= strength / 4 * isometry_grad(layer.weight)
    assert gram_deviation(layer.weight.detach()).sqrt() / deviation == pytest.approx(0.5, rel=0.05)


def test_a_message_about_a_time_ends_as_a_sentence_does():
    with pytest.raises(ValueError, match=r"half_life=none must be .* targets, as in 1targets$"):
        parse_intervention("isometry_band:half_life=none")
