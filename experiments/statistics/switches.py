"""Diagnostics at task switches, as `lens` and `validity` read them from the rows of runs."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from neoteny.core.errors import InputError
from neoteny.experiments.run.folders import storing, write_atomically
from neoteny.experiments.statistics.runs import find_runs, frame_of

__all__ = ["FIRST", "LAST", "by_branch", "publish", "read_streams", "switch_values"]

FIRST, LAST = "first", "last"
"""Places of a visit: its first iteration, after what interventions do at the switch, and its last,
before the next switch."""
KEYS = ["arm", "seed", "visit", "place"]
LAYERS = "layers"
"""The median over hidden layers, in the place of a layer's name."""


def read_streams(folders: Sequence[Path]) -> pd.DataFrame:
    """Rows of the runs in and below several folders, all of one stream.

    Args:
        folders: Runs, comparisons, or folders of them.

    Returns:
        As `statistics.runs.read_runs`.

    Raises:
        InputError: If there is no folder or run, runs are of different streams, or two folders
            have the same seed of an arm.
    """
    if not folders:
        raise InputError("folders is (): name a folder of runs")
    runs = [run for folder in folders for run in find_runs(folder)]
    streams = sorted({str(run.config.get("env")) for run in runs})
    if len(streams) > 1:
        raise InputError(f"the runs are of different streams, {', '.join(streams)}: give one's")
    seen: dict[tuple[str, int], Path] = {}
    for run in runs:
        other = seen.setdefault((run.arm, run.seed), run.folder)
        if other != run.folder:
            raise InputError(
                f"{other} and {run.folder} are both seed {run.seed} of {run.arm}: give one"
            )
    return frame_of(runs)


def switch_values(frame: pd.DataFrame) -> pd.DataFrame:
    """Every diagnostic of every layer of `read_runs` in the first and last iteration of visits.

    Returns:
        One row a value: ``arm``, ``seed``, ``visit``, ``place`` (``"first"``, or ``"last"`` of
        finished visits), ``branch``, ``layer``, ``name``, ``value``.

    Raises:
        InputError: If nothing was measured there.
    """
    columns = [name for name in frame.columns if re.fullmatch(r"plasticity/.+/.+/\w+", name)]
    frame = frame[[*KEYS[:-1], "complete", *columns]].copy()
    groups = frame.groupby(["arm", "seed", "visit"], sort=False)
    first, last = groups.head(1), groups.tail(1)
    rows = pd.concat(
        [first.assign(place=FIRST), last[last["complete"]].assign(place=LAST)], ignore_index=True
    )
    found = rows.melt(KEYS, columns, "key", "value").dropna(subset="value")
    if found.empty:
        raise InputError(
            "no diagnostics were measured at task switches: train with --diagnose-every above 0"
        )
    parts = found.pop("key").str.extract(r"plasticity/([^/]+)/(.+)/(\w+)")
    found[["branch", "layer", "name"]] = parts.to_numpy()
    return found


def by_branch(values: pd.DataFrame) -> pd.DataFrame:
    """Medians over the layers of each branch of `switch_values`, and what it has as a whole.

    Returns:
        The same columns; ``layer`` is ``"layers"`` or ``"network"``.
    """
    keys = [*KEYS, "branch", "name"]
    hidden = values[values["layer"].str.fullmatch(r"layer\d+")]
    medians = hidden.groupby(keys, sort=False)["value"].median().reset_index()
    whole = values[values["layer"] == "network"]
    return pd.concat([medians.assign(layer=LAYERS), whole], ignore_index=True)


def publish(
    out: Path, name: str, table: pd.DataFrame, page: str, draw: Callable[[Path], None]
) -> list[Path]:
    """Write a table, its page and its figure.

    Args:
        out: Folder, made where it is missing.
        name: Name of the files, without their endings.
        table: Content of the CSV file.
        page: Content of the Markdown file.
        draw: Draws the figure into a file.

    Returns:
        The three files.

    Raises:
        RunError: If one cannot be written.
    """
    files = [out / f"{name}.{ending}" for ending in ("csv", "md", "png")]
    with storing(out):
        out.mkdir(parents=True, exist_ok=True)
    write_atomically(files[0], table.to_csv(index=False))
    write_atomically(files[1], page)
    draw(files[2])
    return files
