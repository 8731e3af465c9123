"""Searches that grow, meet values that cannot be, or are started from Python."""

import dataclasses
import shutil

import pandas as pd
import pytest
import yaml

import neoteny
from neoteny.agents.ppo_loss import PPOConfig
from neoteny.core.console import PlainConsole
from neoteny.core.errors import InputError
from neoteny.experiments.options.config import CompareConfig
from neoteny.experiments.options.network_options import NetworkOptions
from neoteny.experiments.options_by_name import configure
from neoteny.experiments.run.folders import has_checkpoint
from neoteny.experiments.statistics.metrics import Estimate
from neoteny.experiments.tuning import command
from neoteny.experiments.tuning.config import TuneConfig
from neoteny.experiments.tuning.scores import REFUSED, Score

pytest.importorskip("optuna")

TINY = {
    "env": "minatar-permute",
    "env_option": ("over=features",),
    "network": NetworkOptions(hidden=(8,)),
    "hyper": PPOConfig(num_envs=2, num_steps=8, num_epochs=1, num_minibatches=2),
    "task_steps": 32,
    "steps": 96,
    "diagnose_every": 0,
}
QUIET = PlainConsole(quiet=True)


def config(folder, *interventions, **options):
    usual = {"trials": 2, "tuning_seeds": 2, "out": folder}
    return TuneConfig(**TINY | usual | options, interventions=interventions)


@pytest.fixture
def scored(monkeypatch):
    """A trial's score is its number."""

    def score(folder, reference, objective):
        value = float(folder.name[-1])
        return Score(Estimate(value, value, value), 0.0, {0: value, 1: value})

    monkeypatch.setattr(command, "check_reference", lambda frame: None)
    monkeypatch.setattr(command, "score", score)
    monkeypatch.setattr(command, "_draw", lambda *_: [])


def train_nothing(monkeypatch):
    """Searches from now on note their runs in the list that is returned, and train none."""
    runs = []
    monkeypatch.setattr(command, "_train", lambda some, *_: runs.extend(some) or {})
    monkeypatch.setattr(command, "read_runs", lambda folder: pd.DataFrame())
    return runs


@pytest.mark.slow
def test_an_arm_is_added_to_a_finished_search(tmp_path, scored, monkeypatch):
    command.tune(config(tmp_path / "grown", "none", "adamo"), QUIET)
    before = yaml.safe_load((tmp_path / "grown/tuned.yaml").read_text())["arms"]
    shutil.copytree(tmp_path / "grown", tmp_path / "whole")
    train, trained = command._train, []

    def note(runs, *others):
        new = [run.folder for run in runs if not has_checkpoint(run.folder)]
        trained.extend(folder.relative_to(tmp_path).as_posix() for folder in new)
        return train(runs, *others)

    monkeypatch.setattr(command, "_train", note)
    command.tune(config(tmp_path / "grown", "redo", "none", "adamo"), QUIET)
    assert trained == [f"grown/ppo-redo/trial_0{number}" for number in (0, 1)]
    after = yaml.safe_load((tmp_path / "grown/tuned.yaml").read_text())["arms"]
    assert list(after) == ["ppo-redo", "ppo-none", "ppo-adamo"]
    assert before == {name: arm for name, arm in after.items() if name != "ppo-redo"}
    train_nothing(monkeypatch)
    anew = command.tune(config(tmp_path / "anew", "redo", "none", "adamo"), QUIET)
    assert list(anew["options"]) == [
        after[name]["options"] for name in after
    ]  # the trials that it would have had from the start


def test_values_that_an_optimiser_refuses_are_a_failed_trial(tmp_path, scored):
    wide = config(tmp_path, "adamo", tune=("adamo:isometry=1500..9000",), trials=3)
    table = command.tune(wide, QUIET)
    assert list(table["trials"]) == [3]
    assert list(table["failed"]) == [2]
    trials = pd.read_csv(tmp_path / "trials.csv").fillna({"failure": ""})
    assert list(trials["failure"]) == ["", REFUSED, REFUSED]
    assert all("isometry=" in text for text in trials["options"][1:])
    assert table["options"].item() == "adamo"


