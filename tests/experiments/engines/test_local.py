"""Units in processes of this machine: the same numbers, and faults that stay where they are."""

import csv
import json
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from neoteny.core.console import PlainConsole
from neoteny.experiments.engines.engine import Exit, order_of
from neoteny.experiments.engines.process import UnitProcess
from neoteny.experiments.main import main
from neoteny.experiments.options.config import CompareConfig
from neoteny.experiments.options_by_name import configure
from neoteny.experiments.run.lock import FolderLock
from neoteny.experiments.run.memory import COSTS
from neoteny.experiments.run.plan import last_step, plan_units
from neoteny.experiments.run.provenance import command as command_line
from neoteny.experiments.run.runner import run

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


def test_a_unit_in_a_process_gives_the_numbers_of_a_run_in_this_one(tmp_path):
    there = small(tmp_path / "there", seeds=2, steps=128, diagnose_every=2)
    assert UnitProcess(order_of(there.run, 1)).wait() == Exit.DONE
    assert there.done
    here = small(tmp_path / "here", seeds=2, steps=128, diagnose_every=2)
    run(here.run, PlainConsole(quiet=True))
    assert len(rows(tmp_path / "here")) == 2
    assert rows(tmp_path / "there") == rows(tmp_path / "here")


def test_a_process_that_is_ended_leaves_no_pipe_open(tmp_path):
    process = UnitProcess(order_of(small(tmp_path).run, 1))
    process.kill()
    assert process.code() == -signal.SIGKILL
    assert process._input.closed


@pytest.mark.slow
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
    assert config["command"] == command_line()
    assert config["hardware"]["threads"] == 1


def small(out, **options):
    """The one unit of a comparison."""
    usual = {"env": "CartPole-v1", "num_envs": 8, "num_steps": 8, "hidden": (8,), "threads": 1}
    options = {"interventions": ("none",), "out": out, **usual, **options}
    [unit] = plan_units(configure(CompareConfig, options))
    return unit


@pytest.mark.slow
def test_a_full_disk_is_named_and_what_is_saved_goes_on(tmp_path):
    unit = small(tmp_path, steps=1280, checkpoint_minutes=0)
    process = UnitProcess(order_of(unit.run, 1))
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (20_000, 20_000))
    assert process.wait() == Exit.FAILED
    assert "cannot write" in (unit.run.folder / "unit.log").read_text()
    assert not unit.done
    assert UnitProcess(order_of(unit.run, 1)).wait() == Exit.DONE
    assert unit.done


@pytest.mark.slow
def test_a_signal_to_the_command_has_its_units_save(tmp_path):
    out = tmp_path / "out"
    words = ["--interventions", "none", "adamo", "--jobs", "2", "--steps", "100M", "--out", out]
    driver = subprocess.Popen(
        [sys.executable, "-m", "neoteny", "compare", *FAST.split(), *words],
        stderr=subprocess.PIPE,
        text=True,
    )
    units = [out / f"ppo-{arm}" for arm in ("none", "adamo")]
    until = time.monotonic() + 300
    while any(last_step(unit / "seed_0" / "metrics.csv") == 0 for unit in units):
        assert driver.poll() is None
        assert time.monotonic() < until
        time.sleep(0.1)
    driver.send_signal(signal.SIGTERM)
    said = driver.communicate(timeout=120)[1]
    assert driver.returncode == 130
    assert said == "stopped with 0 of 2 units done: give the same command again\n"
    for unit in units:
        assert "stopped at step" in (unit / "unit.log").read_text()
        FolderLock.require_free(unit)


@pytest.mark.slow
def test_a_process_whose_owner_is_gone_saves_and_ends(tmp_path):
    """As when the driver is killed, or the node that it runs on comes back."""
    unit = small(tmp_path, steps=10**8)
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
