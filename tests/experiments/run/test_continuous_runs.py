"""Runs with continuous actions from the command line."""

import json

import pandas as pd
import pytest

from neoteny.experiments.main import main
from neoteny.experiments.run.memory import COSTS

FAST = "--num-envs 8 --num-steps 16 --num-epochs 2 --num-minibatches 4 --clip-range-vf None"
FAST += " --hidden 8 --diagnose-every 2"
STREAM = """
environments: Pendulum-v1
schedule: {kind: Cyclic, tasks: 3}
changes:
  - {kind: Dynamics, parameter: m, values: [1.0, 1.5, 0.7]}
  - {kind: Dynamics, parameter: l, values: [1.0, 0.8, 1.2]}
  - {kind: StickyActions, probabilities: [0, 0.1, 0.2]}
"""


def table(folder, seed=0):
    return pd.read_csv(folder / f"seed_{seed}" / "metrics.csv")


@pytest.mark.slow
def test_a_continual_stream_of_pendulums_trains_and_resumes_to_the_same_numbers(tmp_path):
    """Over task switches, with evaluations, diagnostics, resets and two seeds."""
    file = tmp_path / "pendulums.yaml"
    file.write_text(STREAM)
    words = f"run --stream {file} {FAST} --seeds 2 --task-steps 256 --eval-episodes 1"
    words += " --intervention adamo redo:tau=0.1,period=256 fresh --log-std-init -0.5"
    for name, steps in (("whole", 1024), ("part", 640)):
        out = str(tmp_path / name)
        assert main([*words.split(), "--steps", str(steps), "--out", out]) == 0
    assert main(["run", "--resume", str(tmp_path / "part"), "--steps", "1024"]) == 0
    for seed in (0, 1):
        whole, part = (
            table(tmp_path / name, seed).drop(
                columns=[*COSTS, "eval/episodic_return"]  # a run's end is evaluated as well
            )
            for name in ("whole", "part")
        )
        pd.testing.assert_frame_equal(whole, part, check_exact=True)
        assert whole["task"].tolist() == [0, 0, 1, 1, 2, 2, 0, 0]
        assert whole["losses/std"].between(0.4, 0.9).all()
    returns = table(tmp_path / "whole")["eval/episodic_return"].dropna()
    assert len(returns) == 4
    assert returns.between(-3500, -1).all()  # 200 steps that cost at most 16.3 each
    stored = json.loads((tmp_path / "whole/seed_0/config.json").read_text())
    assert stored["ppo"]["log_std_init"] == -0.5


def test_a_drift_of_the_length_trains(tmp_path):
    file = tmp_path / "drift.yaml"
    file.write_text(
        "environments: Pendulum-v1\n"
        "schedule: {kind: Sinusoidal, period: 512, tasks: 2}\n"
        "changes: [{kind: Dynamics, parameter: l, values: [0.8, 1.2]}]\n"
    )
    words = f"run --stream {file} {FAST} --steps 512 --out {tmp_path / 'run'}"
    assert main(words.split()) == 0
    assert table(tmp_path / "run")["losses/policy_loss"].notna().all()


@pytest.mark.parametrize(
    "words",
    [
        "--env MountainCarContinuous-v0 --eval-episodes 1 --env-option max_steps=40",
        "--agent sb3-ppo --env neoteny/Pendulum-v1 --intervention adamo head_reset:period=256",
        "--agent sb3-ppo --env Pendulum-v1 --env-option precision=float32",
    ],
    ids=["host environment", "reference agent", "option"],
)
def test_what_takes_continuous_actions(words, tmp_path):
    """Any Gymnasium id, ours and Stable-Baselines3's agent alike."""
    arguments = f"run {words} {FAST} --steps 512 --out {tmp_path / 'run'}"
    assert main(arguments.split()) == 0
    found = table(tmp_path / "run")
    assert found["step"].tolist() == [128, 256, 384, 512]
    assert found["losses/std"].between(0.8, 1.2).all()
    assert "plasticity/policy/head/weight_norm" in found


@pytest.mark.parametrize("agent", ["dqn", "sb3-dqn"])
def test_dqn_says_what_it_needs(agent, tmp_path, capsys):
    words = f"run --agent {agent} --env Pendulum-v1 --steps 512 --out {tmp_path / 'run'}"
    assert main(words.split()) == 2
    assert "DQN needs discrete actions, the environment has Box" in capsys.readouterr().err


@pytest.mark.slow
def test_the_preset_swings_the_pendulum_up(tmp_path):
    """A random policy gets about -1200; one that swings up and holds, about -200."""
    words = f"run --preset continuous --seeds 2 --steps 90000 --threads 1 --out {tmp_path / 'run'}"
    assert main(words.split()) == 0
    for seed in (0, 1):
        returns = table(tmp_path / "run", seed)["charts/episodic_return"].dropna()
        assert returns.iloc[:2].mean() < -900
        assert returns.iloc[-6:].mean() > -500
