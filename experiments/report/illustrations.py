"""The figures of a report, each drawn for wide and for narrow screens."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

from neoteny.experiments.report.answer_figure import answer_figure
from neoteny.experiments.report.figures import plasticity_figure, returns_figure
from neoteny.experiments.report.markup import Illustration
from neoteny.experiments.report.profile_figure import profile_figure, profiles
from neoteny.experiments.report.visit_figures import gap_figure, heat_map_figure

__all__ = ["drawn", "illustrate", "illustrated_profiles", "stored_sweep"]

Draw = Callable[..., str | None]
"""Draws into a PNG file, below a title, with `narrow` for a phone; returns the caption, or None and
makes no file. Data are rows of `statistics.runs.read_runs` (``frame``) and the result of
`statistics.visits.visit_values` (``visits``)."""


def illustrate(
    root: Path, frame: pd.DataFrame, visits: pd.DataFrame, title: str
) -> list[Illustration]:
    """Draw the figures of a comparison into its folder.

    Returns:
        The figures for which there are data, the one behind the answer first.
    """
    figures: tuple[tuple[str, str, Draw], ...] = (
        ("answer.png", "Share of fresh networks' gain", partial(answer_figure, visits)),
        ("gap.png", "Gap over visits", partial(gap_figure, visits)),
        ("returns.png", "Returns", partial(returns_figure, frame, visits)),
        ("cycles.png", "Tasks by cycle", partial(heat_map_figure, visits)),
        ("plasticity.png", "Diagnostics", partial(plasticity_figure, frame)),
    )
    made = [
        drawn(root / name, heading, partial(draw, title=title)) for name, heading, draw in figures
    ]
    return [each for each in made if each is not None]


def illustrated_profiles(root: Path, visits: pd.DataFrame, title: str) -> Illustration | None:
    """Draw the performance profiles of a comparison into its folder, where there are any."""
    draw = partial(profile_figure, visits, profiles(visits), title=title)
    return drawn(root / "profile.png", "Performance profiles", draw)


def stored_sweep(root: Path) -> Illustration | None:
    """The figure that `tune` has left in a folder, if it has."""
    wide, narrow = (root / name for name in ("sweep.png", "sweep-narrow.png"))
    if not wide.is_file():
        return None
    caption = "Sweeps of tune: strength against the score, on seeds that no other figure shows."
    return Illustration(wide, caption, narrow.read_bytes() if narrow.is_file() else None, "Sweep")


def drawn(path: Path, heading: str, draw: Draw) -> Illustration | None:
    """Draw a figure into a file and for narrow screens; None without a caption.

    Args:
        path: PNG file to write.
        heading: Heading of its section.
        draw: Draws into a path, with the option `narrow`, and returns the caption.
    """
    caption = draw(path, narrow=False)
    if caption is None:
        return None
    with TemporaryDirectory() as scratch:
        narrow = Path(scratch) / "figure.png"
        draw(narrow, narrow=True)
        return Illustration(path, caption, narrow.read_bytes(), heading)
