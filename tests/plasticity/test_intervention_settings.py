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
        ("redo:period=xtasks", "redo:"),
        ("redo:tau=1tasks", "redo:"),
        ("redo:period=0tasks", "redo:"),
        ("head_reset:period=0", "above 0"),
        ("layer_reset:hidden=-1", "from 0 to 1,000"),
        ("redo:period=none", "minibatch"),
        ("redo:tau=-0.1", "at least 0"),
        ("shrink_perturb:shrink=1.5", r"in \[0, 1\]"),
        ("soft_shrink_perturb:half_life=0", "above 0"),
        ("soft_shrink_perturb:period=none", "give steps"),
        ("continual_backprop:lifetime=0", "above 0"),
        ("continual_backprop:decay=1", r"in \[0, 1\)"),
        ("snr:rejection=1", "between 0 and 1"),
        ("snr:memory=0", "above 0"),
        ("plasticity_injection:at=0", "above 0"),
        ("plasticity_injection:injections=0", "from 1 to 100"),
        ("dash:minibatches=0", "from 1 to 1,000,000"),
        ("dash:alpha=0", r"in \(0, 1\]"),
        ("dash:floor=2", r"in \[0, 1\]"),
        ("hare_tortoise:half_life=0", "above 0"),
        ("soap:refresh=0", "soap:"),
        ("soap:largest=0", "soap:"),
        ("soap:beta2=1", "soap:"),
        ("soap:beta1=-0.1", "soap:"),
        ("soft_reset:rate=-1", "soft_reset:"),
        ("soft_reset:spread=0", "soft_reset:"),
        ("soft_reset:spread=1.5", "soft_reset:"),
        ("swr:period=none", "judges weights over a period: give steps or tasks"),
        ("swr:lifetime=0", "above 0"),
        ("swr:period=0", "above 0"),
        ("isometry_band:band=0", "band=0 must be above 0"),
        ("isometry_control:deviation=-1", "deviation=-1 must be above 0"),
        ("isometry_budget:budget=0", "budget=0 must be above 0"),
        ("isometry_gate:share=1.5", r"share=1.5 must be in \(0, 1\]"),
        ("isometry_band:scale=fixed", "scale='?fixed'? must be a finite number or one of free"),
        ("isometry_band:half_life=none", r"half_life=none must be .* targets, as in 1targets$"),
    ],
)
def test_bad_names_and_settings_are_refused_in_one_line(text, message):
    with pytest.raises(InputError, match=f"(?s)^(?!.*\n).*{message}"):
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
