"""metrics.csv: a wide table that grows by rows and, when a new quantity appears, by columns."""

from __future__ import annotations

import csv
import hashlib
import io
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from neoteny.core.errors import InputError
from neoteny.core.text import read_text, visible
from neoteny.experiments.run.folders import Appended, write_atomically

LEADING = ("step", "iteration", "task", "visit", "task_name")
"""The first columns, in this order; the rest follow in order of appearance."""

Cell = int | float | str


class Table:
    """Appends rows to one CSV file.

    A row is one write of one line, so a process that is killed leaves whole rows behind, but
    for the last one at most. Numbers are written so that they read back to the same bits.

    Args:
        path: the file; created with the first row.
        resume_step: keep the rows of an existing file up to this step; the others are dropped
            by `drop_rest`. None starts a new file.
        most: keep at most so many, where one step may have several.

    Raises:
        InputError: the file exists and ``resume_step`` is None, or it is not a table of a run.
    """

    def __init__(self, path: Path, resume_step: int | None = None, most: int | None = None) -> None:
        self.path = path
        self.columns: list[str] = []
        self.count = 0
        """Rows so far."""
        self._digest = hashlib.sha256()
        self._file: Appended | None = None
        self.kept: list[dict[str, str]] = []
        """Rows of an existing file up to ``resume_step``, until `drop_rest`."""
        if path.exists():
            if resume_step is None:
                raise InputError(f"{path} exists; choose another --out or continue with --resume")
            self.kept = [row for row in self._rows() if int(row["step"]) <= resume_step][:most]
            for row in self.kept:
                self._count(row)

    @property
    def digest(self) -> str:
        """SHA-256 of all rows so far: of their columns and cells, wherever columns stand."""
        return self._digest.hexdigest()

    def drop_rest(self) -> None:
        """Rewrite an existing file without the rows after ``resume_step``."""
        if self.path.exists():
            self._rewrite(self.kept)
        self.kept = []

    def append(self, row: Mapping[str, Cell]) -> None:
        """Write one row; columns that it lacks stay blank, new ones extend the header.

        Args:
            row: column to value; NaN becomes a blank.
        """
        new = [column for column in row if column not in self.columns]
        if new:
            self._extend(new)
        cells = {column: _cell(row.get(column)) for column in self.columns}
        if self._file is None:
            self._file = Appended(self.path)
        self._file.write(_line(list(cells.values())).encode())
        self._count(cells)

    def flush(self) -> None:
        """Force the rows to the disk."""
        if self._file is not None:
            self._file.sync()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _count(self, cells: Mapping[str, str]) -> None:
        """Add a row to the digest; blanks are left out, since later columns put them anywhere."""
        self.count += 1
        text = "\0".join(f"{column}={cells[column]}" for column in sorted(cells) if cells[column])
        self._digest.update(f"{text}\n".encode())

    def _extend(self, new: list[str]) -> None:
        """Rewrite the whole file under a longer header: rare, and never half done."""
        rows = self._rows() if self.columns else []
        self.close()
        self.columns = [
            *(column for column in LEADING if column in new or column in self.columns),
            *(column for column in [*self.columns, *new] if column not in LEADING),
        ]
        self._rewrite(rows)

    def _rewrite(self, rows: list[dict[str, str]]) -> None:
        lines = [_line([row.get(column, "") for column in self.columns]) for row in rows]
        write_atomically(self.path, _line(self.columns) + "".join(lines))

    def _rows(self) -> list[dict[str, str]]:
        """The file's rows; a last line that a killed process left unfinished is dropped."""
        text = read_text(self.path)
        whole = text[: text.rfind("\n") + 1]
        reader = _cells_of(self.path, whole)
        self.columns = next(reader, [])
        if self.columns[:1] != ["step"] or len(set(self.columns)) != len(self.columns):
            raise InputError(f"{self.path} is not a table of a run; restore it or start again")
        rows: list[dict[str, str]] = []
        for number, cells in enumerate(reader, start=2):
            if len(cells) != len(self.columns) or not re.fullmatch("[0-9]{1,18}", cells[0]):
                raise InputError(
                    f"{self.path}, line {number}: broken row; delete the line or restore the file"
                )
            rows.append(dict(zip(self.columns, cells, strict=True)))
        return rows


def _cells_of(path: Path, text: str) -> Iterator[list[str]]:
    """The cells of each row, which none of ours spreads over several lines."""
    try:
        yield from csv.reader(io.StringIO(text, newline=""))
    except csv.Error as error:
        raise InputError(f"{path}: {error}; restore the file") from None


def _cell(value: Cell | None) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, str):
        return visible(value)
    return repr(value)


def _line(cells: list[str]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(cells)
    return buffer.getvalue()
