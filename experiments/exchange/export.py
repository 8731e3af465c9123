"""The command `export`: a comparison's results as a file for other programs."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pandas as pd
import tyro
from rich.console import Console

from neoteny.core.console import caution
from neoteny.core.errors import InputError
from neoteny.core.options import check_fields
from neoteny.core.text import shortened, visible
from neoteny.experiments.exchange.exporting import long_table, result_content, rliable_arrays
from neoteny.experiments.options.extras import imported
from neoteny.experiments.report.report import require_one_environment
from neoteny.experiments.run.folders import atomic_file
from neoteny.experiments.statistics.metrics import Array
from neoteny.experiments.statistics.runs import find_runs, frame_of
from neoteny.experiments.statistics.visits import visit_values

__all__ = ["ExportConfig", "export"]

_KINDS = {
    ".csv": "a long table",
    ".parquet": "the same as Parquet",
    ".json": "the result format, which leaderboard reads",
    ".npz": "arrays of rliable",
}


@dataclass(frozen=True)
class ExportConfig:
    """Write results for other programs: CSV, Parquet, rliable's arrays, the result format."""

    folder: tyro.conf.Positional[Path]
    """Folder that holds runs of one environment, at any depth."""
    out: Path
    """File to write, by its ending: .csv, a row for each arm, seed, visit and metric; .parquet, the
    same; .json, the result format that `leaderboard` ranks; .npz, an array (runs, tasks) for each
    arm, as rliable takes them."""

    def __post_init__(self) -> None:
        check_fields(self)
        if self.out.suffix not in _KINDS:
            kinds = ", ".join(f"{ending} ({what})" for ending, what in _KINDS.items())
            raise InputError(f"--out is {self.out}: its ending must be one of {kinds}")


def export(config: ExportConfig, console: Console) -> None:
    """Write the file and say what is in it.

    Raises:
        InputError: If there are no runs, or of several environments, or a package is missing.
        RunError: If the file cannot be written.
    """
    if config.out.suffix == ".parquet":
        imported(
            "pyarrow",
            'Parquet needs pyarrow, which is not installed: run pip install "neoteny[share]", or '
            "let --out end in .csv",
        )
    runs = find_runs(config.folder)
    require_one_environment(config.folder, runs)
    frame = frame_of(runs)
    visits = visit_values(frame)
    if config.out.suffix == ".npz":
        arrays = rliable_arrays(visits)
        _caution_of_holes(arrays, console)
        content = _npz(arrays)
        tasks = ", ".join(sorted(visits["task_name"].unique()))
        what = f"{len(arrays)} arrays (runs, tasks); tasks: {shortened(visible(tasks), 300)}"
    elif config.out.suffix == ".json":
        name = config.folder.resolve().name
        found = result_content(name, visits, runs)
        content = (json.dumps(found, indent=1, default=str) + "\n").encode()
        what = f"{len(found['runs'])} runs of {len(found['arms'])} arms"
    else:
        table = long_table(frame, visits, runs)
        content = _table(table, config.out.suffix)
        what = f"{len(table):,} rows"
    with atomic_file(config.out) as file:
        file.write(content)
    console.print(f"written {config.out}: {what}", soft_wrap=True)


def _table(table: pd.DataFrame, ending: str) -> bytes:
    if ending == ".csv":
        return table.to_csv(index=False).encode()
    buffer = io.BytesIO()
    table.to_parquet(buffer, engine="pyarrow", index=False)
    return buffer.getvalue()


def _npz(arrays: Mapping[str, Array]) -> bytes:
    """As `numpy.savez` writes, which takes no array called file."""
    buffer = io.BytesIO()
    with ZipFile(buffer, "w") as archive:
        for name, values in arrays.items():
            with archive.open(f"{name}.npy", "w") as file:
                np.lib.format.write_array(file, values, allow_pickle=False)
    return buffer.getvalue()


def _caution_of_holes(arrays: Mapping[str, Array], console: Console) -> None:
    """Say which arrays rliable would answer with NaN."""
    holes = {name: int(np.isnan(values).sum()) for name, values in arrays.items()}
    missing = ", ".join(f"{count} of {name}" for name, count in holes.items() if count)
    if missing:
        caution(console, f"runs lack scores of tasks, which are NaN: {missing}")
