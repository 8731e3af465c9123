"""Times of interventions: units, translation to an agent's updates, and who acts how often."""

import dataclasses
import math
import re
from pathlib import Path

import pytest
import torch

from neoteny.core.errors import InputError
from neoteny.experiments.timings import COLUMNS, page, preset_settings
from neoteny.plasticity.interventions import (
    INTERVENTIONS,
    Intervention,
    OptimizerSettings,
    Targets,
    Tasks,
    parse_intervention,
)
from neoteny.plasticity.interventions.timing import destructive, how_often, inert

SETTINGS = OptimizerSettings(updates_per_step=0.02, updates_per_target=7, task_steps=1000)


def test_a_number_is_steps_and_tasks_and_targets_are_the_agents():
    assert SETTINGS.updates_per_task == 20
    assert [SETTINGS.updates(time) for time in (100, Tasks(0.5), Targets(2), 1)] == [2, 10, 14, 1]
    assert SETTINGS.rate(Tasks(0.5)) == pytest.approx(math.log(2) / 10)
    assert math.isinf(OptimizerSettings().exact_updates(Targets(1)))
    with pytest.raises(ValueError, match="above 0"):
        SETTINGS.updates(Tasks(0))


@pytest.mark.parametrize(
    ("agent", "updates", "per_iteration", "per_target"),
    [("ppo", 3968, 64, 64), ("dqn", 15872, 1, 250), ("classifier", 300, 1, None)],
)
def test_agents_tell_their_updates(agent, updates, per_iteration, per_target):
    settings = preset_settings(agent, "supervised" if agent == "classifier" else "cpu")
    assert settings.updates_per_task == updates
    assert settings.updates_per_iteration == per_iteration
    assert settings.updates_per_target == per_target


@pytest.mark.parametrize(
    ("text", "field", "value"),
    [
        ("redo:period=10000", "period", 10000.0),
        ("redo:period=0.05tasks", "period", Tasks(0.05)),
        ("adam_rel:period=2targets", "period", Targets(2)),
        ("head_reset:period=none", "period", None),
        ("adamo:half_life=3tasks", "half_life", Tasks(3)),
    ],
)
def test_times_are_read_from_text_and_written_as_they_are_read(text, field, value):
    intervention = parse_intervention(text)
    found = getattr(intervention, field)
    assert found == value
    assert type(found) is type(value)
    again = intervention.settings[field]
    name = text.partition(":")[0]
    written = "none" if again is None else again
    assert parse_intervention(f"{name}:{field}={written}") == intervention


@pytest.mark.parametrize(
    ("name", "field"),
    [("redo", "period"), ("snr", "memory"), ("adamo", "half_life"), ("plasticity_injection", "at")],
)
def test_a_plain_time_is_at_least_one_step(name, field):
    message = f"{name}:{field}=0.5 must be at least 1 environment step, or tasks, as in 0.5tasks"
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        parse_intervention(f"{name}:{field}=0.5")
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        INTERVENTIONS[name](**{field: 0.5})
    for text, value in (("1", 1.0), ("0.5tasks", Tasks(0.5))):
        assert getattr(parse_intervention(f"{name}:{field}={text}"), field) == value


@pytest.mark.parametrize("column", COLUMNS)
def test_no_default_is_inert_in_any_preset(column):
    """Each acts at switches, or so often and so fast that a task sees it before its last update."""
    agent, preset = COLUMNS[column]
    settings = preset_settings(agent, preset)
    for name in INTERVENTIONS:
        intervention = parse_intervention(name, agent)
        assert inert(intervention, settings) == "", name
        every = intervention.acts_every(settings)
        assert every is None or every <= settings.updates_per_task / 2, name
        assert every is None or every < 2 or every % settings.updates_per_iteration == 0, name
        rates = intervention.strength(settings)
        for rate in ("replacement_rate", "redraw_rate"):
            assert rates.get(rate, 1) * settings.updates_per_task > 0.05, name


def test_an_intervention_whose_hooks_are_misspelt_is_named(own_names):
    @dataclasses.dataclass
    class Misspelt(Intervention):
        name = "misspelt"

        def after_stepp(self, learner, obs):
            """Never called."""

    settings = preset_settings("ppo", "cpu")
    assert inert(Misspelt(), settings) == "overrides no hook, so it does nothing"


