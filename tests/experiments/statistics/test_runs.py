import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from neoteny.core.errors import InputError, RunError
from neoteny.core.options import show
from neoteny.experiments.report.report import write_report
from neoteny.experiments.statistics.references import normalise
from neoteny.experiments.statistics.runs import (
    display_name,
    display_names,
    find_runs,
    read_runs,
    read_table,
)
from neoteny.experiments.statistics.visits import visit_values

HEADER = "step,iteration,task,visit,charts/episodic_return"


def _write(folder: Path, rows: list[str], **config: Any) -> Path:
    folder.mkdir(parents=True)
    (folder / "metrics.csv").write_text("\n".join([HEADER, *rows, ""]))
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture
def two_games(tmp_path: Path) -> Path:
    """Two visits of two games, 40 steps each, with gaps; then a third visit just begun."""
    rows = [
        "10,1,1,0,",
        "20,2,1,0,2.7",
        "30,3,1,0,",
        "40,4,1,0,5.0",
        "50,5,0,1,",
        "60,6,0,1,10.2",
        "70,7,0,1,19.8",
        "80,8,0,1,19.8",
        "90,9,1,2,0.4",
    ]
    _write(
        tmp_path / "seed_2",
        rows,
        arm="ppo-none",
        seed=2,
        steps=160,
        boundaries=[40, 80, 120],
        task_names=["MinAtar-Breakout", "MinAtar-Asterix"],
    )
    return tmp_path


def test_columns_of_a_hand_made_run(two_games: Path) -> None:
    frame = read_runs(two_games)
    asterix, breakout = ["MinAtar-Asterix"] * 4, ["MinAtar-Breakout"] * 4
    assert frame["task_name"].tolist() == [*asterix, *breakout, "MinAtar-Asterix"]
    assert frame["task_step"].tolist() == [10, 20, 30, 40, 10, 20, 30, 40, 10]
    assert frame["game_step"].tolist() == [10, 20, 30, 40, 10, 20, 30, 40, 50]
    assert frame["width"].tolist() == [10] * 9
    assert frame["cycle"].tolist() == [0] * 8 + [1]
    assert frame["complete"].tolist() == [True] * 8 + [False]
    np.testing.assert_array_equal(
        frame["online_return"], [2.7, 2.7, 5.0, 5.0, 10.2, 10.2, 19.8, 19.8, 0.4]
    )
    for score, value, name in zip(
        frame["score"], frame["online_return"], frame["task_name"], strict=True
    ):
        assert score == pytest.approx(normalise(value, name))
    assert set(frame["arm"]) == {"ppo-none"}
    assert set(frame["seed"]) == {2}


def test_visits_of_a_hand_made_run(two_games: Path) -> None:
    visits = visit_values(read_runs(two_games)).set_index("visit")
    assert visits["auc"].tolist() == pytest.approx(
        [(2.7 + 2.7 + 5 + 5) / 4, (2 * 10.2 + 2 * 19.8) / 4, 0.4]
    )
    assert visits["final"].tolist() == [5.0, 19.8, 0.4]
    scores = [normalise(3.85, "Asterix"), normalise(15.0, "Breakout"), normalise(0.4, "Asterix")]
    assert visits["score"].tolist() == pytest.approx(scores)
    assert visits["unit"].tolist() == ["normalised"] * 3
    assert visits["first"].tolist() == [2.7, 10.2, 0.4]
    assert visits["measured"].tolist() == [0.5, 0.75, 1.0]
    assert visits["start"].tolist() == [0, 40, 80]
    assert visits["end"].tolist() == [40, 80, 90]
    assert visits["complete"].tolist() == [True, True, False]
    assert visits["gap"].isna().all()


def test_rows_of_unequal_length_are_weighted_by_steps(tmp_path: Path) -> None:
    _write(tmp_path / "seed_0", ["10,1,0,0,1.0", "40,2,0,0,5.0"], steps=40)
    assert visit_values(read_runs(tmp_path))["auc"].tolist() == [(10 * 1 + 30 * 5) / 40]


