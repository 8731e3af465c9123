"""Options that a comparison crosses, the names that follow, and seeds that are added."""

import dataclasses
import json

import numpy as np
import pytest

from neoteny.core.errors import InputError
from neoteny.experiments.main import main
from neoteny.experiments.options.config import CompareConfig, RunConfig, named_apart
from neoteny.experiments.options_by_name import configure
from neoteny.experiments.run.lock import LOCK, FolderLock
from neoteny.experiments.run.seed_blocks import added_folders, seed_blocks
from neoteny.experiments.statistics.runs import read_runs

FAST = ["--num-envs", "8", "--num-steps", "8", "--num-epochs", "1", "--num-minibatches", "2"]
FAST += ["--env", "cartpole-permute", "--hidden", "8", "--task-steps", "64", "--steps", "128"]


def test_options_are_crossed_and_in_the_names_of_arms():
    config = CompareConfig(
        interventions=("none", "adamo:half_life=500k"),
        vary=("lr=1e-4,3e-4", "hidden=64x32,128", "reset-optimizer=yes,no"),
    )
    arms = {arm.arm: arm for arm in config.arms()}
    assert len(arms) == 2 * 2 * 2 * 2
    one = arms["ppo-adamo-half_life=500k-lr0.0003-hidden64x32-resetoptimizerFalse"]
    assert (one.hyper.learning_rate, one.network.hidden) == (3e-4, (64, 32))
    assert not one.reset_optimizer
    assert one.out.name == one.arm
    assert one.to_dict()["named"] == ("learning_rate", "hidden", "reset_optimizer")


def test_options_of_the_network_that_names_have_anyway_are_named_once():
    arms = CompareConfig(interventions=("none",), vary=("init=orthogonal,uniform",)).arms()
    assert [arm.arm for arm in arms] == ["ppo-none", "ppo-none-uniform"]


def test_losses_of_the_value_are_crossed_and_named():
    arms = CompareConfig(interventions=("none",), vary=("value-loss=mse,hl_gauss",)).arms()
    assert [arm.arm for arm in arms] == ["ppo-none-valuelossmse", "ppo-none-valuelosshl_gauss"]
    assert [arm.hyper.value_loss for arm in arms] == ["mse", "hl_gauss"]


@pytest.mark.parametrize(
    ("vary", "message"),
    [
        (("learning-rat=1",), "vary cannot cross 'learning-rat': did you mean 'learning_rate'"),
        (("seeds=1,2",), "vary cannot cross 'seeds'"),
        (("lr",), "vary 'lr' has no value: write lr=1,2"),
        (("lr=1", "learning-rate=2"), "learning_rate is crossed twice"),
        (("activation=relu,tanh",), "activation is crossed twice"),
        (("gamma=3",), r"gamma is 3: it must be in \[0, 1\]"),
        (("lr=1e-3,0.001",), "arm ppo-none-lr0.001 is given twice"),
    ],
)
def test_what_cannot_be_crossed_is_one_line(vary, message):
    with pytest.raises(InputError, match=message) as error:
        CompareConfig(interventions=("none",), activations=("relu",), vary=vary)
    assert "\n" not in str(error.value)


def test_the_folder_of_a_run_is_named_after_what_differs_from_its_preset(tmp_path):
    plain = named_apart(configure(RunConfig, {}))
    assert plain.folder.name == "ppo-none"
    run = named_apart(configure(RunConfig, {"learning_rate": 3e-4, "hidden": (32, 32)}))
    assert run.folder.name == "ppo-none-lr0.0003-hidden32x32"
    paper = named_apart(configure(RunConfig, {"preset": "paper", "gamma": 0.9}))
    assert paper.folder.name == "ppo-none-gamma0.9"
    assert named_apart(configure(RunConfig, {"gamma": 0.9, "out": tmp_path})).arm == "ppo-none"


