"""Broken config.json, metrics.csv and checkpoint.pt: refused in one line, or read as they were."""

import json
import math
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from reliability.fuzz import assert_sensible, attempt, damaged, mutated, words
from reliability.records import tables
from reliability.test_fuzz_streams import SMALL, STREAMS
from rich.console import Console

from neoteny.experiments.options.config import RunConfig
from neoteny.experiments.options.network_options import NetworkOptions
from neoteny.experiments.run import checkpoint
from neoteny.experiments.run.folders import CHECKPOINT, CONFIG, METRICS
from neoteny.experiments.run.runner import Runner, run
from neoteny.experiments.run.stored import from_dict
from neoteny.experiments.statistics.runs import read_table
from neoteny.wrappers.stream_files import define

QUIET = Console(quiet=True)


def plain(config: RunConfig) -> Any:
    """A configuration as config.json holds it."""
    return json.loads(json.dumps(config.to_dict()))


CONFIGS = [
    plain(RunConfig(intervention=("adamo:isometry=0.1", "redo"), **SMALL["ppo"])),
    plain(RunConfig(agent="dqn", env="cartpole-drift", env_option=("sticky=0.1",))),
    plain(RunConfig(agent="classifier", env="digits-random-labels", **SMALL["classifier"])),
    plain(RunConfig(env="shuffled", **SMALL["ppo"]))
    | {"stream": "mine.yaml", "stream_definition": define(STREAMS[0], "shuffled").to_dict()},
]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("record") / "seed_0" / "record"


@given(st.sampled_from(CONFIGS).flatmap(mutated))
def test_configurations_with_other_values(values: Any) -> None:
    if not isinstance(values, dict):
        return  # refused by read_json
    config = attempt(lambda: from_dict(values))
    if config is not None:
        assert_sensible(config)


HEADER = "step,iteration,task,visit,task_name,charts/SPS,charts/episodic_return,losses/value_loss"
ROWS = [
    f"{128 * i},{i},{i % 2},{i // 2},Break out,1e3,{i / 3!r},{'' if i % 3 else 0.5}"
    for i in range(1, 9)
]
TABLE = ("\n".join([HEADER, *ROWS]) + "\n").encode()


@given(damaged(TABLE))
def test_tables_that_are_read(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "table.csv"
    path.write_bytes(content)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*broken row left out")
        frame = attempt(lambda: read_table(path))
    if frame is not None:
        assert frame.columns.is_unique
        steps = frame["step"].to_numpy()
        assert np.isfinite(steps).all()
        assert (steps >= 0).all()
        assert (steps == np.round(steps)).all()


STATE = {
    "step": 128,
    "alive": [True, False],
    "agent": {"network": {"weight": torch.arange(40.0)}, "optimizer": {"lr": 0.1 + 0.2}},
    "envs": {"rng": torch.arange(16, dtype=torch.uint8), "none": None, "shape": (3, 4)},
}


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("checkpoint") / "checkpoint.pt"
    checkpoint.save(path, STATE)
    return path.read_bytes()


@given(st.data())
def test_damaged_checkpoints(
    tmp_path_factory: pytest.TempPathFactory, stored: bytes, data: st.DataObject
) -> None:
    """Refused, or the damage lies between the records and what is read is what was written."""
    path = tmp_path_factory.getbasetemp() / "damaged.pt"
    path.write_bytes(data.draw(damaged(stored)))
    state = attempt(lambda: checkpoint.load(path))
    assert state is None or repr(state) == repr(STATE)


tensors = st.sampled_from(
    [
        torch.tensor(math.nan),
        torch.zeros(0),
        torch.ones(2, 3),
        torch.tensor([[1]]),
        torch.tensor(1j),
    ]
)
state_values = (
    st.none()
    | st.booleans()
    | st.integers(-3, 10**9)
    | st.floats(allow_subnormal=False)
    | words
    | tensors
)
TINY = RunConfig(
    env="CartPole-v1", network=NetworkOptions(hidden=(4,)), seeds=2, steps=128, **SMALL["ppo"]
)


@dataclass(frozen=True)
class Half:
    """A run of two iterations, which is to make one more."""

    config: RunConfig
    files: dict[Path, bytes]
    expected: Any
    """The tables after the third iteration, had nobody touched anything."""

    def restore(self) -> None:
        """Put all files back."""
        for path, content in self.files.items():
            path.write_bytes(content)

    def go_on(self) -> Runner | None:
        """Make the third iteration, or be refused."""
        return attempt(lambda: run(self.config, QUIET, resume=True))


@pytest.fixture(scope="module")
def half(tmp_path_factory: pytest.TempPathFactory) -> Half:
    config = replace(TINY, out=tmp_path_factory.mktemp("half") / "run")
    run(config, QUIET)
    names = [CHECKPOINT, *(f"seed_{s}/{n}" for s in (0, 1) for n in (CONFIG, METRICS))]
    files = {config.folder / name: (config.folder / name).read_bytes() for name in names}
    longer = replace(config, steps=192)
    run(longer, QUIET, resume=True)
    return Half(longer, files, tables(config.folder))


@given(st.data())
def test_checkpoints_with_other_values(half: Half, data: st.DataObject) -> None:
    """Refused in one line, whatever was put into it with torch's own functions."""
    half.restore()
    path = half.config.folder / CHECKPOINT
    content = torch.load(path, weights_only=True)
    torch.save(data.draw(mutated(content, state_values)), path)
    if half.go_on() is not None:  # the change was beside the state, or none
        assert tables(half.config.folder) == half.expected


@given(st.data())
def test_tables_that_are_continued(half: Half, data: st.DataObject) -> None:
    """Refused and left alone, or continued to the rows that there would have been."""
    half.restore()
    table = half.config.folder / "seed_1" / METRICS
    content = data.draw(damaged(table.read_bytes()))
    table.write_bytes(content)
    if half.go_on() is None:
        assert table.read_bytes() == content
    else:
        assert tables(half.config.folder) == half.expected
