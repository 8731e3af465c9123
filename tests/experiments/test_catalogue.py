"""The registry as tables: everything is in them, fits, and is what the classes say."""

import dataclasses
import io

import pytest
from rich.console import Console

from neoteny.core.errors import InputError
from neoteny.core.options import limits_of
from neoteny.core.registry import first_line
from neoteny.experiments import catalogue
from neoteny.experiments.listing import LISTED, ListConfig, list_things
from neoteny.experiments.main import main
from neoteny.plasticity.interventions import INTERVENTIONS, Intervention, parse_intervention


def printed(*arguments, width=120, **options):
    out = io.StringIO()
    list_things(ListConfig(*arguments, **options), Console(file=out, width=width))
    return out.getvalue()


@pytest.mark.parametrize(
    "what",  # test_environment_list.py looks at environments
    [pytest.param(what, marks=pytest.mark.slow if what == "envs" else ()) for what in LISTED],
)
def test_everything_is_listed_with_one_line(what):
    text = printed(what)
    assert max(map(len, text.splitlines())) <= 120
    words = " ".join(text.replace("│", " ").split())
    for name in LISTED[what]:
        assert name.removeprefix("neoteny/") in words
        assert LISTED[what].line(name)
    if what not in ("envs", "streams", "reproductions"):  # which have tables of their own
        rows = [line.strip("| ").split(" | ") for line in printed(what, markdown=True).splitlines()]
        assert [row[:2] for row in rows[2:]] == [
            [name, LISTED[what].line(name)] for name in LISTED[what]
        ]


@pytest.mark.parametrize(
    ("what", "name", "text"),
    [
        ("diagnostics", "sigma_min", "Smallest singular value of the weights."),
        ("changes", "RewardScale", "factors: one a task, taken in turn."),
        ("activations", "crelu", "Source: Shang et al."),
        ("activations", "relu", "max(x, 0).\n\nfan=1\ngain=1.41421"),
        ("presets", "paper", "The paper's protocol.\n\ntask_steps=15000000\ndiagnose_every=2\n"),
        ("streams", "cartpole-permute", "Stresses"),
        ("envs", "neoteny/CartPole-v1", "CartPole"),
    ],
)
def test_any_one_is_explained(what, name, text):
    assert text in printed(what, name=name)
    with pytest.raises(InputError, match="is unknown: did you mean"):
        printed(what, name=name + "x")


def test_an_intervention_without_documentation_is_explained(own_names):
    @dataclasses.dataclass
    class Mine(Intervention):
        name = "mine"
        factor: float = 0.5

    assert "factor" in printed("interventions", name="mine")


def test_presets_are_listed_by_their_differences_alone():
    rows = {
        cells[0]: cells[2]
        for line in printed("presets", markdown=True).splitlines()
        for cells in [line.strip("| ").split(" | ")]
    }
    assert rows["paper"] == "task_steps=15000000; diagnose_every=2"
    assert rows["sb3"].endswith("learning_rate=0.001; dqn: double=False; task_steps=500000")


def test_markdown_has_a_row_for_each_and_a_column_for_each_fact():
    lines = printed("interventions", markdown=True).splitlines()
    rows = [line.strip("| ").split(" | ") for line in lines]
    assert rows[0] == ["name", "what it does", *catalogue.facts("none"), "defaults", "tuned in"]
    assert [row[0] for row in rows[2:]] == list(INTERVENTIONS)
    assert {len(row) for row in rows} == {10}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow if place % 3 else ())
        for place, name in enumerate(sorted(INTERVENTIONS))
    ],
)
def test_one_is_explained_with_its_settings_and_both_agents_defaults(name, capsys):
    cls = INTERVENTIONS[name]
    text = printed("interventions", name=name, width=400)
    assert first_line(cls) in text
    assert cls.metadata.paper in text
    docs = catalogue.field_docs(cls)
    for field in dataclasses.fields(cls):
        if not field.init:
            continue
        assert docs[field.name].endswith("."), field.name
        row = next(line for line in text.splitlines() if line.startswith(f"│ {field.name} "))
        cells = [cell.strip() for cell in row.split("│")[1:-1]]
        for agent, cell in zip(("ppo", "dqn"), cells[1:3], strict=True):
            value = parse_intervention(name, agent).settings[field.name]
            assert parse_intervention(f"{name}:{field.name}={cell}").settings[field.name] == value


def test_needs_depend_on_the_agents_defaults():
    assert catalogue.needs("optimizer_reset") == "switches (PPO)"  # DQN has a period
    assert catalogue.needs("fire") == "switches"
    assert catalogue.needs("redo") == "minibatch"
    assert catalogue.needs("adamo") == "-"


def test_conflicts_are_named_on_both_sides():
    for name in INTERVENTIONS:
        assert all(name in catalogue.conflicts(other) for other in catalogue.conflicts(name))
    assert "nap" in catalogue.conflicts("adamw")


def test_limits_are_those_of_a_class_and_its_bases():
    limits = limits_of(INTERVENTIONS["redo"])
    assert limits == {"period": "above 0", "tau": "at least 0"}
    for name, cls in INTERVENTIONS.items():
        for field in limits_of(cls):
            with pytest.raises(ValueError, match=f"{name}:{field}=-1 must be"):
                parse_intervention(f"{name}:{field}=-1")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("interventions", "adamoo"), "did you mean 'adamo'"),
        (("streams", "adamo"), "stream 'adamo' is unknown"),
    ],
)
def test_names_that_cannot_be_listed_are_said_in_one_line(arguments, message, capsys):
    assert main(["list", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in captured.err
    assert len(captured.err.splitlines()) == 1
