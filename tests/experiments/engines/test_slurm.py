"""Units as a job array of SLURM: the script, and what comes of the signal before the time is up."""

import os
import pickle
import signal
import sys
import time
from pathlib import Path

import pytest

from neoteny.experiments.engines.engine import Outcome, order_of
from neoteny.experiments.engines.slurm import SlurmEngine
from neoteny.experiments.main import main
from neoteny.experiments.options.config import CompareConfig
from neoteny.experiments.options_by_name import configure
from neoteny.experiments.run.plan import plan_units

OPTIONS = {"env": "CartPole-v1", "num_envs": 8, "num_steps": 8, "hidden": (8,), "threads": 1}


def commands(folder, monkeypatch, **texts):
    """Put commands in the place of SLURM's."""
    for name, text in {"srun": "exit 1", **texts}.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)


def test_without_submitit_or_slurm_one_line_says_what_to_install(tmp_path, monkeypatch, capsys):
    command = f"compare --engine slurm --interventions none --steps 64 --out {tmp_path / 'new'}"
    monkeypatch.setitem(sys.modules, "submitit", None)
    assert main(command.split()) == 2
    assert capsys.readouterr().err == (
        "error: engine slurm needs submitit: pip install 'neoteny[slurm]'\n"
    )
    monkeypatch.undo()
    pytest.importorskip("submitit")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(command.split()) == 2
    assert "engine slurm needs SLURM on this machine" in capsys.readouterr().err


def test_the_script_is_that_of_a_job_array(tmp_path, monkeypatch):
    pytest.importorskip("submitit")
    commands(tmp_path, monkeypatch, sbatch="echo Submitted batch job 12")
    config = configure(CompareConfig, {**OPTIONS, "out": tmp_path / "runs", "steps": 640})
    units = plan_units(config)
    engine = SlurmEngine(
        config.folder, jobs=1, cpus=3, gpus=1, partition="long", minutes=90, warning=120
    )
    engine.submit([order_of(unit.run, 3) for unit in units])
    script = tmp_path / "runs" / "slurm" / "12_submission.sh"
    flags = {line for line in script.read_text().splitlines() if line.startswith("#SBATCH")}
    assert {
        "#SBATCH --array=0-1%1",
        "#SBATCH --cpus-per-task=3",
        "#SBATCH --gpus-per-node=1",
        "#SBATCH --partition=long",
        "#SBATCH --time=90",
        "#SBATCH --signal=USR2@120",
        "#SBATCH --open-mode=append",
    } <= flags
    for index, unit in enumerate(units):
        (task,) = (tmp_path / "runs" / "slurm").glob(f"12_{index}_submitted.pkl")
        assert str(unit.run.folder) in pickle.loads(task.read_bytes()).function._line


def test_jobs_that_slurm_refuses_are_one_line(tmp_path, monkeypatch, capsys):
    pytest.importorskip("submitit")
    words = "sbatch: error: invalid partition specified: nosuch"
    commands(tmp_path, monkeypatch, sbatch=f"echo '{words}' >&2; exit 1")
    command = "compare --engine slurm --partition nosuch --interventions none --steps 64 --out"
    assert main([*command.split(), str(tmp_path / "new")]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith(f"error: SLURM refuses the jobs ({words}): see --partition")


@pytest.mark.slow
def test_a_unit_saves_at_the_signal_and_goes_on_when_it_is_queued_again(tmp_path):
    """By submitit's local executor, whose controller starts the job anew."""
    pytest.importorskip("submitit")
    config = configure(
        CompareConfig,
        {
            **OPTIONS,
            "interventions": ("none",),
            "out": tmp_path,
            "steps": 6400,
            "checkpoint_minutes": 60,
        },
    )
    [unit] = plan_units(config)
    engine = SlurmEngine(
        tmp_path, jobs=1, cpus=1, gpus=0, partition="", minutes=60, cluster="local"
    )
    engine.submit([order_of(unit.run, 1)])
    [job] = engine._jobs.values()
    controller = job._process.pid
    try:
        while unit.recorded < 640:
            assert not job.done()
            time.sleep(0.05)
        children = Path(f"/proc/{controller}/task/{controller}/children").read_text().split()
        for child in children:
            os.kill(int(child), signal.SIGUSR2)
        while not (ended := engine.ended()):
            time.sleep(0.1)
    finally:
        job.cancel()
    assert ended == [Outcome(0, 0)]
    assert unit.done
    said = (unit.run.folder / "unit.log").read_text()
    assert said.count("stopped at step") == 1
    config_json = (unit.run.folder / "seed_0" / "config.json").read_text()
    assert config_json.count('"changed"') == 1  # resumed once
