"""The paper's plots of its stream of games."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.image import AxesImage

from neoteny.experiments.options.arms import arms_of
from neoteny.experiments.report.drawing import GREY, INK, Look, light_axes, looks, save, style
from neoteny.experiments.reproductions.drawing import draw_estimates, draw_legend, panels
from neoteny.experiments.reproductions.evidence import Kept, kept_of
from neoteny.experiments.reproductions.matches import contrasts, matching, sentence_of, tabled
from neoteny.experiments.reproductions.reproduction import Evidence, Finding
from neoteny.experiments.statistics.metrics import Estimate, mean_of_runs
from neoteny.experiments.statistics.runs import display_names

__all__ = ["analyse", "changes", "cycle_sums"]


def analyse(evidence: Evidence) -> Finding:
    """Shares that the paper's arm keeps more than each other, and changes over the cycles."""
    kept = kept_of(evidence.frame)
    ours = matching(evidence.runs, evidence.settings["ours"])
    rows = contrasts(kept, evidence.runs, ours)
    found = changes(kept.visits)
    ends = pd.DataFrame(found[arm].columns("last minus first cycle") for arm in (ours, *rows))
    table = tabled(kept, ours, rows).join(ends)
    return Finding(table, sentence_of(kept, ours, rows), partial(_draw, kept, ours))


def cycle_sums(visits: pd.DataFrame, column: str = "value") -> pd.DataFrame:
    """Means over the games of each cycle, finished by the run: (arm, seed) by cycle."""
    games = visits["task_name"].nunique()
    groups = visits.groupby(["arm", "seed", "cycle"])[column].agg(["mean", "size"])
    whole = groups.loc[groups["size"] == games, "mean"]
    table: pd.DataFrame = whole.unstack("cycle")
    return table


def changes(visits: pd.DataFrame) -> dict[str, Estimate]:
    """Score in the last cycle minus that in the first, of each arm."""
    sums = cycle_sums(visits)
    return {
        str(arm): mean_of_runs((runs.iloc[:, -1] - runs.iloc[:, 0]).to_numpy(np.float64))
        for arm, runs in sums.groupby(level="arm")
    }


def _draw(kept: Kept, ours: str, path: Path, *, narrow: bool) -> str:
    visits, found = kept.visits, looks(arms_of(kept.visits))
    with style():
        figure, places = panels(narrow, 1, 1, 1, rows=2, height=2.9)
        curves, final, change, share, first, second = places
        _lines(curves, cycle_sums(visits), found, "mean score of a cycle")
        _lines(final, cycle_sums(visits, "final_score"), found, "final score of a cycle")
        sums = cycle_sums(visits)
        relative = sums.div(sums.iloc[:, 0].groupby(level="arm").mean(), axis=0, level="arm")
        _lines(share, relative, found, "score, of the first cycle's")
        rows = {found[arm].label: each for arm, each in changes(visits).items()}
        draw_estimates(change, rows, "last minus first cycle")
        shades = Normalize(visits["value"].min(), visits["value"].max())
        _heat(first, visits, ours, found, shades)
        image = _heat(second, visits, next(iter(found)), found, shades)
        figure.colorbar(image, ax=second, label="score")
        draw_legend(figure, curves)
        save(figure, path)
    return (
        "Scores have 0 at random actions and 1 at an agent trained on one game alone. By cycle: "
        "mean and final score over the games, and the mean relative to the first cycle; their "
        "change with 95 % intervals over seeds; scores by game and cycle of two arms."
    )


def _lines(panel: Axes, table: pd.DataFrame, found: dict[str, Look], label: str) -> None:
    light_axes(panel)
    for arm, look in found.items():
        line = table.loc[[arm]].mean()
        panel.plot(line.index + 1, line, **look.drawn, ms=4, label=look.label)
    panel.set_xlabel("cycle")
    panel.set_title(label, loc="left")
    panel.set_xticks(range(1, table.shape[1] + 1, max(1, table.shape[1] // 5)))


def _heat(
    panel: Axes, visits: pd.DataFrame, arm: str, found: dict[str, Look], shades: Normalize
) -> AxesImage:
    table = visits[visits["arm"] == arm].pivot_table("value", "task_name", "cycle", "mean")
    shown = display_names(table.index)
    image = panel.imshow(table, aspect="auto", cmap="viridis", norm=shades)
    panel.set_yticks(range(len(table)), [shown[name] for name in table.index])
    panel.set_xticks(range(table.shape[1]), list(map(str, table.columns.to_numpy() + 1)))
    panel.tick_params(color=GREY, length=3)
    panel.set_xlabel("cycle")
    panel.set_title(found[arm].label, loc="left")
    for (row, column), value in np.ndenumerate(table.to_numpy()):
        if table.shape[1] <= 6:
            ink = INK if shades(value) > 0.6 else "white"
            panel.text(column, row, f"{value:.2f}", ha="center", va="center", color=ink, size=7)
    return image
