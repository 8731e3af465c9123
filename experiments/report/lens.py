"""The lens: what part of isometry each arm keeps, at the start and the end of tasks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tyro
from rich.console import Console
from rich.table import Table
from rich.text import Text

from neoteny.core.console import as_markdown
from neoteny.core.errors import InputError
from neoteny.core.options import check_fields
from neoteny.experiments.options.arms import arms_of, labels
from neoteny.experiments.report.lens_drawing import draw_lens
from neoteny.experiments.statistics.answer import abilities
from neoteny.experiments.statistics.metrics import UNKNOWN, Estimate, mean_of_runs
from neoteny.experiments.statistics.switches import (
    FIRST,
    LAST,
    LAYERS,
    by_branch,
    publish,
    read_streams,
    switch_values,
)
from neoteny.experiments.statistics.visits import in_last_third, visit_values

__all__ = ["QUANTITIES", "LensConfig", "lens", "lens_table", "readable", "sentence"]

SPREAD = "jacobian_log_spread"
QUANTITIES = {
    "sigma_max": "W max",
    "weight_mean_square": "W mean square",
    "sigma_min": "W min",
    "jacobian_sigma_max": "J max",
    "jacobian_mean_square": "J mean square",
    "jacobian_sigma_min": "J min",
    SPREAD: "J spread",
    "kernel_condition": "NTK condition",
    "kernel_alignment": "NTK alignment",
    "kernel_drift": "NTK drift",
    "probe_labels_area": "probe",
}
"""Diagnostics that the lens shows, and their names in tables and figures."""
MARGIN = float(np.log(2))
"""Change of a logarithm within which a quantity counts as kept."""
SMALLEST = 1e-8
"""Round-off of singular values; smaller values count as this, and those above 1 / it as that."""


@dataclass(frozen=True)
class LensConfig:
    """Show what part of isometry each arm keeps, by diagnostics at task switches."""

    folders: tyro.conf.Positional[tuple[Path, ...]]
    """Folders of runs of one stream, trained with `--diagnose-switches jacobians kernel probe`."""
    out: Path | None = None
    """Folder for lens.csv, lens.md and lens.png; unset, the first of the runs'."""

    def __post_init__(self) -> None:
        check_fields(self)


def lens(config: LensConfig, console: Console) -> pd.DataFrame:
    """Write the table and the figure, print what each arm keeps, and return the table.

    Raises:
        InputError: If there are no runs, or nothing was measured at their switches.
        RunError: If a file cannot be written.
    """
    frame = read_streams(config.folders)
    table = lens_table(frame)
    shown = readable(table)
    text = "\n\n".join(
        [EXPLANATION, *(f"{branch}:\n\n{as_markdown(each)}" for branch, each in shown.items())]
    )
    files = publish(
        config.out or config.folders[0],
        "lens",
        table,
        f"{text}\n\n{sentence(table)}\n",
        lambda path: draw_lens(table, QUANTITIES, arms_of(frame), path),
    )
    for branch, each in shown.items():
        console.print(f"\n{branch}:", style="dim")
        console.print(each)
    console.print(EXPLANATION, style="dim")
    console.print(f"\n{sentence(table)}\n")
    for path in files:
        console.print(f"written {path}", soft_wrap=True)
    return table


def lens_table(frame: pd.DataFrame) -> pd.DataFrame:
    """The quantities of the lens for each arm, branch and layer, beside the return.

    Args:
        frame: Rows of `statistics.runs.read_runs`.

    Returns:
        One row per arm, branch, layer (``layers`` is the median over hidden layers) and name:

        - ``young``: the value in the first iteration of the run, of drift over the first task;
          ``before``: in the last iterations of the last third of the visits; ``after``: in their
          first iterations, which follow what interventions do at a switch. Medians over visits,
          means over seeds, geometric but for the spread;
        - ``change``, ``change_low``, ``change_high``: logarithm of before over young, the
          difference of a spread, with its 95 % t interval over seeds; ``verdict``: ``kept``
          (within a factor of 2), ``grown`` or ``fallen`` (beyond it), ``open``, or ``zero`` where
          the young network has none, as the smallest singular value behind a ReLU;
        - ``seeds``; ``value``: the mean return or accuracy in those visits, in ``unit``; ``share``,
          ``share_low``, ``share_high``: gain as a share of that of fresh networks, NaN without.

    Raises:
        InputError: If nothing was measured at switches.
    """
    values = switch_values(frame)
    values = pd.concat([values, by_branch(values)]).drop_duplicates()
    values = values[values["name"].isin(list(QUANTITIES))]
    if values.empty:
        raise InputError(
            "none of the lens's quantities was measured at switches: train with "
            "--diagnose-switches jacobians kernel probe"
        )
    returns = _returns(frame)
    rows = [
        {"arm": arm, "branch": branch, "layer": layer, "name": name} | _changes(group, str(name))
        for (arm, branch, layer, name), group in values.groupby(
            ["arm", "branch", "layer", "name"], sort=False
        )
    ]
    order = [arm.name for arm in arms_of(frame)]
    table = pd.DataFrame(rows).merge(returns, on="arm")
    return table.sort_values("arm", key=lambda arms: arms.map(order.index), kind="stable")