@pytest.mark.slow
def test_a_comparison_trains_the_seeds_and_arms_that_are_missing(tmp_path, capsys, undrawn):
    """As if all had been trained at once, up to round-off."""
    arguments = ["compare", *FAST, "--out", str(tmp_path / "grown"), "--interventions", "none"]
    assert main([*arguments, "--seeds", "2"]) == 0
    before = (tmp_path / "grown/ppo-none/checkpoint.pt").stat().st_mtime_ns
    assert main([*arguments, "adamo", "--seeds", "3", "--vary", "gamma=0.99"]) == 0
    assert main([*arguments, "--seeds", "3"]) == 0
    assert main([*arguments, "--seeds", "3", "--hidden", "16"]) == 2
    said = capsys.readouterr().err
    assert "hidden: stored [8], given [16]" in said
    assert len(said.splitlines()) == 1
    assert (tmp_path / "grown/ppo-none/checkpoint.pt").stat().st_mtime_ns == before
    folders = {path.parent.name for path in (tmp_path / "grown").glob("*/checkpoint.pt")}
    assert folders == {
        "ppo-none",
        "ppo-none-seed2",
        "ppo-none-gamma0.99",
        "ppo-adamo-gamma0.99",
    }
    assert main([*arguments, "--seeds", "3", "--out", str(tmp_path / "whole")]) == 0
    grown = read_runs(tmp_path / "grown").query("arm == 'ppo-none'")
    whole = read_runs(tmp_path / "whole").query("arm == 'ppo-none'")
    assert list(grown["seed"].unique()) == [0, 1, 2]
    for name in ("return", "losses/value_loss", "plasticity/policy/layer0/sigma_max"):
        assert np.allclose(grown[name], whole[name], rtol=1e-3, equal_nan=True), name


@pytest.mark.slow
def test_an_arm_that_is_trained_again_loses_the_seeds_that_were_added(tmp_path, capsys, undrawn):
    arguments = ["compare", *FAST, "--out", str(tmp_path), "--interventions", "none"]
    assert main([*arguments, "--seeds", "1"]) == 0
    assert main([*arguments, "adamo", "--seeds", "2"]) == 0
    added = tmp_path / "ppo-none-seed1"
    (added / "notes.txt").write_text("mine")
    again = [*arguments, "--seeds", "1", "--steps", "64", "--overwrite"]
    with FolderLock(added):
        assert main(again) == 2
    assert (added / "checkpoint.pt").is_file()
    assert main(again) == 0
    runs = read_runs(tmp_path)
    assert {arm: sorted(rows["seed"].unique()) for arm, rows in runs.groupby("arm")} == {
        "ppo-none": [0],
        "ppo-adamo": [0, 1],
    }
    assert [path.name for path in added.iterdir() if path.name != LOCK] == ["notes.txt"]
    assert main([*arguments, "--seeds", "2", "--steps", "64", "--overwrite"]) == 0
    assert (tmp_path / "ppo-none/seed_1/metrics.csv").is_file()


def test_blocks_of_seeds(tmp_path):
    arm = RunConfig(first_seed=0, seeds=6, out=tmp_path / "ppo-none")
    assert [(run.seed_list, run.folder.name) for run in seed_blocks(arm)] == [
        ([0, 1, 2, 3, 4, 5], "ppo-none")
    ]
    for folder, first, count in (("ppo-none", 1, 2), ("ppo-none-seed4", 4, 1)):
        member = tmp_path / folder / f"seed_{first}"
        member.mkdir(parents=True)
        content = json.dumps({"first_seed": first, "seeds": count})
        (member / "config.json").write_text(content)
    assert [(run.seed_list, run.folder.name) for run in seed_blocks(arm)] == [
        ([1, 2], "ppo-none"),
        ([4], "ppo-none-seed4"),
        ([0], "ppo-none-seed0"),
        ([3], "ppo-none-seed3"),
        ([5], "ppo-none-seed5"),
    ]
    far = RunConfig(first_seed=7, seeds=2, out=tmp_path / "ppo-none")
    assert [run.folder.name for run in seed_blocks(far)] == ["ppo-none-seed7to8"]
    again = dataclasses.replace(arm, overwrite=True)
    assert seed_blocks(again) == [again]
    (tmp_path / "ppo-none-seeds").mkdir()
    assert [folder.name for folder in added_folders(again)] == ["ppo-none-seed4"]
