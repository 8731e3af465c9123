"""Records of a run, read as the report and as TensorBoard read them."""

import csv
import math
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.context import RequestContext
from tensorboard.data.server_ingester import ExistingServerDataIngester, get_server_binary
from tensorboard.util.grpc_util import ChannelCredsType

from neoteny.experiments.run import checkpoint
from neoteny.experiments.run.memory import COSTS
from neoteny.experiments.run.tags import MEAN_SO_FAR, scalars_of

TIMED = COSTS
"""Columns that depend on the clock."""
DRAWN = ("continual/task", MEAN_SO_FAR)
"""Tags with other points than the columns' own: steps at switches, and a mean over rows."""

Curves = dict[str, list[tuple[int, float]]]
"""Tag to steps and values, in the order of the reader."""


def table(path: Path) -> tuple[list[str], list[list[str]]]:
    """Header and rows of a metrics.csv as text, without what depends on the clock."""
    with path.open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    kept = [index for index, name in enumerate(header) if name not in TIMED]
    assert all(len(row) == len(header) for row in rows)
    return [header[index] for index in kept], [[row[index] for index in kept] for row in rows]


def tables(run: Path) -> dict[str, tuple[list[str], list[list[str]]]]:
    """The tables of all members."""
    found = {path.parent.name: table(path) for path in sorted(run.glob("seed_*/metrics.csv"))}
    assert found
    return found


def weights(run: Path) -> dict[str, bytes]:
    """Every tensor of the checkpoint by its place, bit for bit."""
    found: dict[str, bytes] = {}

    def gather(place: str, value: Any) -> None:
        if isinstance(value, dict):
            for key, item in value.items():
                gather(f"{place}/{key}", item)
        elif isinstance(value, list | tuple):
            for index, item in enumerate(value):
                gather(f"{place}/{index}", item)
        elif hasattr(value, "numpy"):
            found[place] = value.numpy().tobytes()

    gather("", checkpoint.load(run / "checkpoint.pt"))
    return found


def curves_of_table(path: Path) -> Curves:
    """Curves expected of a metrics.csv: every finite number, once."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    curves: Curves = {}
    for row in rows:
        numbers = {
            name: float(text)
            for name, text in row.items()
            if name not in ("step", "task_name") and text
        }
        for tag, value in scalars_of(numbers).items():
            if tag not in DRAWN and math.isfinite(value):
                curves.setdefault(tag, []).append((int(row["step"]), float(np.float32(value))))
    return curves


def expected_curves(root: Path) -> dict[str, Curves]:
    """Curves expected of all runs below a folder, by TensorBoard's names."""
    return {
        path.parent.relative_to(root).as_posix(): curves_of_table(path)
        for path in root.glob("**/seed_*/metrics.csv")
    }


def _read(provider: Any) -> dict[str, Curves]:
    found = provider.read_scalars(
        RequestContext(), experiment_id="", plugin_name="scalars", downsample=10**6
    )
    return {
        run: {
            tag: [(datum.step, datum.value) for datum in data]
            for tag, data in tags.items()
            if tag not in DRAWN
        }
        for run, tags in found.items()
    }


def python_curves(root: Path) -> dict[str, Curves]:
    """Curves of a folder by `tensorboard --load_fast false`."""
    multiplexer = EventMultiplexer(tensor_size_guidance={"scalars": 0})
    multiplexer.AddRunsFromDirectory(str(root))
    multiplexer.Reload()
    return _read(MultiplexerDataProvider(multiplexer, str(root)))


@contextmanager
def fast_curves(root: Path) -> Iterator[Any]:
    """Function that returns a folder's curves by `tensorboard`, which reads in the background."""
    with TemporaryDirectory() as scratch:
        port = Path(scratch) / "port"
        options = ["--reload=once", "--port=0", "--die-after-stdin", "--samples-per-plugin"]
        arguments = [*options, "scalars=all", f"--logdir={root}", f"--port-file={port}"]
        server = [get_server_binary().path, *arguments]
        with subprocess.Popen(server, stdin=subprocess.PIPE):  # it ends when its input does
            while not (port.exists() and port.read_text().endswith("\n")):
                time.sleep(0.01)
            ingester = ExistingServerDataIngester(
                f"localhost:{port.read_text().strip()}", channel_creds_type=ChannelCredsType.LOCAL
            )
            yield lambda: _read(ingester.data_provider)
