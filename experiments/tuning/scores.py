"""The score of a trial: how it learns beside fresh networks, and what it costs on one task."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from neoteny.core.errors import InputError
from neoteny.experiments.options.arms import ORACLE, arms_of
from neoteny.experiments.statistics.answer import ability, last_third
from neoteny.experiments.statistics.metrics import UNKNOWN, Estimate, mean_over_tasks
from neoteny.experiments.statistics.runs import read_runs
from neoteny.experiments.statistics.summary import countable_visits, paired_visits, run_matrix
from neoteny.experiments.statistics.visits import visit_values

__all__ = [
    "FEW_EPISODES",
    "OBJECTIVES",
    "REFUSED",
    "Objective",
    "Score",
    "check_reference",
    "failed",
    "score",
]

Objective = Literal["share", "online"]

FEW_EPISODES = "too few episodes ended"
REFUSED = "values that the agent refuses"

OBJECTIVES: Mapping[str, str] = {
    "share": "share of fresh networks' gain, last third of the tasks",
    "online": "mean online return over all tasks",
}
"""Names to what they measure."""


@dataclass(frozen=True)
class Score:
    """Results of a trial on the tuning seeds."""

    objective: Estimate
    """The mean over seeds; minus infinity if the trial failed."""
    first_gap: float = math.nan
    """Share of the fresh networks' gain that is missing in the first task, before which no
    plasticity can be lost: what the arm costs on a single task."""
    seeds: Mapping[int, float] = field(default_factory=dict)
    """Seed to objective."""
    failure: str = ""
    """Reason that the trial failed; empty if it did not."""

    @property
    def failed(self) -> bool:
        """True if nobody should train like this."""
        return bool(self.failure)


def failed(why: str) -> Score:
    """The worst score."""
    return Score(Estimate(-math.inf), failure=why)


def score(folder: Path, reference: pd.DataFrame, objective: Objective) -> Score:
    """Score the run in a folder beside the fresh networks.

    Args:
        folder: A run's folder.
        reference: Rows of `statistics.runs.read_runs` of the fresh networks.
        objective: A name in `OBJECTIVES`.
    """
    visits = visit_values(pd.concat([reference, read_runs(folder)], ignore_index=True))
    fresh, mine = sorted(arms_of(visits), key=lambda arm: arm.role != ORACLE)
    rows = visits[visits["arm"] == mine.name]
    if frozen := sorted(rows.loc[rows["dead"].astype(bool), "seed"].unique()):
        return failed(f"non-finite gradients, seeds {', '.join(map(str, frozen))}")
    visits = countable_visits(visits)
    beside = ability(visits, mine, fresh)
    if beside is None or not math.isfinite(beside.last.value):
        return failed(FEW_EPISODES)
    if objective == "share":
        found, seeds = beside.last, _shares(last_third(paired_visits(visits, mine, fresh)))
    else:
        found, seeds = _online(visits[visits["arm"] == mine.name])
    return Score(found, 1 - beside.first.value, seeds)


def check_reference(reference: pd.DataFrame) -> None:
    """Refuse fresh networks that gain nothing, of which there are no shares.

    Raises:
        InputError: If so.
    """
    gains = countable_visits(visit_values(reference))["gain"]
    if not gains.sum() > 0:
        raise InputError(
            "fresh networks gain nothing on these tasks, so nothing can be tuned by their gain: "
            "give longer tasks by --task-steps, or a higher --learning-rate"
        )


def _shares(late: pd.DataFrame) -> dict[int, float]:
    """Each seed's gain over the mean gain of fresh networks, whose mean is the ratio of means."""
    sums = late.groupby("seed")[["gain", "gain_fresh"]].sum()
    return _by_seed(sums["gain"] / sums["gain_fresh"].mean())


def _online(visits: pd.DataFrame) -> tuple[Estimate, dict[int, float]]:
    by_task = run_matrix(visits)
    if by_task.empty:
        return UNKNOWN, {}
    return mean_over_tasks(by_task.to_numpy(np.float64)), _by_seed(by_task.mean(axis=1))


def _by_seed(values: pd.Series) -> dict[int, float]:
    return dict(zip(map(int, values.index), map(float, values), strict=True))