def test_a_setting_without_a_default_has_to_be_given(own_names):
    @dataclasses.dataclass
    class Demanding(Intervention):
        name = "demanding"
        factor: float

    with pytest.raises(InputError, match="demanding lacks its field 'factor'"):
        parse_intervention("demanding")
    assert parse_intervention("demanding:factor=0.5").factor == 0.5


def test_what_does_not_act_is_named():
    ppo = preset_settings("ppo", "cpu")

    def reason(text, settings=ppo):
        return inert(parse_intervention(text), settings)

    assert "once in 1.98 tasks" in reason("head_reset:period=1000000")
    assert "last update of a task alone" in reason("redo:period=1tasks")
    assert "last update of a task alone" in reason("redo:period=500000")
    assert reason("redo:period=0.5tasks") == ""
    assert "more than 40 tasks" in reason("adamw:weight_decay=1e-3")
    assert "more than 40 tasks" in reason("adamo:isometry=0")
    assert reason("none", dataclasses.replace(ppo, task_steps=10)) == ""  # of a task of no update
    assert reason("adamo:half_life=39tasks") == ""  # a weak pull is no fault
    assert "26 tasks" in reason("redo:period=1000000", preset_settings("classifier", "supervised"))
    assert how_often(parse_intervention("redo:period=0.05tasks"), ppo) == "15.5 times a task"
    assert how_often(parse_intervention("none"), ppo) == ""


def test_what_undoes_what_is_learnt_is_named():
    ppo = preset_settings("ppo", "cpu")

    def reason(text):
        return destructive(parse_intervention(text), ppo)

    assert reason("adamw:half_life=0.05tasks") == "undoes half of what is learnt in 0.05 tasks"
    assert reason("groupsort") == reason("none") == reason("redo:period=0.02tasks") == ""
    assert reason("adamo:half_life=0.05tasks") == "undoes half of what is learnt in 0.05 tasks"
    assert reason("adamo:half_life=0.2tasks") == ""
    assert reason("keep_norm:half_life=0.05tasks") == reason("hare_tortoise") == ""
    assert reason("muono:half_life=0.028tasks") == ""  # beside steps five times as long
    assert reason("muono:half_life=0.01tasks") == "undoes half of what is learnt in 0.01 tasks"
    assert reason("muono:half_life=0.05tasks,lr=0.00025") != ""  # steps as long as Adam's
    assert reason("layer_reset:period=0.1tasks") == "replaces whole layers 8.86 times a task"
    assert reason("layer_reset:period=0.5tasks") == reason("fire") == ""


@pytest.mark.parametrize(("agent", "preset"), COLUMNS.values())
def test_no_default_undoes_what_a_task_teaches(agent, preset):
    settings = preset_settings(agent, preset)
    found = {n: destructive(parse_intervention(n, agent), settings) for n in INTERVENTIONS}
    assert not {name: reason for name, reason in found.items() if reason}


def test_the_page_is_current():
    written = Path(__file__).parents[2] / "docs" / "interventions.md"
    assert written.read_text(encoding="utf-8") == page(), (
        "write it anew: python -m neoteny.experiments.timings > docs/interventions.md"
    )


TIMED = [n for n in INTERVENTIONS if parse_intervention(n).acts_every(SETTINGS) not in (None, 0, 1)]


@pytest.mark.parametrize("name", TIMED)
def test_by_default_it_acts_within_a_task_as_often_as_it_says(name, make_learner, train):
    learner = make_learner(name)
    learner.settings = dataclasses.replace(learner.settings, task_steps=40.0, updates_per_target=8)
    (intervention,) = learner.interventions
    acts = []
    edit = intervention.edit
    intervention.edit = lambda *arguments: (acts.append(learner.updates), edit(*arguments))
    train(learner, 40)
    every = intervention.acts_every(learner.settings)
    assert acts == list(range(every, 41, every))
    assert len(acts) >= 2


def test_where_targets_change_with_the_task_alone_it_waits_for_switches(make_learner, train):
    learner = make_learner("adam_rel", kind="classifier")
    assert learner.interventions[0].needs_boundaries
    train(learner, 5)
    states = list(learner.optimizer.state.values())
    assert all(state["step"] == 5 for state in states)
    learner.boundary(torch.zeros(2))
    assert all(state["step"] == 0 for state in states)


def test_a_run_made_longer_keeps_its_periods(make_learner):
    one, two = make_learner("redo"), make_learner("redo")
    one.settings = dataclasses.replace(one.settings, task_steps=1000.0)
    two.load_state_dict(one.state_dict())
    assert two.interventions[0].acts_every(two.settings) == 100
