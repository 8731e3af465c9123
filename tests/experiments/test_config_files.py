"""`--config`: options from YAML, and a run from its own config.json."""

import json

import pytest

import neoteny
from neoteny.experiments.main import main
from neoteny.experiments.options.config import CompareConfig, RunConfig
from neoteny.experiments.options_by_name import configure
from neoteny.experiments.run.memory import COSTS

YAML = """
env: CartPole-v1
intervention: adamo:isometry=0.1,scale=1
learning-rate: 3e-4
hidden: [16, 8]
steps: 2k
task_steps: 500
env_option: {max_steps: 100}
num_envs: 8
num_steps: 8
num_minibatches: 2
"""


@pytest.fixture
def given(monkeypatch):
    """The configurations that the commands would be run with."""
    found = []
    for command in ("run", "compare"):
        monkeypatch.setattr(
            f"neoteny.experiments.cli.{command}", lambda config, _: found.append(config)
        )
    return found


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "options.yaml"
    path.write_text(YAML)
    return path


def test_options_come_from_a_file_and_those_beside_it_hold_before(file, given):
    arguments = ["run", "--config", str(file), "--steps", "1M", "--hidden", "32"]
    assert main(arguments) == 0
    (config,) = given
    assert config.intervention == ("adamo:isometry=0.1,scale=1",)
    assert (config.env, config.steps, config.task_steps) == ("CartPole-v1", 1_000_000, 500)
    assert (config.hyper.learning_rate, config.hyper.num_envs) == (3e-4, 8)
    assert (config.network.hidden, config.env_option) == ((32,), ("max_steps=100",))
    assert config.hyper.num_epochs == 4  # the preset's


def test_a_file_names_its_agent_and_preset(tmp_path, given):
    path = tmp_path / "options.yaml"
    path.write_text("agent: dqn\ntau: 0.5\n")
    assert main(["run", "--config", str(path)]) == 2
    path.write_text("agent: dqn\npreset: sb3\ntarget_rate: 0.5\n")
    assert main(["run", "--config", str(path), "--batch-size", "16"]) == 0
    (config,) = given
    assert (config.agent, config.preset, config.hyper.double) == ("dqn", "sb3", False)
    assert (config.hyper.target_rate, config.hyper.batch_size) == (0.5, 16)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("learning_rat: 1", "option 'learning_rat' is unknown: did you mean 'learning_rate'?"),
        ("lr: 1", "option 'lr' is unknown: did you mean 'learning_rate'?"),
        ("steps: many", "steps is many: it must be a whole number"),
        ("[1, 2]", "holds no options"),
        ("interventions: none", "option 'interventions' is unknown: did you mean 'intervention'?"),
    ],
)
def test_what_does_not_fit_is_one_line(content, message, tmp_path, capsys):
    path = tmp_path / "options.yaml"
    path.write_text(content)
    assert main(["run", "--config", str(path)]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert len(said.splitlines()) == 1


def test_a_file_that_is_not_there_is_named(capsys):
    assert main(["run", "--config", "nowhere.yaml"]) == 2
    assert "config nowhere.yaml is no file" in capsys.readouterr().err


@pytest.fixture
def stored(tmp_path, file, monkeypatch):
    """The config.json of a run."""
    monkeypatch.chdir(tmp_path)
    arguments = ["run", "--config", str(file), "--steps", "128", "--task-steps", "64"]
    assert main(arguments) == 0
    (found,) = tmp_path.glob("results/runs/CartPole-v1/*/seed_0/config.json")
    return found


def test_a_run_is_trained_again_from_its_config(stored, tmp_path, capsys):
    out = tmp_path / "again"
    assert main(["run", "--config", str(stored), "--out", str(out)]) == 0
    first = json.loads(stored.read_text())
    again = json.loads((out / "seed_0" / "config.json").read_text())
    skipped = ("run", "command", "versions", "hardware")
    assert {k: v for k, v in again.items() if k not in skipped} == {
        k: v for k, v in first.items() if k not in skipped
    }
    assert stored.parent.parent.name == first["arm"]
    assert first["arm"].startswith("ppo-adamo-isometry=0.1-scale=1-")
    assert "-lr0.0003" in first["arm"]
    tables = [
        neoteny.results(folder).query(f"name not in {COSTS}").reset_index(drop=True)
        for folder in (stored.parent.parent, out)
    ]
    assert len(tables[0]) > 50
    assert tables[0].equals(tables[1])
    assert main(["run", "--config", str(stored)]) == 2
    assert "already holds a run" in capsys.readouterr().err


def test_a_runs_config_serves_comparisons_and_python(stored, given, capsys):
    assert main(["compare", "--config", str(stored), "--seeds", "3"]) == 0
    (config,) = given
    assert config.interventions == ("adamo:isometry=0.1,scale=1",)
    assert (config.seeds, config.network.hidden, config.steps) == (3, (16, 8), 128)
    run = configure(RunConfig, {"config": stored, "learning_rate": 0.5, "first_seed": 7})
    assert (run.hyper.learning_rate, run.hyper.num_envs, run.seed_list) == (0.5, 8, [7])
    assert configure(CompareConfig, {"config": stored, "vary": "lr=1,2"}).hyper.num_envs == 8
    assert main(["run", "--config", str(stored), "--agent", "dqn"]) == 2
    assert "agent is 'ppo' in" in capsys.readouterr().err


def test_an_unknown_field_of_a_runs_config_is_refused(stored, tmp_path, capsys):
    values = json.loads(stored.read_text())
    changed = tmp_path / "config.json"
    changed.write_text(json.dumps(values | {"task_step": 5}))
    assert main(["run", "--config", str(changed)]) == 2
    assert "config.json: key 'task_step' is unknown: did you mean 'task_steps'?" in (
        capsys.readouterr().err
    )


def test_a_file_beside_those_of_a_run_names_one_of_them(tmp_path, capsys):
    stored = tmp_path / "seed_3" / "config.json"
    stored.parent.mkdir()
    stored.write_text("{}")
    for path in (tmp_path, tmp_path / "config.json"):
        assert main(["run", "--config", str(path)]) == 2
        assert f"such as {stored}" in capsys.readouterr().err


def test_a_file_names_no_other_file(tmp_path, capsys):
    path = tmp_path / "options.yaml"
    path.write_text("config: other.yaml\n")
    assert main(["run", "--config", str(path)]) == 2
    assert "names a config itself" in capsys.readouterr().err
