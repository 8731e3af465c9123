"""Growth of time and memory with lanes, members, width and depth, and the cost of AdamO.

python benchmarks/scaling.py --out results/speed
python benchmarks/scaling.py --sweeps ranks --steps 32 --out results/speed
python benchmarks/scaling.py --sweeps lanes members --device cuda --steps 128 --out results/speed

Each sweep varies one number of the preset `paper` on padded Breakout and keeps the others; its
contenders take turns. Minibatches hold one sample a lane, so an iteration has as many updates
whatever the lanes. The sweep `environments` only steps the game. The sweep `adamo` times both
optimisers on the same network (GroupSort, no biases), window by window.

The sweep `ranks`, which the others do not include, trains the base sizes in several processes of
one thread each: as jobs of their own, and as one run whose lanes they share. It is measured on
`processes` and predicted for more of them, from the times of its parts and the bytes of its
messages.

Memory on a GPU is the most that was allocated; on a CPU it is the bytes of all tensors that live
between iterations: environments, rollout, parameters, moments and gradients.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
import tyro
from _measure import Contender, local, paired_ratio, prepare, summarize, take_turns
from _publish import Report, canvas, lines, publish, rate_columns
from _ranks import ASSUMPTIONS, costs, measured, table
from _work import CHANNELS, LIMIT, How, Training, stepping
from matplotlib.figure import Figure

Sweep = Literal["environments", "lanes", "members", "width", "depth", "adamo", "ranks"]
LABELS = ["sweep", "optimizer", "lanes", "members", "width", "depth"]
ROW_BYTES = 10 * 10 * CHANNELS
"""A padded observation."""
OWN = ("neoteny.", "torch.optim", "torch.nn", "scipy.sparse")
"""Modules whose objects may hold tensors or arrays of a run."""


@dataclass(frozen=True)
class Config:
    """Options of the benchmark."""

    sweeps: tuple[Sweep, ...] = ("environments", "lanes", "members", "width", "depth", "adamo")
    """Quantity to vary; `adamo` compares optimisers instead."""
    lanes: tuple[int, ...] = (64, 256, 1024, 2048, 4096, 16384, 65536)
    """Lanes to try; other sweeps have `base_lanes`."""
    members: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    """Members to try; other sweeps have one."""
    widths: tuple[int, ...] = (64, 128, 256, 512, 1024)
    """Widths to try; other sweeps have 64."""
    depths: tuple[int, ...] = (2, 4, 8, 16, 32, 64)
    """Hidden layers to try; other sweeps have 4."""
    adamo_widths: tuple[int, ...] = (64, 512)
    """Widths of the four layers that AdamO is compared with Adam on."""
    base_lanes: int = 2048
    """Lanes of one member where they are not varied."""
    processes: int = 2
    """Processes that the sweep `ranks` measures."""
    predict: tuple[int, ...] = (4, 8, 16)
    """Numbers of processes that it predicts."""
    steps: int = 8
    """Steps in each lane an iteration; the preset has 128, which takes long on a CPU."""
    windows: int = 5
    """Timed windows of each contender, after one that is not counted."""
    path: How = "fp32"
    """Way to compute PPO."""
    memory_gib: float | None = None
    """Larger rollouts are left out and named; unset, a third of the device's free memory."""
    threads: int | None = None
    """Threads for CPU arithmetic; unset, torch decides."""
    device: str = "cpu"
    """Device of environments and networks."""
    out: Path | None = None
    """Folder for the tables, the CSVs and the figure; unset, they are only printed."""
    quick: bool = False
    """Try everything out on tiny sizes."""

    @property
    def base(self) -> Training:
        """Sizes that sweeps start from."""
        return Training(lanes=self.base_lanes, steps=self.steps, path=self.path, device=self.device)


QUICK: dict[str, Any] = {
    "lanes": (8, 16),
    "members": (1, 2),
    "widths": (8, 16),
    "depths": (1, 2),
    "adamo_widths": (8,),
    "base_lanes": 16,
    "predict": (4,),
    "steps": 2,
    "windows": 1,
}


def trainings(config: Config, sweep: Sweep) -> Iterator[Training]:
    """The runs of a sweep."""
    base = config.base
    match sweep:
        case "lanes":
            yield from (replace(base, lanes=lanes) for lanes in config.lanes)
        case "members":
            yield from (replace(base, members=members) for members in config.members)
        case "width":
            yield from (replace(base, width=width) for width in config.widths)
        case "depth":
            yield from (replace(base, depth=depth) for depth in config.depths)
        case "adamo":
            for width in config.adamo_widths:
                same = replace(base, width=width, activation="groupsort")
                yield from (replace(same, optimizer=name) for name in ("adam", "adamo"))


def free_gib(device: str) -> float:
    """Free memory of the device."""
    if torch.device(device).type == "cuda":
        return torch.cuda.mem_get_info()[0] / 2**30
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30


def rollout_gib(training: Training) -> float:
    """The part of a run's memory that grows fastest: its stored observations."""
    return training.steps_per_iteration * ROW_BYTES / 2**30


def tensor_bytes(*owners: Any) -> int:
    """Bytes of all tensors and arrays that objects of this project hold, each counted once."""
    storages: dict[int, int] = {}
    seen: set[int] = set()
    stack = list(owners)
    while stack:
        item = stack.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, torch.Tensor):
            storage = item.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
            stack.append(item.grad)
        elif isinstance(item, np.ndarray):
            storages[item.ctypes.data] = item.nbytes
        elif isinstance(item, dict):
            stack += item.values()
        elif isinstance(item, list | tuple | set):
            stack += item
        elif type(item).__module__.startswith(OWN):
            stack.append(getattr(item, "__dict__", None))
    return sum(storages.values())


