"""The command `leaderboard`: a page that ranks the arms of a folder of result files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tyro
from rich.console import Console

from neoteny.core.errors import InputError
from neoteny.core.options import check_fields
from neoteny.experiments.exchange.ranking import Board, By, Standing, differences, rank
from neoteny.experiments.exchange.result_format import read_results
from neoteny.experiments.options.arms import ORACLE
from neoteny.experiments.report.markup import document, numbers, safe, section
from neoteny.experiments.report.number_texts import BLANK
from neoteny.experiments.report.tables import print_texts, without_blanks
from neoteny.experiments.run.folders import write_atomically
from neoteny.experiments.statistics.metrics import Estimate
from neoteny.experiments.statistics.visits import RELATIVE, SCALES

__all__ = ["LeaderboardConfig", "leaderboard", "leaderboard_page", "read_folder"]

_EXPLANATION = """
Scores are means over whole runs of the mean over tasks, gaps the share that is missing of the gain
of the fresh networks in the same files. Brackets are 95 % intervals over runs (Student's t, of a
gap Fieller's). A place is a range where intervals overlap. Fresh networks are the yardstick and
have no place. Runs of one arm with the same settings and other seeds count together, whichever file
they are from.
"""


@dataclass(frozen=True)
class LeaderboardConfig:
    """Rank the arms of a folder of result files, one's own and others', on one page."""

    folder: tyro.conf.Positional[Path]
    """Folder of result files (*.json, as `export` writes them), one's own and others'."""
    out: Path
    """Page to write; its ending must be .html."""
    by: By = "score"
    """Rank by the score, or by the gap to fresh networks."""

    def __post_init__(self) -> None:
        check_fields(self)
        if self.out.suffix not in (".html", ".htm"):  # a result file is easily named by mistake
            raise InputError(f"--out is {self.out}: the ending of the page must be .html")


def leaderboard(config: LeaderboardConfig, console: Console) -> list[Board]:
    """Write the page, print its tables and return them.

    Raises:
        InputError: If there are no result files, or a field of one is wrong.
        RunError: If the page cannot be written.
    """
    results = read_folder(config.folder)
    boards = rank(results, config.by)
    write_atomically(config.out, leaderboard_page(boards, results, config.by))
    for board in boards:
        console.print(f"\n{_heading(board)}:", style="dim")
        print_texts(console, _texts(board))
    console.print(f"written {config.out}", soft_wrap=True)
    return boards


def read_folder(folder: Path) -> dict[str, dict[str, Any]]:
    """Read the result files that lie in a folder.

    Raises:
        InputError: There are none, or one is malformed.
    """
    files = sorted(folder.glob("*.json"))
    if not files:
        raise InputError(
            f"no *.json in {folder}; write result files there by export FOLDER --out NAME.json"
        )
    return {path.name: read_results(path) for path in files}


def leaderboard_page(
    boards: Sequence[Board], results: Mapping[str, Mapping[str, Any]], by: By = "score"
) -> str:
    """Compose the page.

    Args:
        boards: Result of `neoteny.experiments.exchange.ranking.rank`.
        results: Name of each file to its content.
        by: What arms are ranked by.

    Returns:
        HTML.
    """
    rows = [
        {
            "file": name,
            "comparison": content["name"],
            "trained by": f"{content['suite']['name']} {content['suite']['version']}",
            "from": content["suite"].get("source") or content["suite"].get("commit") or BLANK,
        }
        for name, content in results.items()
    ]
    order = "the mean score" if by == "score" else "the gap to fresh networks"
    body = f"""<h1>Leaderboard</h1>
<p class="lead">{len(results)} result files, ranked by {order}.</p>
{"".join(section(_heading(board), _section(board, boards)) for board in boards)}
<p class="note">{_EXPLANATION}</p>
"""
    return document("Leaderboard", body + section("Sources", numbers(pd.DataFrame(rows))))


def _heading(board: Board) -> str:
    found = board.protocol
    return f"{found['environment']}, {found['steps']:,} steps"


def _section(board: Board, boards: Sequence[Board]) -> str:
    found = board.protocol
    unit = str(found["unit"])
    scale = f"{unit} ({SCALES[unit]})" if unit in SCALES else unit
    lines = [f"{found['visits']} visits of {len(found['tasks'])} tasks in a run; scores: {scale}."]
    if unit == RELATIVE:
        lines.append("Each file's scores are relative to its own fresh networks.")
    lines += [f"Not mixed with another protocol: {why}." for why in differences(board, boards)]
    notes = "".join(f'<p class="note">{safe(line)}</p>' for line in lines)
    return f"{notes}{numbers(_texts(board))}"


def _texts(board: Board) -> pd.DataFrame:
    """The board as texts for people."""
    columns = {
        "arm": [standing.arm for standing in board.standings],
        "place": [_place(standing) for standing in board.standings],
        "score": [_estimate(standing.score) for standing in board.standings],
        "gap to fresh": [_estimate(standing.gap) for standing in board.standings],
        "runs": [str(len(standing.seeds)) for standing in board.standings],
        "seeds": [_ranges(standing.seeds) for standing in board.standings],
        "unfinished": [str(standing.unfinished or BLANK) for standing in board.standings],
        "blank visits": [str(standing.blank or BLANK) for standing in board.standings],
        "trained by": [standing.suite for standing in board.standings],
        "file": [", ".join(standing.sources) for standing in board.standings],
    }
    return without_blanks(columns)


def _place(standing: Standing) -> str:
    if standing.places is None:
        return "fresh" if standing.role == ORACLE else BLANK
    first, last = standing.places
    return f"{first}" if first == last else f"{first} to {last}"


def _estimate(found: Estimate) -> str:
    if not np.isfinite(found.value):
        return BLANK
    text = f"{found.value:.3g}"
    return f"{text} [{found.low:.3g}, {found.high:.3g}]" if np.isfinite(found.low) else text


def _ranges(seeds: Sequence[int]) -> str:
    """Whole numbers in order, as in ``0-3, 7``."""
    parts: list[list[int]] = []
    for seed in seeds:
        if parts and seed == parts[-1][-1] + 1:
            parts[-1].append(seed)
        else:
            parts.append([seed])
    return ", ".join(f"{part[0]}-{part[-1]}" if len(part) > 1 else f"{part[0]}" for part in parts)
