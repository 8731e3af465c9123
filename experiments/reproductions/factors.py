"""GroupSort, biases and AdamO, each with and without the others: which of them does it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pandas as pd

from neoteny.experiments.options.config import RunConfig
from neoteny.experiments.report.drawing import save, style
from neoteny.experiments.reproductions.drawing import draw_estimates, panels
from neoteny.experiments.reproductions.evidence import Kept, compared, kept_of, verdict
from neoteny.experiments.reproductions.reproduction import Evidence, Finding
from neoteny.experiments.statistics.metrics import Estimate

__all__ = ["analyse"]

LEVELS: dict[str, Callable[[RunConfig], bool]] = {
    "GroupSort": lambda run: run.network.activation == "groupsort",
    "no biases": lambda run: not run.network.bias,
    "AdamO": lambda run: run.intervention != ("none",),
}
"""The factors, and the arms that have them."""


def analyse(evidence: Evidence) -> Finding:
    """Main effects of the three factors, and the whole step from the plain arm to the paper's."""
    kept = kept_of(evidence.frame)
    runs = {arm: run for arm, run in evidence.runs.items() if "fresh" not in run.intervention}
    have = {name: {arm for arm in runs if level(runs[arm])} for name, level in LEVELS.items()}
    plain = [arm for arm in runs if not any(arm in group for group in have.values())]
    whole = [arm for arm in runs if all(arm in group for group in have.values())]
    effects = {
        name: kept.contrast(sorted(group), [arm for arm in runs if arm not in group])
        for name, group in have.items()
    }
    rows = {"all three": kept.contrast(whole, plain)} | effects
    start = kept.head_start(whole[0])
    table = pd.concat([kept.table(runs), _effects_table(kept, rows)], ignore_index=True)
    shares = {_cell(runs[arm]): kept.share(arm) for arm in runs}
    sentence = _sentence(rows, start, kept.ahead(whole, plain), kept.seeds)
    return Finding(table, sentence, partial(_draw, shares, rows))


def _effects_table(kept: Kept, rows: dict[str, Estimate]) -> pd.DataFrame:
    return pd.DataFrame(
        {"arm": f"effect of {name}", "seeds": kept.seeds} | each.columns("share")
        for name, each in rows.items()
    )


def _sentence(rows: dict[str, Estimate], start: Estimate, gain: Estimate, seeds: int) -> str:
    """Sentence on the worth of each factor, by its interval."""
    words = {
        name: verdict(each, "helps", "harms", "leaves open whether it helps")
        for name, each in rows.items()
    }
    ours, plain = "GroupSort without biases under AdamO", "ReLU with biases under Adam"
    whole = compared(rows["all three"], ours, plain)
    parts = [
        f"{name} {words[name]} ({each.text('+')})"
        for name, each in rows.items()
        if name != "all three"
    ]
    return (
        f"In the last third of the tasks {whole} ({rows['all three'].text('+')} of the gain of "
        f"fresh networks with the same layers); on average over the other two factors "
        f"{', '.join(parts)}; fresh networks of GroupSort without biases gain {start.text()} of "
        "what those of ReLU with biases gain, and with that head start the whole step is worth "
        f"{gain.text('+')} ({seeds} seeds, 95 % intervals)."
    )


def _cell(run: RunConfig) -> str:
    """The levels of an arm."""
    names = (
        {"relu": "ReLU", "groupsort": "GroupSort"}[run.network.activation],
        "biases" if run.network.bias else "no biases",
        "Adam" if run.intervention == ("none",) else "AdamO",
    )
    return ", ".join(names)


def _draw(
    shares: dict[str, Estimate], rows: dict[str, Estimate], path: Path, *, narrow: bool
) -> str:
    with style():
        figure, (left, right) = panels(narrow, 1, 1)
        draw_estimates(
            left, shares, "gain late in the stream,\nof fresh networks' with its layers", line=1
        )
        draw_estimates(right, rows, "difference that it makes")
        save(figure, path)
    return (
        "Shares: gain of each arm in the last third of the tasks, of that of networks with its "
        "layers that start each task afresh. Differences: what each factor makes, on average over "
        "the other two, and all three together. Bars are 95 % intervals over seeds; filled points "
        "are those whose interval does not hold the line."
    )
