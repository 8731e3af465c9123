"""Full disks, moved folders, kills and edited files, with the commands that a person gives."""

import json
import resource
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest

from neoteny.agents import PPO
from neoteny.experiments.main import main
from neoteny.experiments.run import checkpoint
from neoteny.experiments.run.memory import COSTS
from neoteny.experiments.run.store import Store

FAST = [
    "--env",
    "CartPole-v1",
    "--num-envs",
    "2",
    "--num-steps",
    "8",
    "--num-epochs",
    "1",
    "--num-minibatches",
    "2",
]
FAST += [
    "--hidden",
    "8",
    "--seeds",
    "2",
    "--steps",
    "160",
    "--diagnose-every",
    "1",
    "--checkpoint-minutes",
    "0",
]
"""10 iterations, each with a checkpoint."""


def numbers(folder: Path, seed: int) -> pd.DataFrame:
    return pd.read_csv(folder / f"seed_{seed}" / "metrics.csv").drop(columns=[*COSTS])


def assert_same_numbers(one: Path, two: Path) -> None:
    for seed in (0, 1):
        pd.testing.assert_frame_equal(numbers(one, seed), numbers(two, seed), check_exact=True)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run; tests only read and copy it."""
    folder = tmp_path_factory.mktemp("store") / "whole"
    assert main(["run", *FAST, "--out", str(folder)]) == 0
    return folder


@pytest.fixture
def run(whole: Path, tmp_path: Path) -> Path:
    """A copy of the finished run."""
    return Path(shutil.copytree(whole, tmp_path / "run"))


@pytest.fixture
def at_fifth(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """Have something happen before the fifth iteration of every run."""

    def register(happen: Callable[[], object]) -> None:
        collect = PPO.collect

        def interrupted(self, envs):
            if self.learner.updates == 4 * 2:  # two an iteration
                happen()
            return collect(self, envs)

        monkeypatch.setattr(PPO, "collect", interrupted)

    return register


@pytest.fixture
def file_size() -> Iterator[Callable[[int], None]]:
    """Have the system refuse files of more than so many bytes, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert len(said.splitlines()) == 1
    return said


@pytest.mark.parametrize(
    "size", [1, 22_000, *(pytest.param(n, marks=pytest.mark.slow) for n in (5000, 12_000))]
)
def test_a_full_disk_is_one_line_and_the_run_goes_on_where_it_was_saved(
    tmp_path, whole, size, file_size, capsys
):
    out = tmp_path / "run"
    file_size(size)
    assert main(["run", *FAST, "--out", str(out)]) == 1
    file_size(resource.RLIM_INFINITY)
    said = one_line(capsys)
    assert "cannot write" in said
    assert "File too large" in said
    saved = (out / "checkpoint.pt").exists()
    assert ("--resume" in said) == saved
    assert ("give the same command again" in said) != saved
    assert main(["run", "--resume", str(out)] if saved else ["run", *FAST, "--out", str(out)]) == 0
    assert_same_numbers(out, whole)


def test_a_folder_that_is_moved_while_its_run_trains_goes_on_where_it_is(
    tmp_path, whole, at_fifth, capsys, monkeypatch
):
    out, moved = tmp_path / "run", tmp_path / "moved"
    at_fifth(lambda: out.rename(moved))
    assert main(["run", *FAST, "--out", str(out)]) == 1
    assert "its checkpoint of step 64 went with it" in one_line(capsys)
    assert not out.exists()
    monkeypatch.undo()
    assert main(["run", "--resume", str(moved)]) == 0
    assert_same_numbers(moved, whole)


def test_a_folder_that_is_removed_or_replaced_is_not_written_to(tmp_path, run, at_fifth, capsys):
    out = tmp_path / "new"
    before = (run / "checkpoint.pt").read_bytes()

    def replace() -> None:
        shutil.rmtree(out)
        if run.exists():
            run.rename(out)

    at_fifth(replace)
    assert main(["run", *FAST, "--out", str(out)]) == 1
    assert "moved or removed" in one_line(capsys)
    assert (out / "checkpoint.pt").read_bytes() == before
    shutil.rmtree(out)
    assert main(["run", *FAST, "--out", str(out)]) == 1
    assert "moved or removed" in one_line(capsys)
    assert not out.exists()


