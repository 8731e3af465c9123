"""AdamO against the same penalty in the loss."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import pandas as pd

from neoteny.experiments.report.drawing import save, style
from neoteny.experiments.reproductions.drawing import (
    draw_estimates,
    draw_legend,
    draw_visits,
    panels,
)
from neoteny.experiments.reproductions.evidence import Kept, compared, kept_of
from neoteny.experiments.reproductions.reproduction import Evidence, Finding
from neoteny.experiments.statistics.metrics import Estimate

__all__ = ["analyse"]


def analyse(evidence: Evidence) -> Finding:
    """The difference between the two forms at each strength, and over all."""
    kept = kept_of(evidence.frame)
    runs = {arm: run.intervention[0] for arm, run in evidence.runs.items()}
    coupled = [arm for arm, text in runs.items() if text.startswith("isometry_loss")]
    pairs = {_strength(runs[arm]): (_beside(runs, arm), arm) for arm in coupled}
    rows = {f"λ = {s:g}": kept.contrast([ours], [other]) for s, (ours, other) in pairs.items()}
    ours, others = zip(*pairs.values(), strict=True)
    rows["all"] = kept.contrast(ours, others)
    table = kept.table(runs).assign(gram=[_gram(evidence.frame, arm) for arm in runs])
    sentence = _sentence(rows, table, kept.seeds)
    return Finding(table, sentence, partial(_draw, kept, rows))


def _strength(text: str) -> float:
    return float(text.partition("=")[2].partition(",")[0])


def _beside(runs: dict[str, str], coupled: str) -> str:
    """The arm of AdamO with the strength of a coupled one."""
    strength = _strength(runs[coupled])
    return next(
        arm
        for arm, text in runs.items()
        if text.startswith("adamo") and _strength(text) == strength
    )


def _gram(frame: pd.DataFrame, arm: str) -> float:
    """Deviation from isometry in the last task, the mean over hidden layers and seeds."""
    columns = [name for name in frame.columns if re.fullmatch(r".*/layer\d+/gram_deviation", name)]
    rows = frame[(frame["arm"] == arm) & (frame["visit"] == frame["visit"].max())]
    return float(rows[columns].mean().mean())


def _sentence(rows: dict[str, Estimate], table: pd.DataFrame, seeds: int) -> str:
    words = compared(rows["all"], "AdamO", "the same penalty in the loss")
    each = ", ".join(f"{one.text('+')} at {name}" for name, one in rows.items() if name != "all")
    reached = ", ".join(
        f"{arm} {gram:.3g}" for arm, gram in zip(table["arm"], table["gram"], strict=True)
    )
    return (
        f"In the last third of the tasks {words} ({rows['all'].text('+')} of a fresh network's "
        f"gain over all strengths; {each}; {seeds} seeds, 95 % intervals); deviations from "
        f"isometry at the end: {reached}."
    )


def _draw(kept: Kept, rows: dict[str, Estimate], path: Path, *, narrow: bool) -> str:
    with style():
        figure, (left, right) = panels(narrow, 3, 2)
        draw_visits(left, kept.visits, f"mean {kept.unit} of a task")
        draw_legend(figure, left)
        draw_estimates(right, rows, "decoupled minus coupled,\nof a fresh network's gain")
        save(figure, path)
    return (
        f"Curves: mean {kept.unit} of each task. Differences: what AdamO keeps more than the "
        "penalty in the loss, late in the stream, at the same strength. Bars, and bands from four "
        "seeds on, are 95 % intervals over seeds."
    )
