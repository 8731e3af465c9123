"""Whole runs: resume bit for bit, after a normal end and after kill -9; the reset at a switch."""

import dataclasses
import gc
import io
import multiprocessing
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
import torch
from rich.console import Console

from neoteny.agents.ppo_loss import PPOConfig
from neoteny.core.errors import FrozenError
from neoteny.experiments.main import main
from neoteny.experiments.options.config import CompareConfig, RunConfig
from neoteny.experiments.options.network_options import NetworkOptions
from neoteny.experiments.run import checkpoint
from neoteny.experiments.run.memory import COSTS
from neoteny.experiments.run.runner import Runner, run
from neoteny.experiments.run.stored import from_dict

TINY = PPOConfig(num_envs=16, num_steps=8, num_epochs=2, num_minibatches=2)  # 128 steps each
CONSOLE = Console(quiet=True)


def config(tmp_path, **changes):
    settings = {
        "intervention": ("adamo", "l2_init"),
        "seeds": 2,
        "first_seed": 26,
        "steps": 128 * 10,
        "task_steps": 128 * 3,
        "hyper": TINY,
        "network": NetworkOptions(hidden=(16, 16)),
        "diagnose_every": 2,
        "out": tmp_path / "run",
    }
    return RunConfig(**settings | changes)


def numbers(folder, seed):
    frame = pd.read_csv(folder / f"seed_{seed}" / "metrics.csv")
    return frame.drop(columns=[*COSTS])


def assert_same_tree(one, two):
    assert type(one) is type(two)
    if isinstance(one, dict):
        added = {"differentiable"}  # torch adds this key to the groups of a loaded optimiser
        assert one.keys() - added == two.keys() - added
        for key in one.keys() - added:
            assert_same_tree(one[key], two[key])
    elif isinstance(one, list | tuple):
        assert len(one) == len(two)
        for a, b in zip(one, two, strict=True):
            assert_same_tree(a, b)
    elif isinstance(one, torch.Tensor):
        assert torch.equal(one, two)
    elif not isinstance(one, float):
        assert one == two


@pytest.mark.parametrize("cut", [2, *(pytest.param(n, marks=pytest.mark.slow) for n in (3, 5))])
def test_resume_is_bit_exact(tmp_path, cut):
    """Cut in the middle of a task, exactly at a switch, and after one."""
    whole = run(config(tmp_path, out=tmp_path / "whole", steps=128 * 7), CONSOLE)
    part = config(tmp_path, out=tmp_path / "part", steps=128 * cut)
    run(part, CONSOLE)
    again = run(dataclasses.replace(part, steps=128 * 7), CONSOLE, resume=True)
    assert_same_tree(whole.state_dict(), again.state_dict())
    for seed in (26, 27):
        one, two = numbers(tmp_path / "whole", seed), numbers(tmp_path / "part", seed)
        measured_at_end = one["plasticity/update_norm"].isna() & (one["step"] == 128 * cut)
        extra = [name for name in two if name.startswith(("plasticity/", "interventions/"))]
        two.loc[measured_at_end, extra] = np.nan
        pd.testing.assert_frame_equal(one, two, check_exact=True)


def test_diagnostics_are_taken_regularly_and_at_both_ends_of_every_task(tmp_path):
    run(config(tmp_path, steps=128 * 11, diagnose_every=5), CONSOLE)
    frame = numbers(tmp_path / "run", 26).set_index("iteration")
    for column in ("plasticity/policy/layer0/gram_deviation", "plasticity/update_norm"):
        # Tasks of three iterations.
        assert list(frame[column].dropna().index) == [1, 3, 4, 6, 7, 9, 10, 11]


