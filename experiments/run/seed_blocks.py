"""The runs that make up an arm of a comparison, where seeds were added later."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Sequence
from glob import escape
from pathlib import Path

from neoteny.core.errors import InputError, error_context
from neoteny.core.options import fit
from neoteny.experiments.options.config import RunConfig
from neoteny.experiments.run.folders import read_json
from neoteny.experiments.run.stored import stored_config

__all__ = ["added_folders", "block_folder", "seed_blocks", "stored_seeds"]


def seed_blocks(arm: RunConfig, most: int | None = None) -> list[RunConfig]:
    """Runs for all seeds of an arm: those that are stored, as they were, and those missing.

    An arm that overwrites begins anew with all seeds.

    Args:
        arm: The arm with all seeds, and the folder of its first run.
        most: Seeds of a new run at most; None for any number.

    Returns:
        One run for each folder of the arm that has some of the seeds, then those for each gap, the
        first in the arm's folder if nothing lies there, the others beside it.

    Raises:
        InputError: If the config.json of a stored run does not fit.
    """
    folders = () if arm.overwrite else (arm.folder, *added_folders(arm))
    stored = {folder: found for folder in folders if (found := stored_seeds(folder))}
    wanted = set(arm.seed_list)
    runs = [
        dataclasses.replace(arm, first_seed=seeds[0], seeds=len(seeds), out=folder)
        for folder, seeds in stored.items()
        if wanted & set(seeds)
    ]
    free = arm.folder not in stored
    for gap in _gaps(sorted(wanted.difference(*stored.values())), most or arm.seeds):
        out = arm.folder if free else block_folder(arm.folder, gap)
        runs.append(dataclasses.replace(arm, first_seed=gap[0], seeds=len(gap), out=out))
        free = False
    return runs


def added_folders(arm: RunConfig) -> list[Path]:
    """The folders beside an arm's that hold the seeds which were added to it later."""
    ending = re.compile(r"-seed\d+(to\d+)?")
    beside = sorted(arm.folder.parent.glob(f"{escape(arm.folder.name)}-seed*"))
    return [each for each in beside if ending.fullmatch(each.name.removeprefix(arm.folder.name))]


def block_folder(folder: Path, seeds: Sequence[int]) -> Path:
    """The folder beside an arm's for a block of consecutive seeds of its own."""
    last = f"to{seeds[-1]}" * (len(seeds) > 1)
    return folder.with_name(f"{folder.name}-seed{seeds[0]}{last}")


def stored_seeds(folder: Path) -> list[int]:
    """The seeds of the run in a folder; none if there is no run."""
    try:
        path = stored_config(folder)
    except InputError:
        return []
    values = read_json(path)
    with error_context(str(path)):
        first = fit("first_seed", values.get("first_seed"), int, "at least 0")
        count = fit("seeds", values.get("seeds"), int, "from 1 to 10,000")
    return list(range(first, first + count))


def _gaps(missing: list[int], most: int) -> Iterator[list[int]]:
    """Sorted numbers in runs of consecutive ones, each of so many at most."""
    block: list[int] = []
    for number in missing:
        if block and (number != block[-1] + 1 or len(block) == most):
            yield block
            block = []
        block.append(number)
    if block:
        yield block