def test_gap_is_against_fresh_of_the_same_seed_and_visit(tmp_path: Path) -> None:
    for arm, seed, score in (
        ("none", 0, 0.5),
        ("none", 1, 1.0),
        ("none", 2, 1.0),
        ("fresh", 0, 1.0),
        ("fresh", 1, 0.5),
        ("fresh", 3, 0.5),
    ):
        value = 0.41 + score * (16.90 - 0.41)  # Breakout's references
        _write(
            tmp_path / arm / f"seed_{seed}",
            [f"10,1,0,0,{value!r}"],
            arm=f"ppo-{arm}",
            intervention=[arm],
            seed=seed,
            steps=10,
            task_names=["MinAtar-Breakout"],
        )
    visits = visit_values(read_runs(tmp_path)).set_index(["arm", "seed"])
    assert visits.loc["ppo-none", "gap"].tolist() == pytest.approx([0.5, -1.0, np.nan], nan_ok=True)
    assert visits.loc["ppo-fresh", "gap"].isna().all()


def test_last_visit_is_complete_within_one_row(tmp_path: Path) -> None:
    for seed, steps in ((0, 20), (1, 25), (2, 31)):
        _write(tmp_path / f"seed_{seed}", ["10,1,0,0,1", "20,2,0,0,1"], seed=seed, steps=steps)
    visits = visit_values(read_runs(tmp_path)).set_index("seed")
    assert visits["complete"].tolist() == [True, True, False]


def test_one_name_stands_for_all_variants_of_a_task(tmp_path: Path) -> None:
    rows = ["10,1,0,0,1", "20,2,1,1,1", "30,3,2,2,1"]
    _write(tmp_path / "a" / "seed_0", rows, arm="a", task_names=["CartPole-v1"])
    _write(tmp_path / "b" / "seed_0", rows, arm="b")
    frame = read_runs(tmp_path).set_index("arm")
    assert set(frame.loc["a", "task_name"]) == {"CartPole-v1"}
    assert frame.loc["a", "cycle"].tolist() == [0, 1, 2]
    assert frame.loc["b", "task_name"].tolist() == ["task 0", "task 1", "task 2"]


def test_visits_without_boundaries_begin_after_the_last_row(tmp_path: Path) -> None:
    _write(tmp_path / "seed_0", ["10,1,0,0,1", "20,2,1,1,1", "30,3,1,1,1"])
    frame = read_runs(tmp_path)
    assert frame["task_step"].tolist() == [10, 10, 20]


def test_broken_rows_are_named_and_left_out(tmp_path: Path) -> None:
    folder = _write(tmp_path / "seed_0", ["10,1,0,0,1", "20,2,0", "30,3,0,0,x", "40,4,0,0,4"])
    with (folder / "metrics.csv").open("a") as file:
        file.write("50,5,0,0,")  # being written
    with pytest.warns(UserWarning, match=r"metrics\.csv, line") as caught:
        table = read_table(folder / "metrics.csv")
    assert [str(warning.message).split(", ")[1] for warning in caught] == [
        "line 3: broken row left out",
        "line 4: broken row left out",
    ]
    assert table["step"].tolist() == [10, 40]


def test_runs_in_progress(tmp_path: Path, write_comparison: Callable[..., Path]) -> None:
    write_comparison(tmp_path, seeds=2, until=0.3)
    (tmp_path / "ppo-none" / "seed_9").mkdir()
    (tmp_path / "ppo-none" / "seed_9" / "metrics.csv").write_text(HEADER + "\n")
    frame = read_runs(tmp_path)
    assert len(frame) == 3 * 2 * int(0.3 * 240)
    assert not frame.loc[frame["visit"] == 2, "complete"].any()


