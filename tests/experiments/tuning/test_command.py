"""Tuning as a whole: budgets, folders, taking up again, and the comparison that follows."""

import base64
import dataclasses
import json
import math
import shutil

import pandas as pd
import pytest
import yaml

from neoteny.agents.ppo_loss import PPOConfig
from neoteny.core.console import PlainConsole
from neoteny.core.errors import InputError, RunError
from neoteny.experiments.cli import compare
from neoteny.experiments.options.config import CompareConfig
from neoteny.experiments.options.network_options import NetworkOptions
from neoteny.experiments.report.report import write_report
from neoteny.experiments.run.interrupt import Stopped
from neoteny.experiments.statistics.metrics import Estimate
from neoteny.experiments.statistics.runs import read_runs
from neoteny.experiments.statistics.switches import read_streams
from neoteny.experiments.tuning import command
from neoteny.experiments.tuning.config import TuneConfig
from neoteny.experiments.tuning.scores import FEW_EPISODES, Score, failed
from neoteny.experiments.tuning.search import with_values

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


@pytest.fixture
def console():
    return PlainConsole(quiet=True)


@pytest.fixture
def trained(monkeypatch):
    """Runs are noted in place of being trained; a trial's score is that of its half-life."""
    runs = []

    def score(folder, reference, objective):
        (run,) = [run for run in runs if run.out == folder]
        typed = run.intervention[0].partition("half_life=")[2].removesuffix("tasks")
        value = -abs(math.log(float(typed or 1.0)))
        return Score(Estimate(value, value - 1, value + 1), 0.25, {0: value, 1: value})

    def train(some, number, config, console):
        runs.extend(some)
        return {}

    monkeypatch.setattr(command, "_train", train)
    monkeypatch.setattr(command, "score", score)
    monkeypatch.setattr(command, "read_runs", lambda folder: pd.DataFrame())
    monkeypatch.setattr(command, "check_reference", lambda frame: None)
    monkeypatch.setattr(command, "_draw", lambda *_: [])
    return runs


def config(tmp_path, **options):
    usual = {"interventions": ("none", "adamo", "redo"), "trials": 4, "tuning_seeds": 2}
    return TuneConfig(**TINY | usual | options, out=tmp_path / "tune")


def test_budgets_are_equal_and_the_default_comes_first(tmp_path, console, trained):
    table = command.tune(config(tmp_path), console)
    folders = [run.folder.relative_to(tmp_path / "tune").as_posix() for run in trained]
    # rounds of one trial an arm; none has nothing to search
    assert folders == [
        "reference",
        *("ppo-none/trial_00", "ppo-adamo/trial_00", "ppo-redo/trial_00"),
        *(f"{arm}/trial_0{n}" for n in (1, 2, 3) for arm in ("ppo-adamo", "ppo-redo")),
    ]
    assert list(table["trials"]) == [1, 4, 4]
    assert trained[0].intervention == ("fresh",)
    assert [run.intervention for run in trained[1:4]] == [("none",), ("adamo",), ("redo",)]
    assert {run.purpose for run in trained} == {"tuning"}
    assert {tuple(run.seed_list) for run in trained} == {(0, 1)}
    values = [run.intervention[0] for run in trained if "adamo" in run.arm][1:]
    assert len(set(values)) == 3
    adamo = table.set_index("arm").loc["ppo-adamo"]
    nearest = min(
        (float(text.partition("=")[2].removesuffix("tasks")) for text in values),
        key=lambda value: abs(math.log(value)),
    )
    # the fake score of the default is 0, the best there is
    assert (adamo["best"], adamo["trial"], adamo["default"]) == (0, 0, 0)
    trials = pd.read_csv(tmp_path / "tune/trials.csv")
    best = trials[(trials["arm"] == "ppo-adamo") & (trials["trial"] > 0)]["objective"].max()
    assert best == pytest.approx(-abs(math.log(nearest)))


def test_a_killed_search_is_taken_up_with_the_same_trials(tmp_path, console, trained, monkeypatch):
    for sampler in ("qmc", "tpe"):
        whole = config(tmp_path / sampler / "whole", sampler=sampler, trials=5)
        command.tune(whole, console)
        expected = [(run.folder.name, run.intervention) for run in trained]
        trained.clear()
        train = command._train

        def stop(runs, number, config, console):
            trained.extend(runs[: 7 - len(trained)])
            if len(trained) == 7:
                raise Stopped("stopped at step 8, or give the same command again")
            return {}

        monkeypatch.setattr(command, "_train", stop)
        cut = config(tmp_path / sampler / "cut", sampler=sampler, trials=5)
        with pytest.raises(Stopped, match="give the same command again"):
            command.tune(cut, console)
        monkeypatch.setattr(command, "_train", train)
        trained.clear()
        command.tune(cut, console)
        assert [(run.folder.name, run.intervention) for run in trained] == expected
        texts = [(place.folder / "trials.csv").read_text() for place in (whole, cut)]
        assert texts[0] == texts[1]
        trained.clear()


