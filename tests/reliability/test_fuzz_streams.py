"""Broken stream files: refused in one line when read or built, else they can be played."""

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from reliability.fuzz import assert_sensible, attempt, damaged, mutated

from neoteny.agents.classifier import ClassifierConfig
from neoteny.agents.ppo_loss import PPOConfig
from neoteny.experiments.options.config import RunConfig
from neoteny.experiments.run.run_streams import make_run_stream
from neoteny.wrappers.stream_files import read_stream

STREAMS: list[dict[str, Any]] = [
    {
        "name": "shuffled",
        "environments": {"id": "MinAtar-Breakout", "name": "Breakout", "options": {"sticky": 0.1}},
        "schedule": {"kind": "Cyclic", "period": 64, "tasks": 3},
        "changes": [
            {"kind": "RewardFlip"},
            {"kind": "ObservationPermutation", "tasks": 3, "over": "channels", "seed": [7]},
            {"kind": "StickyActions", "probabilities": [0.0, 0.5]},
        ],
        "on_switch": "latch",
        "task_names": ["one", "two", "three"],
        "options": {"max_steps": 50},
    },
    {
        "environments": ["MinAtar-Breakout", {"id": "MinAtar-Asterix", "name": "A"}],
        "schedule": {"kind": "At", "steps": [64, 128], "tasks": 2},
        "changes": [{"kind": "RewardScale", "factors": [1, -2.5]}],
    },
    {
        "environments": ["CartPole-v1"],
        "schedule": {
            "kind": "Asynchronous",
            "spread": 16,
            "base": {"kind": "Poisson", "period": 32, "tasks": 2, "seed": 3},
        },
        "changes": [
            {"kind": "Dynamics", "parameter": "gravity", "values": [9.8, 20.0]},
            {"kind": "ObservationNoise", "stds": [0, 0.1]},
            {"kind": "ActionPermutation", "tasks": 2, "keep_first": True},
        ],
        "on_switch": "now",
    },
    {
        "environments": "CartPole-v1",
        "schedule": {"kind": "LinearDrift", "steps": 100, "tasks": 3, "start": 10},
        "changes": [{"kind": "ObservationOffset", "std": 0.5, "tasks": 2}],
    },
    {
        "environments": ["CartPole-v1", "Acrobot-v1"],
        "schedule": {"kind": "OnReturn", "threshold": 5, "every": 16, "episodes": 2, "tasks": 2},
    },
]
SUPERVISED: dict[str, Any] = {
    "data": "digits",
    "schedule": {"kind": "RandomOrder", "period": 64, "tasks": 3, "seed": 1, "cycles": 4},
    "changes": [
        {"kind": "LabelNoise", "fractions": [0, 0.5]},
        {"kind": "ObservationDropout", "fraction": 0.2, "tasks": 3},
        "RandomLabels",
    ],
    "options": {"images": 200},
}
SMALL: dict[str, dict[str, Any]] = {
    "ppo": {"hyper": PPOConfig(num_envs=4, num_steps=16, num_minibatches=2)},
    "classifier": {"hyper": ClassifierConfig(batch_size=16, updates_per_iteration=4)},
}
TEXTS = [yaml.safe_dump(stream, sort_keys=False) for stream in [*STREAMS, SUPERVISED]]
SPECIAL = [
    "&a [*a]",
    "<<: *x",
    "!!python/object/apply:os.system [true]",
    "? x",
    "- - -",
    "\t",
    "---",
]


def play(path: Path, agent: str) -> bool:
    """Build what the file says as a run does, and take what the run will ask of it."""
    config = RunConfig(agent=agent, stream=path, steps=256, seeds=1, **SMALL[agent])  # type: ignore[arg-type]
    stream = make_run_stream(config)
    names = stream.task_names
    for step in [0, 255, *list(stream.boundaries(256))[:50]]:
        for task in stream.tasks_at(step):
            assert len(names) == 1 or names[task]
    if agent == "ppo":
        stream.reset()
        stream.step(torch.as_tensor(stream.action_space.sample()))
    return True


def check(path: Path) -> None:
    """Read a file, and play what it says."""
    definition = attempt(lambda: read_stream(path))
    if definition is None:
        return
    agent = "classifier" if hasattr(definition, "data") else "ppo"
    if attempt(lambda: play(path, agent)):
        assert_sensible(definition.schedule)
        for change in definition.changes:
            assert_sensible(change)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("stream") / "mine.yaml"


@given(st.data())
def test_streams_with_other_values(file: Path, data: st.DataObject) -> None:
    content = data.draw(st.sampled_from([*STREAMS, SUPERVISED]).flatmap(mutated))
    file.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    check(file)


@given(st.data())
def test_damaged_texts_of_streams(file: Path, data: st.DataObject) -> None:
    text = data.draw(st.sampled_from(TEXTS))
    put = data.draw(st.none() | st.sampled_from(SPECIAL))
    if put is not None:
        lines = text.splitlines()
        lines.insert(data.draw(st.integers(0, len(lines))), put)
        text = "\n".join(lines)
    file.write_bytes(data.draw(damaged(text.encode())))
    check(file)


@given(st.binary(max_size=300) | st.text(max_size=100).map(str.encode))
def test_files_of_anything(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    check(file)
