"""One run in several processes, as `torchrun` starts them: by members, by lanes, and their ends."""

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from reliability.children import PATIENCE, Command

import neoteny.envs
from neoteny.experiments.run.memory import COSTS

ROOT = Path(neoteny.envs.__file__).parents[1]
RUN = ["run", "--env", "minatar-five", "--num-envs", 8, "--num-steps", 8, "--num-epochs", 1]
RUN += ["--num-minibatches", 2, "--hidden", 8, "--task-steps", 128, "--threads", 1]
RUN += ["--diagnose-every", 2, "--intervention", "adamo:isometry=1", "redo"]


def started(count, arguments, folder):
    """The same command in `count` processes, with the variables that torchrun sets."""
    folder.mkdir(exist_ok=True)
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    shared = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    commands = []
    for rank in range(count):
        own = shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)}
        said = folder / f"said-{rank}.txt"
        commands.append(Command(arguments, said, folder, variables=own))
    return commands


def finished(count, arguments, folder):
    ends = [command.wait() for command in started(count, arguments, folder)]
    assert [end.code for end in ends] == [0] * count, "\n".join(end.said for end in ends)
    return ends


def rows(folder, seed):
    """Measurements of a member, without what they cost."""
    return pd.read_csv(folder / f"seed_{seed}" / "metrics.csv").drop(columns=list(COSTS))


def wait_for_rows(path, count):
    until = time.monotonic() + PATIENCE
    while not path.exists() or len(path.read_text().splitlines()) <= count:
        assert time.monotonic() < until
        time.sleep(0.02)


def assert_alike(found, wanted):
    """Equal up to round-off, but for what divides by singular values that are nearly 0."""
    assert list(found.columns) == list(wanted.columns)
    for name in wanted.columns:
        if "condition" in name or "sigma_min" in name:
            continue
        if wanted[name].dtype.kind not in "if":
            assert found[name].equals(wanted[name]), name
            continue
        np.testing.assert_allclose(found[name], wanted[name], rtol=1e-3, atol=1e-5, err_msg=name)


@pytest.mark.slow
def test_members_are_trained_by_a_process_each_bit_for_bit(tmp_path):
    shared = tmp_path / "shared" / "arm"
    first, second = finished(
        2, [*RUN, "--steps", 192, "--seeds", 3, "--out", shared], tmp_path / "x"
    )
    assert "written to" in first.said
    assert second.said == ""
    for seed, folder in ((0, shared), (1, shared), (2, shared.with_name("arm-seed2"))):
        own = [(0, 2), (2, 1)][seed // 2]
        alone = tmp_path / f"alone-{own[0]}"
        if not alone.exists():
            seeds = ["--first-seed", own[0], "--seeds", own[1]]
            finished(1, [*RUN, "--steps", 192, *seeds, "--out", alone], tmp_path / "x")
        assert rows(folder, seed).equals(rows(alone, seed))


@pytest.mark.slow
def test_lanes_are_shared_stopped_and_go_on_in_any_number_of_processes(tmp_path):
    alone, shared = tmp_path / "alone", tmp_path / "shared"
    finished(1, [*RUN, "--steps", 1024, "--out", alone], tmp_path / "x")
    commands = started(2, [*RUN, "--steps", 1024, "--out", shared], tmp_path / "x")
    wait_for_rows(shared / "seed_0" / "metrics.csv", 3)
    commands[1].send(signal.SIGTERM)
    for command in commands:  # asked of one, all stop after the same iteration
        assert command.wait().code == 130
    count = len(rows(shared, 0))
    assert 3 <= count < 16
    finished(4, ["run", "--resume", shared, "--steps", 1024], tmp_path / "x")
    assert_alike(rows(shared, 0), rows(alone, 0))


@pytest.mark.slow
@pytest.mark.parametrize("dies", [0, 1])
def test_a_process_that_dies_ends_the_others_with_a_line(tmp_path, dies):
    shared = tmp_path / "shared"
    commands = started(2, [*RUN, "--steps", 1_000_000, "--out", shared], tmp_path / "x")
    wait_for_rows(shared / "seed_0" / "metrics.csv", 2)
    commands[dies].send(signal.SIGKILL)
    assert commands[dies].wait().code == -signal.SIGKILL
    end = commands[1 - dies].wait()
    assert end.code == 1
    assert "another process of this run has ended or is lost" in end.said
    assert "Traceback" not in end.said
    if dies == 1:
        assert "go on with --resume" in end.said
    finished(1, ["run", "--resume", shared, "--steps", 640], tmp_path / "x")


@pytest.mark.slow
def test_members_go_on_in_as_many_processes_alone(tmp_path):
    whole, cut = tmp_path / "whole" / "arm", tmp_path / "cut" / "arm"
    finished(2, [*RUN, "--steps", 320, "--seeds", 2, "--out", whole], tmp_path / "x")
    finished(2, [*RUN, "--steps", 192, "--seeds", 2, "--out", cut], tmp_path / "x")
    for command in started(3, ["run", "--resume", cut, "--steps", 320], tmp_path / "x"):
        end = command.wait()
        assert end.code == 2
        assert "was trained by 2 processes" in end.said
    finished(2, ["run", "--resume", cut, "--steps", 320], tmp_path / "x")
    for seed, name in enumerate(("arm", "arm-seed1")):
        assert rows(cut.with_name(name), seed).equals(rows(whole.with_name(name), seed))


@pytest.mark.slow
def test_torchrun_starts_a_run_and_no_other_command(tmp_path):
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    run = [*RUN, "--steps", 192, "--out", tmp_path / "shared"]
    for arguments, code in ((run, 0), (["compare", "--steps", 192], 1)):
        command = [*torchrun, ROOT / "train.py", *arguments]
        end = subprocess.run(
            [str(word) for word in command], capture_output=True, text=True, cwd=tmp_path
        )
        assert end.returncode == code, end.stderr
    assert len(rows(tmp_path / "shared", 0)) == 3
    assert "error: compare is for one process: torchrun spreads `run` alone" in end.stderr
