"""Units in processes of this machine: the same numbers, and faults that stay where they are."""

import csv
import json
import sys
import time
from pathlib import Path

from neoteny.experiments.config import CompareConfig
from neoteny.experiments.engines.order import order_of
from neoteny.experiments.engines.process import UnitProcess
from neoteny.experiments.main import main
from neoteny.experiments.memory import COSTS
from neoteny.experiments.options_by_name import configure
from neoteny.experiments.plan import plan_units

FAST = "--env CartPole-v1 --num-envs 8 --num-steps 8 --num-epochs 1 --num-minibatches 2 --hidden 8"
FAST += " --task-steps 128 --steps 512 --seeds 2 --diagnose-every 4 --threads 1"
PLUGIN = """
import os, signal
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
from neoteny.plasticity.interventions import Intervention

@dataclass
class Dies(Intervention):
    \"\"\"Kill the process once.\"\"\"

    name: ClassVar[str] = "dies"

    def after_step(self, learner, obs):
        self.state["activity"] += 1
        marker = Path(__file__).with_suffix(".died")
        if self.state["activity"].sum() > 9 and not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)

@dataclass
class Raises(Intervention):
    \"\"\"Has a fault.\"\"\"

    name: ClassVar[str] = "raises"

    def after_step(self, learner, obs):
        raise ZeroDivisionError("a fault of its own")
"""


def rows(folder):
    """All cells of all tables of a comparison but those that are measured anew each time."""
    return {
        str(path.relative_to(folder)): [
            {key: cell for key, cell in row.items() if key not in COSTS}
            for row in csv.DictReader(path.read_text().splitlines())
        ]
        for path in folder.glob("*/seed_*/metrics.csv")
    }


def test_two_jobs_give_the_numbers_of_one_whatever_dies_or_raises(
    tmp_path, monkeypatch, capsys, undrawn
):
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(PLUGIN)
    marker = Path("mine.died")
    marker.touch()
    command = f"compare {FAST} --plugin mine.py --checkpoint-minutes 0 --interventions dies".split()
    assert main([*command, "--out", "in-turn"]) == 0
    marker.unlink()
    capsys.readouterr()
    assert main([*command, "raises", "--jobs", "2", "--out", "beside"]) == 1
    said = capsys.readouterr()
    reasons = ("killed by SIGKILL: ppo-dies, seeds 0 to 1", "failed: ppo-raises, seeds 0 to 1")
    assert said.err in {f"error: {'; '.join(each)}\n" for each in (reasons, reasons[::-1])}
    assert "    ZeroDivisionError: a fault of its own" in said.out.splitlines()
    assert main([*command, "--jobs", "2", "--out", "beside"]) == 0
    assert "ppo-dies, seeds 0 to 1: all 512 steps are done" in capsys.readouterr().out.splitlines()
    expected = rows(Path("in-turn"))
    assert len(expected) == 2
    assert expected == {path: rows(Path("beside"))[path] for path in expected}
    config = json.loads(Path("beside/ppo-dies/seed_0/config.json").read_text())
    assert config["command"].endswith(" ".join(sys.argv[1:]))
    assert config["hardware"]["threads"] == 1


def test_a_process_whose_owner_is_gone_saves_and_ends(tmp_path):
    """As when the driver is killed, or the node that it runs on comes back."""
    options = {"env": "CartPole-v1", "num_envs": 8, "num_steps": 8, "hidden": (8,)}
    options |= {"interventions": ("none",), "steps": 10**8, "threads": 1, "out": tmp_path}
    [unit] = plan_units(configure(CompareConfig, options))
    process = UnitProcess(order_of(unit.run, 1))
    try:
        until = time.monotonic() + 120
        while unit.recorded == 0 and time.monotonic() < until:
            time.sleep(0.05)
        process._input.close()
        assert process._process.wait(60) == 130
    finally:
        process.kill()
    assert "stopped at step" in (unit.run.folder / "unit.log").read_text()
    assert unit.goes_on
