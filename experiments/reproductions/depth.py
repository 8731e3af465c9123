"""Depth: how deep a network may be that still learns."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from neoteny.experiments.report.drawing import BASELINE_COLOUR, PALETTE, light_axes, save, style
from neoteny.experiments.reproductions.drawing import draw_estimates, panels
from neoteny.experiments.reproductions.evidence import kept_of, listed
from neoteny.experiments.reproductions.reproduction import Evidence, Finding
from neoteny.experiments.statistics.metrics import Estimate

__all__ = ["analyse"]

Rows = dict[int, tuple[Estimate, Estimate, Estimate]]
"""Depth to the shares of the paper's arm and of the plain one, and their difference."""


def analyse(evidence: Evidence) -> Finding:
    """The paper's arm beside the plain one at each depth, of shallow fresh networks' gain."""
    kept = kept_of(evidence.frame)
    arms: dict[int, dict[bool, str]] = {}
    for arm, run in evidence.runs.items():
        if run.intervention != ("fresh",):
            depth, plain = len(run.network.widths), run.intervention == ("none",)
            arms.setdefault(depth, {})[plain] = arm
    rows: Rows = {
        depth: (
            kept.share(pair[False]),
            kept.share(pair[True]),
            kept.contrast([pair[False]], [pair[True]]),
        )
        for depth, pair in sorted(arms.items())
    }
    table = kept.table([arm for _, pair in sorted(arms.items()) for arm in pair.values()])
    return Finding(table, sentence_of(rows, kept.seeds), partial(_draw, rows))


def sentence_of(rows: Rows, seeds: int) -> str:
    """The depths at which the paper's arm keeps more, less, or neither for certain."""
    depths = (
        (ahead, f"{depth} ({ours.value:.2f} beside {plain.value:.2f}, {ahead.text('+')})")
        for depth, (ours, plain, ahead) in rows.items()
    )
    found = listed(
        depths,
        "more than ReLU under Adam at",
        "less than ReLU under Adam at",
        "the difference is left open at",
    )
    return (
        "By the number of layers, GroupSort under AdamO keeps, of shallow fresh networks' gain, "
        f"{found} ({seeds} seeds, 95 % intervals)."
    )


def _draw(rows: Rows, path: Path, *, narrow: bool) -> str:
    with style():
        figure, (left, right) = panels(narrow, 1, 1)
        light_axes(left)
        looks = {"GroupSort, AdamO": (PALETTE[0], "s"), "ReLU, Adam": (BASELINE_COLOUR, "o")}
        for place, (label, (colour, marker)) in enumerate(looks.items()):
            shares = [each[place] for each in rows.values()]
            left.errorbar(
                list(rows),
                [each.value for each in shares],
                yerr=[
                    [max(each.value - each.low, 0) for each in shares],
                    [max(each.high - each.value, 0) for each in shares],
                ],
                color=colour,
                marker=marker,
                label=label,
            )
        left.set_xscale("log", base=2)
        left.set_xticks(list(rows), [str(depth) for depth in rows])
        left.set_xlabel("layers")
        left.set_ylabel("gain late in the stream, of fresh networks'")
        left.legend(frameon=False)
        ahead = {f"{depth} layers": each[2] for depth, each in rows.items()}
        draw_estimates(right, ahead, "AdamO with GroupSort minus Adam with ReLU")
        save(figure, path)
    return (
        "Gain in the last third of the tasks, of that of fresh networks with four layers, by the "
        "number of layers, and the difference of the two arms. Bars are 95 % intervals over seeds."
    )
