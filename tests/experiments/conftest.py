"""Runs made up after known rules: two arms and the fresh oracle, four seeds, eight visits."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from neoteny.experiments.report.report import write_report
from neoteny.experiments.statistics.runs import read_runs

GAMES = ("MinAtar-Breakout", "MinAtar-Asterix", "MinAtar-SpaceInvaders", "MinAtar-Freeway")
RANDOM = (0.6, 0.4, 3.0, 0.1)
TRAINED = (19.8, 5.0, 50.4, 32.7)
LAYERS = ("layer0", "layer1", "layer2", "layer3", "head")


def _returns(arm: str, visit: int, part: np.ndarray, rng: np.random.Generator, game: int):
    """A saturating curve; arms differ in how much of it is left after several visits."""
    level = {"ppo-none": 0.8 * 0.86**visit, "ppo-adamo": 0.82 * 0.985**visit}.get(arm, 0.8)
    curve = level * (1 - np.exp(-4 * part)) + 0.05 * rng.standard_normal(len(part)) * (part + 0.2)
    return RANDOM[game] + (TRAINED[game] - RANDOM[game]) * np.maximum(curve, 0)


def _diagnostics(arm: str, progress: float, layer: int, rng: np.random.Generator):
    decays = {"ppo-none": 1.0, "ppo-adamo": 0.15}.get(arm, 0.3) * progress
    noise = 1 + 0.05 * rng.standard_normal()
    return {
        "gram_deviation": (1e-2 if arm == "ppo-adamo" else 1 + 60 * decays) * noise,
        "dormant_fraction": float(np.clip(0.5 * decays * noise + 0.02 * layer, 0, 1)),
        "feature_effective_rank": 40 - 28 * decays + noise,
        "weight_norm": 8 * (1 + 3 * decays) * noise,
    }


def _row(arm: str, iteration: int, rows: int, rng: np.random.Generator) -> dict[str, Any]:
    row = {}
    for branch in ("policy", "value"):
        for index, layer in enumerate(LAYERS):
            for name, value in _diagnostics(arm, iteration / rows, index, rng).items():
                if layer != "head" or name == "weight_norm":
                    row[f"plasticity/{branch}/{layer}/{name}"] = repr(float(value))
    return row


def _write_member(
    folder: Path, arm: str, seed: int, visits: int, per_visit: int, width: int, until: float
) -> None:
    rng = np.random.default_rng([seed, sum(map(ord, arm))])
    rows = visits * per_visit
    orders = [np.random.default_rng(seed + 7919 * cycle).permutation(4) for cycle in range(visits)]
    table = []
    for visit in range(visits):
        game = int(orders[visit // 4][visit % 4])
        part = np.arange(1, per_visit + 1) / per_visit
        for index, value in enumerate(_returns(arm, visit, part, rng, game)):
            iteration = visit * per_visit + index + 1
            blank = index == 0 or rng.random() < 0.1
            table.append(
                {
                    "step": iteration * width,
                    "iteration": iteration,
                    "task": game,
                    "visit": visit,
                    "charts/episodic_return": "" if blank else repr(float(value)),
                    "charts/SPS": repr(20000.0),
                    **(_row(arm, iteration, rows, rng) if iteration % 5 == 0 else {}),
                }
            )
    table = table[: int(until * rows)]
    columns = list(dict.fromkeys(key for row in table for key in row))
    folder.mkdir(parents=True)
    with (folder / "metrics.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(table)
    config = {
        "arm": arm,
        "agent": "ppo",
        "env": "minatar-continual",
        "intervention": [arm.removeprefix("ppo-")],
        "steps": rows * width,
        "seeds": 4,
        "task_names": list(GAMES),
        "boundaries": [visit * per_visit * width for visit in range(1, visits)],
        "ppo": {"num_envs": 128, "learning_rate": 0.00025},
        "seed": seed,
        "command": f"python train.py run --intervention {arm.removeprefix('ppo-')}",
        "versions": {"python": "3.11", "torch": "2.13.0", "commit": "0123abc"},
        "hardware": {"cpu": "a CPU", "cores": 2, "threads": 2, "gpu": None},
    }
    (folder / "config.json").write_text(json.dumps(config))


@pytest.fixture(scope="session")
def write_comparison() -> Callable[..., Path]:
    """Write a whole comparison: (out, arms, seeds, visits, per_visit, width, until) -> out."""

    def write(
        out: Path,
        arms: tuple[str, ...] = ("ppo-none", "ppo-adamo", "ppo-fresh"),
        seeds: int = 4,
        visits: int = 8,
        per_visit: int = 30,
        width: int = 8192,
        until: float = 1.0,
    ) -> Path:
        for arm in arms:
            for seed in range(seeds):
                folder = out / arm / f"seed_{seed}"
                _write_member(folder, arm, seed, visits, per_visit, width, until)
        return out

    return write


@pytest.fixture(scope="session")
def comparison(
    write_comparison: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A finished comparison of two arms and the oracle; tests only read it."""
    return write_comparison(tmp_path_factory.mktemp("comparison") / "out")


@pytest.fixture(scope="session")
def frame(comparison: Path) -> pd.DataFrame:
    """The rows of the finished comparison; tests only read them."""
    return read_runs(comparison)


@pytest.fixture(scope="session")
def reported(comparison: Path, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """The finished comparison with a report, written once; tests only read it.

    Its folder, the files that were there before with their content, and the `Report`.
    """
    folder = shutil.copytree(comparison, tmp_path_factory.mktemp("reported") / "out")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return SimpleNamespace(folder=folder, before=before, report=write_report(folder))


Cells = Callable[[str, int, int, str], dict[str, float]]
"""Columns of an arm's seed in the first or last row of a visit."""


@pytest.fixture(scope="session")
def write_visits() -> Callable[..., Path]:
    """Write runs of three rows a visit: (out, arms, seeds, visits, cells) -> out.

    Arms are interventions; `cells` gives what is recorded in the first and the last row.
    """

    def write(out: Path, arms: tuple[str, ...], seeds: int, visits: int, cells: Cells) -> Path:
        for arm in arms:
            for seed in range(seeds):
                rows = [
                    {"step": 100 * (3 * visit + row + 1), "task": visit, "visit": visit}
                    | (cells(arm, seed, visit, place) if place else {})
                    for visit in range(visits)
                    for row, place in enumerate(("first", "", "last"))
                ]
                folder = out / f"ppo-{arm}" / f"seed_{seed}"
                folder.mkdir(parents=True)
                pd.DataFrame(rows).to_csv(folder / "metrics.csv", index=False)
                config = {
                    "arm": f"ppo-{arm}",
                    "env": "stream",
                    "seed": seed,
                    "task_names": ["stream"],
                    "intervention": arm.split("+"),
                    "steps": 300 * visits,
                    "boundaries": [300 * visit for visit in range(1, visits)],
                }
                (folder / "config.json").write_text(json.dumps(config))
        return out

    return write
