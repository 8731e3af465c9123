"""Failures that a comparison's page lists."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from neoteny.experiments.statistics.failures import failures
from neoteny.experiments.statistics.runs import find_runs, frame_of
from neoteny.experiments.statistics.visits import visit_values


def test_each_failure_is_a_row(tmp_path: Path, write_comparison: Callable[..., Path]) -> None:
    def found(folder: Path) -> list[tuple[str, ...]]:
        runs = find_runs(folder)
        frame = frame_of(runs)
        return list(failures(runs, frame, visit_values(frame)).itertuples(index=False, name=None))

    whole = write_comparison(tmp_path / "whole", ("ppo-none", "ppo-fresh"), seeds=2, visits=2)
    assert found(whole) == []
    path = whole / "ppo-none" / "seed_1" / "metrics.csv"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:41]))
    (whole / "ppo-fresh" / "seed_0" / "metrics.csv").write_text("step\n")
    path = whole / "ppo-fresh" / "seed_1" / "metrics.csv"
    table = pd.read_csv(path)
    table["charts/alive"] = (table["step"] < 8192 * 50).astype(float)
    table.loc[table["visit"] == 1, "charts/episodic_return"] = np.nan
    few = (table["visit"] == 0) & (table["iteration"] > 5)
    table.loc[few, "charts/episodic_return"] = np.nan
    table.to_csv(path, index=False)
    task = [pd.read_csv(path)["task"][row] for row in (0, 30)]
    names = ["Breakout", "Asterix", "Space Invaders", "Freeway"]
    assert found(whole) == [
        (
            "none",
            "runs are not finished; only finished visits count",
            "seed 1 at 327,680 of 491,520",
        ),
        (
            "fresh",
            "seeds were frozen for gradients that are not finite; their returns count",
            "seed 1 from step 409,600",
        ),
        ("fresh", "runs have recorded nothing", "seed 0"),
        ("fresh", "fewer seeds than other arms", "1 of 2"),
        (
            "fresh",
            "in 1 of 2 visits no episode ended: they count nowhere",
            f"1 of {names[task[1]]}",
        ),
        (
            "fresh",
            "in 1 of 2 visits episodes ended in less than a quarter of the iterations",
            f"1 of {names[task[0]]}",
        ),
    ]