def test_the_learning_rate_gives_the_baseline_a_budget(tmp_path, console, trained):
    options = config(tmp_path, interventions=("none",), tune=("lr=1e-4..1e-2",))
    table = command.tune(options, console)
    rates = [run.hyper.learning_rate for run in trained[1:]]
    assert list(table["trials"]) == [4]
    assert rates[0] == TINY["hyper"].learning_rate
    assert all(1e-4 <= rate <= 1e-2 for rate in rates)
    assert len(set(rates)) == 4
    assert trained[-1].arm == f"ppo-none-lr{rates[-1]:g}"


@pytest.mark.parametrize(
    ("failure", "fix"), [(FEW_EPISODES, "longer tasks"), ("non-finite gradients", "learning-rate")]
)
def test_a_search_without_a_trial_left_says_why(
    failure, fix, tmp_path, console, trained, monkeypatch
):
    monkeypatch.setattr(command, "score", lambda *_: failed(failure))
    with pytest.raises(RunError, match=f"failed \\({failure}\\): .*{fix}"):
        command.tune(config(tmp_path), console)


def test_failures_have_the_worst_score_and_are_counted(tmp_path, console, trained, monkeypatch):
    monkeypatch.setattr(command, "score", lambda *_: failed("non-finite gradients, seeds 0"))
    with pytest.raises(RunError, match="every trial of every arm failed"):
        command.tune(config(tmp_path), console)
    table = pd.read_csv(tmp_path / "tune/tuned.csv")
    assert list(table["failed"]) == [1, 4, 4]
    trials = pd.read_csv(tmp_path / "tune/trials.csv")
    assert set(trials["failure"]) == {"non-finite gradients, seeds 0"}
    assert (trials["objective"] == -math.inf).all()
    assert yaml.safe_load((tmp_path / "tune/tuned.yaml").read_text())["arms"] == {}


def test_a_best_at_the_edge_is_warned_of(tmp_path, capsys, trained, monkeypatch):
    def score(folder, reference, objective):
        (run,) = [run for run in trained if run.out == folder]
        typed = run.intervention[0].partition("half_life=")[2].removesuffix("tasks")
        value = float(typed or 0)
        return Score(Estimate(value, value, value), 0.0, {0: value})

    monkeypatch.setattr(command, "score", score)
    narrow = ("adamo:half_life=1tasks..2tasks",)
    ranged = config(tmp_path, interventions=("adamo",), tune=narrow, trials=16)
    command.tune(ranged, PlainConsole(width=400))
    said = capsys.readouterr().out
    assert "ppo-adamo is best at the high edge of adamo:half_life in 1tasks..2tasks" in said
    assert "--tune adamo:half_life=LOW..HIGH" in said
    assert pd.read_csv(tmp_path / "tune/tuned.csv")["at_edge"].item() == "adamo:half_life:high"


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"tune": ("learning_rate",)}, "has no range"),
        ({"tune": ("lr=1..2", "learning-rate=1..2")}, "is given twice"),
        ({"tune": ("lr=1..",)}, "is no range"),
        ({"tune": ("l2:weight=1..2",)}, "no arm has 'l2'"),
        ({"tune": ("adamo:halflife=1tasks..2tasks",)}, "did you mean 'half_life'"),
        ({"tune": ("learning_rat=1..2",)}, "learning_rate"),
        ({"first_seed": 99}, "0 to 99"),
        ({"first_seed": 1000}, "0 to 99"),
        ({"interventions": ("fresh",)}, "leave it out"),
        ({"trials": 0}, "trials is 0"),
    ],
)
def test_bad_options_are_refused_in_one_line(tmp_path, options, why):
    with pytest.raises(InputError, match=why) as error:
        config(tmp_path, **options)
    assert "\n" not in str(error.value)


def test_a_stream_of_two_tasks_is_refused(tmp_path, console):
    with pytest.raises(InputError, match="2 tasks"):
        command.tune(config(tmp_path, steps=64), console)


