"""Merging of runs from several machines into one comparison."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import tyro
from rich.console import Console

from neoteny.core.errors import InputError
from neoteny.experiments.cli import ReportConfig, report
from neoteny.experiments.run.folders import CONFIG, MATRIX, METRICS, difference, storing
from neoteny.experiments.run.lock import LOCK, FolderLock
from neoteny.experiments.run.purposes import require_one_purpose
from neoteny.experiments.run.seed_blocks import block_folder
from neoteny.experiments.statistics.runs import OF_ONE_ARM, Run, find_runs

__all__ = ["MergeConfig", "merge"]

SHARED = ("env", "steps")
"""Fields that all arms of a comparison have in common."""


@dataclass(frozen=True)
class MergeConfig:
    """Put runs of several machines into one comparison: other arms, or other seeds."""

    folders: tyro.conf.Positional[tuple[Path, ...]]
    """Comparisons, or folders of runs; they stay as they are."""
    out: Path
    """Folder of the new comparison."""
    mixed_versions: bool = False
    """Merge runs of other versions of Python, packages or this one, too."""


@dataclass(frozen=True)
class _Block:
    """Seeds of an arm that one process trained."""

    folder: Path
    members: tuple[Run, ...]

    @property
    def arm(self) -> str:
        return str(self.members[0].config.get("arm", self.folder.name))

    @property
    def seeds(self) -> list[int]:
        return sorted(member.seed for member in self.members)


def merge(config: MergeConfig, console: Console) -> pd.DataFrame:
    """Copy the runs into a new folder, if they fit together, and report on them.

    Blocks of seeds get the folders that `compare` would give them, so that it adds more there.

    Returns:
        The summary, a row for each arm.

    Raises:
        InputError: If configurations, versions or seeds do not fit, a folder is in use, or the new
            one is not empty.
        RunError: If a file cannot be copied; nothing is left of the new folder.
    """
    if len(config.folders) < 2:
        raise InputError(f"merge takes two folders or more, but was given {len(config.folders)}")
    if config.out.exists() and (not config.out.is_dir() or any(config.out.iterdir())):
        raise InputError(f"{config.out} is not empty: choose another --out")
    for folder in config.folders:
        FolderLock.require_free(folder)
        if config.out.resolve().is_relative_to(folder.resolve()):
            raise InputError(f"{config.out} is in {folder}, which is merged: choose another --out")
    blocks = [block for folder in config.folders for block in _blocks(folder)]
    for block in blocks:
        FolderLock.require_free(block.folder)
    require_one_purpose((run.folder, run.config) for block in blocks for run in block.members)
    _check_configurations(blocks, config)
    _check_seeds(blocks)
    with storing(config.out):
        _copy(blocks, config.out)
    console.print(f"merged {len(blocks)} runs into {config.out}", soft_wrap=True)
    return report(ReportConfig(config.out), console)


def _blocks(folder: Path) -> list[_Block]:
    members: dict[Path, list[Run]] = {}
    for run in find_runs(folder):
        if not (run.folder / CONFIG).exists():
            raise InputError(f"{run.folder} has no {CONFIG}: restore it or leave it out")
        for table in (run.folder / METRICS, run.folder / MATRIX):
            if table.exists():
                _require_row(table)
        members.setdefault(run.folder.parent, []).append(run)
    for place, found in members.items():
        if len(found) != (seeds := found[0].config.get("seeds", len(found))):
            raise InputError(
                f"{place} has a {METRICS} of {len(found)} of its {seeds} seeds: restore the others "
                "or leave it out"
            )
    return [_Block(place, tuple(found)) for place, found in members.items()]


def _require_row(table: Path) -> None:
    """Refuse a table that was cut before the end of its first row, or of its header."""
    with table.open("rb") as file:
        file.readline()
        if not file.readline().endswith(b"\n"):
            run = table.parent.parent
            raise InputError(f"{table} has no whole row: restore it, or leave {run} out")


def _check_configurations(blocks: Sequence[_Block], config: MergeConfig) -> None:
    first = blocks[0].members[0]
    arms: dict[str, Run] = {}
    for block in blocks:
        for run in block.members:
            for name in SHARED:
                _require_same(name, first, run)
            if not config.mixed_versions:
                _check_versions(first, run)
            alike = arms.setdefault(block.arm, run)
            if differing := difference(alike.config, run.config, OF_ONE_ARM):
                texts = [text.replace(": stored ", ": ") for text in differing]
                texts = [text.replace(", given ", " and ") for text in texts]
                raise InputError(
                    f"{alike.folder} and {run.folder} are both of {block.arm}, but differ in "
                    f"{'; '.join(texts)}: merge runs of one configuration"
                )


def _require_same(name: str, first: Run, other: Run) -> None:
    mine, theirs = first.config.get(name), other.config.get(name)
    if mine != theirs:
        raise InputError(
            f"{name} is {mine} in {first.folder} and {theirs} in {other.folder}: merge runs of one "
            "comparison"
        )


def _check_versions(first: Run, other: Run) -> None:
    mine, theirs = first.config.get("versions", {}), other.config.get("versions", {})
    for name in sorted({*mine, *theirs}):
        if mine.get(name) != theirs.get(name):
            raise InputError(
                f"{name} is {mine.get(name)} in {first.folder} and {theirs.get(name)} in "
                f"{other.folder}: give --mixed-versions if that makes no difference"
            )


def _check_seeds(blocks: Sequence[_Block]) -> None:
    where: dict[tuple[str, int], Path] = {}
    for block in blocks:
        for run in block.members:
            before = where.get((block.arm, run.seed))
            if before is not None:  # which is the same folder where that is named twice
                raise InputError(
                    f"seed {run.seed} of {block.arm} is in {before} and in {run.folder}: leave one "
                    "out"
                )
            where[block.arm, run.seed] = run.folder


def _copy(blocks: Sequence[_Block], out: Path) -> None:
    """Copy everything beside the new folder, then give it its name."""
    out.parent.mkdir(parents=True, exist_ok=True)
    place = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        place.chmod(0o755)
        for block in sorted(blocks, key=lambda block: (block.arm, block.seeds)):
            copied = shutil.ignore_patterns(LOCK, "*.tmp")
            free = place / block.arm
            if free.exists():
                free = block_folder(free, block.seeds)
            shutil.copytree(block.folder, free, ignore=copied)
        os.replace(place, out)
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)
        raise
