"""Cost of the diagnostics of a run, as a share of its training.

python benchmarks/diagnostics.py --preset paper --out results/speed

An iteration of the preset is timed beside each group of diagnostics, in turns, by the processor
time of this process, so that other work on the machine weighs little. The iteration is cut to a
part (fewer steps a rollout and fewer minibatches, of the same size) and counted as many times.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import tyro
from _measure import prepare
from _publish import Report, publish

from neoteny.agents import PPO, PPOConfig
from neoteny.experiments.options.config import RunConfig
from neoteny.experiments.options.presets import preset_values
from neoteny.experiments.run.costly_diagnostics import CostlyDiagnostics
from neoteny.experiments.run.run_streams import make_run_stream
from neoteny.experiments.run.runner import PROBE
from neoteny.plasticity.diagnostics import change_between, diagnose, weight_spectra

ITERATION, CHEAP = "iteration", "weights, features"
COSTLY = ("activity", "jacobians", "kernel", "probe")


@dataclass(frozen=True)
class Config:
    """Options of the benchmark."""

    preset: str = "paper"
    """Preset of PPO whose iterations are timed."""
    part: int = 8
    """The iteration is cut to one part of so many."""
    windows: int = 3
    """Timed calls of each, after one that is not counted."""
    threads: int | None = 1
    """Threads for CPU arithmetic."""
    out: Path | None = None
    """Folder for the table and the CSV; unset, they are only printed."""
    quick: bool = False
    """Try everything out on tiny sizes."""


def works(config: Config) -> tuple[RunConfig, dict[str, Callable[[], Any]]]:
    """The run that a preset describes, and what is timed."""
    run = RunConfig(**preset_values(config.preset))
    assert isinstance(run.hyper, PPOConfig)
    small = replace(
        run.hyper,
        num_steps=max(1, run.hyper.num_steps // config.part),
        num_minibatches=max(1, run.hyper.num_minibatches // config.part),
    )
    if config.quick:
        small = replace(small, num_envs=32, num_steps=8, num_epochs=1, num_minibatches=1)
    cut = replace(run, hyper=small)
    envs = make_run_stream(cut)
    agent = PPO.build(cut.agent_settings, envs)
    agent.iterate(envs)
    before = [parameter.detach().clone() for parameter in agent.network.parameters()]

    def cheap() -> None:
        [parameter.detach().clone() for parameter in agent.network.parameters()]
        spectra = weight_spectra(agent.network)
        diagnose(agent.network, agent.recent(PROBE), spectra=spectra)
        change_between(before, list(agent.network.parameters()))

    timed: dict[str, Callable[[], Any]] = {ITERATION: lambda: agent.iterate(envs), CHEAP: cheap}
    for group in COSTLY:
        costly = CostlyDiagnostics((group,))
        timed[group] = lambda costly=costly: costly.measure(  # type: ignore[misc]
            agent.network, agent.recent(PROBE), agent.recent_targets(PROBE), begins=True
        )
    return run, timed


def measure(config: Config) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The summary and every timed call."""
    run, timed = works(config)
    rows = []
    for window in range(config.windows + 1):
        for what, work in timed.items():
            started = time.process_time()
            work()
            seconds = time.process_time() - started
            rows.append({"what": what, "window": window, "seconds": seconds})
    windows = pd.DataFrame(rows)
    counted = windows[windows["window"] > 0].groupby("what")["seconds"]
    seconds = {what: statistics.median(group) for what, group in counted}
    iteration = config.part * seconds[ITERATION]
    task = math.ceil((run.task_steps or run.steps) / run.hyper.steps_per_iteration)
    summary = []
    for what in (CHEAP, *COSTLY):
        # Both ends of a task, and every so many iterations from its run's first one on.
        calls = 2 + (task - 2) / run.diagnose_every if what == CHEAP else 2
        summary.append(
            {
                "diagnostics": what,
                "default": "yes" if what == CHEAP else "no",
                "a call, ms": 1e3 * seconds[what],
                "calls a task": round(calls, 1),
                "share of training, %": 100 * calls * seconds[what] / (task * iteration),
            }
        )
    return pd.DataFrame(summary), windows


def main(config: Config) -> None:
    """Measure, print and write."""
    if config.quick:
        config = replace(config, windows=1)
    prepare(config.threads)
    table, windows = measure(config)
    title = f"Diagnostics in preset {config.preset}: processor time beside an iteration's"
    publish(Report("diagnostics", title, table, config, windows))


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