def test_without_optuna_the_extra_is_named(tmp_path, console, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    with pytest.raises(InputError, match=r"pip install 'neoteny\[tune\]'"):
        command.tune(config(tmp_path), console)
    assert not (tmp_path / "tune").exists()


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    """A search that was trained, of two trials of adamo, with its learning rate."""
    folder = tmp_path_factory.mktemp("tuned")
    options = {"interventions": ("none", "adamo"), "trials": 2, "tune": ("lr=1e-3..3e-3",)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command, "check_reference", lambda frame: None)

        def score(folder, reference, objective):
            value = float(folder.name[-1])
            return Score(Estimate(value, value, value), 0.0, {0: value, 1: value})

        patch.setattr(command, "score", score)
        command.tune(config(folder, **options), PlainConsole(quiet=True))
    return folder / "tune"


def test_the_page_of_a_tuned_folder_has_its_sweep(tuned, tmp_path, undrawn):
    folder = tmp_path / "copy"
    shutil.copytree(tuned, folder)
    write_report(folder)
    page = (folder / "report.html").read_text()
    assert '<h2 id="sweep">Sweep</h2>' in page
    assert "strength against the score, on seeds that no other figure shows" in page
    for name in ("sweep.png", "sweep-narrow.png"):
        assert base64.b64encode((folder / name).read_bytes()).decode() in page


def test_tuned_arms_are_compared_on_other_seeds(tuned, tmp_path, console, undrawn):
    stored = yaml.safe_load((tuned / "tuned.yaml").read_text())
    best = stored["arms"]["ppo-adamo"]
    assert (tuned / "sweep-narrow.png").is_file()
    assert (best["trial"], stored["seeds"]) == (1, [0, 1])
    assert best["options"].startswith("adamo:half_life=")
    rate = best["own"]["learning_rate"]
    again = CompareConfig(
        **TINY, tuned=tuned / "tuned.yaml", first_seed=1000, out=tmp_path / "compared"
    )
    arms = again.arms()
    # the best of both was trial 1, whose rates are the same point of the range or not
    names = [("none",), (best["options"],), ("fresh",)]
    assert [run.intervention for run in arms][:3] == names
    assert arms[1].hyper.learning_rate == rate
    assert all(run.purpose == "" for run in arms)
    rates = {own["own"]["learning_rate"] for own in stored["arms"].values()}
    fresh = {run.hyper.learning_rate for run in arms if run.intervention == ("fresh",)}
    assert fresh == rates  # like for like
    summary = compare(again, console)
    assert f"{rate:g}" in " ".join(summary["arm"])
    member = tmp_path / "compared" / arms[1].arm / "seed_1000/config.json"
    assert "purpose" not in json.loads(member.read_text())


def test_seeds_of_tuning_are_refused_in_the_comparison(tuned, tmp_path):
    with pytest.raises(InputError, match="seeds 1 were used in tuning"):
        CompareConfig(**TINY, tuned=tuned, first_seed=1, seeds=2, out=tmp_path)
    with pytest.raises(InputError, match="leave out --tuned or --interventions"):
        CompareConfig(**TINY, tuned=tuned, first_seed=1000, interventions=("none",))
    with pytest.raises(InputError, match="no file"):
        CompareConfig(**TINY, tuned=tmp_path / "none.yaml", first_seed=1000)
    broken = tmp_path / "tuned.yaml"
    broken.write_text("agent: ppo\nenv: x\nseeds: [0]\narms:\n  a: {option: none}\n")
    with pytest.raises(InputError, match=r"arm a.*option"):
        CompareConfig(**TINY, tuned=broken, first_seed=1000)


def test_tuning_and_evaluation_are_not_mixed(tuned, tmp_path, console):
    with pytest.raises(InputError, match="holds runs of tuning"):
        compare(CompareConfig(**TINY, first_seed=1000, out=tuned), console)
    evaluated = tmp_path / "both/evaluated/seed_1000"
    evaluated.mkdir(parents=True)
    source = tuned / "reference/seed_0"
    (evaluated / "metrics.csv").write_text((source / "metrics.csv").read_text())
    stored = json.loads((source / "config.json").read_text())
    assert stored.pop("purpose") == "tuning"
    (evaluated / "config.json").write_text(json.dumps(stored | {"seed": 1000}))
    read_runs(tmp_path / "both")
    with pytest.raises(InputError, match="not reported together") as error:
        read_streams((tmp_path / "both", tuned))
    assert "\n" not in str(error.value)
    with pytest.raises(InputError, match="holds runs of evaluation"):
        command.tune(dataclasses.replace(config(tmp_path), out=tmp_path / "both"), console)


def test_settings_join_those_that_an_arm_states(tmp_path):
    run = config(tmp_path, interventions=("layer_norm+redo:tau=0.1",)).arms()[0]
    (arm,) = command._arms(
        config(tmp_path, interventions=("layer_norm+redo:tau=0.1",)), PlainConsole(quiet=True)
    )
    (period,) = arm.dimensions
    changed = with_values(run, {period: period.range.typed(0.5)})
    assert changed.intervention == ("layer_norm", "redo:tau=0.1,period=0.5tasks")
