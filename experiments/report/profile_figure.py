"""Figure of performance profiles: how many runs and tasks score above each level."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.ticker import PercentFormatter

from neoteny.experiments.options.arms import arms_of
from neoteny.experiments.report.drawing import (
    NARROW,
    RINGED,
    legend,
    legend_height,
    looks,
    new_figure,
    quiet,
    save,
    style,
)
from neoteny.experiments.statistics.comparisons import profile
from neoteny.experiments.statistics.metrics import Array
from neoteny.experiments.statistics.summary import countable_visits
from neoteny.experiments.statistics.visits import SCALES

__all__ = ["Profile", "profile_figure", "profiles"]

FEWEST_RUNS = 3
"""Runs that an arm needs to be drawn."""
LEVELS = 61
"""Levels of the score at which profiles are computed."""
Profile = tuple[Array, Array, Array, Array]
"""Levels, share of runs and tasks above each, and the ends of its band, each (P,)."""


def profiles(visits: pd.DataFrame) -> dict[str, Profile]:
    """Performance profiles of the arms with at least `FEWEST_RUNS` runs.

    Args:
        visits: Result of `statistics.visits.visit_values`.

    Returns:
        Arm to its profile, over levels and tasks that all of them share; empty for fewer than two
        arms.
    """
    counted = countable_visits(visits).dropna(subset="value")
    seeds = counted.groupby("arm")["seed"].nunique()
    arms = [arm.name for arm in arms_of(visits) if seeds.get(arm.name, 0) >= FEWEST_RUNS]
    counted = counted[counted["arm"].isin(arms)]
    played = counted.groupby("task_name")["arm"].nunique()
    counted = counted[counted["task_name"].map(played) == len(arms)]
    if len(arms) < 2 or counted.empty:
        return {}
    means = counted.groupby(["arm", "seed", "task_name"])["value"].mean()
    low, high = float(means.min()), float(means.max())
    margin = 0.02 * (high - low)  # every profile begins at 1 and ends at 0
    levels = np.linspace(low - margin, high + margin, LEVELS)
    return {name: (levels, *profile(counted, name, levels)) for name in arms}


def profile_figure(
    visits: pd.DataFrame,
    found: dict[str, Profile],
    path: Path,
    title: str = "",
    narrow: bool = False,
) -> str | None:
    """Draw each arm's profile, of the result of `profiles`, with its band.

    Returns:
        The caption; None, and no file, without profiles.
    """
    if not found:
        return None
    counted = visits[visits["arm"].isin(found)]
    styles = {name: look for name, look in looks(arms_of(visits)).items() if name in found}
    unit = str(visits["unit"].iloc[0])
    with style():
        width = NARROW if narrow else 10
        figure = new_figure(width, (3.0 if narrow else 3.6) + legend_height(styles, width))
        panel = figure.add_subplot()
        quiet(panel)
        for name, look in styles.items():
            levels, share, below, above = found[name]
            panel.fill_between(levels, below, above, color=look.colour, alpha=0.18, lw=0)
            marks = look.marks(LEVELS)
            panel.plot(levels, share, **look.drawn, **RINGED, ms=4.5, markevery=marks)
        panel.set_ylim(-0.02, 1.02)
        panel.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        panel.set_xlabel(f"score: {SCALES[unit]}" if unit in SCALES and not narrow else unit)
        panel.set_ylabel("runs and tasks above it")
        legend(figure, styles, title, counted, "95 % bootstrap bands over whole runs")
        save(figure, path)
    return (
        "Performance profiles: the share of runs and tasks whose score is above each level, of the "
        "tasks that all arms finished, means over the visits of a task. An arm whose line lies "
        "above another's at every level is the better one throughout; where lines cross, it "
        "depends on the level. Bands are 95 % percentile bootstrap over whole runs, and too narrow "
        "with few runs."
    )
