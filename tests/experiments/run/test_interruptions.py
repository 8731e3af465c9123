"""Signals at any moment of a command: one line, and nothing lost."""

import signal
import sys
import time

import pandas as pd
import pytest
import torch

from neoteny.agents import PPO
from neoteny.experiments.main import main
from neoteny.experiments.run.interrupt import SIGNALS
from neoteny.experiments.run.memory import COSTS

FAST = ["--num-envs", "8", "--num-steps", "8", "--num-epochs", "1", "--num-minibatches", "2"]
FAST += ["--hidden", "8", "--task-steps", "128", "--steps", "256", "--diagnose-every", "2"]


@pytest.mark.parametrize(
    ("step", "left", "number"),
    [
        ("neoteny.experiments.cli.run_defaults", [], signal.SIGINT),
        ("neoteny.experiments.cli.run_defaults", [], signal.SIGTERM),
        ("neoteny.experiments.cli.run_defaults", [], signal.SIGHUP),
        ("neoteny.experiments.run.runner.check_startable", [], signal.SIGTERM),
        ("neoteny.experiments.report.report.visit_values", ["ppo-none"], signal.SIGHUP),
        (
            "neoteny.experiments.report.report.illustrate",
            ["continual.csv", "ppo-none", "summary.csv", "visits.csv"],
            signal.SIGINT,
        ),
    ],
)
def test_a_signal_outside_of_training_is_one_line(
    step, left, number, tmp_path, monkeypatch, capsys
):
    """In start-up and in the report at the end."""
    before = [signal.getsignal(each) for each in SIGNALS]
    monkeypatch.setattr(step, lambda *_, **__: signal.raise_signal(number))
    out = tmp_path / "out"
    arguments = ["compare", *FAST, "--interventions", "none", "--out", str(out)]
    assert main(arguments) == 130
    assert capsys.readouterr().err == "interrupted\n"
    assert sorted(path.name for path in out.glob("[!.]*")) == left
    assert [signal.getsignal(each) for each in SIGNALS] == before


def test_a_signal_that_is_ignored_stays_ignored(monkeypatch, capsys):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    monkeypatch.setattr(
        "neoteny.experiments.listing.list_things",
        lambda *_, **__: signal.raise_signal(signal.SIGHUP),
    )
    try:
        assert main(["list", "presets"]) == 0
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


class Interrupted:
    def __del__(self):
        signal.raise_signal(signal.SIGTERM)


def test_a_signal_in_a_finalizer_is_not_lost(monkeypatch, capsys):
    """As one that comes while workers are forked, whose exception Python prints and drops."""

    def start(*_):
        Interrupted()
        time.sleep(20)

    hook = sys.unraisablehook
    monkeypatch.setattr("neoteny.experiments.cli.run_defaults", start)
    began = time.monotonic()
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as a shell does in the background
    try:
        assert main(["run"]) == 130
    finally:
        signal.signal(signal.SIGINT, before)
    assert time.monotonic() - began < 15
    assert capsys.readouterr().err == "interrupted\n"
    assert sys.unraisablehook is hook


def test_a_signal_during_evaluation_waits_for_the_iteration(tmp_path, monkeypatch, capsys):
    def measured(*_):
        signal.raise_signal(signal.SIGTERM)
        return torch.zeros(1)

    monkeypatch.setattr("neoteny.experiments.run.task_evaluation.evaluate", measured)
    out = tmp_path / "run"
    assert main(["run", *FAST, "--eval-episodes", "1", "--out", str(out)]) == 130
    said = capsys.readouterr().err
    assert said == f"stopped at step 128: continue with --resume {out}\n"
    monkeypatch.undo()
    assert main(["run", "--resume", str(out)]) == 0


def test_a_signal_in_the_middle_of_a_run_costs_no_number(tmp_path, monkeypatch, capsys):
    """In the second iteration, which is finished, saved and gone on from."""

    def numbers(name):
        return pd.read_csv(tmp_path / name / "seed_0/metrics.csv").drop(columns=[*COSTS])

    def signalled(*arguments):
        collected.append(collect(*arguments))
        if len(collected) == 2:
            signal.raise_signal(signal.SIGTERM)
        return collected[-1]

    collect, collected = PPO.collect, []
    arguments = ["run", *FAST, "--env", "CartPole-v1", "--diagnose-every", "1", "--out"]
    assert main([*arguments, str(tmp_path / "whole")]) == 0
    monkeypatch.setattr(PPO, "collect", signalled)
    assert main([*arguments, str(tmp_path / "cut")]) == 130
    said = capsys.readouterr().err
    assert said == f"stopped at step 128: continue with --resume {tmp_path / 'cut'}\n"
    assert len(numbers("cut")) == 2
    assert main(["run", "--resume", str(tmp_path / "cut")]) == 0
    pd.testing.assert_frame_equal(numbers("whole"), numbers("cut"), check_exact=True)