@pytest.mark.parametrize("resume", [False, True])
def test_a_run_killed_before_its_first_checkpoint_starts_again(
    tmp_path, whole, monkeypatch, resume
):
    out = tmp_path / "run"

    def killed(*_: object) -> None:
        raise SystemExit

    first = [*FAST, "--seeds", "2" if resume else "3", "--out", str(out)]
    with monkeypatch.context() as patch:
        patch.setattr(Store, "save", killed)
        with pytest.raises(SystemExit):
            main(["run", *first])
    assert (out / "seed_0" / "config.json").exists()
    again = ["--resume"] if resume else [*FAST, "--out"]
    assert main(["run", *again, str(out)]) == 0
    assert_same_numbers(out, whole)
    assert len(list(out.glob("*/events.out.tfevents.*"))) == 2
    assert len(list(out.glob("*/config.json"))) == 2


@pytest.mark.parametrize(
    ("options", "difference"),
    [
        ("--seeds 3", "seeds: stored 2, given 3"),
        ("--hidden 32 32", "hidden: stored [8], given [32, 32]"),
        ("--depth 3", "depth: stored null, given 3"),
    ],
)
def test_another_configuration_is_refused_in_one_line(run, tmp_path, options, difference, capsys):
    run.rename(tmp_path / "ppo-none")
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    arms = ["--interventions", "adamo", "none"]  # the first is new, but waits for the check
    commands = [["run", "--resume", str(tmp_path / "ppo-none"), *options.split()]]
    if "hidden" in options:  # a depth is part of an arm's name, and seeds are added
        commands.append(["compare", *FAST, *arms, "--out", str(tmp_path), *options.split()])
    for command in commands:
        assert main(command) == 2
        assert difference in one_line(capsys)
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


@pytest.mark.slow
def test_a_checkpoint_of_another_run_or_configuration_is_refused(run, whole, tmp_path, capsys):
    resume = ["run", "--resume", str(run), "--steps", "192"]
    before = (run / "seed_0" / "metrics.csv").read_bytes()
    wrong = "another configuration"
    for options in ([], ["--learning-rate", "0.5"], ["--steps", "192"], ["--hidden", "16"]):
        other = tmp_path / "other"
        assert main(["run", *FAST, *options, "--out", str(other)]) == 0
        shutil.copy(other / "checkpoint.pt", run / "checkpoint.pt")
        shutil.rmtree(other)
        assert main(resume) == 2
        said = one_line(capsys)
        assert "checkpoint.pt" in said
        assert ("another run" if options in ([], ["--steps", "192"]) else wrong) in said
    assert (run / "seed_0" / "metrics.csv").read_bytes() == before
    shutil.copy(whole / "checkpoint.pt", run / "checkpoint.pt")
    assert main(resume) == 0


def test_a_config_that_was_edited_no_longer_goes_with_the_checkpoint(run, capsys):
    for path in run.glob("*/config.json"):
        stored = json.loads(path.read_text())
        path.write_text(json.dumps(stored | {"hidden": [16]}))
    assert main(["run", "--resume", str(run), "--steps", "640"]) == 2
    assert "another configuration (hidden: stored [8], given [16])" in one_line(capsys)


def test_rows_that_are_not_the_checkpoints_are_refused(run, whole, capsys):
    table = run / "seed_1" / "metrics.csv"
    table.write_text("".join(table.read_text().splitlines(keepends=True)[:-2]))
    assert main(["run", "--resume", str(run), "--steps", "640"]) == 2
    assert "needs 10 rows up to step 160 (8 found)" in one_line(capsys)
    table.unlink()
    assert main(["run", "--resume", str(run), "--steps", "640"]) == 2
    assert "(0 found)" in one_line(capsys)


def test_a_checkpoint_of_something_else_is_refused(run, capsys):
    for state in ({}, {"weight": 1.0}):
        checkpoint.save(run / "checkpoint.pt", state)
        assert main(["run", "--resume", str(run), "--steps", "640"]) == 2
        assert "is of no run" in one_line(capsys)