def test_nothing_to_read(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no metrics\.csv below"):
        read_runs(tmp_path)
    _write(tmp_path / "seed_0", [])
    with pytest.raises(ValueError, match="recorded nothing yet"):
        read_runs(tmp_path)
    (tmp_path / "seed_0" / "metrics.csv").write_text("not,a,table\n1,2,3\n")
    with pytest.raises(ValueError, match=r"metrics\.csv, line 1: no column 'step'"):
        read_runs(tmp_path)


def test_runs_that_share_an_arm_are_told_apart(tmp_path: Path) -> None:
    for place in ("first", "second"):
        _write(tmp_path / place / "seed_0", ["10,1,0,0,1"], arm="ppo-none")
    assert [run.arm for run in find_runs(tmp_path)] == ["first", "second"]
    assert [run.arm for run in find_runs(tmp_path / "first")] == ["ppo-none"]
    assert [run.arm for run in find_runs(tmp_path / "first" / "seed_0")] == ["ppo-none"]


def test_seeds_that_were_run_apart_are_one_arm(tmp_path: Path) -> None:
    for seed in (0, 1):
        place = tmp_path / f"from-{seed}" / f"seed_{seed}"
        _write(place, ["10,1,0,0,1"], arm="ppo-none", first_seed=seed, learning_rate=0.1)
    assert [(run.arm, run.seed) for run in find_runs(tmp_path)] == [
        ("ppo-none", 0),
        ("ppo-none", 1),
    ]
    _write(tmp_path / "other" / "seed_2", ["10,1,0,0,1"], arm="ppo-none", learning_rate=0.2)
    assert [run.arm for run in find_runs(tmp_path)] == ["from-0", "from-1", "other"]


def test_seeds_are_in_numerical_order(tmp_path: Path) -> None:
    for seed in (10, 9, 2):
        _write(tmp_path / f"seed_{seed}", ["10,1,0,0,1"], arm="ppo-none")
    assert [run.seed for run in find_runs(tmp_path)] == [2, 9, 10]


def test_what_was_recorded_is_read_to_the_bit(tmp_path: Path) -> None:
    numbers = np.random.default_rng(0).standard_normal(100) * 10.0 ** np.arange(-50, 50)
    rows = [f"{i + 1},{i},0,0,{number!r}" for i, number in enumerate(numbers.tolist())]
    _write(tmp_path / "seed_0", rows)
    frame: pd.DataFrame = read_runs(tmp_path)
    assert frame["return"].tolist() == numbers.tolist()


def test_names_for_people() -> None:
    assert display_name("neoteny/MinAtar-SpaceInvaders-v0") == "Space Invaders"
    assert display_name("CartPole-v1") == "Cart Pole"


def test_names_that_people_could_not_tell_apart_stay_whole() -> None:
    names = display_names(["CartPole-v0", "CartPole-v1", "MinAtar-Breakout", "x" * 50, "x" * 51])
    assert names["CartPole-v0"] == "CartPole-v0"
    assert names["MinAtar-Breakout"] == "Breakout"
    assert len(set(names.values())) == 5
    assert max(map(len, names.values())) <= 44


@pytest.mark.parametrize(
    ("names", "config", "families"),
    [
        (["CartPole", "CartPole order 1"], {}, ["CartPole", "CartPole"]),
        (["CartPole", "CartPoleSwing"], {}, ["CartPole", "CartPoleSwing"]),
        (["a", "b"], {"stream_definition": {"environments": [{"id": "CartPole-v1"}]}}, ["a", "a"]),
        (["a", "b"], {}, ["a", "b"]),
    ],
)
def test_variants_of_one_environment_are_one_family(
    tmp_path: Path, names: list[str], config: dict[str, Any], families: list[str]
) -> None:
    _write(tmp_path / "seed_0", ["10,1,0,0,1", "20,2,1,1,1"], task_names=names, **config)
    assert read_runs(tmp_path)["family"].tolist() == families


@pytest.mark.parametrize(("option", "trained"), [("max_steps=1000", 15.14), ("sticky=0", 37.94)])
def test_freeway_has_a_reference_for_each_limit(
    tmp_path: Path, option: str, trained: float
) -> None:
    rows = [f"10,1,0,0,{trained}"]
    _write(tmp_path / "seed_0", rows, task_names=["Freeway"], env_option=[option])
    assert read_runs(tmp_path)["score"].tolist() == [pytest.approx(1)]


@pytest.mark.parametrize(
    ("field", "value", "wanted"),
    [
        *(("seed", value, "a whole number") for value in (None, "abc", [1], np.nan, True, 0.5)),
        *(("steps", value, "a whole number") for value in ("x", 10**400, np.inf, [1], None)),
        *(("boundaries", value, "a whole number") for value in (["x"], [np.nan], [[1]])),
        *(("task_names", value, "a text") for value in (5, [None], {"a": 1})),
        ("env_option", 5, "a text"),
        ("intervention", [1], "a text"),
        *((field, {}, "a text") for field in ("arm", "env", "command")),
        *((field, ["x"], "a mapping of names to values") for field in ("versions", "hardware")),
        ("resumed", "x", "a mapping of names to values"),
    ],
)
def test_a_field_that_does_not_fit_is_named(
    tmp_path: Path, field: str, value: Any, wanted: str
) -> None:
    config = {"seed": 0, field: value}
    folder = _write(tmp_path / "seed_0", ["10,1,0,0,1"], **config)
    with pytest.raises(InputError) as caught:
        read_runs(tmp_path)
    message = f"{folder / 'config.json'}: {field} is {show(json.loads(json.dumps(value)))}: it must"
    assert str(caught.value) == f"{message} be {wanted}"


def test_a_field_of_a_continuation_that_does_not_fit_is_named(tmp_path: Path) -> None:
    _write(tmp_path / "seed_0", ["10,1,0,0,1"], resumed=[{"command": ["x"]}])
    with pytest.raises(InputError, match=r"config\.json: resumed: command is \['x'\]: it must be"):
        read_runs(tmp_path)


def test_one_value_stands_for_a_list_of_one(tmp_path: Path) -> None:
    rows = ["10,1,0,0,1", "20,2,0,1,1"]
    _write(tmp_path / "seed_0", rows, boundaries=15, task_names="a", steps=20.0)
    frame = read_runs(tmp_path)
    assert frame["task_step"].tolist() == [10, 5]
    assert set(frame["task_name"]) == {"a"}
    assert frame["complete"].all()


@pytest.mark.parametrize("option", ["max_steps=²", "max_steps=" + "9" * 5000, "max_steps", ""])
def test_options_that_set_no_limit(tmp_path: Path, option: str) -> None:
    _write(tmp_path / "seed_0", ["10,1,0,0,37.94"], task_names=["Freeway"], env_option=[option])
    assert read_runs(tmp_path)["score"].tolist() == [pytest.approx(1)]


def test_a_folder_that_names_no_seed(tmp_path: Path) -> None:
    folder = _write(tmp_path / "seed_abc", ["10,1,0,0,1"])
    for config in (folder / "config.json", None):
        with pytest.raises(InputError, match=r"seed_abc: seed is abc: it must be a whole number"):
            read_runs(tmp_path)
        if config:
            config.unlink()


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("20,2,-3,0,1", "task is -3: it must be at least 0"),
        ("20,2,0.5,0,1", "task is 0.5: it must be a whole number"),
        ("20,2,0,inf,1", "visit is inf: it must be a whole number"),
        ("20,2,0,-1,1", "visit is -1: it must be at least 0"),
        ("1e300,2,0,0,1", r"step is 1e\+300: it must be at most"),
        ("-10,2,0,0,1", "step is -10: it must be at least 0"),
        ("inf,2,0,0,1", "step is inf: it must be a whole number"),
    ],
)
def test_a_row_with_an_impossible_count_is_named(tmp_path: Path, row: str, message: str) -> None:
    _write(tmp_path / "seed_0", ["10,1,0,0,1", "15,1", row])  # a broken row before it
    with (
        pytest.warns(UserWarning, match="line 3: broken row left out"),
        pytest.raises(InputError, match=rf"metrics\.csv, line 4: {message}"),
    ):
        read_runs(tmp_path)


@pytest.mark.parametrize("name", ["summary.csv", "visits.csv", "returns.png", "report.html"])
def test_a_folder_in_the_way_of_a_report(tmp_path: Path, name: str) -> None:
    _write(tmp_path / "seed_0", ["10,1,0,0,1", "20,2,0,0,1"])
    (tmp_path / name).mkdir()
    with pytest.raises(RunError, match=rf"cannot write .*{name} \(Is a directory\)"):
        write_report(tmp_path)
