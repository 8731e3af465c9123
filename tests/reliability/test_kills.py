"""A process that is killed loses nothing: the run goes on to the numbers of one never disturbed."""

import signal
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from reliability.children import Fault
from reliability.processes import Make, finish, go_on, run
from reliability.records import expected_curves, fast_curves, python_curves


def each(cases: Iterable[int], check: Callable[[int], None]) -> None:
    """Check every case, and say of each that fails why."""
    failed = {}
    for case in cases:
        try:
            check(case)
        except AssertionError as error:
            failed[case] = str(error)[-500:] or "no message"
    assert not failed, "\n".join(f"{case}: {text}" for case, text in failed.items())


def assert_shown_once(root: Path) -> None:
    """Both readers of TensorBoard show what the tables hold: each step once."""
    expected = expected_curves(root)
    assert python_curves(root) == expected
    with fast_curves(root) as curves:
        for _ in range(100):
            if (found := curves()) == expected:
                return
    assert found == expected


@pytest.mark.slow
@pytest.mark.parametrize(("agent", "every"), [("ppo", 1), ("dqn", 3), ("classifier", 3)])
def test_killed_before_each_operation_on_files(
    whole: Make, tmp_path: Path, agent: str, every: int
) -> None:
    undisturbed = whole(agent)

    def check(at: int) -> None:
        folder = tmp_path / f"at-{at}"
        code = run(undisturbed.command(folder), folder, Fault(at)).code
        assert code == -signal.SIGKILL
        finish(undisturbed, folder)

    each(range(0, len(undisturbed.finished.operations), every), check)
    assert_shown_once(tmp_path)


@pytest.mark.slow
def test_killed_in_the_middle_of_a_write(whole: Make, tmp_path: Path) -> None:
    """No file can grow beyond a size: the process ends with the write half done."""
    ppo = whole("ppo")
    largest = max(path.stat().st_size for path in ppo.folder.rglob("*.*"))

    def check(size: int) -> None:
        folder = tmp_path / f"size-{size}"
        code = run(ppo.command(folder), folder, Fault(size=size, dies=True)).code
        assert code == -signal.SIGXFSZ
        finish(ppo, folder)

    each([1, 30, 500, *(round(largest * share / 20) for share in range(1, 20))], check)
    assert_shown_once(tmp_path)


@pytest.mark.slow
def test_killed_again_while_it_goes_on(whole: Make, tmp_path: Path) -> None:
    ppo = whole("ppo")
    halfway = len(ppo.finished.operations) // 2
    trial = tmp_path / "trial"
    run(ppo.command(trial), trial, Fault(halfway))
    operations = go_on(ppo, trial, count=True).operations
    ppo.assert_same(trial)

    def check(at: int) -> None:
        folder = tmp_path / f"at-{at}"
        run(ppo.command(folder), folder, Fault(halfway))
        assert go_on(ppo, folder, Fault(at)).code == -signal.SIGKILL
        finish(ppo, folder)

    each(range(0, len(operations), 2), check)
    assert_shown_once(tmp_path)


@pytest.mark.slow
def test_killed_comparison_is_finished_by_the_same_command(whole: Make, tmp_path: Path) -> None:
    ppo = whole("ppo")
    where = ppo.arguments.index("--intervention")
    compare = ["compare", *ppo.arguments[1:where], "--interventions", "adamo+l2_init", "none"]
    trial = tmp_path / "trial"
    operations = run([*compare, "--out", str(trial)], trial, count=True).operations

    def check(at: int) -> None:
        folder = tmp_path / f"at-{at}"
        command = [*compare, "--out", str(folder)]
        assert run(command, folder, Fault(at)).code == -signal.SIGKILL
        finished = run(command, folder)
        assert finished.code == 0, finished.said
        ppo.assert_same(folder / "ppo-adamo+l2_init")
        for name in ("summary.csv", "visits.csv", "comparisons.csv"):
            assert (folder / name).read_bytes() == (trial / name).read_bytes()

    each(range(0, len(operations), 10), check)
    assert_shown_once(tmp_path)
