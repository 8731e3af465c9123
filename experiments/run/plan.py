"""The plan of a comparison: units of work, each a run of some seeds of an arm in its own folder."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path

from neoteny.experiments.options.config import CompareConfig, RunConfig
from neoteny.experiments.run.folders import CHECKPOINT, METRICS, has_checkpoint, seed_folder
from neoteny.experiments.run.seed_blocks import seed_blocks

__all__ = ["Unit", "plan_units"]

TAIL = 1 << 16
"""Bytes at the end of metrics.csv in which the last row is looked for."""


@dataclass(frozen=True)
class Unit:
    """Seeds of an arm that are trained together: a pure function of its configuration."""

    run: RunConfig
    """With the folder that it alone writes to."""

    @property
    def name(self) -> str:
        """The arm and its seeds, as in `ppo-adamo, seeds 0 to 3`."""
        first, last = self.run.seed_list[0], self.run.seed_list[-1]
        seeds = f"seed {first}" if first == last else f"seeds {first} to {last}"
        return f"{self.run.arm}, {seeds}"

    @property
    def total(self) -> int:
        """Environment steps of a member, in whole iterations."""
        size = self.run.hyper.steps_per_iteration
        return math.ceil(self.run.steps / size) * size

    @property
    def goes_on(self) -> bool:
        """True if it continues the run in its folder."""
        return not self.run.overwrite and has_checkpoint(self.run.folder)

    @property
    def recorded(self) -> int:
        """Steps of a member that its folder has rows of, counted in its first one."""
        return last_step(seed_folder(self.run.folder, self.run.seed_list[0]) / METRICS)

    @property
    def done(self) -> bool:
        """True if all steps are recorded, and the last checkpoint was written after them.

        Where copying has lost the order of the files' times, a finished unit counts as one to be
        continued, which costs its start alone.
        """
        if not self.goes_on:
            return False
        tables = [seed_folder(self.run.folder, seed) / METRICS for seed in self.run.seed_list]
        if any(last_step(table) != self.total for table in tables):
            return False
        saved = (self.run.folder / CHECKPOINT).stat().st_mtime_ns
        return all(table.stat().st_mtime_ns <= saved for table in tables)


def plan_units(config: CompareConfig) -> list[Unit]:
    """The units of a comparison, arm by arm: those that are stored, and those missing.

    Raises:
        InputError: If the config.json of a stored run does not fit.
    """
    return [Unit(run) for arm in config.arms() for run in seed_blocks(arm, config.block)]


def last_step(table: Path) -> int:
    """The step of the last whole row of a metrics.csv; 0 if there is none."""
    try:
        with table.open("rb") as file:
            if file.readline().partition(b",")[0] != b"step":
                return 0
            start = file.tell()
            file.seek(max(start, file.seek(0, os.SEEK_END) - TAIL))
            lines = file.read().split(b"\n")[:-1]
    except OSError:
        return 0
    step = lines[-1].partition(b",")[0] if lines else b""
    return int(step) if step.isdigit() else 0
