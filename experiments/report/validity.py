"""Predictive validity: which diagnostics at a switch order runs by how badly they learn next."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import pandas as pd
import tyro
from rich.console import Console
from rich.table import Table

from neoteny.core.console import as_markdown
from neoteny.core.errors import InputError
from neoteny.core.options import check_fields
from neoteny.experiments.options.arms import ORACLE, Arm, arms_of
from neoteny.experiments.report.validity_drawing import draw_validity, label_of
from neoteny.experiments.statistics.metrics import Array
from neoteny.experiments.statistics.rank_statistics import Correlation, adjusted, correlate
from neoteny.experiments.statistics.summary import countable_visits, paired_visits
from neoteny.experiments.statistics.switches import (
    FIRST,
    LAST,
    by_branch,
    publish,
    read_streams,
    switch_values,
)
from neoteny.experiments.statistics.visits import visit_values

__all__ = ["ValidityConfig", "readable", "sentences", "validity", "validity_table"]

LEVEL = 0.05
SHOWN = 5
"""Diagnostics that the sentences name."""
MOST_PRINTED = 20
"""Rows of the ranking on the console; files have all."""
RANKS = ("rank", "participation")
"""Parts of the names of measures of rank."""


@dataclass(frozen=True)
class ValidityConfig:
    """Rank diagnostics by how well they predict, at a switch, how much the next task suffers."""

    folders: tyro.conf.Positional[tuple[Path, ...]]
    """Folders of runs of one stream, with an arm `fresh` among them."""
    place: Literal["first", "last"] = "first"
    """Diagnostics of the first iteration of the task that is predicted, after what interventions do
    at the switch, or of the last iteration of the task before."""
    draws: int = 1000
    """Draws of intervals and of the shuffled control."""
    out: Path | None = None
    """Folder for validity.csv, validity.md and validity.png; unset, the first of the runs'."""
    limits: ClassVar[dict[str, str]] = {"draws": "from 100 to 100,000"}

    def __post_init__(self) -> None:
        check_fields(self)


def validity(config: ValidityConfig, console: Console) -> pd.DataFrame:
    """Write the ranking and its figure, print it, and return it.

    Raises:
        InputError: If there are too few runs, no fresh networks, or nothing was measured.
        RunError: If a file cannot be written.
    """
    frame = read_streams(config.folders)
    table = validity_table(frame, config.place, config.draws)
    text = sentences(table)
    files = publish(
        config.out or config.folders[0],
        "validity",
        table,
        f"{as_markdown(readable(table))}\n\n{text}\n",
        lambda path: draw_validity(table, path),
    )
    console.print(readable(table.head(MOST_PRINTED)))
    console.print(f"\n{text}\n")
    for path in files:
        console.print(f"written {path}", soft_wrap=True)
    return table


def validity_table(
    frame: pd.DataFrame, place: str = FIRST, draws: int = 1000, seed: int = 0
) -> pd.DataFrame:
    """Correlation of every diagnostic at a switch with the next task's shortfall.

    The shortfall is the gain of fresh networks of the same seed in the same visit less the arm's;
    the reference of all arms is the arm `fresh` with the fewest other interventions. Arms with
    `fresh` are not judged, nor is the first visit. Diagnostics of layers are medians over the
    hidden layers of a branch.

    Args:
        frame: Rows of `statistics.runs.read_runs`.
        place: ``"first"`` or ``"last"``, see `ValidityConfig`.
        draws: Of intervals and of the control.
        seed: Of the draws.

    Returns:
        One row per diagnostic and branch, the strongest correlation first:

        - ``branch``, ``name``, ``of`` (``layers`` or ``network``); ``rho``, ``low``, ``high``:
          Spearman's correlation over runs at a switch, mean over switches, and its 95 % interval
          by resampling whole runs; ``within``, ``within_low``, ``within_high``: the same of ranks
          less their means in each arm;
        - ``shuffled``, ``shuffled_low``, ``shuffled_high``: mean and middle 95 % after shuffling
          whole arms; ``p``: share of shuffles with as large a correlation; ``p_adjusted``:
          corrected for the number of diagnostics; ``runs``, ``arms``, ``switches``.

    Raises:
        InputError: If there are no fresh networks, too few arms, or nothing was measured.
    """
    short = _shortfalls(frame)
    values = by_branch(switch_values(frame))
    values = values[values["place"] == place]
    if place == LAST:
        values = values.assign(visit=values["visit"] + 1)
    cells = pd.MultiIndex.from_product(
        [sorted(short["visit"].unique()), short["arm"].unique(), sorted(short["seed"].unique())],
        names=["visit", "arm", "seed"],
    )
    shape = tuple(len(level) for level in cells.levels)
    y = _array(short.set_index(cells.names)["missing"], cells, shape)
    rows, shuffled = [], []
    for (branch, layer, name), group in values.groupby(["branch", "layer", "name"], sort=False):
        x = _array(group.set_index(cells.names)["value"], cells, shape)
        found = correlate(x, y, draws, seed)
        if np.isfinite(found.value):
            rows.append({"branch": branch, "name": name, "of": layer} | _row(found))
            shuffled.append(found.shuffled)
    if not rows:
        raise InputError("no diagnostic was measured at switches in four runs: train more seeds")
    table = pd.DataFrame(rows)
    p, corrected = adjusted(table["rho"].to_numpy(np.float64), np.stack(shuffled, 1))
    table = table.assign(p=p, p_adjusted=corrected, arms=shape[1], switches=shape[0])
    order = table["rho"].abs().sort_values(ascending=False, kind="stable").index
    return table.loc[order].reset_index(drop=True)


