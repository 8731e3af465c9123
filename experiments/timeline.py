"""The timeline of a stream as a table and a figure, before or after the run."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
from rich.console import Console

from neoteny.core.errors import InputError
from neoteny.experiments.options.config import RunConfig, TrainConfig, named_apart
from neoteny.experiments.options.presets import preset_values
from neoteny.experiments.report.timeline_drawing import draw, table
from neoteny.experiments.run.folders import CHECKPOINT, read_json
from neoteny.experiments.run.run_streams import make_run_stream
from neoteny.experiments.run.store import read_checkpoint
from neoteny.experiments.run.stored import Allowed, load_run, stored_config

__all__ = ["TimelineConfig", "timeline"]


@dataclass(frozen=True)
class TimelineConfig(TrainConfig):
    """Print and draw the tasks over time of a run with these options, or of the run in a folder."""

    folder: tyro.conf.Positional[Path | None] = None
    """Folder of a run, whose options are taken; switches that waited for returns are known then."""
    out: Path | None = None
    """File ending in .png, .pdf or .svg; unset, timeline.png in the run's folder, or in the folder
    that a run with these options takes."""
    trust: bool = False
    """Run the code that the run's config.json names: plugins, module, Python stream."""


def timeline(config: TimelineConfig, console: Console) -> None:
    """Print the timeline of each seed and draw it.

    Raises:
        ValueError: If the folder holds no run, an option does not fit, or the file cannot be
            written.
    """
    if config.folder is None:
        run = named_apart(RunConfig(**config.shared))
    else:
        run = _of_folder(config, config.folder)
    stream = make_run_stream(run)
    if config.folder is not None and (config.folder / CHECKPOINT).is_file():
        stored = read_json(stored_config(config.folder))
        stream.load_state_dict(read_checkpoint(config.folder, stored)["envs"])
    each = run.hyper.steps_per_iteration
    total = math.ceil(run.steps / each) * each
    names = [name.removeprefix("neoteny/") for name in stream.task_names]
    seeds = [f"seed {seed}" for seed in run.seed_list]
    console.print(table(stream.schedule, total, names, seeds), soft_wrap=True)
    out = config.out or (config.folder or run.folder) / "timeline.png"
    try:
        if config.out is None:
            out.parent.mkdir(parents=True, exist_ok=True)
        draw(stream.schedule, total, out, names, seeds)
    except OSError as error:
        raise InputError(f"cannot write {out} ({error.strerror}): choose another --out") from None
    console.print(f"written {out}", soft_wrap=True)


def _of_folder(config: TimelineConfig, folder: Path) -> RunConfig:
    """The configuration of the run in a folder, which takes no options beside those for code."""
    unset = [_options(TimelineConfig()), _options(TimelineConfig(**preset_values("cpu")))]
    for name, value in _options(config).items():
        code = name in ("env", "plugin", "stream", "stream_definition")
        if not code and all(value != one.get(name) for one in unset):
            raise InputError(f"{name} is {value}, but {folder} has its own options: leave it out")
    allowed = Allowed(config.trust, config.plugin, config.stream_definition, config.env)
    return load_run(folder, allowed, device="cpu", cuda_graphs=False)


def _options(config: TrainConfig) -> dict[str, Any]:
    """The options that a run and a timeline share, those of network and agent among them."""
    values = config.shared
    network, hyper = values.pop("network"), values.pop("hyper")
    return {**values, **vars(network), **vars(hyper)}
