"""Abrupt against gradual change: how much of its early gain a network loses late in each stream."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from neoteny.experiments.options.arms import labels
from neoteny.experiments.report.drawing import PALETTE, light_axes, save, style
from neoteny.experiments.reproductions.drawing import draw_estimates, panels
from neoteny.experiments.reproductions.evidence import listed
from neoteny.experiments.reproductions.reproduction import Evidence, Finding
from neoteny.experiments.statistics.metrics import UNKNOWN, Estimate, mean_of_runs
from neoteny.experiments.statistics.visits import visit_values

__all__ = ["Stream", "analyse", "losses"]


class Stream(NamedTuple):
    """A rate of change, and how abrupt it is."""

    rate: str
    share: float
    """Of the labels, that a task replaces: 1 is abrupt."""


Losses = Mapping[tuple[Stream, str], pd.DataFrame]
"""By stream and arm: gains ``early`` and ``late``, and the share ``lost``, a row a seed."""


def analyse(evidence: Evidence) -> Finding:
    """The share of its early gain that each arm loses, in abrupt streams and in gradual ones.

    Settings: `turnovers`, rates to the samples in which as many labels are replaced as there are,
    and `shares`, of the labels that a task replaces, 1 first.
    """
    turnovers, shares = evidence.settings["turnovers"], evidence.settings["shares"]
    found: dict[tuple[Stream, str], pd.DataFrame] = {}
    curves: dict[tuple[Stream, str], pd.Series] = {}
    for stream in (Stream(rate, share) for rate in turnovers for share in shares):
        start = f"{stream.rate}-{stream.share:g}-"
        frames = [frame for name, frame in evidence.frames.items() if name.startswith(start)]
        visits = visit_values(pd.concat(frames, ignore_index=True))
        names = labels(list(visits["arm"].unique()))
        for arm, mine in visits.groupby("arm", sort=False):
            key = stream, names[str(arm)].partition("-")[0]  # each is of one strength and network
            found[key] = losses(mine, turnovers[stream.rate])
            turnover = mine["start"] // turnovers[stream.rate]
            curves[key] = mine.groupby(turnover)["gain"].mean()
    arms = [arm for arm in dict.fromkeys(arm for _, arm in found) if "fresh" not in arm]
    rates = list(turnovers)
    draw = partial(_draw, curves, _contrasts(found, arms, rates, shares))
    return Finding(_table(found, shares), _sentence(found, arms, rates, shares), draw)


def losses(visits: pd.DataFrame, turnover: int) -> pd.DataFrame:
    """Gains of an arm early and late in a stream, and the share of the early one that is lost.

    Early is the second turnover of the labels, when the beginning is over in gradual streams, too;
    late is the last third of the samples. What an arm still knows of the labels raises its gain in
    gradual streams, early and late alike, so that it is set beside itself and not beside fresh
    networks, which know nothing.

    Args:
        visits: Those of one arm, of `statistics.visits.visit_values`.
        turnover: Samples in which as many labels are replaced as there are.

    Returns:
        ``early``, ``late`` and ``lost``, a row a seed; ``lost`` is NaN without an early gain.
    """
    start, total = visits["start"], visits["end"].max()
    groups = {
        "early": (start >= turnover) & (start < 2 * turnover),
        "late": start >= total - total // 3,
    }
    gains = pd.DataFrame(
        {name: visits[rows].groupby("seed")["gain"].mean() for name, rows in groups.items()}
    )
    return gains.assign(lost=1 - gains["late"] / gains["early"].where(gains["early"] > 0))


def _lost(rows: pd.DataFrame) -> Estimate:
    return mean_of_runs(rows["lost"].to_numpy(np.float64))


def _ahead(found: Losses, rate: str, share: float, arm: str) -> Estimate:
    """The share that is lost under abrupt change minus that under gradual change, by seed."""
    abrupt, gradual = (found[Stream(rate, each), arm]["lost"] for each in (1.0, share))
    return mean_of_runs((abrupt - gradual).to_numpy(np.float64))


def _contrasts(
    found: Losses, arms: Sequence[str], rates: Sequence[str], shares: Sequence[float]
) -> dict[str, Estimate]:
    return {
        f"{arm}, {rate}, {share:g}": _ahead(found, rate, share, arm)
        for arm in arms
        for rate in rates
        for share in shares[1:]
    }


def _table(found: Losses, shares: Sequence[float]) -> pd.DataFrame:
    """A row a stream and arm: gains, the share lost, and how much more the abrupt one loses."""
    rows = []
    for (stream, arm), each in found.items():
        ahead = _ahead(found, stream.rate, stream.share, arm)
        if stream.share == shares[0]:
            ahead = UNKNOWN
        row: dict[str, Any] = {"arm": arm, **stream._asdict(), "seeds": len(each)}
        row |= {f"gain {name}": float(each[name].mean()) for name in ("early", "late")}
        rows.append(row | _lost(each).columns("lost") | ahead.columns("abrupt loses more"))
    return pd.DataFrame(rows)


def _sentence(
    found: Losses, arms: Sequence[str], rates: Sequence[str], shares: Sequence[float]
) -> str:
    """The arms and rates at which gradual change takes less, more, or neither for certain."""
    share = shares[-1]
    rows = []
    for arm, rate in itertools.product(arms, rates):
        gone = (_lost(found[Stream(rate, each), arm]) for each in (share, 1.0))
        text = f"{arm} at the {rate} rate ({' beside '.join(map(Estimate.text, gone))})"
        rows.append((_ahead(found, rate, share, arm), text))
    taken = listed(
        rows,
        "less than abrupt change in",
        "more than abrupt change in",
        "a share that the data do not tell from abrupt change's in",
    )
    seeds = len(next(iter(found.values())))
    return (
        f"Of the gain early in a stream, gradual change ({share:.0%} of the labels a task) with as "
        f"many labels replaced in all takes {taken} ({seeds} seeds, 95 % intervals; "
        "below 0 the gain grows)."
    )


def _draw(
    curves: Mapping[tuple[Stream, str], pd.Series],
    contrasts: Mapping[str, Estimate],
    path: Path,
    *,
    narrow: bool,
) -> str:
    rates = list(dict.fromkeys(stream.rate for stream, _ in curves))
    arms = [arm for arm in dict.fromkeys(arm for _, arm in curves) if "fresh" not in arm]
    shares = list(dict.fromkeys(stream.share for stream, _ in curves))
    lines = ["-", "--", ":", "-."]
    with style():
        figure, places = panels(narrow, *(2 for _ in rates), 2)
        for panel, rate in zip(places, rates, strict=False):
            light_axes(panel)
            for (stream, arm), curve in curves.items():
                if stream.rate == rate and arm in arms:
                    panel.plot(
                        *(curve.index + 1, curve),
                        color=PALETTE[arms.index(arm)],
                        ls=lines[shares.index(stream.share)],
                        label=f"{arm}, {stream.share:g}",
                    )
            panel.set_title(f"{rate} rate", loc="left")
            panel.set_xlabel("turnover of the labels")
        places[0].set_ylabel("gain in accuracy")
        places[0].legend(frameon=False, fontsize=7)
        draw_estimates(places[-1], contrasts, "lost under abrupt change\nminus under gradual")
        save(figure, path)
    return (
        "Curves: mean gain in accuracy while as many labels are replaced as there are, by the "
        "share of the labels that a task replaces (1 is abrupt). Differences: share of the early "
        "gain that is lost late under abrupt change, minus that under gradual change. Bars are "
        "95 % intervals over seeds; filled points are those whose interval does not hold the line."
    )
