"""Evaluation of all tasks during training: which, as they were, and without touching training."""

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from rich.console import Console

from neoteny.agents.classifier import ClassifierConfig
from neoteny.agents.ppo_loss import PPOConfig
from neoteny.core.errors import InputError
from neoteny.experiments.options.config import RunConfig
from neoteny.experiments.options.network_options import NetworkOptions
from neoteny.experiments.run.evaluation import evaluate
from neoteny.experiments.run.memory import COSTS
from neoteny.experiments.run.runner import Runner, run
from neoteny.experiments.run.task_evaluation import Target, targets
from neoteny.wrappers.schedules import Cyclic, Periodic

CONSOLE = Console(quiet=True)


def _config(out: Path, **changes: object) -> RunConfig:
    settings = {
        "env": "cartpole-permute",
        "intervention": ("adamo", "l2_init"),
        "seeds": 2,
        "steps": 128 * 4,
        "task_steps": 128 * 2,
        "hyper": PPOConfig(num_envs=16, num_steps=8, num_epochs=2, num_minibatches=2),
        "network": NetworkOptions(hidden=(16, 16)),
        "diagnose_every": 0,
        "out": out,
    }
    return RunConfig(**settings | changes)


SUPERVISED = {
    "agent": "classifier",
    "env": "digits-random-labels",
    "hyper": ClassifierConfig(batch_size=16, updates_per_iteration=8),
}


def _matrix(folder: Path, seed: int = 0) -> pd.DataFrame:
    return pd.read_csv(folder / f"seed_{seed}" / "matrix.csv")


def _metrics(folder: Path, seed: int) -> pd.DataFrame:
    table = pd.read_csv(folder / f"seed_{seed}" / "metrics.csv")
    return table.drop(columns=[*COSTS, "eval/episodic_return"], errors="ignore")


def test_tasks_played_come_in_their_last_visits_then_those_to_come() -> None:
    schedule = Cyclic(100, 3)
    assert targets(schedule, 0, 10, 9, 3) == [
        Target(0, 0, 90),
        Target(1, 1, 190),
        Target(2, 2, 290),
    ]
    assert targets(schedule, 200, 10, 9, 3) == [
        Target(1, 1, 190),
        Target(0, 0, 90),
        Target(2, 2, 290),
    ]
    late = [Target(0, 3, 340), Target(2, 2, 290), Target(1, 1, 190)]
    assert targets(schedule, 350, 10, 9, 3) == late
    assert targets(schedule, 350, 10, 2, 3) == late[:2]


def test_of_variants_without_end_the_next_one_is_to_come() -> None:
    schedule = Periodic(100)
    assert targets(schedule, 0, 10, 9, 1) == [Target(0, 0, 90)]
    found = targets(schedule, 200, 10, 9, 1)
    assert found == [Target(1, 1, 190), Target(0, 0, 90), Target(2, 2, 290)]
    assert targets(schedule, 200, 10, 2, 1) == found[:2]
    assert targets(schedule, 150, 10, 9, 1)[-1] == Target(2, 2, 290)


@pytest.mark.parametrize(
    "kind", ["environments", pytest.param("supervised", marks=pytest.mark.slow)]
)
def test_evaluating_tasks_does_not_touch_training(tmp_path: Path, kind: str) -> None:
    more = SUPERVISED if kind == "supervised" else {"env_option": ("max_steps=15",)}
    episodes = {} if kind == "supervised" else {"eval_episodes": 3}
    plain = run(_config(tmp_path / "plain", **more), CONSOLE)
    most = {"evaluate_tasks": 3, "evaluate_every": 1}
    whole = _config(tmp_path / "whole", **more, **episodes, **most)
    evaluated = run(whole, CONSOLE)
    pairs = zip(plain.agent.network.parameters(), evaluated.agent.network.parameters(), strict=True)
    assert all(torch.equal(one, two) for one, two in pairs)
    for seed in (0, 1):
        pd.testing.assert_frame_equal(
            _metrics(tmp_path / "plain", seed), _metrics(tmp_path / "whole", seed)
        )
    assert not (tmp_path / "plain" / "seed_0" / "matrix.csv").exists()
    table = _matrix(tmp_path / "whole")
    found = table.groupby("step")["task_visit"].agg(list).to_dict()
    late, listed = [1, 0, 2], kind == "environments"  # whose variants have names: all can be known
    first, early = ([0, 1, 2], [0, 1, 2]) if listed else ([0], [0, 1])
    assert found == {0: first, 128: early, 256: early, 384: late, 512: late}
    visits = table.fillna({"visit": -1}).groupby("step")["visit"].first()
    assert visits.tolist() == [-1, 0, 0, 1, 1]
    values = table["eval/return"]
    assert values.between(0, 1 if kind == "supervised" else 15).all()

    part = dataclasses.replace(whole, out=tmp_path / "part", steps=256)
    run(part, CONSOLE)
    path = tmp_path / "part" / "seed_0" / "matrix.csv"
    path.write_text(path.read_text() + "999,7,0,x,7,0.5\n")  # as a process that was killed leaves
    run(dataclasses.replace(part, steps=512), CONSOLE, resume=True)
    for seed in (0, 1):
        ours, theirs = _matrix(tmp_path / "whole", seed), _matrix(tmp_path / "part", seed)
        pd.testing.assert_frame_equal(ours, theirs, check_exact=True)


