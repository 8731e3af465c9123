"""One arm beside all others: which of them it keeps more than."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import pandas as pd

from neoteny.experiments.options.config import RunConfig
from neoteny.experiments.report.drawing import save, style
from neoteny.experiments.reproductions.drawing import (
    draw_estimates,
    draw_legend,
    draw_visits,
    panels,
)
from neoteny.experiments.reproductions.evidence import Kept, kept_of, listed
from neoteny.experiments.reproductions.reproduction import Evidence, Finding
from neoteny.experiments.statistics.metrics import UNKNOWN, Estimate

__all__ = ["analyse", "contrasts", "matching", "sentence_of", "tabled"]

MOST_CURVES = 6
"""Arms whose curves are drawn; of more, the one and the plain one, and the fresh networks'."""


def analyse(evidence: Evidence) -> Finding:
    """Differences of one arm to all others; settings: `ours`, its interventions, `activation`."""
    kept = kept_of(evidence.frame)
    activation = evidence.settings.get("activation", "groupsort")
    ours = matching(evidence.runs, evidence.settings["ours"], activation)
    rows = contrasts(kept, evidence.runs, ours)
    draw = partial(_draw, kept, ours, rows)
    return Finding(tabled(kept, ours, rows), sentence_of(kept, ours, rows), draw)


def matching(
    runs: Mapping[str, RunConfig], interventions: str, activation: str = "groupsort"
) -> str:
    """The arm with these interventions, joined by ``+``; of several the first of an activation."""
    found = [arm for arm, run in runs.items() if "+".join(run.intervention) == interventions]
    return sorted(found, key=lambda arm: runs[arm].network.activation != activation)[0]


def contrasts(kept: Kept, runs: Mapping[str, RunConfig], ours: str) -> dict[str, Estimate]:
    """Share that one arm keeps more than each other one, the fresh networks left out."""
    others = [arm for arm, run in runs.items() if arm != ours and "fresh" not in run.intervention]
    return {arm: kept.contrast([ours], [arm]) for arm in others}


def tabled(kept: Kept, ours: str, rows: Mapping[str, Estimate]) -> pd.DataFrame:
    """A row an arm: its share, and how far the first one is ahead of it, in share and in gain."""
    table = kept.table([ours, *rows])
    gains = {arm: kept.ahead([ours], [arm]) for arm in rows}
    for name, found in (("ahead of it", rows), ("ahead in gain", gains)):
        columns = (found.get(arm, UNKNOWN).columns(name) for arm in (ours, *rows))
        table = table.join(pd.DataFrame(columns))
    return table


def sentence_of(kept: Kept, ours: str, rows: Mapping[str, Estimate]) -> str:
    """The arms that one keeps more or less than, and those that the data leave open."""
    found = listed(
        ((each, f"{kept.labels[arm]} ({each.text('+')})") for arm, each in rows.items()),
        "keeps more of the ability to learn than",
        "keeps less of the ability to learn than",
        "leaves open how it compares with",
        "; it ",
    )
    if len({kept.fresh[arm] for arm in (ours, *rows)}) > 1:
        found += f"; it {_with_head_start(kept, ours, list(rows))}"
    return (
        f"In the last third of the tasks {kept.labels[ours]} ({kept.share(ours).text()} of the "
        f"gain of fresh networks with its layers) {found} ({kept.seeds} seeds, 95 % intervals)."
    )


def _with_head_start(kept: Kept, ours: str, others: list[str]) -> str:
    """The arms that one gains more or less than, whatever fresh networks of its layers gain."""
    gains = [(kept.ahead([ours], [arm]), kept.labels[arm]) for arm in others]
    places = listed(gains, "more than", "less than", "no more or less for certain than")
    start = kept.head_start(ours).text()
    return (
        f"gains, with the head start of its layers ({start} of the gain of "
        f"{kept.labels[kept.plain]}), {places}"
    )


def _draw(kept: Kept, ours: str, rows: Mapping[str, Estimate], path: Path, *, narrow: bool) -> str:
    names = kept.labels
    arms = [ours, *rows]
    if len(arms) > MOST_CURVES:
        arms = [ours, *(arm for arm in rows if names[arm].startswith("none"))][:MOST_CURVES]
    fresh = dict.fromkeys(kept.fresh[arm] for arm in arms)
    with style():
        figure, (left, right) = panels(narrow, 3, 2, height=max(3.4, 1.2 + 0.3 * len(rows)))
        draw_visits(left, kept.visits, f"mean {kept.unit} of a task", [*arms, *fresh])
        draw_legend(figure, left)
        draw_estimates(
            right,
            {names[arm]: each for arm, each in rows.items()},
            f"{names[ours]}\nminus these, of their fresh networks' gains",
        )
        save(figure, path)
    return (
        f"Curves: mean {kept.unit} of each task. Differences: what {names[ours]} keeps more than "
        "each other arm in the last third of the tasks, each of the gain of fresh networks with "
        "its own layers. Bars, and bands from four seeds on, are 95 % intervals over seeds, not "
        "corrected for the number of arms."
    )
