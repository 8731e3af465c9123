"""Time and memory of arms, and how runs record them."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from neoteny.experiments.report.tables import readable_costs
from neoteny.experiments.run.memory import MEMORY, SPEED, forget_peak_memory, peak_memory
from neoteny.experiments.statistics.cost import costs
from neoteny.experiments.statistics.runs import find_runs, frame_of


def _run(folder: Path, arm: str, seed: int, speeds: list[float], config: dict) -> None:
    path = folder / f"seed_{seed}"
    path.mkdir(parents=True)
    rows = {"step": 100 * np.arange(1, len(speeds) + 1), SPEED: speeds, MEMORY: [300, 500]}
    pd.DataFrame(rows).to_csv(path / "metrics.csv", index=False)
    whole = {"arm": arm, "intervention": [arm], "seed": seed, "steps": 200, "env": "a"} | config
    (path / "config.json").write_text(json.dumps(whole))


HARDWARE = {"cpu": "a CPU", "threads": 2, "gpu": "a GPU"}


def test_time_of_an_arm_is_that_of_its_processes(tmp_path: Path) -> None:
    for seed in (0, 1):  # of one process: twice 100 steps at 50 and at 100 a second
        config = {"seeds": 2, "hardware": HARDWARE}
        _run(tmp_path / "none", "none", seed, [50.0, 100.0], config)
    config = {"seeds": 1, "hardware": HARDWARE, "first_seed": 2}
    _run(tmp_path / "none-seed2", "none", 2, [25.0, 25.0], config)
    _run(tmp_path / "slow", "slow", 0, [20.0, 20.0], config | {"device": "cuda", "first_seed": 0})
    runs = find_runs(tmp_path)
    table = costs(frame_of(runs), runs).set_index("arm")
    none, slow = table.loc["none"], table.loc["slow"]
    assert (none["seconds"], slow["seconds"]) == (200 / 50 + 200 / 100 + 100 / 25 * 2, 10)
    assert (none["members"], none["memory"], none["seconds_per_run"]) == (2, 500, 14 / 3)
    assert none["steps_per_second"] == pytest.approx(600 / 14)
    assert slow["relative"] == pytest.approx(600 / 14 / 20)
    assert (none["machine"], slow["machine"]) == ("a CPU, 2 threads", "a GPU")
    shown = readable_costs(table.reset_index()).set_index("arm")
    assert shown.loc["none"].tolist() == ["2", "14 s", "4.7 s", "43", "1.00", "500"]


def test_runs_without_speeds_have_no_cost(frame: pd.DataFrame, comparison: Path) -> None:
    runs = find_runs(comparison)
    table = costs(frame.drop(columns=SPEED), runs)
    assert table["seconds"].isna().all()
    assert list(readable_costs(table)) == ["arm", "runs at once"]


def test_peak_memory_is_that_since_it_was_forgotten() -> None:
    device = torch.device("cpu")
    held = np.ones(2**25)  # 256 MiB
    high = peak_memory(device)
    del held
    forget_peak_memory(device)
    assert peak_memory(device) < high - 200
    held = np.ones(2**25)
    assert peak_memory(device) > high - 50
    assert len(held)