def heed_signals():
    """Take back what a shell in the background or nohup had its children ignore."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def start(out):
    """A run of 30 iterations in another process, stopped by the caller once it is under way."""
    arguments = ["run", "--intervention", "adamo", "l2_init", "--seeds", "2", "--first-seed", "26"]
    arguments += ["--num-envs", "16", "--num-steps", "8", "--num-epochs", "2"]
    arguments += ["--num-minibatches", "2", "--learning-rate", "0.00025", "--hidden", "16", "16"]
    arguments += ["--task-steps", "384", "--diagnose-every", "2", "--steps", "3840"]
    arguments += ["--checkpoint-minutes", "0.001", "--out"]
    process = subprocess.Popen(
        [sys.executable, "-m", "neoteny", *arguments, str(out)],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        preexec_fn=heed_signals,
    )
    table = out / "seed_26" / "metrics.csv"
    deadline = time.monotonic() + 300
    while not (table.exists() and len(table.read_text().splitlines()) > 5):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.02)
    return process


@pytest.mark.slow  # test_interruptions.py has a shorter one
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_stopped_run_resumes_to_the_same_numbers(tmp_path, how):
    whole = config(tmp_path, out=tmp_path / "whole", steps=128 * 30)
    run(whole, CONSOLE)
    out = tmp_path / "stopped"
    process = start(out)
    process.send_signal(how)
    _, said = process.communicate()
    if how != signal.SIGKILL:
        assert process.returncode == 130
        assert f"continue with --resume {out}" in said
        assert len(said.splitlines()) == 1
    assert 0 < checkpoint.load(out / "checkpoint.pt")["iteration"] < 30
    stored = dataclasses.replace(whole, out=out, resume=out)
    run(stored, CONSOLE, resume=True)
    for seed in (26, 27):
        pd.testing.assert_frame_equal(
            numbers(tmp_path / "whole", seed), numbers(out, seed), check_exact=True
        )


def test_moments_are_reset_at_a_switch_unless_told_otherwise(tmp_path):
    def steps(reset):
        setup = config(tmp_path / str(reset), reset_optimizer=reset, steps=128 * 4)
        learner = run(setup, CONSOLE).agent.learner
        assert learner.updates == 16
        return {float(state["step"]) for state in learner.optimizer.state.values()}

    assert steps(True) == {4.0}  # of the one rollout after the switch
    assert steps(False) == {16.0}


def test_a_run_says_how_often_its_interventions_act_and_which_do_not(tmp_path):
    def said(*names, **changes):
        console = Console(record=True, width=400, file=io.StringIO())
        run(
            config(
                tmp_path,
                intervention=names,
                steps=128 * 3,
                out=tmp_path / "-".join(names),
                **changes,
            ),
            console,
        )
        return console.export_text()

    text = said("redo", "adamo:half_life=2tasks", "layer_norm")  # a task has 3 rollouts
    assert "redo acts 3 times a task" in text
    assert "adamo acts in every update, half-life 2 tasks (768 steps)" in text
    assert "warning" not in text
    assert "redo acts on the last update of a task alone" in said("redo:period=384", seeds=1)
    assert "optimizer_reset adds nothing" in said("optimizer_reset", seeds=1)
    text = said("optimizer_reset:period=1targets", seeds=1)
    assert "optimizer_reset acts 3 times a task" in text
    assert "warning" not in text


def test_fresh_is_redrawn_at_every_switch_and_equals_adam_before_the_first(tmp_path):
    arms = {
        name: run(
            config(tmp_path, intervention=(name,), steps=128 * 7, out=tmp_path / name), CONSOLE
        )
        for name in ("fresh", "none")
    }
    assert arms["fresh"].task_aware
    assert arms["fresh"].agent.learner.interventions[0].activity.tolist() == [2, 2]
    a, b = numbers(tmp_path / "fresh", 26), numbers(tmp_path / "none", 26)
    same = a["losses/entropy"] == b["losses/entropy"]
    assert same[a["visit"] == 0].all()
    assert not same[a["visit"] > 0].any()


def test_the_table_says_which_game_each_seed_plays(tmp_path):
    run(config(tmp_path, steps=128 * 12), CONSOLE)
    games = {26: "SpaceInvaders Freeway Asterix Breakout", 27: "Freeway"}
    for seed, order in games.items():
        frame = numbers(tmp_path / "run", seed)
        played = frame.drop_duplicates("visit")["task_name"].tolist()
        assert " ".join(played).startswith(order)
        for name in played:
            mine = frame["task_name"] == name
            column = frame.get(f"tasks/{name}/episodic_length", pd.Series(dtype=float))
            pd.testing.assert_series_equal(
                column[mine], frame["charts/episodic_length"][mine], check_names=False
            )
            assert column[~mine].isna().all()


@pytest.mark.slow  # test_task_evaluation.py has a shorter one
def test_evaluation_at_task_ends_does_not_touch_training(tmp_path):
    short = {"env_option": ("max_steps=40",), "steps": 128 * 5}
    run(config(tmp_path, out=tmp_path / "plain", **short), CONSOLE)
    run(config(tmp_path, out=tmp_path / "evaluated", eval_episodes=4, **short), CONSOLE)
    plain, evaluated = numbers(tmp_path / "plain", 26), numbers(tmp_path / "evaluated", 26)
    returns = evaluated.pop("eval/episodic_return")
    assert returns.notna().tolist() == [i in (2, 4) for i in range(5)]
    pd.testing.assert_frame_equal(plain, evaluated)


def test_a_non_finite_member_is_reported_frozen_and_leaves_the_other_alone(tmp_path):
    plain = config(tmp_path, intervention=("none",), steps=128 * 4)
    runner = Runner(dataclasses.replace(plain, out=tmp_path / "sick"), CONSOLE)
    with torch.no_grad():
        runner.agent.network.branches["value"].head.weight[0].fill_(float("inf"))
    before = [p[0].detach().clone() for p in runner.agent.network.parameters()]
    runner.train()
    healthy = run(dataclasses.replace(plain, out=tmp_path / "healthy"), CONSOLE)
    parameters = zip(
        runner.agent.network.parameters(), healthy.agent.network.parameters(), before, strict=True
    )
    for mine, other, start in parameters:
        assert torch.equal(mine[1], other[1])
        assert torch.equal(mine[0], start)
    assert numbers(tmp_path / "sick", 26)["charts/alive"].tolist() == [0.0] * 4
    assert numbers(tmp_path / "sick", 27)["charts/alive"].tolist() == [1.0] * 4


def make_sick(monkeypatch, sick):
    """Have the value heads of the arms that `sick` picks begin with infinite weights."""
    build = Runner.__init__

    def build_sick(self, setup, *arguments):
        build(self, setup, *arguments)
        if sick(setup):
            with torch.no_grad():
                self.agent.network.branches["value"].head.weight.fill_(float("inf"))

    monkeypatch.setattr(Runner, "__init__", build_sick)


def test_a_run_stops_at_once_when_all_members_are_frozen(tmp_path, monkeypatch):
    make_sick(monkeypatch, lambda setup: True)
    setup = config(tmp_path, intervention=("none",))
    for resume in (False, True):
        with pytest.raises(FrozenError, match=r"ppo-none stopped at step 128: all its members"):
            run(setup, CONSOLE, resume=resume)
    for seed in (26, 27):
        assert numbers(setup.folder, seed)["charts/alive"].tolist() == [0.0]
    assert checkpoint.load(setup.folder / "checkpoint.pt")["alive"] == [False, False]


@pytest.mark.slow
def test_a_comparison_goes_on_past_an_arm_that_froze_and_names_it(
    tmp_path, monkeypatch, capsys, undrawn
):
    make_sick(monkeypatch, lambda setup: setup.intervention == ("none",))
    arguments = ["compare", "--interventions", "none", "adamo", "--hidden", "8", "--steps", "256"]
    arguments += ["--num-envs", "8", "--num-steps", "8", "--num-epochs", "1", "--task-steps", "128"]
    arguments += ["--num-minibatches", "2", "--out", str(tmp_path)]
    for _ in range(2):
        assert main(arguments) == 1
        captured = capsys.readouterr()
        assert captured.err == (
            "error: stopped with non-finite gradients in all members: ppo-none, seed 0\n"
        )
        assert len(numbers(tmp_path / "ppo-none", 0)) == 1
        assert len(numbers(tmp_path / "ppo-adamo", 0)) == 4
        assert (tmp_path / "report.html").exists()


def test_no_worker_outlives_its_run_or_evaluation(tmp_path):
    gc.disable()  # which would end them in the end
    try:
        run(
            config(
                tmp_path,
                env="FrozenLake-v1",
                env_option=("vectorization=async",),
                task_steps=None,
                steps=32,
                eval_episodes=1,
                hyper=PPOConfig(num_envs=2, num_steps=16, num_epochs=1, num_minibatches=2),
            ),
            CONSOLE,
        )
        assert multiprocessing.active_children() == []
    finally:
        gc.enable()


def test_configuration_survives_json_and_names_every_arm(tmp_path):
    network = NetworkOptions(activation="groupsort")
    first = config(tmp_path, env_option=("sticky=0.1", "max_steps=none"), network=network)
    again = from_dict(first.to_dict())
    assert dataclasses.replace(again, out=first.out) == first
    assert first.arm == "ppo-adamo+l2_init-groupsort"
    assert first.options == {"sticky": "0.1", "max_steps": "none"}
    arms = CompareConfig(
        interventions=("none", "layer_norm+adamo:isometry=0.1"),
        activations=("relu", "groupsort"),
        biases=(True, False),
        out=tmp_path,
    ).arms()
    assert [arm.arm for arm in arms][-2:] == [
        "ppo-layer_norm+adamo-isometry=0.1-groupsort",
        "ppo-layer_norm+adamo-isometry=0.1-groupsort-nobias",
    ]
    assert len({arm.folder for arm in arms}) == 8
