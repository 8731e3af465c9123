"""The recorder: what a run measured, as TensorBoard events and one CSV file per member."""

from __future__ import annotations

import json
import math
import re
import warnings
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from neoteny.core.errors import InputError
from neoteny.core.text import visible
from neoteny.experiments.folders import (
    CONFIG,
    METRICS,
    RECORDED,
    difference,
    read_json,
    seed_folder,
    write_json,
)
from neoteny.experiments.provenance import command, hardware, versions
from neoteny.experiments.table import LEADING, Cell, Table

Value = Tensor | float | Sequence[float]
_T = TypeVar("_T", float, str)

CUSTOM_SCALARS = {
    "continual": {
        "return": ["Multiline", ["charts/episodic_return"]],
        "online accuracy": ["Multiline", ["charts/online_accuracy", "charts/task_accuracy"]],
        "task": ["Multiline", ["charts/task", "charts/visit"]],
        "reward per step": ["Multiline", ["charts/reward_per_step"]],
    },
    "plasticity": {
        "Gram deviation": ["Multiline", [r"plasticity/.*/layer.*/gram_deviation"]],
        "dormant units": ["Multiline", [r"plasticity/.*/dormant_fraction"]],
        "effective rank of features": ["Multiline", [r"plasticity/.*/feature_effective_rank"]],
        "weight norm": ["Multiline", [r"plasticity/.*/weight_norm"]],
    },
    "learning": {
        "losses": ["Multiline", ["losses/policy_loss", "losses/value_loss"]],
        "entropy": ["Multiline", ["losses/entropy"]],
        "approximate KL": ["Multiline", ["losses/approx_kl"]],
        "gradient norm": ["Multiline", [r"losses/gradient_norm/.*"]],
    },
}
"""TensorBoard's Custom Scalars tab: the main curves, a chart each."""


class Recorder:
    """Writes one row an iteration for each of the M members of a process.

    Use it as a context manager, or call `close`. Rows reach the operating system in `record`
    and the disk in `flush`: call `flush` before saving a checkpoint, so that the rows up to a
    checkpoint are never missing.

    Args:
        run_folder: the run's folder, from `prepare_run_folder`.
        seeds: (M,) the members' seeds.
        config: the run's configuration, stored in every config.json.
        resume_step: the step of the checkpoint that is continued; rows after it are dropped.
            None starts a new run.

    Raises:
        ValueError: the config uses a reserved field, or a new run would overwrite another.
    """

    def __init__(
        self,
        run_folder: Path | str,
        seeds: Sequence[int],
        config: Mapping[str, Any],
        resume_step: int | None = None,
    ) -> None:
        reserved = sorted(set(RECORDED) & set(config) - {"command"})
        if reserved:
            raise InputError(f"config may not hold {reserved[0]!r}: the recorder writes that field")
        self.seeds = tuple(seeds)
        self._members = [
            _Member(seed_folder(Path(run_folder), seed), seed, config, resume_step)
            for seed in self.seeds
        ]

    def record(
        self,
        step: int,
        values: Mapping[str, Value],
        text: Mapping[str, str | Sequence[str]] | None = None,
    ) -> dict[str, list[float]]:
        """Write one row per member, with a single copy from the device.

        Args:
            step: environment steps of one member so far.
            values: name to a tensor of shape (M,) or (), a number, or M numbers. ``iteration``,
                ``task`` and ``visit`` lead the row; the other names are TensorBoard tags.
            text: name to a string or M strings, for the CSV only (``task_name``).

        Returns:
            Every name with its M values on the host; NaN where a value is missing.

        Raises:
            ValueError: a value has another shape.
        """
        host = self._to_host(values)
        words = {key: self._spread(key, word) for key, word in (text or {}).items()}
        for index, member in enumerate(self._members):
            numbers = {key: column[index] for key, column in host.items()}
            member.write(step, numbers, {key: word[index] for key, word in words.items()})
        return {key: [float(value) for value in column] for key, column in host.items()}

    def flush(self) -> None:
        """Force everything recorded so far to the disk."""
        for member in self._members:
            member.flush()

    def close(self) -> None:
        """Flush and close all files."""
        for member in self._members:
            member.close()

    def __enter__(self) -> Recorder:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _to_host(self, values: Mapping[str, Value]) -> dict[str, list[float]]:
        """Stack the tensors of each device in float64 and copy each stack once."""
        host: dict[str, list[float]] = {}
        stacks: dict[torch.device, list[str]] = {}
        for key, value in values.items():
            if isinstance(value, Tensor):
                if value.shape not in ((), (len(self.seeds),)):
                    raise self._wrong_shape(key, tuple(value.shape))
                stacks.setdefault(value.device, []).append(key)
                host[key] = []  # keeps the order of the columns
            else:
                host[key] = self._spread(key, np.asarray(value).tolist())
        for keys in stacks.values():
            tensors = {key: value for key in keys if isinstance(value := values[key], Tensor)}
            columns = [tensor.detach().to(torch.float64) for tensor in tensors.values()]
            rows = torch.stack([column.expand(len(self.seeds)) for column in columns]).tolist()
            for (key, tensor), row in zip(tensors.items(), rows, strict=True):
                whole = not tensor.dtype.is_floating_point
                host[key] = [int(value) for value in row] if whole else row
        return host

    def _spread(self, key: str, value: _T | Sequence[_T]) -> list[_T]:
        if isinstance(value, int | float | str):
            return [value] * len(self.seeds)
        if len(value) != len(self.seeds):
            raise self._wrong_shape(key, (len(value),))
        return list(value)

    def _wrong_shape(self, key: str, shape: tuple[int, ...]) -> InputError:
        members = len(self.seeds)
        return InputError(
            f"{key} has shape {shape}; give one value or one for each of the {members} members"
        )


