"""Results of `tune`: every trial, and every arm at its peak."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd
import yaml
from rich.console import Console
from rich.table import Column, Table

from neoteny.experiments.options.arms import labels
from neoteny.experiments.options.config import RunConfig
from neoteny.experiments.run.provenance import command, versions
from neoteny.experiments.tuning.config import TuneConfig
from neoteny.experiments.tuning.scores import OBJECTIVES, Score
from neoteny.experiments.tuning.search import Dimension

__all__ = ["ArmTrials", "Trial", "peaks_table", "print_peaks", "trials_table", "tuned_text"]


@dataclass(frozen=True)
class Trial:
    """One setting of an arm, on all tuning seeds."""

    number: int
    """0 is the default."""
    run: RunConfig
    values: Mapping[Dimension, float]
    """Of the default those that its settings have, as far as they are known."""
    score: Score


@dataclass
class ArmTrials:
    """The trials of an arm so far."""

    run: RunConfig
    """The arm without tuning."""
    dimensions: list[Dimension]
    trials: list[Trial]

    @property
    def best(self) -> Trial:
        """The trial with the highest objective; of equals the first."""
        return max(self.trials, key=lambda trial: (trial.score.objective.value, -trial.number))

    @property
    def failed(self) -> int:
        """Trials that failed."""
        return sum(trial.score.failed for trial in self.trials)

    @property
    def at_edge(self) -> dict[str, str]:
        """Settings whose best value lies at an edge of their range, to the end."""
        values = {} if self.best.score.failed else self.best.values
        ends = {d.name: d.range.edge(value) for d, value in values.items()}
        return {name: end for name, end in ends.items() if end}


def settings_text(trial: Trial) -> str:
    """The options of a trial, such as `adamo:half_life=2tasks learning_rate=0.001`."""
    agent = [f"{d.field}={value:g}" for d, value in trial.values.items() if not d.owner]
    return " ".join(["+".join(trial.run.intervention), *agent])


def trials_table(arms: Sequence[ArmTrials]) -> pd.DataFrame:
    """One row a trial: arm, number, options, values by setting, score, objective of each seed."""
    rows = [
        {
            "arm": arm.run.arm,
            "trial": trial.number,
            "options": settings_text(trial),
            "failure": trial.score.failure,
            **trial.score.objective.columns("objective"),
            "first_visit_gap": trial.score.first_gap,
            **{d.name: float(value) for d, value in trial.values.items()},
            **{f"seed_{seed}": value for seed, value in trial.score.seeds.items()},
        }
        for arm in arms
        for trial in arm.trials
    ]
    return pd.DataFrame(rows)


def peaks_table(arms: Sequence[ArmTrials]) -> pd.DataFrame:
    """One row an arm: its default and its best trial; the intervals are of the tuning seeds."""
    rows = [
        {
            "arm": arm.run.arm,
            **arm.trials[0].score.objective.columns("default"),
            **arm.best.score.objective.columns("best"),
            "options": settings_text(arm.best),
            "trial": arm.best.number,
            "first_visit_gap": arm.best.score.first_gap,
            "default_first_visit_gap": arm.trials[0].score.first_gap,
            "at_edge": " ".join(f"{name}:{end}" for name, end in arm.at_edge.items()),
            "trials": len(arm.trials),
            "failed": arm.failed,
        }
        for arm in arms
    ]
    return pd.DataFrame(rows)


def print_peaks(arms: Sequence[ArmTrials], config: TuneConfig, console: Console) -> None:
    """Print the table of peaks."""
    table = Table(
        *(Column("arm", overflow="fold"), "default", "best", Column("at", overflow="fold")),
        *("first-task cost", "trials", "failed"),
        caption="95 % intervals over the tuning seeds; cost: missing share in the first task",
        title=f"each arm at its peak: {OBJECTIVES[config.objective]}",
    )
    names = labels([arm.run.arm for arm in arms])
    for arm in arms:
        table.add_row(
            names[arm.run.arm],
            arm.trials[0].score.objective.text(unknown="failed"),
            arm.best.score.objective.text(unknown="failed"),
            settings_text(arm.best) if arm.best.number else "its default",
            f"{arm.best.score.first_gap:.2f}",
            str(len(arm.trials)),
            str(arm.failed),
        )
    console.print(table)


def tuned_text(arms: Sequence[ArmTrials], config: TuneConfig) -> str:
    """The content of tuned.yaml."""
    content = {
        "agent": config.agent,
        "env": config.env,
        "preset": config.preset,
        "steps": config.steps,
        **({} if config.task_steps is None else {"task_steps": config.task_steps}),
        "objective": OBJECTIVES[config.objective],
        "seeds": config.seed_list,
        "trials": config.trials,
        "sampler": config.sampler,
        "sampler_seed": config.sampler_seed,
        "command": command(),
        "versions": versions(),
        "arms": {arm.run.arm: _arm(arm, config) for arm in arms if not arm.best.score.failed},
    }
    return yaml.safe_dump(_plain(content), sort_keys=False, allow_unicode=True, width=100)


def _arm(arm: ArmTrials, config: TuneConfig) -> dict[str, Any]:
    best = arm.best
    return {
        "options": "+".join(best.run.intervention),
        "own": dict(_own(best.run, config)),
        "objective": best.score.objective._asdict(),
        "default": arm.trials[0].score.objective._asdict(),
        "first_visit_gap": best.score.first_gap,
        "trial": best.number,
        "trials": len(arm.trials),
        "failed": arm.failed,
        "ranges": {d.name: str(d.range) for d in arm.dimensions},
        "at_edge": arm.at_edge,
    }


def _own(run: RunConfig, config: TuneConfig) -> Iterator[tuple[str, Any]]:
    """The options of agent and network that were tuned or crossed, with the arm's values."""
    for part, usual in ((run.hyper, config.hyper), (run.network, config.network)):
        for name, value in asdict(part).items():
            if name in run.named or value != getattr(usual, name):
                yield name, value


def _plain(value: Any) -> Any:
    """A value of plain types, such as YAML knows; numbers that are none are left blank."""
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, float):
        return round(float(value), 6) if math.isfinite(value) else None
    return value