def readable(table: pd.DataFrame) -> dict[str, Table]:
    """The result of `lens_table` for people: one row an arm, for each branch."""
    whole = table[table["layer"].isin([LAYERS, "network"])]
    short = labels(list(table["arm"].unique()))
    found = {}
    for branch, mine in whole.groupby("branch", sort=False):
        shown = Table("arm", *QUANTITIES.values(), str(table["unit"].iloc[0]), "of fresh")
        for arm, group in mine.groupby("arm", sort=False):
            cells = {str(each["name"]): _cell(each) for _, each in _of_lens(group).iterrows()}
            last = group.iloc[0]
            shown.add_row(
                Text(short[str(arm)]),
                *(cells.get(name, "-") for name in QUANTITIES),
                f"{last['value']:.2f}",
                Estimate(*last[["share", "share_low", "share_high"]]).text(unknown="-"),
            )
        found[str(branch)] = shown
    return found


EXPLANATION = (
    "A cell: young → at the end of a task / at its start, after the switch, in the last third of "
    "the tasks; a star: at the end still within a factor of 2 of the young network, with 95 % "
    "confidence over seeds. W and J: singular values of the weights and Jacobians of hidden "
    "layers, the median over layers (J spread: of their logarithms); NTK condition and probe: of "
    "the branch; NTK drift: 1 - cosine of the kernel and that when the task began, at its start "
    "of that when the last one began, young: over the first task. Of fresh: gain as a share of "
    "that of networks which start each task afresh."
)


def sentence(table: pd.DataFrame) -> str:
    """Sentences that say what each arm keeps in every branch, by the result of `lens_table`."""
    whole = table[table["layer"].isin([LAYERS, "network"])]
    short = labels(list(table["arm"].unique()))
    parts = []
    for arm, mine in whole.groupby("arm", sort=False):
        verdicts = _of_lens(mine).groupby("name")["verdict"].agg(set)
        kept = [
            label
            for name, label in QUANTITIES.items()
            if name in verdicts and verdicts[name] == {"kept"}
        ]
        parts.append(f"{short[str(arm)]} keeps {', '.join(kept) or 'nothing'}")
    return (
        "Within a factor of 2 of the young network in the last third of the tasks, in every "
        f"branch: {'; '.join(parts)}."
    )


def _of_lens(rows: pd.DataFrame) -> pd.DataFrame:
    """Hidden layers where a quantity is of layers, the branch as a whole else."""
    layered = set(rows.loc[rows["layer"] == LAYERS, "name"])
    return rows[(rows["layer"] == LAYERS) | ~rows["name"].isin(list(layered))]


def _cell(row: pd.Series) -> str:
    star = " *" if row["verdict"] == "kept" else ""
    young, before, after = (_number(row[key]) for key in ("young", "before", "after"))
    return f"{young} → {before} / {after}{star}"


def _number(value: float) -> str:
    """Two digits, without an exponent as long as it is readable."""
    if value <= 2 * SMALLEST:
        return "0"
    return (
        f"{value:.2g}" if 1e-3 <= value < 1e2 else f"{value:.0e}" if value < 1 else f"{value:,.0f}"
    )


def _changes(group: pd.DataFrame, name: str) -> dict[str, Any]:
    """Values of one quantity of an arm, young and late, and their change over seeds."""
    table = group
    if name != SPREAD:
        table = group.assign(value=np.log(group["value"].clip(SMALLEST, 1 / SMALLEST)))
    late = in_last_third(table["visit"])
    first, last = table["place"] == FIRST, table["place"] == LAST
    start = table[table["visit"] == 0]
    measured = FIRST if (start["place"] == FIRST).any() else LAST  # drift begins at a task's end
    young = start[start["place"] == measured].groupby("seed")["value"].median()
    before = table[last & late].groupby("seed")["value"].median()
    after = table[first & late].groupby("seed")["value"].median()
    change = mean_of_runs((before - young).dropna().to_numpy(np.float64))
    back = (lambda x: x) if name == SPREAD else np.exp
    return {
        "young": float(back(young.mean())),
        "before": float(back(before.mean())),
        "after": float(back(after.mean())),
        **change.columns("change"),
        "verdict": _verdict(change) if young.mean() > np.log(2 * SMALLEST) else "zero",
        "seeds": int(table["seed"].nunique()),
    }


def _verdict(change: Estimate) -> str:
    if change.low > -MARGIN and change.high < MARGIN:
        return "kept"
    if change.low > MARGIN:
        return "grown"
    return "fallen" if change.high < -MARGIN else "open"


def _returns(frame: pd.DataFrame) -> pd.DataFrame:
    """Mean value of each arm in the last third of the visits, and the share of fresh's gain."""
    visits = visit_values(frame)
    shares = {found.arm: found.last for found in abilities(visits)}
    rows = []
    for arm, mine in visits.groupby("arm", sort=False):
        late = mine[in_last_third(mine["visit"])]
        rows.append(
            {
                "arm": arm,
                "unit": str(mine["unit"].iloc[0]),
                "value": float(late["value"].mean()),
                **shares.get(str(arm), UNKNOWN).columns("share"),
            }
        )
    return pd.DataFrame(rows)
