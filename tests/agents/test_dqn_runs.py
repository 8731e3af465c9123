"""Whole runs of DQN from the command line."""

import pandas as pd
import pytest

from neoteny.experiments.main import main
from neoteny.experiments.run.memory import COSTS


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["keep", "flush", "partition"])
def test_a_run_from_the_command_line_resumes_to_the_same_numbers(policy, tmp_path):
    """Over task switches, with diagnostics, evaluations and two seeds."""
    words = "run --agent dqn --env minatar-continual --num-envs 8 --num-steps 8 --batch-size 16"
    words += " --train-frequency 16 --learning-starts 64 --replay-size 512 --hidden 8"
    words += " --task-steps 128 --diagnose-every 2 --seeds 2 --eval-episodes 1"
    words += " --env-option max_steps=30 --intervention redo:tau=0.1,period=128"
    words += f" --replay-policy {policy}"
    for name, steps in (("whole", 512), ("part", 320)):
        out = str(tmp_path / name)
        assert main([*words.split(), "--steps", str(steps), "--out", out]) == 0
    assert main(["run", "--resume", str(tmp_path / "part"), "--steps", "512"]) == 0
    for seed in (0, 1):
        whole, part = (
            pd.read_csv(tmp_path / name / f"seed_{seed}" / "metrics.csv").drop(
                columns=[*COSTS, "eval/episodic_return"]  # a run's end is evaluated as well
            )
            for name in ("whole", "part")
        )
        pd.testing.assert_frame_equal(whole, part, check_exact=True)
        assert whole["charts/updates"].iloc[-1] > 15
        shares = whole.groupby("visit")["replay/old_share"].first()
        assert (shares[1:] == 0).all() if policy == "flush" else (shares[1:] > 0.3).all()
