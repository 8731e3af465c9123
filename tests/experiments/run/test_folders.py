import json
from pathlib import Path

import pytest

from neoteny.core.errors import InputError, RunError
from neoteny.experiments.run.folders import (
    atomic_file,
    difference,
    read_json,
    remove_leftovers,
    write_atomically,
    write_json,
)
from neoteny.experiments.run.replacing import check_replaceable, remove_run
from neoteny.experiments.run.store import check_run_folder

CONFIG = {"arm": "ppo-none", "steps": 100, "ppo": {"lr": 0.1, "clip": None}, "hidden": (64, 64)}


def _stored_run(folder: Path, **changes: object) -> Path:
    member = folder / "seed_3"
    member.mkdir(parents=True)
    write_json(member / "config.json", {**CONFIG, "seed": 3, "versions": {}, **changes})
    (folder / "checkpoint.pt").write_bytes(b"x")
    return folder


def _content(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_empty_or_unrelated_folder_is_accepted(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    check_run_folder(tmp_path, CONFIG)
    remove_leftovers(tmp_path)
    check_run_folder(tmp_path / "not" / "there", CONFIG)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    "place",
    [
        "checkpoint.pt",
        "config.json",
        "seed_0/metrics.csv",
        "ppo-none/seed_0/config.json",
        "ppo-none/seed_0/metrics.csv",
    ],
)
def test_folder_with_a_run_is_refused(tmp_path: Path, place: str) -> None:
    (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / place).write_text("old")
    before = _content(tmp_path)
    with pytest.raises(ValueError, match="already holds a run") as caught:
        check_run_folder(tmp_path, CONFIG)
    message = str(caught.value)
    assert str(tmp_path) in message
    assert "--out" in message
    assert (f"--resume {tmp_path}" in message) == (place == "checkpoint.pt")
    assert "\n" not in message
    assert _content(tmp_path) == before


def test_a_second_arm_beside_the_first_is_accepted(tmp_path: Path) -> None:
    _stored_run(tmp_path / "ppo-none")
    check_run_folder(tmp_path / "ppo-adamo", CONFIG)


def test_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(ValueError, match="is a file"):
        check_run_folder(tmp_path / "out", CONFIG)
    with pytest.raises(ValueError, match=r"cannot use .*name too long.*choose another --out"):
        check_run_folder(tmp_path / ("x" * 300), CONFIG)


def test_resume_with_the_same_config(tmp_path: Path) -> None:
    _stored_run(tmp_path)
    before = _content(tmp_path)
    check_run_folder(tmp_path, CONFIG, resume=True)
    remove_leftovers(tmp_path)
    assert _content(tmp_path) == before


def test_resume_removes_what_a_killed_process_left(tmp_path: Path) -> None:
    _stored_run(tmp_path)
    before = _content(tmp_path)
    (tmp_path / ".checkpoint.pt.123.tmp").write_bytes(b"half")
    (tmp_path / "seed_3" / ".metrics.csv.123.tmp").write_bytes(b"half")
    remove_leftovers(tmp_path)
    assert _content(tmp_path) == before


def test_a_run_that_was_killed_before_its_first_checkpoint_starts_again(tmp_path: Path) -> None:
    _stored_run(tmp_path)
    (tmp_path / "checkpoint.pt").unlink()
    (tmp_path / "seed_3" / "events.out.tfevents.1.host.2.0").write_bytes(b"half")
    (tmp_path / "seed_3" / "notes.txt").write_text("mine")
    check_run_folder(tmp_path, CONFIG)
    remove_leftovers(tmp_path)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["notes.txt"]


def test_files_of_other_programs_are_no_leftovers(tmp_path: Path) -> None:
    member = tmp_path / "seed_1"
    member.mkdir()
    (member / "config.json").write_text('{"mine": 1}')
    (member / "events.out.tfevents.1.host").write_bytes(b"mine")
    before = _content(tmp_path)
    remove_leftovers(tmp_path)
    assert _content(tmp_path) == before
    with pytest.raises(InputError, match="already holds a run; choose another --out"):
        check_run_folder(tmp_path, CONFIG)


def test_resume_names_every_differing_field(tmp_path: Path) -> None:
    _stored_run(tmp_path)
    given = {**CONFIG, "steps": 200, "ppo": {"lr": 0.2, "clip": None}, "new": True}
    with pytest.raises(ValueError, match="config differs") as caught:
        check_run_folder(tmp_path, given, resume=True)
    message = str(caught.value)
    assert "steps: stored 100, given 200" in message
    assert "ppo.lr: stored 0.1, given 0.2" in message
    assert "new: stored nothing, given true" in message
    assert "hidden" not in message
    check_run_folder(tmp_path, given, resume=True, ignore=("steps", "ppo", "new"))


def test_resume_names_a_config_that_does_not_fit(tmp_path: Path) -> None:
    _stored_run(tmp_path, agent="ppo", intervention=3, intervention_settings={})
    with pytest.raises(InputError, match=r"seed_3/config\.json.*intervention is 3"):
        check_run_folder(tmp_path, CONFIG, resume=True)


def test_resume_without_a_run_or_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no run to resume"):
        check_run_folder(tmp_path / "nothing", CONFIG, resume=True)
    _stored_run(tmp_path)
    (tmp_path / "checkpoint.pt").unlink()
    with pytest.raises(ValueError, match=r"no checkpoint\.pt"):
        check_run_folder(tmp_path, CONFIG, resume=True)


def test_difference_sees_what_json_sees() -> None:
    assert difference({"a": (1, 2), "b": Path("x")}, {"a": [1, 2], "b": "x"}) == []
    assert difference({"a": 1}, {"a": True}) == ["a: stored 1, given true"]
    assert difference({"a": float("nan")}, {"a": float("nan")}) == []
    assert difference({"seed": 1, "versions": {}}, {"seed": 2}) == []
    assert difference({"a": {}}, {"a": {"b": 1}}) == [
        "a: stored {}, given nothing",
        "a.b: stored nothing, given 1",
    ]


def test_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    write_atomically(path, "old")

    def write_half() -> None:
        with atomic_file(path) as file:
            file.write(b"half of the n")
            raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        write_half()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    path = tmp_path / "gone" / "a.txt"
    with pytest.raises(RunError, match=rf"cannot write {path} \(No such file or directory\)"):
        write_atomically(path, "text")


def test_json_is_readable_by_others(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"path": Path("x/y"), "rate": 1e-4})
    assert json.loads((tmp_path / "a.json").read_text()) == {"path": "x/y", "rate": 1e-4}


