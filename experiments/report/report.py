"""Reports: from the metrics of finished or running runs to a table, figures and one page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from neoteny.core.errors import InputError
from neoteny.core.text import shortened, visible
from neoteny.experiments.report.arm_board import write_arms
from neoteny.experiments.report.comparison_tables import comparison_tables
from neoteny.experiments.report.continual_tables import continual_tables
from neoteny.experiments.report.illustrations import illustrate, illustrated_profiles, stored_sweep
from neoteny.experiments.report.page import Findings, page
from neoteny.experiments.report.tables import TextTable
from neoteny.experiments.run.folders import write_atomically
from neoteny.experiments.statistics.answer import abilities_table, answer
from neoteny.experiments.statistics.comparisons import comparison_table
from neoteny.experiments.statistics.continual_table import continual_table
from neoteny.experiments.statistics.cost import costs
from neoteny.experiments.statistics.failures import failures
from neoteny.experiments.statistics.matrices import read_matrices
from neoteny.experiments.statistics.runs import Run, find_runs, frame_of
from neoteny.experiments.statistics.summary import summary_of_visits
from neoteny.experiments.statistics.visits import visit_values

__all__ = ["Report", "require_one_environment", "write_report"]


@dataclass(frozen=True)
class Report:
    """Results of `write_report`."""

    summary: pd.DataFrame
    """One row an arm; see `statistics.summary.summary`."""
    comparisons: pd.DataFrame
    """Pairs of arms; see `statistics.comparisons.comparison_table`."""
    continual: pd.DataFrame
    """One row an arm; see `statistics.continual_table.continual_table`."""
    tables: tuple[TextTable, ...]
    """The last two for people, the continual metrics first."""
    answer: str
    """A sentence on which arms keep the ability to learn; see `statistics.answer`."""
    files: tuple[Path, ...]
    """The files written: summary.csv, visits.csv, continual.csv, comparisons.csv where arms
    compare, abilities.csv beside fresh networks, figures, report.html."""


def write_report(folder: Path | str, versus: str = "") -> Report:
    """Read all runs below a folder and write its summary, figures and report.html.

    They go into that folder, each replaced all at once if an earlier report wrote it; runs that
    stand for whole arms go into its folder `arms`, for TensorBoard.

    Args:
        folder: a run, a comparison, or a folder of them.
        versus: an arm that all others are compared with, see `comparison_table`.

    Returns:
        The summary and the files.

    Raises:
        ValueError: there is no run, none has recorded anything yet, they are of several
            environments, or a file of one does not fit.
        RunError: a file cannot be written.

    Warns:
        UserWarning: a broken row of a metrics.csv was left out.
    """
    root = Path(folder)
    runs = find_runs(root)
    require_one_environment(root, runs)
    frame = frame_of(runs)
    visits = visit_values(frame)
    table = summary_of_visits(visits)
    sentence = answer(visits)
    names = {str(run.config.get("env", root.resolve().name)) for run in runs}
    title = shortened(visible(", ".join(sorted(names))), 100)
    comparisons = comparison_table(visits, versus)
    continual = continual_table(frame, visits, read_matrices(runs))
    tables = {"summary.csv": table, "visits.csv": visits, "continual.csv": continual}
    others = {"comparisons.csv": comparisons, "abilities.csv": abilities_table(visits)}
    tables |= {name: content for name, content in others.items() if len(content)}
    for name, content in tables.items():
        write_atomically(root / name, content.to_csv(index=False))
    illustrations = illustrate(root, frame, visits, title)
    profiles = illustrated_profiles(root, visits, title)
    drawn = [*illustrations, *([profiles] if profiles else [])]
    figures = [illustration.path for illustration in drawn]
    write_arms(root, runs, frame, visits, figures)
    html_path = root / "report.html"
    spent, failed = costs(frame, runs), failures(runs, frame, visits)
    texts = (*continual_tables(continual), *comparison_tables(comparisons))
    shown = (illustrations, profiles, stored_sweep(root))
    found = Findings(title, table, sentence, spent, failed, runs, *shown, texts)
    write_atomically(html_path, page(found))
    files = (*(root / name for name in tables), *figures, html_path)
    return Report(table, comparisons, continual, texts, sentence, files)


def require_one_environment(root: Path, runs: Sequence[Run]) -> None:
    """Refuse to mix the returns of several environments in one table and on one axis."""
    places: dict[str, set[Path]] = {}
    for run in runs:
        parts = run.folder.relative_to(root).parts
        places.setdefault(str(run.config.get("env", "")), set()).add(root / Path(*parts[:1]))
    if len(places) > 1:
        names = shortened(visible(", ".join(sorted(places))), 200)
        folder = min(min(places.values(), key=min))
        raise InputError(
            f"{root} holds runs of {len(places)} environments ({names}), which do not go on one "
            f"axis: give the folder of one, such as {folder}"
        )
