"""Whether faster paths learn the same: return against steps of runs that differ in nothing else.

python train.py run --preset paper ... --out results/runs/fp32
python train.py run --preset paper ... --precision bf16 --out results/runs/bf16
python benchmarks/learning_curves.py --runs fp32=results/runs/fp32 bf16=results/runs/bf16

The first run is the one that others are compared with. Intervals are 95 % bootstrap intervals of
the mean over seeds; the runs use the same seeds, so differences are taken seed by seed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import tyro
from _publish import Report, canvas, publish
from matplotlib.figure import Figure
from scipy import stats

from neoteny.experiments.drawing import PALETTE, quiet

COLUMN = "charts/episodic_return"


@dataclass(frozen=True)
class Config:
    """What to compare."""

    runs: tuple[str, ...]
    """Run folders as label=folder, the reference first."""
    out: Path | None = None
    """Folder for the table, the CSV and the figure; unset, they are only printed."""


def load(runs: tuple[str, ...]) -> pd.DataFrame:
    """A row for each run, seed and iteration: path, seed, step, return.

    Raises:
        ValueError: If a run is not label=folder, or its folder holds no metrics.
    """
    found = []
    for run in runs:
        label, equals, folder = run.partition("=")
        files = sorted(Path(folder).glob("seed_*/metrics.csv"))
        if not equals or not files:
            raise ValueError(f"{run!r} is not label=folder with seed_*/metrics.csv in the folder")
        for file in files:
            rows = pd.read_csv(file, usecols=["step", COLUMN]).rename(columns={COLUMN: "return"})
            found.append(rows.assign(path=label, seed=int(file.parent.name.removeprefix("seed_"))))
    return pd.concat(found, ignore_index=True)


def interval(values: np.ndarray) -> tuple[float, float]:
    """95 % bootstrap interval of the mean."""
    found = stats.bootstrap((values,), np.mean, rng=0, method="percentile").confidence_interval
    return float(found.low), float(found.high)


def compare(curves: pd.DataFrame) -> pd.DataFrame:
    """Mean return over training and at its end, and the first's difference from the reference."""
    by_seed = curves.groupby(["path", "seed"], sort=False)["return"].agg(["mean", "last"])
    reference = by_seed.xs(curves["path"].iloc[0])
    rows = []
    for path in curves["path"].unique():
        own = by_seed.xs(path)
        difference = (own["mean"] - reference["mean"]).dropna().to_numpy()
        low, high = interval(difference) if difference.any() else (0.0, 0.0)
        rows.append(
            {
                "path": path,
                "seeds": len(own),
                "mean return": own["mean"].mean(),
                "last return": own["last"].mean(),
                "lowest last": own["last"].min(),
                "highest last": own["last"].max(),
                "mean return, difference": difference.mean(),
                "low": low,
                "high": high,
            }
        )
    return pd.DataFrame(rows)


def draw(curves: pd.DataFrame) -> Figure:
    """Mean over seeds of each path, with the range of the seeds."""
    figure, (panel,) = canvas(1, 1, 7.0, 3.6)
    for colour, (path, own) in zip(PALETTE, curves.groupby("path", sort=False), strict=False):
        across = own.groupby("step")["return"]
        mean = across.mean()
        panel.plot(mean.index, mean, color=colour, lw=1.5, label=path)
        panel.fill_between(mean.index, across.min(), across.max(), color=colour, alpha=0.15, lw=0)
    quiet(panel, ())
    panel.set_xlabel("environment steps")
    panel.set_ylabel("return")
    panel.legend(frameon=False)
    return figure


def main(config: Config) -> None:
    """Read, compare, print and write."""
    curves = load(config.runs)
    curves = curves[curves["step"] <= curves.groupby("path")["step"].max().min()]
    title = "Mean return over training, and its difference from the first path, seed by seed"
    publish(
        Report("learning-curves", title, compare(curves), config, curves, {}, lambda: draw(curves))
    )


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