def test_json_that_is_fifty_deep_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"a": ' * 50 + "1" + "}" * 50)
    content = read_json(tmp_path / "a.json")
    for _ in range(50):
        content = content["a"]
    assert content == 1


@pytest.mark.parametrize(
    "text",
    [
        *("", "[]", "{", "[" * 100_000, "9" * 5000, '{"a": 1} x'),
        *('{"a": ' * 51 + "1" + "}" * 51, '{"a": ' + "[" * 400 + "]" * 400 + "}"),
    ],
)
def test_a_file_that_holds_no_json_object_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(InputError, match=r"config\.json") as refused:
        read_json(tmp_path / "config.json")
    assert "\n" not in str(refused.value)


def test_a_run_is_replaced_and_other_files_stay(tmp_path: Path) -> None:
    folder = _stored_run(tmp_path / "run")
    for name in ("metrics.csv", "events.out.tfevents.1.2.3", "notes.txt"):
        (folder / "seed_3" / name).write_text("x")
    (folder / "film.gif").write_bytes(b"gif")
    (folder / "seed_4").mkdir()
    write_json(folder / "seed_4" / "config.json", {**CONFIG, "seed": 4, "versions": {}})
    check_replaceable(folder)
    remove_run(folder)
    left = [folder / "film.gif", folder / "seed_3", folder / "seed_3" / "notes.txt"]
    assert sorted(folder.rglob("*")) == left
    check_run_folder(folder, CONFIG)


@pytest.mark.parametrize(
    "place", ["config.json", "seed_9/metrics.csv", "data/config.json", "a/b/checkpoint.pt"]
)
def test_a_folder_with_files_of_others_is_not_replaced(tmp_path: Path, place: str) -> None:
    folder = _stored_run(tmp_path / "run")
    (folder / place).parent.mkdir(parents=True, exist_ok=True)
    (folder / place).write_text("{}")
    with pytest.raises(InputError, match="is not the folder of one run") as error:
        check_replaceable(folder)
    assert str(folder / place) in str(error.value)


def test_a_comparison_is_not_replaced_as_a_run(tmp_path: Path) -> None:
    _stored_run(tmp_path / "ppo-none")
    with pytest.raises(InputError, match="is not the folder of one run"):
        check_replaceable(tmp_path)
    check_replaceable(tmp_path / "not" / "there")