def memory(training: Training) -> int:
    """Bytes that a run needs, found in one iteration that runs alone."""
    cuda = torch.device(training.device).type == "cuda"
    if cuda:
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
    env, agent = training.build()
    agent.learn(agent.collect(env))
    if cuda:
        return torch.cuda.max_memory_allocated() - before
    return tensor_bytes(env, agent)


def contender(training: Training, sweep: Sweep) -> Contender:
    """A run to time, with the memory it needs."""
    labels = {name: getattr(training, name) for name in LABELS[1:]}
    size = memory(training)
    facts = {"mib": size / 2**20, "kib_a_lane": size / training.lanes / training.members / 2**10}
    return Contender(
        {"sweep": sweep, **labels}, local(training.iteration(), training.device), facts
    )


def stepping_contender(config: Config, lanes: int) -> Contender:
    """Breakout stepped alone."""
    options = {"channels": CHANNELS, "max_steps": LIMIT, "sticky": 0.0}
    work = stepping("MinAtar-Breakout-v1", lanes, config.steps, config.device, **options)
    return Contender({"sweep": "environments", "lanes": lanes}, local(work, config.device))


def measure(config: Config, sweep: Sweep) -> pd.DataFrame:
    """Time everything in a sweep, in turns; what does not fit in memory is named and left out."""
    if sweep == "environments":
        found = [stepping_contender(config, lanes) for lanes in config.lanes]
        return take_turns(found, config.windows)
    limit = config.memory_gib or free_gib(config.device) / 3
    found = []
    for training in trainings(config, sweep):
        if rollout_gib(training) > limit:
            print(f"left out, above {limit:.1f} GiB: {training}")
            continue
        found.append(contender(training, sweep))
    return take_turns(found, config.windows)


def adamo_cost(windows: pd.DataFrame) -> pd.DataFrame:
    """Time of an iteration with AdamO over Adam's, window by window."""
    rows = []
    for width in windows["width"].unique():
        same = windows[windows["width"] == width]
        median, low, high = paired_ratio(
            same, same["optimizer"] == "adamo", same["optimizer"] == "adam"
        )
        rows.append({"width": width, "AdamO / Adam": median, "lowest": low, "highest": high})
    return pd.DataFrame(rows)


def draw(summary: pd.DataFrame, sweeps: Sequence[str]) -> Figure:
    """Steps per second over each number that was varied."""
    figure, panels = canvas(1, len(sweeps), 3.2 * len(sweeps), 3.2)
    for panel, sweep in zip(panels, sweeps, strict=True):
        lines(panel, summary[summary["sweep"] == sweep], sweep)
    panels[0].set_ylabel("env steps/s of all members")
    return figure


def training_report(config: Config, windows: pd.DataFrame) -> Report:
    """The sweeps that train."""
    names = {"mib": "MiB", "kib_a_lane": "KiB a lane and member"}
    sizes = windows.drop_duplicates(LABELS).set_index(LABELS)[list(names)]
    summary = summarize(windows, LABELS).join(sizes.rename(columns=names), on=LABELS)
    sweeps = [sweep for sweep in ("lanes", "members", "width", "depth") if sweep in config.sweeps]
    return Report(
        "scaling",
        "PPO on padded Breakout: env steps/s of all members, and memory",
        rate_columns(summary),
        config,
        windows,
        figure=(lambda: draw(summary, sweeps)) if sweeps else None,
    )


def stepping_report(config: Config, windows: pd.DataFrame) -> Report:
    """The sweep that only plays."""
    summary = summarize(windows, ["lanes"])
    return Report(
        "scaling-environments",
        "Stepping padded Breakout: env steps/s",
        rate_columns(summary),
        config,
        windows,
        figure=lambda: draw(summary.assign(sweep="lanes"), ["lanes"]),
    )


def ranks_report(config: Config) -> Report:
    """Jobs and ranks, measured and predicted."""
    windows, link = measured(config.base, config.processes, config.windows)
    found = table(windows, link, config.processes, config.predict, partial(costs, config.base))
    facts = {
        "latency of a message": f"{1e6 * link.latency:.0f} us",
        "bandwidth": f"{link.bandwidth / 1e9:.2f} GB/s",
        **{f"assumption {number}": text for number, text in enumerate(ASSUMPTIONS, 1)},
    }
    title = "One run in several processes (ranks), and runs beside each other (jobs): env steps/s"
    return Report("scaling-ranks", title, found, config, peers=facts)


def main(config: Config) -> None:
    """Measure, print and write."""
    if config.quick:
        config = replace(config, **QUICK)
    prepare(config.threads)
    found = {}
    for sweep in config.sweeps:
        if sweep == "ranks":
            publish(ranks_report(config))
        else:
            found[sweep] = measure(config, sweep)
        gc.collect()
    if trained := [windows for sweep, windows in found.items() if sweep != "environments"]:
        publish(training_report(config, pd.concat(trained, ignore_index=True)))
    if "environments" in found:
        publish(stepping_report(config, found["environments"]))
    if "adamo" in found:
        title = "AdamO's cost: time of an iteration over Adam's, same network"
        publish(Report("scaling-adamo", title, adamo_cost(found["adamo"]), config))


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
