"""Cost of runs: training time, steps per second and peak memory of each arm."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from neoteny.core.text import visible
from neoteny.experiments.options.arms import BASELINE, arms_of
from neoteny.experiments.run.memory import MEMORY, SPEED
from neoteny.experiments.statistics.runs import Run

__all__ = ["costs"]


def costs(frame: pd.DataFrame, runs: Sequence[Run]) -> pd.DataFrame:
    """Cost of each arm.

    Args:
        frame: Rows of `statistics.runs.frame_of`.
        runs: The members that were read.

    Returns:
        One row an arm, NaN where nothing was recorded:

        - ``arm``; ``members``, trained at once in one process;
        - ``seconds``, of training and measuring, of all its processes; ``seconds_per_run``, the
          share of one member; ``steps_per_second``, of all members of a process; ``relative``,
          time per step of a member as a multiple of the plain agent's;
        - ``memory``, the most that one of its processes held, in MiB;
        - ``machine``, the GPU, or the processor and the threads.
    """
    rows = []
    for arm in arms_of(frame):
        mine = frame[frame["arm"] == arm.name]
        parts = [
            _process(mine[mine["seed"].isin([run.seed for run in process])], process)
            for process in _processes([run for run in runs if run.arm == arm.name])
        ]
        found = pd.DataFrame(parts)
        seconds, steps = found["seconds"].sum(skipna=False), found["steps"].sum()
        rows.append(
            {
                "arm": arm.name,
                "role": arm.role,
                "members": int(found["members"].max()),
                "seconds": seconds,
                "seconds_per_run": seconds / mine["seed"].nunique(),
                "steps_per_second": steps / seconds if seconds > 0 else np.nan,
                "memory": found["memory"].max(),
                "machine": "; ".join(dict.fromkeys(found["machine"])),
            }
        )
    table = pd.DataFrame(rows)
    plain = table.loc[table["role"] == BASELINE, "steps_per_second"]
    speed = float(plain.iloc[0]) if len(plain) == 1 else np.nan
    return table.assign(relative=speed / table["steps_per_second"]).drop(columns="role")


def _processes(runs: Sequence[Run]) -> Iterator[list[Run]]:
    """The members of an arm that one process trained at once."""
    folders: dict[Path, list[Run]] = {}
    for run in runs:
        folders.setdefault(run.folder.parent, []).append(run)
    yield from folders.values()


def _process(rows: pd.DataFrame, runs: Sequence[Run]) -> dict[str, Any]:
    """Steps of all members, seconds and memory of one process; its members share their rows."""
    config = runs[0].config
    members = config.get("seeds", len(runs))
    one = rows[rows["seed"] == runs[0].seed]
    steps = members * one["width"]
    speed = one[SPEED] if SPEED in one else pd.Series(np.nan, one.index)
    memory = one[MEMORY].max() if MEMORY in one else np.nan
    return {
        "members": members,
        "steps": float(steps.sum()),
        "seconds": float((steps / speed).sum(skipna=False)),
        "memory": memory,
        "machine": _machine(config),
    }


def _machine(config: Mapping[str, Any]) -> str:
    """The GPU, or the processor and the threads, of a run's last part."""
    last = [config, *config.get("resumed", ())][-1]
    hardware = last.get("hardware", {})
    on_gpu = config.get("device", "cpu").startswith("cuda")
    processor = visible(str(hardware.get("gpu" if on_gpu else "cpu") or "unknown"))
    threads = hardware.get("threads")
    if on_gpu or threads is None:
        return processor
    return f"{processor}, {visible(str(threads))} thread{'' if threads == 1 else 's'}"