def test_tasks_are_evaluated_as_they_were_in_training(tmp_path: Path) -> None:
    """With the permutation of their visit, under which the value is that of `evaluate`."""
    most = {"eval_episodes": 4, "evaluate_tasks": 9}
    config = _config(tmp_path / "run", env_option=("max_steps=25",), **most)
    runner = run(config, CONSOLE)
    table = _matrix(tmp_path / "run", 1)
    ends = table[table["step"] == 512].set_index("task_visit")["eval/return"]
    for visit, step in ((0, 128), (1, 384), (2, 640)):
        wanted = evaluate(config, runner.agent, step, runner.envs.schedule)[1]
        assert ends[visit] == float(wanted)
    assert ends.nunique() > 1
    metrics = pd.read_csv(tmp_path / "run" / "seed_1" / "metrics.csv")
    assert metrics["eval/episodic_return"].dropna().iloc[-1] == ends[1]


def test_accuracy_is_of_the_labels_of_the_task(tmp_path: Path) -> None:
    """Classes are drawn anew in each task: what is learnt is of the last, the others are chance."""
    changes = SUPERVISED | {"hyper": ClassifierConfig(batch_size=64, updates_per_iteration=100)}
    config = _config(
        tmp_path / "run",
        **changes,
        intervention=("none",),
        seeds=1,
        steps=2 * 6400,
        task_steps=6400,
        evaluate_tasks=9,
        network=NetworkOptions(hidden=(64, 64)),
    )
    run(config, CONSOLE)
    table = _matrix(tmp_path / "run").pivot(index="step", columns="task", values="eval/return")
    rise = table.loc[6400, 0] - table.loc[0, 0]
    assert rise > 0.02
    np.testing.assert_allclose(table.loc[6400, 1], 0.1, atol=0.03)
    assert table.loc[12800, 1] - table.loc[6400, 1] > 0.02


@pytest.mark.slow
def test_members_with_orders_of_their_own_have_rows_of_their_own(tmp_path: Path) -> None:
    config = _config(
        tmp_path / "run",
        env="minatar-continual",
        env_option=("max_steps=20",),
        eval_episodes=1,
        evaluate_tasks=4,
        first_seed=26,
        steps=128 * 2,
        task_steps=128,
    )
    Runner(config, CONSOLE).train()
    for seed in (26, 27):
        metrics = pd.read_csv(tmp_path / "run" / f"seed_{seed}" / "metrics.csv")
        table = _matrix(tmp_path / "run", seed)
        assert (table.groupby("step")["task_name"].nunique() == 4).all()
        own = table[table["visit"] == table["task_visit"]]
        assert own["task_name"].tolist() == metrics["task_name"].tolist()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"evaluate_tasks": 2}, "needs episodes to play"),
        ({"evaluate_tasks": 2, "agent": "sb3-ppo"}, "Stable-Baselines3"),
        ({"evaluate_every": 2}, "evaluate_every is for evaluate_tasks"),
    ],
)
def test_what_cannot_be_evaluated_is_refused(
    tmp_path: Path, changes: dict[str, object], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        run(_config(tmp_path / "run", **{"hyper": None, **changes}), CONSOLE)