class _Member:
    """The files of one member: config.json, metrics.csv and TensorBoard's events."""

    def __init__(
        self, folder: Path, seed: int, config: Mapping[str, Any], resume_step: int | None
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._config = folder / CONFIG
        table = folder / METRICS
        if resume_step is None:
            stored = self._begin(seed, config, table)
        else:
            stored = self._resume(resume_step, config, table)
        self._table = Table(table, resume_step)
        self._writer = SummaryWriter(
            str(folder),
            purge_step=None if resume_step is None else resume_step + 1,
            flush_secs=10,
        )
        if resume_step is None:
            self._writer.add_text("config", _markdown(stored), 0)
            self._writer.add_custom_scalars(CUSTOM_SCALARS)

    def write(self, step: int, numbers: Mapping[str, float], words: Mapping[str, str]) -> None:
        row: dict[str, Cell] = {"step": step, **numbers, **words}
        self._table.append(row)
        for key, value in numbers.items():
            if math.isfinite(value):
                self._writer.add_scalar(_tag(key), value, step)

    def flush(self) -> None:
        self._table.flush()
        self._writer.flush()

    def close(self) -> None:
        self._table.close()
        self._writer.close()

    def _begin(self, seed: int, config: Mapping[str, Any], table: Path) -> dict[str, Any]:
        if self._config.exists() or table.exists():
            raise InputError(
                f"{self._config.parent} already holds a run; choose another --out "
                f"or continue it with --resume {self._config.parent.parent}"
            )
        stored = {
            **config,
            "seed": seed,
            "command": config.get("command", command()),
            "versions": versions(),
            "hardware": hardware(),
        }
        write_json(self._config, stored)
        return stored

    def _resume(self, resume_step: int, config: Mapping[str, Any], table: Path) -> dict[str, Any]:
        """Note in config.json where and on what the run went on, and what was changed."""
        stored = read_json(self._config)
        if not table.exists():
            warnings.warn(
                f"{table} is missing: its curve will begin at step {resume_step}", stacklevel=4
            )
        part = {
            "step": resume_step,
            "changed": difference(stored, config),
            "command": command(),
            "versions": versions(),
            "hardware": hardware(),
        }
        given = {key: value for key, value in config.items() if key != "command"}
        stored |= {**given, "resumed": [*stored.get("resumed", []), part]}
        write_json(self._config, stored)
        return stored


def _tag(key: str) -> str:
    """TensorBoard's name: the columns that lead a row belong to the charts."""
    return f"charts/{key}" if key in LEADING else key


def _markdown(config: Mapping[str, Any]) -> str:
    """A configuration as a Markdown table."""
    rows = [
        f"| {_escaped(key)} | "
        f"{_escaped(value if isinstance(value, str) else json.dumps(value, default=str))} |"
        for key, value in config.items()
    ]
    return "\n".join(["| field | value |", "| --- | --- |", *rows])


def _escaped(text: str) -> str:
    """A text that Markdown shows as it is, in one line."""
    return re.sub(r"([\\`*_{}\[\]()#+\-.!|])", r"\\\1", escape(visible(text), quote=False))
