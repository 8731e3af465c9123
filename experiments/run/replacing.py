"""Removal of a run that is trained again: its own files alone, never another program's."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from neoteny.core.errors import InputError
from neoteny.experiments.run.folders import (
    CHECKPOINT,
    CONFIG,
    MATRIX,
    METRICS,
    RUN_FILES,
    belongs_to_member,
    remove_files,
)

__all__ = ["check_replaceable", "remove_run"]


def check_replaceable(folder: Path) -> None:
    """Refuse a folder whose files are not those of one run alone, as far as they can be mistaken.

    Raises:
        InputError: It holds other runs, or files of a run's names that no run wrote.
    """
    if not folder.is_dir():
        return
    ours = set(_files_of_run(folder))
    for level in ("", "*/", "*/*/"):
        for path in (path for name in RUN_FILES for path in folder.glob(level + name)):
            if path not in ours:
                raise InputError(
                    f"{folder} is not the folder of one run ({path} is none of its files), so "
                    "--overwrite leaves it alone: choose another --out or remove it yourself"
                )


def remove_run(folder: Path) -> None:
    """Remove the files of the run in a folder, and what that leaves empty; all others stay.

    Args:
        folder: A run's folder, which this process holds and `check_replaceable` accepts.
    """
    files = _files_of_run(folder)
    remove_files(files)
    for member in {path.parent for path in files} - {folder}:
        with suppress(OSError):  # as where somebody keeps notes
            member.rmdir()


def _files_of_run(folder: Path) -> list[Path]:
    """The files that the run in a folder wrote, if there is one, in the order of their removal.

    The checkpoint goes first and what tells a member's folder last, so that a removal which is cut
    short can be done again.
    """
    members = [config.parent for config in folder.glob(f"seed_*/{CONFIG}")]
    members = [member for member in members if belongs_to_member(member / CONFIG)]
    rows = [part for name in (METRICS, MATRIX) for part in (name, f".{name}.*.tmp")]
    inside = [*rows, "events.out.tfevents.*", f".{CONFIG}.*.tmp", CONFIG]
    found = [path for member in members for name in inside for path in member.glob(name)]
    own = [*folder.glob(CHECKPOINT), *folder.glob(f".{CHECKPOINT}.*.tmp")]
    return [*own, *found] if members else []
