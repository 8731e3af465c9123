import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from neoteny.core.errors import InputError
from neoteny.experiments.run.recorder import Recorder
from neoteny.experiments.run.table import Table

CONFIG = {"arm": "ppo-none", "steps": 100, "task_names": ["a", "b"]}


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def _scalars(folder: Path, tag: str) -> list[tuple[int, float]]:
    events = EventAccumulator(str(folder)).Reload()
    return [(event.step, event.value) for event in events.Scalars(tag)]


def _values(iteration: int) -> dict[str, object]:
    rng = np.random.default_rng(iteration)
    values = {
        "iteration": iteration,
        "task": torch.tensor([iteration % 2, 1]),
        "visit": [iteration // 3, 0],
        "charts/episodic_return": torch.tensor(rng.random(2), dtype=torch.float64),
        "losses/value_loss": torch.tensor(rng.random(2), dtype=torch.float32),
        "charts/SPS": rng.random(),
    }
    if iteration % 2 == 0:
        values["plasticity/policy/layer0/dormant"] = torch.tensor(rng.random(2))
    return values


def _record(recorder: Recorder, start: int, stop: int) -> None:
    for iteration in range(start, stop):
        recorder.record(10 * iteration, _values(iteration), {"task_name": ["a", "b"]})


def test_rows_and_columns(tmp_path: Path) -> None:
    with Recorder(tmp_path, [4, 7], CONFIG) as recorder:
        _record(recorder, 1, 4)
    for member, seed in enumerate((4, 7)):
        rows = _rows(tmp_path / f"seed_{seed}" / "metrics.csv")
        assert list(rows[0])[:5] == ["step", "iteration", "task", "visit", "task_name"]
        assert [row["step"] for row in rows] == ["10", "20", "30"]
        assert [row["iteration"] for row in rows] == ["1", "2", "3"]
        assert rows[0]["plasticity/policy/layer0/dormant"] == ""
        for row in rows:
            wanted = _values(int(row["iteration"]))
            assert float(row["charts/episodic_return"]) == wanted["charts/episodic_return"][member]
            assert np.float32(row["losses/value_loss"]) == wanted["losses/value_loss"][member]
            assert row["task"] == str(int(wanted["task"][member]))
            assert row["task_name"] == "ab"[member]


def test_returned_values_are_those_recorded(tmp_path: Path) -> None:
    with Recorder(tmp_path, [0, 1], CONFIG) as recorder:
        host = recorder.record(
            1, {"a": torch.tensor(0.1), "b": 2, "c": np.array([1.5, 2.5]), "d": [3.0, 4.0]}
        )
    tenth = float(torch.tensor(0.1))
    assert host == {"a": [tenth, tenth], "b": [2.0, 2.0], "c": [1.5, 2.5], "d": [3.0, 4.0]}
    assert _rows(tmp_path / "seed_1" / "metrics.csv")[0]["c"] == "2.5"


def test_one_copy_for_all_tensors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copies = []
    for name in ("tolist", "item", "cpu", "numpy", "__float__"):
        method = getattr(torch.Tensor, name)

        def counted(self: torch.Tensor, *args: object, _method: object = method) -> object:
            copies.append(tuple(self.shape))
            return _method(self, *args)

        monkeypatch.setattr(torch.Tensor, name, counted)
    with Recorder(tmp_path, range(3), CONFIG) as recorder:
        recorder.record(1, {f"x{i}": torch.zeros(3) for i in range(20)} | {"y": torch.tensor(1)})
    assert copies == [(21, 3)]


def test_wrong_shapes_are_named(tmp_path: Path) -> None:
    with Recorder(tmp_path, [0, 1], CONFIG) as recorder:
        with pytest.raises(ValueError, match=r"loss has shape \(3,\).*the 2 members"):
            recorder.record(1, {"loss": torch.zeros(3)})
        with pytest.raises(ValueError, match=r"loss has shape \(1,\)"):
            recorder.record(1, {"loss": [1.0]})


def test_tensorboard_has_the_same_numbers_without_nan(tmp_path: Path) -> None:
    with Recorder(tmp_path, [0], CONFIG) as recorder:
        for step, value in ((1, 0.25), (2, np.nan), (3, 0.5)):
            recorder.record(step, {"charts/x": value, "task": 1})
    assert _scalars(tmp_path / "seed_0", "run/x") == [(1, 0.25), (3, 0.5)]
    assert _scalars(tmp_path / "seed_0", "continual/task") == [(1, 1.0), (2, 1.0), (3, 1.0)]
    assert [row["charts/x"] for row in _rows(tmp_path / "seed_0" / "metrics.csv")] == [
        "0.25",
        "",
        "0.5",
    ]


def test_config_tells_where_it_came_from(tmp_path: Path) -> None:
    with Recorder(tmp_path, [4, 7], CONFIG):
        pass
    stored = json.loads((tmp_path / "seed_7" / "config.json").read_text())
    assert {key: stored[key] for key in CONFIG} == CONFIG
    assert stored["seed"] == 7
    assert stored["versions"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert {"python", "numpy", "gymnasium", "neoteny", "commit"} <= set(stored["versions"])
    assert stored["hardware"]["cores"] >= 1
    with pytest.raises(ValueError, match="'seed'"):
        Recorder(tmp_path / "other", [0], {"seed": 1})


def test_new_recorder_refuses_an_old_folder(tmp_path: Path) -> None:
    with Recorder(tmp_path, [0], CONFIG) as recorder:
        _record_one(recorder)
    before = (tmp_path / "seed_0" / "metrics.csv").read_bytes()
    with pytest.raises(ValueError, match="already holds a run"), Recorder(tmp_path, [0], CONFIG):
        pass
    assert (tmp_path / "seed_0" / "metrics.csv").read_bytes() == before


def _record_one(recorder: Recorder) -> None:
    recorder.record(1, {"x": 0.5})


@pytest.mark.parametrize("torn", ["", "70,7,1", '70,7,1,0,"a'])
def test_resumed_table_is_that_of_an_uninterrupted_run(tmp_path: Path, torn: str) -> None:
    with Recorder(tmp_path / "whole", [0, 1], CONFIG) as recorder:
        _record(recorder, 1, 9)
    with Recorder(tmp_path / "cut", [0, 1], CONFIG) as recorder:
        _record(recorder, 1, 5)
        saved = recorder.state_dict()
        _record(recorder, 5, 7)
    with (tmp_path / "cut" / "seed_0" / "metrics.csv").open("a") as file:
        file.write(torn)
    with Recorder(tmp_path / "cut", [0, 1], CONFIG, saved) as recorder:
        _record(recorder, 5, 9)
    for seed in ("seed_0", "seed_1"):
        wanted = (tmp_path / "whole" / seed / "metrics.csv").read_bytes()
        assert (tmp_path / "cut" / seed / "metrics.csv").read_bytes() == wanted
        steps = [step for step, _ in _scalars(tmp_path / "cut" / seed, "run/SPS")]
        assert steps == [10, 20, 30, 40, 50, 60, 70, 80]


def test_resume_is_noted_in_the_config(tmp_path: Path) -> None:
    with Recorder(tmp_path, [0], CONFIG) as recorder:
        _record_one(recorder)
        saved = recorder.state_dict()
    with Recorder(tmp_path, [0], {**CONFIG, "steps": 200}, saved) as recorder:
        assert recorder.state_dict() == saved
    stored = json.loads((tmp_path / "seed_0" / "config.json").read_text())
    assert stored["steps"] == 200
    assert stored["seed"] == 0
    assert stored["run"] == saved["run"]
    assert [(part["step"], part["changed"]) for part in stored["resumed"]] == [
        (1, ["steps: stored 100, given 200"])
    ]


def _lines(change: str, lines: list[str]) -> list[str]:
    """A table of a header and six rows, changed."""
    return {
        "cut": lines[:-3],
        "hole": lines[:3] + lines[4:],
        "doubled": lines + lines[1:],
        "each row doubled": [lines[0], *(line for line in lines[1:] for _ in range(2))],
        "swapped": [*lines[:2], lines[3], lines[2], *lines[4:]],
        "a digit": [*lines[:2], lines[2].replace("0.5", "0.6"), *lines[3:]],
        "another column's": [lines[0].replace("b", "c"), *lines[1:]],
        "no rows": lines[:1],
        "empty": [],
    }[change]


@pytest.mark.parametrize(
    "change",
    [
        *("cut", "hole", "doubled", "each row doubled", "swapped", "a digit", "another column's"),
        *("no rows", "empty"),
    ],
)
def test_rows_that_are_not_the_checkpoints_are_refused(tmp_path: Path, change: str) -> None:
    with Recorder(tmp_path, [0, 1], CONFIG) as recorder:
        for step in range(1, 7):
            recorder.record(step, {"a": step / 10 + 0.5, "b": 0.5, "x": -1.0})
            if step == 5:
                saved = recorder.state_dict()
    path = tmp_path / "seed_1" / "metrics.csv"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(_lines(change, lines)))
    before = {p: p.read_bytes() for p in tmp_path.rglob("*.*")}
    with pytest.raises(InputError, match=r"seed_1/metrics\.csv") as refused:
        Recorder(tmp_path, [0, 1], CONFIG, saved)
    assert "\n" not in str(refused.value)
    assert {p: p.read_bytes() for p in tmp_path.rglob("*.*")} == before
    path.write_text("".join(lines))
    with Recorder(tmp_path, [0, 1], CONFIG, saved):
        pass
    assert path.read_text() == "".join(lines[:-1])


def test_missing_rows_and_another_runs_files_are_refused(tmp_path: Path) -> None:
    saved = {}
    for name in ("one", "other"):
        with Recorder(tmp_path / name, [0], CONFIG) as recorder:
            _record_one(recorder)
            saved[name] = recorder.state_dict()
    with pytest.raises(InputError, match=r"config\.json is of another run"):
        Recorder(tmp_path / "one", [0], CONFIG, saved["other"])
    (tmp_path / "one" / "seed_0" / "metrics.csv").unlink()
    with pytest.raises(InputError, match=r"needs 1 rows up to step 1 \(0 found\)"):
        Recorder(tmp_path / "one", [0], CONFIG, saved["one"])


def test_digests_do_not_depend_on_when_columns_appeared(tmp_path: Path) -> None:
    tables = [Table(tmp_path / f"{name}.csv") for name in ("late", "early")]
    for step in range(1, 4):
        tables[0].append({"step": step, "x": 0.5} | ({"task": 1, "y": "a, b"} if step > 1 else {}))
        late = {"task": 1, "y": "a, b"} if step > 1 else {"task": math.nan, "y": ""}
        tables[1].append({"y": late["y"], "step": step, "x": 0.5, "task": late["task"]})
    for table in tables:
        table.close()
    assert tables[0].digest == tables[1].digest
    again = Table(tmp_path / "late.csv", 3)
    assert (again.count, again.digest) == (3, tables[0].digest)
    assert Table(tmp_path / "late.csv", 2).digest != again.digest


def test_table_names_a_broken_line(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text("step,x\n1,2\n2\n3,4\n")
    with pytest.raises(ValueError, match=r"metrics\.csv, line 3: broken row"):
        Table(path, resume_step=3)
    assert path.read_text() == "step,x\n1,2\n2\n3,4\n"
    for text in ("hello\n1\n", "step,x,x\n1,2,2\n"):
        path.write_text(text)
        with pytest.raises(InputError, match="not a table of a run"):
            Table(path, resume_step=3)
    path.write_text(f"step,x\n1,{'9' * 200_000}\n")
    with pytest.raises(InputError, match="field larger than field limit"):
        Table(path, resume_step=3)
    path.write_bytes(b"step,x\n1,\xff\n")
    with pytest.raises(InputError, match=r"metrics\.csv is not UTF-8"):
        Table(path, resume_step=3)


def test_a_table_that_a_spreadsheet_has_marked_is_read(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text("\ufeffstep,x\n1,2\n")
    table = Table(path, resume_step=3)
    table.append({"step": 4, "x": 5})
    table.close()
    assert path.read_text(encoding="utf-8-sig") == "step,x\n1,2\n4,5\n"


def test_numbers_read_back_to_the_same_bits(tmp_path: Path) -> None:
    numbers = np.random.default_rng(0).standard_normal(200) * 10.0 ** np.arange(-100, 100)
    table = Table(tmp_path / "metrics.csv")
    for step, number in enumerate(numbers.tolist()):
        table.append({"step": step, "x": number, "text": 'a, "b"\nc'})
    table.close()
    rows = _rows(tmp_path / "metrics.csv")
    assert [float(row["x"]) for row in rows] == numbers.tolist()
    assert rows[0]["text"] == r'a, "b"\nc'


@pytest.mark.gpu
def test_cuda_tensors(tmp_path: Path) -> None:
    with Recorder(tmp_path, [0, 1], CONFIG) as recorder:
        host = recorder.record(
            1, {"x": torch.tensor([0.5, 1.5], device="cuda"), "y": torch.ones(2)}
        )
    assert host == {"x": [0.5, 1.5], "y": [1.0, 1.0]}
