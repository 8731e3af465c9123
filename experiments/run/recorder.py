"""The recorder: measurements of a run as TensorBoard events and one CSV file per member."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from neoteny.core.errors import InputError
from neoteny.experiments.options.arms import RECORDED
from neoteny.experiments.run.board import Board
from neoteny.experiments.run.folders import (
    CHECKPOINT,
    CONFIG,
    MATRIX,
    METRICS,
    difference,
    read_json,
    seed_folder,
    storing,
    write_json,
)
from neoteny.experiments.run.provenance import command, hardware, versions
from neoteny.experiments.run.table import Cell, Table

Value = Tensor | float | Sequence[float]
NO_ROWS = (0, hashlib.sha256().hexdigest())
"""Number and digest of the rows of a run that evaluated no tasks."""
_T = TypeVar("_T", float, str)


class Recorder:
    """Writes one row an iteration for each of the M members of a process.

    Use it as a context manager: files are checked when it is made, and written to from entering it
    on. Rows reach the operating system in `record`
    and the disk in `flush`: call `flush` before saving a checkpoint, so that the rows up to a
    checkpoint are never missing, and keep `state_dict` in it, so that a resume can check the rows.

    Args:
        run_folder: the run's folder, which no other process writes to; None writes nothing, as
            where another process of the run does.
        seeds: (M,) the members' seeds.
        config: the run's configuration, stored in every config.json.
        resumed: the `state_dict` in the checkpoint that is continued; rows after it are dropped.
            None starts a new run.

    Raises:
        InputError: the config uses a reserved field, a new run would overwrite another, or the
            files of a member do not go with the checkpoint.
        RunError: a file cannot be written; `record` and `flush` raise it as well.
    """

    def __init__(
        self,
        run_folder: Path | str | None,
        seeds: Sequence[int],
        config: Mapping[str, Any],
        resumed: Mapping[str, Any] | None = None,
    ) -> None:
        reserved = sorted(set(RECORDED) & set(config) - {"command"})
        if reserved:
            raise InputError(f"config may not hold {reserved[0]!r}: the recorder writes that field")
        self.seeds = tuple(seeds)
        self._run = uuid.uuid4().hex if resumed is None else resumed["run"]
        self._step = 0 if resumed is None else resumed["step"]
        written = () if run_folder is None else self.seeds
        self._members = [_Member(seed_folder(Path(run_folder or ""), s), s) for s in written]
        self._config = config
        self._resumed = resumed is not None
        if resumed is None:
            return
        for index, member in enumerate(self._members):
            member.check(self._run, self._step, resumed["rows"][index], resumed["digests"][index])
            member.check_matrix(self._step, *resumed.get("matrix", {}).get(index, NO_ROWS))

    def record(
        self,
        step: int,
        values: Mapping[str, Value],
        text: Mapping[str, str | Sequence[str]] | None = None,
        histograms: Mapping[str, Tensor] | None = None,
    ) -> dict[str, list[float]]:
        """Write one row per member, with a single copy from the device.

        Args:
            step: environment steps of one member so far.
            values: name to a tensor of shape (M,) or (), a number, or M numbers. ``iteration``,
                ``task`` and ``visit`` lead the row; the other names are TensorBoard tags.
            text: name to a string or M strings, for the CSV only (``task_name``).
            histograms: TensorBoard's tag to values (M, k), for TensorBoard only.

        Returns:
            Every name with its M values on the host; NaN where a value is missing.

        Raises:
            ValueError: a value has another shape.
        """
        host, drawn = self._to_host(values, histograms or {})
        words = {key: self._spread(key, word) for key, word in (text or {}).items()}
        for index, member in enumerate(self._members):
            numbers = {key: column[index] for key, column in host.items()}
            member.write(step, numbers, {key: word[index] for key, word in words.items()})
            for tag, rows in drawn.items():
                member.board.histogram(step, tag, [row[index] for row in rows])
        self._step = step
        return {key: [float(value) for value in column] for key, column in host.items()}

    def record_tasks(self, step: int, rows: Sequence[Sequence[Mapping[str, Cell]]]) -> None:
        """Write the evaluations of tasks to matrix.csv."""
        for member, evaluations in zip(self._members, rows, strict=bool(self._members)):
            for row in evaluations:
                member.matrix.append({"step": step, **row})

    def flush(self) -> None:
        """Force everything recorded so far to the disk."""
        for member in self._members:
            member.flush()

    def state_dict(self) -> dict[str, Any]:
        """The run, the step, and the digests of all rows, which bind a checkpoint to its rows."""
        return {
            "run": self._run,
            "step": self._step,
            "rows": [member.table.count for member in self._members],
            "digests": [member.table.digest for member in self._members],
            "matrix": {
                index: (member.matrix.count, member.matrix.digest)
                for index, member in enumerate(self._members)
                if member.matrix.count
            },
        }

    def close(self) -> None:
        """Close all files, which the operating system has whole."""
        for member in self._members:
            member.close()

    def __enter__(self) -> Recorder:
        with ExitStack() as opened:
            opened.callback(self.close)
            for member in self._members:
                if self._resumed:
                    member.go_on(self._step, self._config)
                else:
                    member.begin(self._run, self._config)
            opened.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _to_host(
        self, values: Mapping[str, Value], histograms: Mapping[str, Tensor]
    ) -> tuple[dict[str, list[float]], dict[str, list[list[float]]]]:
        """Stack the tensors of each device in float64 and copy each stack once.

        Returns:
            Name to M values; tag to k lists of M values.
        """
        host: dict[str, list[float]] = {}
        stacks: dict[torch.device, dict[str, Tensor]] = {}
        for key, value in values.items():
            if isinstance(value, Tensor):
                if value.shape not in ((), (len(self.seeds),)):
                    raise self._wrong_shape(key, tuple(value.shape))
                column = value.detach().to(torch.float64).expand(1, len(self.seeds))
                stacks.setdefault(value.device, {})[key] = column
                host[key] = []  # keeps the order of the columns
            else:
                host[key] = self._spread(key, np.asarray(value).tolist())
        for tag, value in histograms.items():
            stacks.setdefault(value.device, {})[tag] = value.detach().to(torch.float64).T
        drawn = {}
        for stack in stacks.values():
            rows = iter(torch.cat(list(stack.values())).tolist())
            for key, column in stack.items():
                if key in histograms:
                    drawn[key] = list(islice(rows, len(column)))
                else:
                    host[key] = _whole(values[key], next(rows))
        return host, drawn

    def _spread(self, key: str, value: _T | Sequence[_T]) -> list[_T]:
        if isinstance(value, int | float | str):
            return [value] * len(self.seeds)
        if len(value) != len(self.seeds):
            raise self._wrong_shape(key, (len(value),))
        return list(value)

    def _wrong_shape(self, key: str, shape: tuple[int, ...]) -> InputError:
        members = len(self.seeds)
        return InputError(
            f"{key} has shape {shape}; give one value or one for each of the {members} members"
        )


def _whole(value: Value, row: list[float]) -> list[float]:
    """Values of a tensor of whole numbers as such."""
    whole = isinstance(value, Tensor) and not value.dtype.is_floating_point
    return [int(number) for number in row] if whole else row


def _check_rows(table: Table, step: int, rows: int, digest: str) -> None:
    """Make sure that the kept rows of a table are those that a checkpoint goes with."""
    if (table.count, table.digest) != (rows, digest):
        found = f"{table.count} found" if table.count != rows else "one was changed"
        raise InputError(
            f"{table.path} does not go with {CHECKPOINT}, which needs {rows} rows up to "
            f"step {step} ({found}); restore it or start again with another --out"
        )


class _Member:
    """The files of one member: config.json, metrics.csv, matrix.csv and TensorBoard's events."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.seed = seed
        self.table: Table
        self.matrix: Table
        self._config = folder / CONFIG
        self.board: Board
        self._files = ExitStack()

    def begin(self, run: str, config: Mapping[str, Any]) -> None:
        """Make the files of a new run."""
        metrics = self.folder / METRICS
        if self._config.exists() or metrics.exists():
            raise InputError(
                f"{self.folder} already holds a run; choose another --out "
                f"or continue it with --resume {self.folder.parent}"
            )
        stored = {
            **config,
            "seed": self.seed,
            "run": run,
            "command": config.get("command", command()),
            "versions": versions(),
            "hardware": hardware(),
        }
        with storing(self._config):
            self.folder.mkdir(parents=True, exist_ok=True)
        write_json(self._config, stored)
        self.table = Table(metrics)
        self.matrix = Table(self.folder / MATRIX)
        self._start_board(Board(self.folder))
        self.board.describe(stored)

    def check(self, run: str, step: int, rows: int, digest: str) -> None:
        """Make sure that config.json and metrics.csv are those that a checkpoint goes with."""
        if read_json(self._config).get("run") != run:
            raise InputError(
                f"{self._config} is of another run than {CHECKPOINT}; restore the one or the other"
            )
        self.table = Table(self.folder / METRICS, step)
        _check_rows(self.table, step, rows, digest)

    def check_matrix(self, step: int, rows: int, digest: str) -> None:
        """Make sure that matrix.csv is that which a checkpoint goes with."""
        self.matrix = Table(self.folder / MATRIX, step, rows)
        _check_rows(self.matrix, step, rows, digest)

    def go_on(self, step: int, config: Mapping[str, Any]) -> None:
        """Add the resume to config.json: its step, versions, hardware and changed fields."""
        stored = read_json(self._config)
        part = {
            "step": step,
            "changed": difference(stored, config),
            "command": command(),
            "versions": versions(),
            "hardware": hardware(),
        }
        given = {key: value for key, value in config.items() if key != "command"}
        before = stored.get("resumed")
        stored |= {**given, "resumed": [*(before if isinstance(before, list) else []), part]}
        write_json(self._config, stored)
        rows = self.table.kept
        self.table.drop_rest()
        self.matrix.drop_rest()
        self._start_board(Board(self.folder, step + 1, rows))

    def _start_board(self, board: Board) -> None:
        self.board = board
        self._files.callback(board.close)
        self._files.callback(self.table.close)
        self._files.callback(self.matrix.close)

    def write(self, step: int, numbers: Mapping[str, float], words: Mapping[str, str]) -> None:
        row: dict[str, Cell] = {"step": step, **numbers, **words}
        self.table.append(row)
        self.board.row(step, numbers, self.table.columns)

    def flush(self) -> None:
        self.table.flush()
        self.matrix.flush()
        self.board.flush()

    def close(self) -> None:
        self._files.close()
