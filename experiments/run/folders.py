"""Run folders: their files, and the rule that nothing is ever overwritten.

A run is ``RUN/checkpoint.pt`` plus, for every member, ``RUN/seed_<s>/{events.*, metrics.csv,
config.json}``. ``RUN`` is ``--out`` itself, or ``--out/<run name>`` inside a comparison.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from neoteny.core.errors import InputError, RunError
from neoteny.core.json_files import parse_json
from neoteny.core.text import read_text
from neoteny.experiments.options.arms import RECORDED

CHECKPOINT = "checkpoint.pt"
CONFIG = "config.json"
METRICS = "metrics.csv"
MATRIX = "matrix.csv"
EVALUATED = "eval/return"
"""Column of matrix.csv: the mean return of the episodes, or the accuracy."""
MEASURES = {"charts/episodic_return": "return", "charts/online_accuracy": "accuracy"}
"""Columns of metrics.csv by which runs are judged, the first that is recorded, and their names."""
RUN_FILES = (CHECKPOINT, CONFIG, METRICS, MATRIX)

DEEPEST = 50
"""Objects and arrays of a JSON file in each other; a run's own are at most 20 deep."""


def seed_folder(run_folder: Path, seed: int) -> Path:
    """The folder of one member.

    Returns:
        ``run_folder/seed_<seed>``.
    """
    return run_folder / f"seed_{seed}"


@contextmanager
def storing(path: Path) -> Iterator[None]:
    """Say which file of a run the operating system did not take.

    Raises:
        RunError: the disk is full, the folder is gone or may not be written to, or the like.
    """
    try:
        yield
    except OSError as error:
        raise RunError(f"cannot write {path} ({error.strerror or error})") from error


class Appended:
    """A file that grows: every write reaches the operating system whole, or raises.

    Raises:
        RunError: the file cannot be opened, or on writing, cannot grow.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with storing(path):
            self._file = path.open("ab", buffering=0)

    def write(self, content: bytes) -> None:
        """Append bytes."""
        with storing(self.path):
            left = memoryview(content)
            while left:
                left = left[self._file.write(left) :]

    def sync(self) -> None:
        """Flush the written data to the disk."""
        with storing(self.path):
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file that replaces ``path`` all at once, or not at all.

    The bytes go to a temporary file in the same folder, are forced to the disk, and take the
    place of ``path`` in one rename: a reader, or a process that is killed, sees the old file or
    the new one. When the block raises, the temporary file is removed and ``path`` is untouched.

    Args:
        path: the file to write or replace; its folder must exist.

    Yields:
        A binary file open for writing.

    Raises:
        RunError: it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with storing(path):
        try:
            with temporary.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)


def write_atomically(path: Path, text: str) -> None:
    """Write a text file all at once, in UTF-8 (see `atomic_file`)."""
    with atomic_file(path) as file:
        file.write(text.encode())


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file all at once; anything that JSON does not know is written as its text."""
    write_atomically(path, json.dumps(content, indent=2, default=str) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Returns:
        Its content.

    Raises:
        ValueError: the file is not readable or not a JSON object.
    """
    text = read_text(path)
    try:
        content = parse_json(text)
        if _deeper_than(DEEPEST, content):
            raise ValueError(f"it is nested more than {DEEPEST} deep")
    except (ValueError, RecursionError) as error:
        raise InputError(f"cannot read {path}: {error}; restore it or use another folder") from None
    if not isinstance(content, dict):
        raise InputError(f"{path} holds no JSON object; restore it or use another folder")
    return content


def _deeper_than(limit: int, value: Any) -> bool:
    """True if containers lie in each other more than `limit` deep."""
    level = [value]
    for _ in range(limit + 1):
        level = [
            item
            for each in level
            if isinstance(each, dict | list)
            for item in (each.values() if isinstance(each, dict) else each)
        ]
    return bool(level)


def has_checkpoint(folder: Path) -> bool:
    """True if a run can be continued in a folder."""
    return (folder / CHECKPOINT).is_file()


def holds_run(folder: Path) -> bool:
    """True if a run that has begun, or a comparison of runs, lies in a folder.

    A run that was stopped before its first checkpoint has measured nothing: its config.json alone
    does not count, so that the same command can start it again. Another program's does.

    Returns:
        True if a checkpoint, a config.json or a metrics.csv is there or up to two levels below.
    """
    return any(
        not (name == CONFIG and level == "*/" and belongs_to_member(path))
        for level in ("", "*/", "*/*/")
        for name in RUN_FILES
        for path in folder.glob(level + name)
    )


def remove_leftovers(folder: Path) -> None:
    """Remove the unfinished files of a process that was killed.

    These are temporary files and, without a checkpoint, all files of the run.
    """
    unfinished = [f".{name}.*.tmp" for name in RUN_FILES]
    for name in unfinished:
        remove_files(folder.glob(name))
    for name in unfinished:
        remove_files(folder.glob(f"seed_*/{name}"))
    if has_checkpoint(folder):
        return
    for config in folder.glob(f"seed_*/{CONFIG}"):
        if belongs_to_member(config):
            remove_files([*config.parent.glob("events.out.tfevents.*"), config])


def belongs_to_member(config: Path) -> bool:
    """True if a config.json is one that a member's recorder has written."""
    if not config.parent.name.startswith("seed_"):
        return False
    try:
        return {"arm", "seed", "versions"} <= read_json(config).keys()
    except InputError:
        return False


def difference(
    stored: Mapping[str, Any], given: Mapping[str, Any], ignore: Collection[str] = ()
) -> list[str]:
    """Compare two configurations as JSON sees them, field by field.

    Args:
        stored: the configuration of an existing run.
        given: the configuration asked for.
        ignore: top-level fields that may differ.

    Returns:
        One text per differing field, ``"name: stored 1, given 2"``; nested fields have dotted
        names. Empty if they agree.
    """
    skip = {*RECORDED, *ignore}
    old = _flatten({key: value for key, value in _as_json(stored).items() if key not in skip})
    new = _flatten({key: value for key, value in _as_json(given).items() if key not in skip})
    return [
        f"{name}: stored {_shown(old, name)}, given {_shown(new, name)}"
        for name in sorted({*old, *new})
        if _shown(old, name) != _shown(new, name)
    ]


def remove_files(paths: Iterable[Path]) -> None:
    """Remove files that may be gone already."""
    for path in paths:
        path.unlink(missing_ok=True)


def _as_json(config: Mapping[str, Any]) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(json.dumps(dict(config), default=str))
    return content


def _flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, dict) and value:
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _shown(config: Mapping[str, Any], name: str) -> str:
    """The value as JSON text: 1 and true differ, NaN equals NaN."""
    return json.dumps(config[name]) if name in config else "nothing"


def _sync_folder(folder: Path) -> None:
    """Force a rename to the disk, where the system can open folders."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
