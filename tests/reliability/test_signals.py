"""SIGINT, SIGTERM and SIGHUP end a run after its iteration, saved; in start-up at once."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from reliability.children import Command, Fault
from reliability.processes import Make, finish, go_on, run

import neoteny.core

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]

PROGRAM = Path(neoteny.core.__file__).parents[1] / "train.py"


def check(whole: Make, folder: Path, at: int, number: int) -> None:
    ppo = whole("ppo")
    finished = run(ppo.command(folder), folder, Fault(at, number))
    assert "Traceback" not in finished.said, finished.said
    if finished.code == 0:  # it came after the last iteration
        ppo.assert_same(folder)
        return
    assert finished.code == 130, finished.said
    finish(ppo, folder)


@pytest.mark.slow
@pytest.mark.parametrize("number", SIGNALS)
def test_at_each_operation_on_files(whole: Make, tmp_path: Path, number: int) -> None:
    for at in range(0, len(whole("ppo").finished.operations), 7):
        check(whole, tmp_path / f"at-{at}", at, number)


@pytest.mark.slow
@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("module", ["numpy", "torch", "tyro", "neoteny.experiments.run.runner"])
def test_during_startup(tmp_path: Path, number: int, module: str) -> None:
    """The signal comes with the import of a module."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\n"
        "def hook(event, arguments):\n"
        f"    if event == 'import' and arguments[0] == {module!r}:\n"
        f"        os.kill(os.getpid(), {int(number)})\n"
        "sys.addaudithook(hook)\n"
    )
    paths = [str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]
    done = subprocess.run(
        [sys.executable, PROGRAM, "run", "--steps", "128", "--out", "run"],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode in (130, -number), done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) <= 1
    assert not (tmp_path / "run" / "checkpoint.pt").exists()


@pytest.mark.slow
def test_a_second_signal_does_not_wait_for_the_iteration(whole: Make, tmp_path: Path) -> None:
    """The second signal does not wait for the iteration; the last checkpoint stays good."""
    ppo = whole("ppo")
    folder = tmp_path / "run"
    command = Command(ppo.command(folder), tmp_path / "said", folder)
    while not (folder / "checkpoint.pt").exists():
        assert command.process.is_alive()
    command.send(signal.SIGINT)
    command.send(signal.SIGINT)
    assert command.wait().code in (0, 130)
    assert go_on(ppo, folder).code == 0
    ppo.assert_same(folder)