def test_faults_of_the_options_or_of_files_end_the_search(tmp_path, scored, monkeypatch):
    def refuse(units, config, console):
        if units[0].run.folder.name.startswith("trial"):
            raise InputError("no device of that name")
        return {}

    monkeypatch.setattr(command, "train_plan", refuse)
    monkeypatch.setattr(command, "read_runs", lambda folder: pd.DataFrame())
    with pytest.raises(InputError, match="no device"):
        command.tune(config(tmp_path, "adamo"), QUIET)


@pytest.mark.parametrize(
    ("range_", "why"),
    [
        ("adamo:isometry=-1..10", "range adamo:isometry=-1..10: .*at least 0"),
        ("learning_rate=-1..1e-2", "learning_rate"),
    ],
)
def test_ranges_with_values_that_cannot_be_are_refused_before(tmp_path, range_, why):
    with pytest.raises(InputError, match=why):
        command.tune(config(tmp_path / "new", "none", "adamo", tune=(range_,)), QUIET)
    assert not (tmp_path / "new").exists()


def test_a_strength_is_searched_in_place_of_the_half_life_that_it_excludes(tmp_path):
    (arm,) = command._arms(config(tmp_path, "adamo", tune=("adamo:isometry=1e-4..1",)), QUIET)
    assert [dimension.name for dimension in arm.dimensions] == ["adamo:isometry"]
    both = ("adamo:isometry=1e-4..1", "adamo:half_life=1tasks..2tasks")
    with pytest.raises(InputError, match="give one of"):
        command._arms(config(tmp_path, "adamo", tune=both), QUIET)


def test_tuned_arms_are_set_beside_fresh_networks_of_their_own_layers(tmp_path):
    arms = {
        "a": {"options": "adamo:half_life=2tasks", "own": {"learning_rate": 0.003}},
        "b": {"options": "layer_norm+redo:tau=0.1", "own": {"learning_rate": 0.003}},
        "c": {"options": "layer_norm", "own": {"learning_rate": 0.003}},
    }
    stored = {"agent": "ppo", "env": "minatar-permute", "seeds": [0], "arms": arms}
    (tmp_path / "tuned.yaml").write_text(yaml.safe_dump(stored))
    runs = CompareConfig(**TINY, tuned=tmp_path, first_seed=1000).arms()
    fresh = ["+".join(run.intervention) for run in runs if "fresh" in run.intervention]
    assert fresh == ["fresh", "fresh+layer_norm"]
    assert {run.hyper.learning_rate for run in runs} == {0.003}


def test_lists_of_arms_come_from_a_file(tmp_path):
    (tmp_path / "arms.yaml").write_text(
        "preset: demo\ntuning_seeds: 2\ntune: learning-rate=1e-4..1e-2\n"
        "interventions:\n  - none\n  - layer_norm+redo:tau=0.1\n"
    )
    found = configure(TuneConfig, {"config": tmp_path / "arms.yaml"})
    assert found.interventions == ("none", "layer_norm+redo:tau=0.1")
    assert (found.seed_list, list(found.ranges)) == ([0, 1], ["learning_rate"])


def test_a_search_from_python_is_that_of_the_command(tmp_path, scored, monkeypatch):
    runs = train_nothing(monkeypatch)
    made = neoteny.tune(
        "minatar-permute",
        interventions=["none", "adamo"],
        env_option={"over": "features"},
        hidden=(8,),
        **dataclasses.asdict(TINY["hyper"]),
        task_steps=32,
        steps=96,
        diagnose_every=0,
        trials=2,
        tuning_seeds=2,
        out=tmp_path / "python",
    )
    command.tune(config(tmp_path / "command", "none", "adamo"), QUIET)
    asked = [(run.arm, run.hyper, run.network.hidden, run.steps) for run in runs]
    assert len(asked) == 2 * 4  # fresh networks and three trials
    assert asked[:4] == asked[4:]
    texts = [(tmp_path / name / "tuned.csv").read_text() for name in ("python", "command")]
    assert texts[0] == texts[1]
    assert list(made["trials"]) == [1, 2]
    with pytest.raises(InputError, match="'seeds' is unknown: did you mean 'tuning_seeds'"):
        neoteny.tune("minatar-permute", seeds=3)