def readable(table: pd.DataFrame) -> Table:
    """The result of `validity_table` for people."""
    shown = Table("diagnostic", "branch", "correlation", "within arms", "p", "runs")
    for _, row in table.iterrows():
        shown.add_row(
            label_of(row),
            str(row["branch"]),
            _interval(row["rho"], row["low"], row["high"]),
            _interval(row["within"], row["within_low"], row["within_high"]),
            f"{row['p_adjusted']:.3f}",
            str(row["runs"]),
        )
    return shown


def sentences(table: pd.DataFrame) -> str:
    """The ranking in two sentences, by the result of `validity_table`."""
    first = table.iloc[0]
    clear = table[table["p_adjusted"] < LEVEL]
    within = table[(table["within_low"] > 0) | (table["within_high"] < 0)]
    inner = within.loc[within["within"].abs().sort_values(ascending=False).index]
    ranks = table[table["name"].str.contains("|".join(RANKS))]
    best = ranks.iloc[0] if len(ranks) else None
    rank_text = (
        f"; of {len(ranks)} measures of rank {_count(ranks['p_adjusted'] < LEVEL)} do, the best "
        f"{_named(best)}"
        if best is not None
        else ""
    )
    return (
        f"Across {first['arms']} arms at {first['switches']} switches, {len(clear)} of "
        f"{len(table)} diagnostics order runs by the next task's shortfall better than shuffled "
        f"arms do (p < {LEVEL}, corrected for their number), the strongest "
        f"{', '.join(_named(row) for _, row in table.head(SHOWN).iterrows())}{rank_text}. "
        f"Within arms, where architecture and method are the same, {len(within)} of {len(table)} "
        "have an interval that leaves out zero"
        + (": " if len(inner) else "")
        + ", ".join(
            f"{label_of(row)} of {row['branch']} ({row['within']:+.2f})"
            for _, row in inner.head(SHOWN).iterrows()
        )
        + "."
    )


def _count(mask: pd.Series) -> str:
    return str(int(mask.sum())) if mask.any() else "none"


def _named(row: pd.Series) -> str:
    return f"{label_of(row)} of {row['branch']} ({row['rho']:+.2f})"


def _interval(value: float, low: float, high: float) -> str:
    return f"{value:+.2f} [{low:+.2f}, {high:+.2f}]" if np.isfinite(low) else "-"


def _row(found: Correlation) -> dict[str, float | int]:
    low, high = np.nanquantile(found.shuffled, [0.025, 0.975])
    return {
        "rho": found.value,
        "low": found.low,
        "high": found.high,
        "within": found.within,
        "within_low": found.within_low,
        "within_high": found.within_high,
        "shuffled": float(np.nanmean(found.shuffled)),
        "shuffled_low": float(low),
        "shuffled_high": float(high),
        "runs": found.runs,
    }


def _shortfalls(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows ``arm``, ``seed``, ``visit``, ``missing`` of arms without `fresh`, from visit 1 on."""
    visits = countable_visits(visit_values(frame))
    arms = arms_of(visits)
    reference = _reference(arms)
    judged = [arm for arm in arms if arm.role != ORACLE]
    if len(judged) < 2:
        raise InputError("correlations are over arms: give runs of at least two, beside fresh")
    pairs = pd.concat([paired_visits(visits, arm, reference) for arm in judged])
    pairs = pairs[pairs["visit"] > 0]
    if pairs.empty:
        raise InputError("no arm shares a seed and a second visit with fresh: train longer")
    return pairs[["arm", "seed", "visit", "missing"]]


def _reference(arms: list[Arm]) -> Arm:
    """The arm `fresh` with the fewest other interventions."""
    fresh = [arm for arm in arms if arm.role == ORACLE]
    if not fresh:
        raise InputError("there is no arm fresh to take shortfalls from: train one as well")
    return min(fresh, key=lambda arm: len(arm.beside_oracle))


def _array(values: pd.Series, cells: pd.MultiIndex, shape: tuple[int, ...]) -> Array:
    return values.reindex(cells).to_numpy(np.float64).reshape(shape)
