"""Curves for figures: bin averages on a grid that all runs share; no bin crosses a switch."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd

from neoteny.experiments.statistics.metrics import Array, mean_curve

POINTS = 480
"""Bins over a whole figure; a bin is at least as wide as a row."""


@dataclass(frozen=True)
class Curve:
    """Mean over runs on a grid, with its interval; NaN breaks the line at a switch."""

    x: Array
    mean: Array
    low: Array
    high: Array
    runs: Array
    """(R, P) the runs themselves."""


def common_switches(frame: pd.DataFrame, axis: str = "step") -> list[float]:
    """Positions along an axis at which the runs switch tasks, if they are the same in all runs.

    Args:
        frame: rows of `read_runs`.
        axis: ``"step"``, or ``"game_step"`` for rows of one task.

    Returns:
        The positions at which a new visit begins, the first one left out; of the run that got
        furthest. Empty if the runs disagree.
    """
    rows = frame[["arm", "seed", "visit", axis, "width"]]
    begins = rows.groupby(["arm", "seed", "visit"], sort=False).first()
    starts = (begins[axis] - begins["width"]).groupby(["arm", "seed"], sort=False)
    lists = [sorted(run.to_list()[1:]) for _, run in starts]
    longest = max(lists, key=len)
    agree = all(run == longest[: len(run)] for run in lists)
    return longest if agree else []


def curve(
    frame: pd.DataFrame, column: str, edges: Array, switches: list[float], axis: str = "step"
) -> Curve:
    """Average a column over bins within each run, then over runs.

    Args:
        frame: the rows of one arm.
        column: name of the values; NaN rows are left out.
        edges: (P + 1,) bin edges, from `bin_edges`.
        switches: positions at which the line is broken.
        axis: the column of x.

    Returns:
        The curve, with bins in which no run has a value left out.
    """
    values = frame[column].to_numpy(np.float64)
    there = np.isfinite(values)
    values, places = values[there], frame[axis].to_numpy()[there]
    run, seeds = pd.factorize(frame["seed"].to_numpy()[there])
    points = len(edges) - 1
    # A row stands for the steps up to its own: it belongs to the bin that ends at or after it.
    bins = np.clip(np.searchsorted(edges, places, side="left") - 1, 0, points - 1)
    cells, size = run * points + bins, len(seeds) * points
    count = np.bincount(cells, minlength=size)
    total = np.bincount(cells, values, minlength=size)
    curves = np.where(count > 0, total / np.maximum(count, 1), np.nan).reshape(-1, points)
    used = np.isfinite(curves).any(axis=0)
    x = ((edges[1:] + edges[:-1]) / 2)[used]
    found = (x, *mean_curve(curves[:, used]), curves[:, used])
    at = np.searchsorted(x, switches)
    at = at[(at > 0) & (at < len(x))]
    return Curve(*(np.insert(values, at, np.nan, axis=-1) for values in found))


def bin_edges(frame: pd.DataFrame, switches: list[float], axis: str = "step") -> Array:
    """Bin edges that respect switches and are nowhere finer than the rows.

    Args:
        frame: the rows of all arms that share the axis.
        switches: places that must be edges.
        axis: the column of x.

    Returns:
        (P + 1,) increasing edges from 0 to the last row.
    """
    end = float(frame[axis].max())
    width = max(float(frame["width"].median()), end / POINTS, 1.0)
    corners = [0.0, *(switch for switch in switches if 0 < switch < end), end]
    pieces = [
        np.linspace(left, right, max(1, int((right - left) / width + 1e-9)), endpoint=False)
        for left, right in pairwise(corners)
    ]
    return np.concatenate([*pieces, [end]])
