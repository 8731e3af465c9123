import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from neoteny.experiments.recorder import Recorder
from neoteny.experiments.table import Table

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
    assert _scalars(tmp_path / "seed_0", "charts/x") == [(1, 0.25), (3, 0.5)]
    assert _scalars(tmp_path / "seed_0", "charts/task") == [(1, 1.0), (2, 1.0), (3, 1.0)]
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
    assert stored["versions"]["torch"] == torch.__version__
    assert {"python", "numpy", "gymnasium", "neoteny", "commit"} <= set(stored["versions"])
    assert stored["hardware"]["cores"] >= 1
    with pytest.raises(ValueError, match="'seed'"):
        Recorder(tmp_path / "other", [0], {"seed": 1})


def test_new_recorder_refuses_an_old_folder(tmp_path: Path) -> None:
    with Recorder(tmp_path, [0], CONFIG) as recorder:
        _record_one(recorder)
    before = (tmp_path / "seed_0" / "metrics.csv").read_bytes()
    with pytest.raises(ValueError, match="already holds a run"):
        Recorder(tmp_path, [0], CONFIG)
    assert (tmp_path / "seed_0" / "metrics.csv").read_bytes() == before


def _record_one(recorder: Recorder) -> None:
    recorder.record(1, {"x": 0.5})


@pytest.mark.parametrize("torn", ["", "70,7,1", '70,7,1,0,"a'])
def test_resumed_table_is_that_of_an_uninterrupted_run(tmp_path: Path, torn: str) -> None:
    with Recorder(tmp_path / "whole", [0, 1], CONFIG) as recorder:
        _record(recorder, 1, 9)
    with Recorder(tmp_path / "cut", [0, 1], CONFIG) as recorder:
        _record(recorder, 1, 7)
    with (tmp_path / "cut" / "seed_0" / "metrics.csv").open("a") as file:
        file.write(torn)
    with Recorder(tmp_path / "cut", [0, 1], CONFIG, resume_step=40) as recorder:
        _record(recorder, 5, 9)
    for seed in ("seed_0", "seed_1"):
        wanted = (tmp_path / "whole" / seed / "metrics.csv").read_bytes()
        assert (tmp_path / "cut" / seed / "metrics.csv").read_bytes() == wanted
        steps = [step for step, _ in _scalars(tmp_path / "cut" / seed, "charts/SPS")]
        assert steps == [10, 20, 30, 40, 50, 60, 70, 80]


def test_resume_is_noted_in_the_config(tmp_path: Path) -> None:
    with Recorder(tmp_path, [0], CONFIG) as recorder:
        _record_one(recorder)
    with Recorder(tmp_path, [0], {**CONFIG, "steps": 200}, resume_step=1):
        pass
    stored = json.loads((tmp_path / "seed_0" / "config.json").read_text())
    assert stored["steps"] == 200
    assert stored["seed"] == 0
    assert [(part["step"], part["changed"]) for part in stored["resumed"]] == [
        (1, ["steps: stored 100, given 200"])
    ]


def test_resume_without_a_table_warns(tmp_path: Path) -> None:
    with Recorder(tmp_path, [0], CONFIG):
        pass
    with pytest.warns(UserWarning, match=r"metrics\.csv is missing.*step 5"):
        Recorder(tmp_path, [0], CONFIG, resume_step=5).close()


def test_table_names_a_broken_line(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text("step,x\n1,2\n2\n3,4\n")
    with pytest.raises(ValueError, match=r"metrics\.csv, line 3: broken row"):
        Table(path, resume_step=3)
    assert path.read_text() == "step,x\n1,2\n2\n3,4\n"
    path.write_text("hello\n1\n")
    with pytest.raises(ValueError, match="not a table of a run"):
        Table(path, resume_step=3)


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
