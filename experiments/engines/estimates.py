"""Estimates of a plan: steps, time and memory of every unit, from short probes of its arms."""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from neoteny.core.console import caution
from neoteny.core.text import visible
from neoteny.experiments.engines.engine import LOG, last_lines, order_of
from neoteny.experiments.engines.process import UnitProcess
from neoteny.experiments.engines.training import threads_each
from neoteny.experiments.options.arms import labels
from neoteny.experiments.options.config import CompareConfig
from neoteny.experiments.report.number_texts import duration_text
from neoteny.experiments.run.folders import METRICS, seed_folder
from neoteny.experiments.run.memory import MEMORY, SPEED
from neoteny.experiments.run.plan import Unit
from neoteny.experiments.statistics.runs import read_table

__all__ = ["Cost", "beside_each_other", "estimate", "plan_table", "print_plan"]

ROWS = 12
"""Iterations that a probe measures at most, the first of which does not count."""
SECONDS = 5.0
"""Seconds that a probe measures, once it has two iterations."""
PATIENCE = 120.0
"""Seconds after which a probe without two iterations gives up."""
BUDGET = 60.0
"""Seconds after which no other arm is probed."""


@dataclass(frozen=True)
class Cost:
    """Time and memory of a unit, NaN where unknown."""

    rate: float
    """Environment steps a second of all its members."""
    memory: float
    """MiB that its process holds at most."""

    def seconds(self, unit: Unit) -> float:
        """Time of the steps that are left."""
        left = 0 if unit.done else max(unit.total - unit.recorded, 0)
        return unit.run.seeds * left / self.rate if left else 0.0


def estimate(units: Sequence[Unit], config: CompareConfig, console: Console) -> dict[str, Cost]:
    """Measure arms for some seconds each, one after the other, in a folder that is removed.

    Returns:
        The cost of the units of each arm that has some left, by its name. All are taken to be as
        fast as the arm's first one, and arms beyond the budget as dear as the dearest probed.
    """
    first: dict[str, Unit] = {}
    for unit in units:
        if not unit.done:
            first.setdefault(unit.run.arm, unit)
    found: dict[str, Cost] = {}
    began = time.monotonic()
    for arm, unit in first.items():
        if found and time.monotonic() - began > BUDGET:
            break
        with console.status(f"probing {visible(arm)}"):
            found[arm] = _probe(unit, threads_each(config), console)
    if len(found) < len(first):
        console.print(
            f"{len(found)} of {len(first)} arms were probed in {BUDGET:g} s: the others are taken "
            "to be as slow and large as the slowest and largest of these",
            soft_wrap=True,
        )
    dearest = _dearest(found.values())
    return {arm: found.get(arm, dearest) for arm in first}


def _dearest(costs: Iterable[Cost]) -> Cost:
    known = [cost for cost in costs if not np.isnan(cost.rate)]
    rates, memories = [cost.rate for cost in known], [cost.memory for cost in known]
    return Cost(min(rates, default=np.nan), max(memories, default=np.nan))


def _probe(unit: Unit, threads: int, console: Console) -> Cost:
    with tempfile.TemporaryDirectory(prefix="neoteny-probe-") as place:
        folder = Path(place) / "run"
        run = dataclasses.replace(unit.run, out=folder, overwrite=False, wandb=False)
        table = seed_folder(folder, run.seed_list[0]) / METRICS
        process = UnitProcess(order_of(run, threads))
        try:
            rows = _measured(process, table)
        finally:
            process.kill()
        if len(rows) < 2:
            lines = last_lines(folder / LOG) or ["it took too long"]
            caution(console, f"{unit.run.arm} could not be measured: {lines[-1]}")
            return Cost(np.nan, np.nan)
        speeds = rows[SPEED].iloc[1:].to_numpy(np.float64)
        return Cost(len(speeds) / float((1 / speeds).sum()), float(rows[MEMORY].max()))


def _measured(process: UnitProcess, table: Path) -> pd.DataFrame:
    """The rows of a probe, once there are enough, or it has ended or taken too long."""
    began = time.monotonic()
    first = None
    while True:
        over = process.code() is not None
        rows = read_table(table) if table.exists() else pd.DataFrame()
        now = time.monotonic()
        if len(rows) and first is None:
            first = now
        enough = len(rows) >= 2 and first is not None and now - first > SECONDS
        if over or enough or len(rows) >= ROWS or now - began > PATIENCE:
            return rows
        time.sleep(0.1)


def plan_table(units: Sequence[Unit], costs: Mapping[str, Cost]) -> pd.DataFrame:
    """The plan with the costs of its arms, as `estimate` returns them.

    Returns:
        A row for each unit: ``arm``, ``stream``, ``first_seed``, ``seeds``; ``steps`` of a seed,
        and those ``recorded``; ``done``; ``memory`` in MiB and ``seconds`` of the steps that are
        left, NaN where unknown.
    """
    rows = []
    for unit in units:
        cost = costs.get(unit.run.arm, Cost(np.nan, np.nan))
        rows.append(
            {
                "arm": unit.run.arm,
                "stream": unit.run.env,
                "first_seed": unit.run.first_seed,
                "seeds": unit.run.seeds,
                "steps": unit.total,
                "recorded": unit.recorded if unit.goes_on else 0,
                "done": unit.done,
                "memory": np.nan if unit.done else cost.memory,
                "seconds": cost.seconds(unit),
            }
        )
    return pd.DataFrame(rows)


def print_plan(plan: pd.DataFrame, config: CompareConfig, console: Console) -> None:
    """Print a row for each unit of a `plan_table`, and the total."""
    table = Table(box=box.SIMPLE)
    for name in ("arm", "stream", "seeds"):
        table.add_column(name, overflow="fold")  # whole, as the ends of names tell them apart
    for name in ("steps a seed", "memory", "time"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("state")
    names = labels(list(plan["arm"].unique()))
    units: Iterable[Any] = plan.itertuples()
    for unit in units:
        last = unit.first_seed + unit.seeds - 1
        table.add_row(
            Text(visible(names[unit.arm])),
            Text(visible(unit.stream)),
            f"{unit.first_seed} to {last}" if unit.seeds > 1 else f"{last}",
            f"{unit.steps:,}",
            "" if np.isnan(unit.memory) else f"{unit.memory:,.0f} MiB",
            "" if unit.done else duration_text(unit.seconds),
            "done" if unit.done else f"from {unit.recorded:,}" if unit.recorded else "new",
        )
    console.print(table)
    steps = (plan["seeds"] * plan["steps"]).sum()
    left = plan.loc[~plan["done"], "seconds"].to_numpy(np.float64)
    text = f"{len(plan)} units, {steps:,} steps; {len(left)} units to train, "
    text += f"{duration_text(float(left.sum()))} one after the other"
    if config.engine == "local" and config.jobs > 1:
        text += f", {duration_text(beside_each_other(left, config.jobs))} by {config.jobs} jobs"
    console.print(text, soft_wrap=True)
    if not len(left):
        return
    console.print(
        "Times and memory are those of probes of arms on this machine, a few seconds long; "
        "jobs that share memory bandwidth are slower.",
        style="dim",
    )


def beside_each_other(seconds: Iterable[float], jobs: int) -> float:
    """Time until all units have ended, which are begun in their order."""
    ends = [0.0] * jobs
    for each in seconds:
        ends[ends.index(min(ends))] += each
    return max(ends)
