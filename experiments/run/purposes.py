"""The purpose of runs: those of `tune` choose strengths, and never count as evidence."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from neoteny.core.errors import InputError
from neoteny.experiments.run.folders import CONFIG, read_json

__all__ = ["require_one_purpose", "require_purpose"]


def require_one_purpose(runs: Iterable[tuple[Path, Mapping[str, Any]]]) -> None:
    """Refuse runs of tuning and of evaluation in one report, by their configurations.

    Raises:
        InputError: Naming one of each.
    """
    first: dict[str, Path] = {}
    for folder, config in runs:
        first.setdefault(_purpose(config), folder)
    if len(first) > 1:
        other = next(folder for purpose, folder in first.items() if purpose != "tuning")
        raise InputError(
            f"runs of tuning ({first['tuning']}) and of evaluation ({other}) are not reported "
            "together, since tuned strengths flatter on the seeds they were chosen on: give the "
            "folder of either"
        )


def require_purpose(folder: Path, purpose: str) -> None:
    """Refuse a folder with runs of another purpose, before anything is trained.

    Raises:
        InputError: Naming one of them.
    """
    for path in sorted(folder.glob(f"**/seed_*/{CONFIG}")):
        if _purpose(read_json(path)) != purpose:
            kinds = ("tuning", "evaluation") if purpose else ("evaluation", "tuning")
            raise InputError(
                f"{folder} holds runs of {kinds[1]}, such as {path.parent}, and those of "
                f"{kinds[0]} do not go beside them: choose another --out"
            )


def _purpose(config: Mapping[str, Any]) -> str:
    return str(config.get("purpose", ""))
