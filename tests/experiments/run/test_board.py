"""A run, as TensorBoard's own backend reads it."""

import re
from pathlib import Path

import pytest
import torch
from oracles.board_reader import Reader, smoothed
from tensorboard.context import RequestContext

from neoteny.experiments.run.recorder import Recorder

CONFIG = {
    "arm": "ppo-none",
    "env": "minatar-permute",
    "intervention": ["none"],
    "hidden": [16, 16],
    "bias": True,
    "ppo": {"learning_rate": 0.005, "num_envs": 32},
    "seeds": 2,
    "steps": 100,
    "task_names": ["a", "b"],
}
LAYERS = {"layer0": 0.25, "layer1": 0.75, "head": 9.0}
"""A value for each layer of a network."""


def values(iteration: int) -> dict[str, object]:
    """A row of two members; the second one's numbers are twice those of the first."""
    row: dict[str, object] = {
        "iteration": iteration,
        "task": (iteration - 1) // 3 % 2,
        "visit": (iteration - 1) // 3,
        "charts/episodic_return": torch.tensor([1.0, 2.0]) * iteration,
        "charts/SPS": 1000.0,
        "losses/value_loss": 0.5,
        "tasks/a/episodic_return": 1.0,
    }
    if iteration % 2 == 0:
        for network in ("policy", "value"):
            for layer, value in LAYERS.items():
                for name in ("dormant_fraction", "gram_deviation"):
                    key = f"plasticity/{network}/{layer}/{name}"
                    row[key] = torch.tensor([value, 2 * value])
    return row


def record(recorder: Recorder, start: int, stop: int) -> None:
    for iteration in range(start, stop):
        sigma = torch.tensor([[3.0, 2.0, 1.0], [1.0, 1.0, torch.nan]], dtype=torch.float64)
        histograms = {"singular_values/policy/layer0": sigma} if iteration % 2 == 0 else {}
        recorder.record(100 * iteration, values(iteration), {}, histograms)


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Reader:
    folder = tmp_path_factory.mktemp("run")
    with Recorder(folder, [0, 1], CONFIG) as recorder:
        record(recorder, 1, 13)
    return Reader(folder)


def test_results_and_plasticity_are_the_groups_that_are_open(reader: Reader) -> None:
    tags = reader.tags("seed_0")
    groups = list(dict.fromkeys(tag.partition("/")[0] for tag in tags))
    assert groups == [
        *("continual", "plasticity", "plasticity_policy", "plasticity_value"),
        *("run", "tasks", "train"),
    ]
    assert [tag for tag in tags if tag.startswith("continual/")] == [
        "continual/return",
        "continual/task",
    ]
    assert reader.scalars("seed_1", "continual/return") == [
        (100 * iteration, 2.0 * iteration) for iteration in range(1, 13)
    ]


def test_a_network_has_one_number_and_its_layers_a_group(reader: Reader) -> None:
    steps = range(200, 1300, 200)
    for run, factor in (("seed_0", 1), ("seed_1", 2)):
        found = reader.scalars(run, "plasticity/value/dormant_fraction")
        assert found == [(step, 0.5 * factor) for step in steps]  # of layers 0 and 1, no head
        found = reader.scalars(run, "plasticity_value/gram_deviation/layer1")
        assert found == [(step, 0.75 * factor) for step in steps]
        assert reader.scalars(run, "run/dormant_fraction")[-1] == (1200, 0.5 * factor)


def test_smoothing_does_not_bend_task_switches(reader: Reader) -> None:
    points = smoothed(reader.scalars("seed_0", "continual/task"))
    for iteration in range(1, 13):
        task = (iteration - 1) // 3 % 2
        assert points[100 * iteration] == pytest.approx(task, abs=0.01)
    assert points[300] == pytest.approx(0, abs=0.01)
    assert points[312] == pytest.approx(1, abs=0.01)  # a step, and no ramp up to the next row


@pytest.mark.parametrize("kept", [3, 4])
def test_a_resumed_run_shows_what_an_uninterrupted_one_does(tmp_path: Path, kept: int) -> None:
    with Recorder(tmp_path / "whole", [0, 1], CONFIG) as recorder:
        record(recorder, 1, 13)
    with Recorder(tmp_path / "cut", [0, 1], CONFIG) as recorder:
        record(recorder, 1, kept + 1)
        saved = recorder.state_dict()
        record(recorder, kept + 1, 6)
    with Recorder(tmp_path / "cut", [0, 1], CONFIG, saved) as recorder:
        record(recorder, kept + 1, 13)
    whole, cut = Reader(tmp_path / "whole"), Reader(tmp_path / "cut")
    for run in ("seed_0", "seed_1"):
        assert cut.tags(run) == whole.tags(run)
        for tag in whole.tags(run):
            assert cut.scalars(run, tag) == whole.scalars(run, tag), tag
    assert cut.charts() == whole.charts()
    assert cut.scalars("seed_0", "run/mean_so_far")[-1] == (1200, 6.5)


def test_custom_scalars_has_no_empty_chart_and_few_lines(reader: Reader) -> None:
    charts = reader.charts()
    assert list(charts["continual"]) == ["return", "task"]
    assert list(charts["plasticity, mean over layers"]) == [
        "dormant units, policy network",
        "dormant units, value network",
    ]
    tags = reader.tags("seed_0")
    for category in charts.values():
        for title, chart in category.items():
            (pattern,) = chart["multiline"]["tag"]
            assert sum(bool(re.match(pattern, tag)) for tag in tags) == 1, title


def test_hparams_has_the_seeds_of_an_arm_as_one_trial(reader: Reader) -> None:
    experiment, (group,) = reader.trials()
    settings = [info.name for info in experiment.hparam_infos]
    assert settings == [
        *("env", "hidden", "intervention", "learning_rate"),
        *("options.bias", "options.num_envs"),
    ]
    assert group.name.startswith("ppo-none ")
    assert group.hparams["intervention"].string_value == "none"
    assert group.hparams["learning_rate"].number_value == 0.005
    assert {session.name for session in group.sessions} == {"seed_0", "seed_1"}
    found = {metric.name.tag: metric.value for metric in group.metric_values}
    assert found == {"run/mean_so_far": (6.5 + 13) / 2, "run/dormant_fraction": 0.75}


def test_two_settings_are_two_trials(tmp_path: Path) -> None:
    for rate in (0.1, 0.2):
        config = {**CONFIG, "ppo": {"learning_rate": rate}}
        with Recorder(tmp_path / f"rate {rate}", [0, 1], config) as recorder:
            record(recorder, 1, 3)
    _, groups = Reader(tmp_path).trials()
    assert sorted(group.hparams["learning_rate"].number_value for group in groups) == [0.1, 0.2]


def test_histograms_hold_every_value_once(reader: Reader) -> None:
    found = reader.tensors("seed_0", "histograms")["singular_values/policy/layer0"]
    assert [step for step, _ in found] == list(range(200, 1300, 200))
    for _, bins in found:
        assert bins[:, 2].sum() == 3
        for value in (1.0, 2.0, 3.0):
            inside = (bins[:, 0] <= value) & (value <= bins[:, 1])
            assert bins[inside, 2].sum() >= 1
    assert "seed_1" not in reader.provider.list_tensors(
        RequestContext(), experiment_id="", plugin_name="histograms"
    )  # not finite
