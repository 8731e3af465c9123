"""metrics.csv: a wide table that grows by rows and, when a new quantity appears, by columns."""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

from neoteny.core.errors import InputError
from neoteny.core.text import read_text, visible
from neoteny.experiments.folders import write_atomically

LEADING = ("step", "iteration", "task", "visit", "task_name")
"""The first columns, in this order; the rest follow in order of appearance."""

Cell = int | float | str


class Table:
    """Appends rows to one CSV file.

    A row is one write of one line, so a process that is killed leaves whole rows behind, but
    for the last one at most. Numbers are written so that they read back to the same bits.

    Args:
        path: the file; created with the first row.
        resume_step: keep the rows of an existing file up to this step and drop the others.
            None starts a new file.

    Raises:
        ValueError: the file exists and ``resume_step`` is None.
    """

    def __init__(self, path: Path, resume_step: int | None = None) -> None:
        self.path = path
        self.columns: list[str] = []
        self._file: TextIO | None = None
        if path.exists():
            if resume_step is None:
                raise InputError(f"{path} exists; choose another --out or continue with --resume")
            self._drop_after(resume_step)

    def append(self, row: Mapping[str, Cell]) -> None:
        """Write one row; columns that it lacks stay blank, new ones extend the header.

        Args:
            row: column to value; NaN becomes a blank.
        """
        new = [column for column in row if column not in self.columns]
        if new:
            self._extend(new)
        if self._file is None:
            # The buffer holds any row whole, so that each row is one write.
            self._file = self.path.open("a", encoding="utf-8", newline="", buffering=1 << 20)
        self._file.write(_line([_cell(row.get(column)) for column in self.columns]))
        self._file.flush()

    def flush(self) -> None:
        """Force the rows to the disk."""
        if self._file is not None:
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Flush and close the file."""
        if self._file is not None:
            self.flush()
            self._file.close()
            self._file = None

    def _extend(self, new: list[str]) -> None:
        """Rewrite the whole file under a longer header: rare, and never half done."""
        rows = self._rows() if self.columns else []
        self.close()
        self.columns = [
            *(column for column in LEADING if column in new or column in self.columns),
            *(column for column in [*self.columns, *new] if column not in LEADING),
        ]
        lines = [_line([row.get(column, "") for column in self.columns]) for row in rows]
        write_atomically(self.path, _line(self.columns) + "".join(lines))

    def _drop_after(self, step: int) -> None:
        rows = self._rows()
        kept = [row for row in rows if int(row["step"]) <= step]
        lines = [_line([row[column] for column in self.columns]) for row in kept]
        write_atomically(self.path, _line(self.columns) + "".join(lines))

    def _rows(self) -> list[dict[str, str]]:
        """The file's rows; a last line that a killed process left unfinished is dropped."""
        text = read_text(self.path)
        whole = text[: text.rfind("\n") + 1]
        reader = csv.reader(io.StringIO(whole, newline=""))
        self.columns = next(reader, [])
        if self.columns[:1] != ["step"]:
            raise InputError(f"{self.path} is not a table of a run; restore it or start again")
        rows: list[dict[str, str]] = []
        for cells in reader:
            if len(cells) != len(self.columns) or not cells[0].isdigit():
                raise InputError(
                    f"{self.path}, line {reader.line_num}: broken row; delete the line or restore "
                    "the file"
                )
            rows.append(dict(zip(self.columns, cells, strict=True)))
        return rows


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
