"""TensorBoard's names of what metrics.csv holds, and the layout of its Custom Scalars.

TensorBoard sorts groups of charts by name and opens the first two: `continual`, the results, and
`plasticity`, one number a network. What belongs to single layers has a group for each network.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

import numpy as np
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import summary_v2 as hparams
from torch.utils.tensorboard import summary

from neoteny.experiments.options.arms import FOLLOWS, NEUTRAL, RECORDED, interventions_of, setup_of
from neoteny.experiments.run.folders import MEASURES

MEAN_SO_FAR = "run/mean_so_far"
"""Mean return or accuracy over the run so far: the last value is the whole run's."""
GAP = "run/gap_to_fresh"
"""Gap to fresh over all visits, which the report writes for each arm."""

RENAMED = {
    **{column: f"continual/{measure}" for column, measure in MEASURES.items()},
    "task": "continual/task",
    "eval/episodic_return": "continual/evaluation_return",
    "iteration": "run/iteration",
    "visit": "run/visit",
}
MOVED = {
    "charts/": "run/",
    "losses/": "train/",
    "interventions/": "plasticity_interventions/",
}
"""Beginnings of columns, and the groups that they are shown in."""

SHOWN = {
    "dormant_fraction": "dormant units",
    "feature_effective_rank": "effective rank of features",
    "weight_norm": "weight norm",
}
"""Diagnostics in Custom Scalars and HParams, whose axes are linear."""

FIRST = ("activation", "env", "hidden", "intervention", "learning_rate")
"""Settings that HParams shows before it is asked for more."""


@cache
def layer_of(column: str) -> tuple[str, str, str] | None:
    """Network, layer and name of a column ``plasticity/<network>/<layer>/<name>``, else None."""
    found = re.fullmatch(r"plasticity/([^/]+)/(.+)/(\w+)", column)
    return (found[1], found[2], found[3]) if found and found[2] != "network" else None


@cache
def tag_of(column: str) -> str:
    """TensorBoard's name of a column of metrics.csv."""
    if column in RENAMED:
        return RENAMED[column]
    if layer := layer_of(column):
        return f"plasticity_{layer[0]}/{layer[2]}/{layer[1]}"
    for beginning, group in MOVED.items():
        if column.startswith(beginning):
            return group + column.removeprefix(beginning)
    return column


def hidden_layers(columns: Iterable[str]) -> dict[tuple[str, str], list[str]]:
    """Group the columns of hidden layers.

    Returns:
        (network, name) to its columns, one a layer; heads left out.
    """
    found: dict[tuple[str, str], list[str]] = {}
    for column in columns:
        layer = layer_of(column)
        if layer is not None and layer[1] != "head":
            found.setdefault((layer[0], layer[2]), []).append(column)
    return found


def scalars_of(numbers: Mapping[str, float]) -> dict[str, float]:
    """TensorBoard's scalars of a row.

    Returns:
        Every number under its tag, the mean over the hidden layers of each network, and the mean
        of those over networks for what `SHOWN` names.
    """
    scalars = {tag_of(column): value for column, value in numbers.items()}
    networks: dict[str, list[float]] = {}
    for (network, name), columns in hidden_layers(numbers).items():
        mean = float(np.mean([numbers[key] for key in columns]))
        scalars[f"plasticity/{network}/{name}"] = mean
        networks.setdefault(name, []).append(mean)
    for name in SHOWN.keys() & networks.keys():
        scalars[f"run/{name}"] = float(np.mean(networks[name]))
    return scalars


def layout_of(columns: Iterable[str]) -> Summary:
    """Custom Scalars of a run: its results and, a chart for each network, its plasticity.

    Args:
        columns: those recorded so far; charts of others would be empty.
    """
    columns = list(columns)
    tags = {tag_of(column) for column in columns}
    hidden = hidden_layers(columns)
    results = {
        name: ["Multiline", [f"continual/{name}$"]]
        for name in ("return", "accuracy", "task")
        if f"continual/{name}" in tags
    }
    plasticity = {
        f"{label}, {network} network": ["Multiline", [f"plasticity/{re.escape(network)}/{name}$"]]
        for name, label in SHOWN.items()
        for network in sorted({network for network, found in hidden if found == name})
    }
    layout = {"continual": results, "plasticity, mean over layers": plasticity}
    shown = {category: charts for category, charts in layout.items() if charts}
    made: Summary = summary.custom_scalars(shown)  # type: ignore[no-untyped-call]
    return made


def session_of(config: Mapping[str, Any]) -> Summary:
    """HParams of a run: its configuration; runs that differ in their seeds alone are one trial."""
    trial = f"{config.get('arm', 'run')} {setup_of(config)[:4]}"
    made: Summary = hparams.hparams_pb(_settings(config), trial_id=trial)
    return made


def trials_of(config: Mapping[str, Any]) -> Summary:
    """Contents of the HParams tab: settings, and the metrics that a run ends with."""
    metrics = [
        hparams.Metric(MEAN_SO_FAR, display_name="mean return or accuracy"),
        hparams.Metric(GAP, display_name="gap to fresh"),
        *(hparams.Metric(f"run/{name}", display_name=label) for name, label in SHOWN.items()),
    ]
    settings = [hparams.HParam(name) for name in _settings(config)]
    made: Summary = hparams.hparams_config_pb(settings, metrics)
    return made


def _settings(config: Mapping[str, Any]) -> dict[str, str | float | bool]:
    """Numbers and short texts of a configuration that arms can differ in.

    TensorBoard sorts them and shows the first five: those of `FIRST`, all others as options.
    """
    skip = {*RECORDED, *FOLLOWS, *NEUTRAL, "task_names", "stream_definition"}
    found: dict[str, Any] = {"intervention": interventions_of(config)}
    for name, value in config.items():
        if name not in skip:
            found |= value if isinstance(value, Mapping) else {name: value}
    settings: dict[str, str | float | bool] = {}
    for name, value in found.items():
        text = json.dumps(value, default=str) if isinstance(value, list | tuple) else value
        short = isinstance(text, int | float) or (isinstance(text, str) and len(text) < 80)
        if short and text != "[]":
            settings[name if name in FIRST else f"options.{name}"] = text
    return settings
