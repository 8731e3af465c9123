"""Two processes in one folder: the second is refused, whatever became of the first's children."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from neoteny.core.errors import InputError
from neoteny.experiments.run import lock
from neoteny.experiments.run.lock import LOCK, FolderLock

HOLD = """
import os, sys, time
from pathlib import Path
from neoteny.experiments.run.lock import FolderLock
with FolderLock(Path(sys.argv[1])):
    if os.fork() == 0:
        print("child", os.getpid(), flush=True)
        time.sleep(60)
    time.sleep(60)
"""


def test_the_second_is_refused_and_told_of_the_first(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "run"
    owner = f"in use by process {os.getpid()} on .* since"
    with FolderLock(folder) as held:
        assert held.holds
        with pytest.raises(InputError, match=owner) as refused:
            FolderLock(folder).__enter__()
        with pytest.raises(InputError, match=owner):
            FolderLock.require_free(folder)
    assert "\n" not in str(refused.value)
    assert str(folder) in str(refused.value)
    FolderLock.require_free(folder)
    with FolderLock(folder), FolderLock(tmp_path / "a"):
        pass
    FolderLock.require_free(tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_kill_frees_the_folder_though_a_forked_worker_lives_on(tmp_path: Path) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    child = int(owner.stdout.readline().split()[1])
    try:
        with pytest.raises(InputError, match=f"in use by process {owner.pid}"):
            FolderLock.require_free(tmp_path)
        owner.kill()
        owner.wait()
        os.kill(child, 0)
        with FolderLock(tmp_path):
            pass
    finally:
        os.kill(child, signal.SIGKILL)
        owner.stdout.close()


def test_no_other_program_inherits_the_lock(tmp_path: Path) -> None:
    with FolderLock(tmp_path):
        sleeper = subprocess.Popen(["sleep", "60"], close_fds=False)
    try:
        FolderLock.require_free(tmp_path)
    finally:
        sleeper.kill()
        sleeper.wait()


def test_a_folder_that_was_moved_or_replaced_is_noticed(tmp_path: Path) -> None:
    with FolderLock(tmp_path / "run") as held:
        (tmp_path / "run").rename(tmp_path / "moved")
        assert not held.holds
        with FolderLock(tmp_path / "run") as other:
            assert other.holds
            assert not held.holds


def test_a_file_system_without_locks_is_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(lock.fcntl, "flock", refuse)
    with pytest.warns(UserWarning, match="cannot be locked"), FolderLock(tmp_path):
        FolderLock.require_free(tmp_path)
    monkeypatch.setattr(lock, "fcntl", None)
    with pytest.warns(UserWarning, match="cannot be locked"), FolderLock(tmp_path):
        pass


def test_a_folder_that_cannot_be_written_to_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "run" / LOCK).mkdir(parents=True)
    for folder in ("file/below", "run", "x" * 300):
        with pytest.raises(InputError, match="choose another --out"):
            FolderLock(tmp_path / folder).__enter__()
