"""The figure of predictive validity: correlations, their intervals, and the shuffled control."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from neoteny.experiments.report.drawing import FAINT, GREY, INK, PALETTE, new_figure, save, style

__all__ = ["draw_validity", "label_of"]


def label_of(row: pd.Series) -> str:
    """Name of a ranked diagnostic: Jacobians are those of hidden layers or of the whole network."""
    whole = row["of"] == "network" and row["name"].startswith("jacobian")
    return f"{row['name']} (network)" if whole else str(row["name"])


def draw_validity(table: pd.DataFrame, path: Path) -> None:
    """Draw a line for each diagnostic of a `validity_table`, a mark for each branch."""
    table = table.assign(label=[label_of(row).replace("_", " ") for _, row in table.iterrows()])
    order = list(table["label"].unique())
    branches = sorted(table["branch"].unique())
    with style():
        figure = new_figure(9.5, 1.3 + 0.2 * len(order))
        panels = figure.subplots(1, 2, sharey=True, sharex=True)
        control = table.groupby("label").agg(
            low=("shuffled_low", "min"), high=("shuffled_high", "max")
        )
        band = control.reindex(order)
        y = np.arange(len(order))
        panels[0].barh(
            y, band["high"] - band["low"], left=band["low"], height=1.0, color=FAINT, alpha=0.7
        )
        for index, branch in enumerate(branches):
            mine = table[table["branch"] == branch]
            at = mine["label"].map({label: place for place, label in enumerate(order)})
            shift = (index - (len(branches) - 1) / 2) * 0.3
            place, colour = at.to_numpy(np.float64) + shift, PALETTE[index % len(PALETTE)]
            clear = (mine["p_adjusted"] < 0.05).to_numpy()
            _draw(panels[0], mine[["rho", "low", "high"]], place, clear, colour, str(branch))
            inner = mine[["within", "within_low", "within_high"]]
            clear = ((inner["within_low"] > 0) | (inner["within_high"] < 0)).to_numpy()
            _draw(panels[1], inner, place, clear, colour, str(branch))
        titles = (
            "across arms; filled: p < 0.05, corrected",
            "within arms; filled: interval without 0",
        )
        for panel, title in zip(panels, titles, strict=True):
            panel.axvline(0, color=GREY, lw=0.8)
            panel.set_title(title, loc="left", color=INK)
            panel.set_xlim(-1, 1)
            panel.set_xlabel("rank correlation with the next task's shortfall")
            panel.spines[["top", "right"]].set_visible(False)
        panels[0].set_yticks(y, order)
        panels[0].set_ylim(len(order) - 0.5, -0.5)
        panels[1].legend(frameon=False, loc="lower right")
        save(figure, path)


def _draw(
    panel: Axes, values: pd.DataFrame, place: np.ndarray, clear: np.ndarray, colour: str, label: str
) -> None:
    """Marks with their intervals; filled where clear."""
    middle, low, high = values.to_numpy(np.float64).T
    panel.hlines(place, low, high, color=colour, lw=1.1)
    panel.plot(middle[clear], place[clear], "o", ms=4.5, color=colour, label=label)
    panel.plot(middle[~clear], place[~clear], "o", ms=4.5, mfc="white", mec=colour)
