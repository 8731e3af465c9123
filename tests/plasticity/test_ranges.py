"""Ranges of settings: what is declared, read from text and sampled."""

import dataclasses
import math

import pytest

from neoteny.core.errors import InputError
from neoteny.core.options import allows, limits_of
from neoteny.experiments.options.config import RunConfig
from neoteny.experiments.options.presets import preset_values
from neoteny.experiments.timings import preset_settings
from neoteny.experiments.tuning.search import dimensions
from neoteny.plasticity.interventions import INTERVENTIONS, Tasks, parse_intervention
from neoteny.plasticity.interventions.ranges import Range

WITHOUT = {
    "fresh": "the oracle",
    "plasticity_injection": "acts once",
    "fire": "acts at switches, with nothing to set",
}
"""Interventions with settings that are numbers or times, but no strength."""


def numbers(name):
    """Settings of an intervention that are numbers or times."""
    cls = INTERVENTIONS[name]
    given = {field.name: str(field.type) for field in dataclasses.fields(cls) if field.init}
    return {n for n, kind in given.items() if "float" in kind or "Time" in kind}


@pytest.mark.parametrize("name", INTERVENTIONS)
def test_whatever_has_a_strength_declares_its_range_within_its_limits(name):
    cls = INTERVENTIONS[name]
    assert bool(cls.ranges) == (bool(numbers(name)) and name not in WITHOUT)
    assert len(cls.ranges) <= 2
    limits = limits_of(cls)
    for field, values in cls.ranges.items():
        assert field in numbers(name)
        for end in (values.low, values.high):
            assert field not in limits or allows(limits[field], float(end))
            parse_intervention(f"{name}:{field}={end if type(end) is Tasks else f'{end:g}'}")


@pytest.mark.parametrize("agent", ["ppo", "dqn", "classifier"])
def test_the_defaults_have_places_in_the_ranges(agent):
    preset = "supervised" if agent == "classifier" else "cpu"
    settings = preset_settings(agent, preset)
    base = RunConfig(**preset_values(preset, agent))
    for name in INTERVENTIONS:
        run = dataclasses.replace(base, intervention=(name,))
        for dimension in dimensions(run, {}, settings):
            assert dimension.default is not None, dimension
            place = dimension.range.place(dimension.default)
            assert -0.01 <= place <= 1.01, (dimension, place)


def test_a_default_that_is_unset_is_what_follows_from_the_others():
    settings = preset_settings("ppo", "cpu")
    run = RunConfig(**preset_values("cpu", "ppo"), intervention=("adamo",))
    (half_life,) = dimensions(run, {}, settings)
    # exp(-2 a t) = 1/2 with a = learning rate * lambda * 0.4, in updates of 3,968 a task
    rate = parse_intervention("adamo").strength(settings)["decay_rate"]
    assert half_life.default == pytest.approx(math.log(2) / rate / 3968)
    assert half_life.default == pytest.approx(0.437, abs=1e-3)
    (period,) = dimensions(dataclasses.replace(run, intervention=("head_reset",)), {}, settings)
    assert period.default == 1  # task switches
    fixed = dataclasses.replace(run, intervention=("adamo:isometry=0.1",))
    assert dimensions(fixed, {}, settings) == []  # which excludes a half-life
    (left,) = dimensions(dataclasses.replace(run, intervention=("redo:tau=0.1",)), {}, settings)
    assert left.name == "redo:period"


def test_ranges_are_read_from_text_and_place_values():
    assert Range.from_text("1e-4..1e-2") == Range(1e-4, 1e-2)
    times = Range.from_text("0.05tasks..20tasks")
    assert times == Range(Tasks(0.05), Tasks(20))
    assert type(times.low) is Tasks
    assert str(times) == "0.05tasks..20tasks"
    assert str(Range(1e-4, 0.5)) == "0.0001..0.5"
    assert Range(1.0, 100.0).place(10) == pytest.approx(0.5)
    assert Range(1.0, 9.0).place(3) == pytest.approx(0.25)  # not tenfold: even
    assert Range(0.0, 1.0).place(0.25) == 0.25
    assert type(times.typed(1.23456)) is Tasks
    assert times.typed(1.23456) == 1.23
    assert times.typed(50) == 20
    edges = [Range(1.0, 100.0).edge(value) for value in (1.5, 1.7, 10, 60, 70, 1000)]
    assert edges == ["low", "", "", "", "high", "high"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("1e-4", "no range"),
        ("a..b", "no range"),
        ("1..0.1", "empty"),
        ("1..1", "empty"),
        ("0.1tasks..2", "mixes units"),
    ],
)
def test_what_is_no_range_is_refused(text, why):
    with pytest.raises(InputError, match=why):
        Range.from_text(text)
