"""Two processes in one folder: one trains, the other exits 2 and names the one that does."""

import itertools
import signal
from pathlib import Path

import pytest
from reliability.children import Command, Fault
from reliability.processes import Make, Whole, run

STARTS = ["run", "resume", "compare"]


def commands(whole: Whole, out: Path, start: str) -> tuple[list[str], Path]:
    """A command and the folder that it writes, which is the same for all commands."""
    folder = out / "ppo-adamo+l2_init"
    where = whole.arguments.index("--intervention")
    if start == "compare":
        options = [*whole.arguments[1:where], "--interventions", "adamo+l2_init", "--out"]
        return ["compare", *options, str(out)], folder
    if start == "resume":
        return ["run", "--resume", str(folder)], folder
    return whole.command(folder), folder


def prepare(whole: Whole, out: Path, start: str) -> list[str]:
    """The command, and for one that resumes a run that was killed halfway."""
    command, folder = commands(whole, out, start)
    if start == "resume":
        folder.parent.mkdir(parents=True)
        halfway = Fault(len(whole.finished.operations) // 2)
        assert run(commands(whole, out, "run")[0], folder, halfway).code == -signal.SIGKILL
    return command


def check(whole: Whole, tmp_path: Path, first: str, second: str) -> None:
    """The first is halted while it writes; the second comes, is refused, and the first goes on."""
    out = tmp_path / "out"
    command = prepare(whole, out, first)
    _, folder = commands(whole, out, first)
    said = tmp_path / "first.txt"
    owner = Command(command, said, folder, Fault(25, signal.SIGSTOP))
    owner.wait_until_halted()
    other = run(commands(whole, out, second)[0], out, said=tmp_path / "second.txt")
    assert other.code == 2, other.said
    assert str(owner.process.pid) in other.said
    assert len(other.said.strip().splitlines()) == 1, other.said
    owner.send(signal.SIGCONT)
    finished = owner.wait()
    assert finished.code == 0, finished.said
    whole.assert_same(folder)


@pytest.mark.slow
@pytest.mark.parametrize(("first", "second"), list(itertools.product(STARTS, STARTS)))
def test_the_second_process_is_refused_whatever_both_do(
    whole: Make, tmp_path: Path, first: str, second: str
) -> None:
    check(whole("ppo"), tmp_path, first, second)


@pytest.mark.slow
@pytest.mark.parametrize("start", STARTS)
def test_of_processes_started_at_once_one_trains(whole: Make, tmp_path: Path, start: str) -> None:
    """Whoever is first, exactly one trains, and the numbers are those of one process."""
    ppo = whole("ppo")
    for attempt in range(8):
        out = tmp_path / f"out-{attempt}"
        command = prepare(ppo, out, start)
        _, folder = commands(ppo, out, start)
        both = [Command(command, tmp_path / f"{attempt}-{n}.txt", folder) for n in range(2)]
        ended = [one.wait() for one in both]
        codes = sorted(one.code for one in ended)
        assert codes == [0, 2] or (codes == [0, 0] and start != "run"), [e.said for e in ended]
        assert sum("in use" in one.said or "holds" in one.said for one in ended) == codes[1] // 2
        ppo.assert_same(folder)
