"""A full disk: one line, exit 1, the last good checkpoint stays, and the run goes on later."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from reliability.children import Fault, Finished
from reliability.processes import Make, Whole, finish, run

from neoteny.experiments.run import checkpoint


def assert_says_so(finished: Finished, folder: Path) -> None:
    """One line after those of training, naming the folder or a file; a checkpoint that is whole."""
    assert finished.code == 1, finished.said
    assert "Traceback" not in finished.said, finished.said
    lines = [line for line in finished.said.splitlines() if "error" in line.lower()]
    assert len(lines) == 1, finished.said
    assert not list(folder.rglob("*.tmp"))
    if (folder / "checkpoint.pt").exists():
        assert checkpoint.load(folder / "checkpoint.pt")


def largest(whole: Whole) -> int:
    return max(path.stat().st_size for path in whole.folder.rglob("*.*"))


def check_limit(whole: Whole, folder: Path, size: int) -> None:
    """No file may grow beyond a size; writing more fails."""
    assert_says_so(run(whole.command(folder), folder, Fault(size=size)), folder)
    finish(whole, folder)


@pytest.mark.slow
@pytest.mark.parametrize("agent", ["ppo", "classifier"])
def test_no_file_can_grow_beyond_many_sizes(whole: Make, tmp_path: Path, agent: str) -> None:
    undisturbed = whole(agent)
    for part in range(1, 13):  # what the command prints fits into the smallest
        size = round(part / 13 * largest(undisturbed))
        check_limit(undisturbed, tmp_path / f"size-{size}", size)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, in memory; only the superuser can make one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k", "none", str(disk)], check=False)
    if made.returncode:
        pytest.skip("cannot mount a file system")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def resize(disk: Path, kilobytes: int) -> None:
    subprocess.run(["mount", "-o", f"remount,size={kilobytes}k", str(disk)], check=True)


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only the superuser can mount")
def test_a_full_disk_is_one_line_and_the_run_goes_on(
    whole: Make, tmp_path: Path, small_disk: Path
) -> None:
    """ENOSPC wherever it comes first, at a size in each tenth of what the run needs."""
    ppo = whole("ppo")
    needed = sum(path.stat().st_size for path in ppo.folder.rglob("*.*")) // 1024
    for tenth in range(10):
        kilobytes = 4 * (1 + tenth * needed // 40)
        resize(small_disk, kilobytes)
        folder = small_disk / "run"
        said = tmp_path / f"{kilobytes}.txt"
        assert_says_so(run(ppo.command(folder), folder, said=said), folder)
        resize(small_disk, 10_000)
        finish(ppo, folder)
        subprocess.run(["rm", "-r", str(folder)], check=True)
