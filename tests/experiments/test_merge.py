"""Runs of several machines in one comparison: what is copied, and what does not fit."""

import json
import re
import shutil

import pytest

from neoteny.experiments.main import main
from neoteny.experiments.run.lock import FolderLock
from neoteny.experiments.statistics.runs import find_runs


@pytest.fixture
def machines(write_comparison, tmp_path, undrawn):
    """Two folders with the same arms, one with the seeds 0 and 1, the other with 2 and 3."""
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        write_comparison(folder, ("ppo-none", "ppo-fresh"), seeds=2, visits=4, per_visit=4)
        for member in folder.glob("*/seed_*"):
            edit(member, seeds=2)
    for member in sorted(folders[1].glob("*/seed_*")):
        seed = int(member.name.removeprefix("seed_")) + 2
        edit(member, seed=seed, first_seed=2, threads=8)
        member.rename(member.with_name(f"seed_{seed}.new"))
    for member in folders[1].glob("*/*.new"):
        member.rename(member.with_suffix(""))
    return folders


def edit(member, **changed):
    path = member / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))


def merge(folders, out, *options):
    return main(["merge", *map(str, folders), "--out", str(out), *options])


def test_seeds_of_two_machines_are_one_arm(machines, tmp_path):
    out = tmp_path / "merged" / "all"
    assert merge(machines, out) == 0
    assert sorted(path.name for path in out.glob("ppo-*")) == [
        "ppo-fresh",
        "ppo-fresh-seed2to3",
        "ppo-none",
        "ppo-none-seed2to3",
    ]
    assert [(run.arm, run.seed) for run in find_runs(out)] == [
        (arm, seed) for arm in ("ppo-fresh", "ppo-none") for seed in range(4)
    ]
    for folder in machines:
        for table in folder.glob("*/seed_*/metrics.csv"):
            (copy,) = out.glob(f"{table.parts[-3]}*/{table.parts[-2]}/metrics.csv")
            assert copy.read_bytes() == table.read_bytes()
    assert "ppo-none" in (out / "summary.csv").read_text()
    assert [path.name for path in out.parent.iterdir()] == ["all"]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"seed": 1}, "seed 1 of ppo-none is in .*/a/ppo-none/seed_1 and in .*/b/ppo-none/seed_2"),
        ({"env": "CartPole-v1"}, "env is minatar-continual in .*a/.* and CartPole-v1 in .*b/"),
        ({"steps": 9}, "steps is .* in .* and 9 in .*/b/ppo-none/seed_2"),
        ({"agent": "dqn"}, 'are both of ppo-none, but differ in agent: "ppo" and "dqn"'),
        ({"versions": {"torch": "2.8"}}, "commit is 0123abc in .* and None in .*/seed_2"),
        ({"purpose": "tuning"}, "runs of tuning"),
    ],
)
def test_what_does_not_fit_is_named_and_nothing_is_written(
    machines, tmp_path, capsys, changed, message
):
    edit(machines[1] / "ppo-none" / "seed_2", **changed)
    assert merge(machines, tmp_path / "all") == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert re.search(message, said), said
    assert not (tmp_path / "all").exists()


def test_other_versions_are_merged_if_it_is_asked_for(machines, tmp_path):
    for member in machines[1].glob("*/seed_*"):
        edit(member, versions={"torch": "2.8"})
    assert merge(machines, tmp_path / "all") == 2
    assert merge(machines, tmp_path / "all", "--mixed-versions") == 0


def test_code_that_is_gone_is_not_needed(machines, tmp_path):
    for member in (*machines[0].glob("*/seed_*"), *machines[1].glob("*/seed_*")):
        gone = {"plugin": ["/gone/shrink.py"], "env": "gone:Line-v0", "agent": "gone"}
        edit(member, **gone, intervention=["shrink:factor=0.5"], stream_definition={"a": 1})
    assert merge(machines, tmp_path / "all") == 0
    assert (tmp_path / "all" / "report.html").exists()


def test_folders_in_use_or_full_are_refused(machines, tmp_path, capsys):
    with FolderLock(machines[1] / "ppo-none"):
        assert merge(machines, tmp_path / "all") == 2
    assert "ppo-none is in use by process" in capsys.readouterr().err
    with FolderLock(machines[1]):  # by a comparison that is between two runs
        assert merge(machines, tmp_path / "all") == 2
    assert f"{machines[1]} is in use by process" in capsys.readouterr().err
    assert merge(machines, machines[0]) == 2
    assert f"{machines[0]} is not empty: choose another --out" in capsys.readouterr().err
    assert merge(machines[:1], tmp_path / "all") == 2
    assert "merge takes two folders or more, but was given 1" in capsys.readouterr().err


def test_a_folder_that_is_named_twice_is_no_second_machine(machines, tmp_path, capsys):
    for again in (machines[0], machines[0] / "ppo-none"):
        assert merge([machines[0], again], tmp_path / "all") == 2
        said = capsys.readouterr().err
        twice = r"seed 0 of (ppo-\w+) is in (\S+/\1/seed_0) and in \2: leave one out"
        assert re.search(twice, said)
        assert not (tmp_path / "all").exists()


def test_a_folder_does_not_come_to_lie_in_what_it_is_merged_from(machines, tmp_path, capsys):
    out = machines[1] / ".." / "a" / "all"
    assert merge(machines, out) == 2
    said = f"error: {out} is in {machines[0]}, which is merged: choose another --out\n"
    assert capsys.readouterr().err == said
    assert not out.exists()


def test_runs_that_lack_a_file_are_named(machines, tmp_path, capsys):
    member = machines[1] / "ppo-none" / "seed_3"
    (member / "config.json").rename(member / "away")
    assert merge(machines, tmp_path / "all") == 2
    assert f"error: {member} has no config.json: restore it" in capsys.readouterr().err
    (member / "away").rename(member / "config.json")
    (member / "metrics.csv").unlink()
    assert merge(machines, tmp_path / "all") == 2
    said = f"error: {member.parent} has a metrics.csv of 1 of its 2 seeds: restore the others"
    assert said in capsys.readouterr().err
    assert not (tmp_path / "all").exists()


@pytest.mark.parametrize(
    ("name", "rows"),
    [("metrics.csv", 0), ("metrics.csv", 0.5), ("metrics.csv", 1.5), ("matrix.csv", 1)],
)
def test_a_table_that_was_cut_before_its_first_row_is_named(machines, tmp_path, capsys, name, rows):
    (machines[1] / "ppo-none" / "seed_3" / "matrix.csv").write_text("step,visit\n0,\n")
    table = machines[1] / "ppo-none" / "seed_3" / name
    header, first, *_ = table.read_bytes().splitlines(keepends=True)
    table.write_bytes((header + first)[: int(len(header) * min(rows, 1) + 9 * (rows > 1))])
    assert merge(machines, tmp_path / "all") == 2
    said = f"error: {table} has no whole row: restore it, or leave {table.parent.parent} out\n"
    assert capsys.readouterr().err == said
    assert not (tmp_path / "all").exists()


def test_a_full_disk_leaves_nothing(machines, tmp_path, monkeypatch, capsys):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copytree", full)
    assert merge(machines, tmp_path / "all") == 1
    assert f"cannot write {tmp_path / 'all'} (No space left on device)" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]
