"""The summary of runs made by hand, each number of which is known beforehand."""

import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from neoteny.core.console import PlainConsole
from neoteny.experiments.report.tables import notes, print_summary
from neoteny.experiments.statistics import metrics
from neoteny.experiments.statistics.runs import read_runs
from neoteny.experiments.statistics.summary import summary, summary_of_visits
from neoteny.experiments.statistics.visits import visit_values

Visit = tuple[int, Sequence[float | None]]
"""A task, and the returns of the visit's rows: None where no episode ended."""
Write = Callable[..., None]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write the members of an arm: (interventions, the visits of each seed, **config)."""

    def write(arm: str, *members: Sequence[Visit], alive: float = 1, **config: Any) -> None:
        for seed, visits in enumerate(members):
            name = f"{arm}-{config.get('activation', 'relu')}"
            folder = tmp_path / name / f"seed_{seed}"
            folder.mkdir(parents=True)
            rows, boundaries, step = [], [], 0
            for visit, (task, values) in enumerate(visits):
                boundaries.append(step)
                for value in values:
                    step += 10
                    rows.append(f"{step},{task},{visit},{'' if value is None else value},{alive}")
            header = "step,task,visit,charts/episodic_return,charts/alive"
            (folder / "metrics.csv").write_text("\n".join([header, *rows, ""]))
            stored = {
                "arm": name,
                "intervention": arm.split("+"),
                "seed": seed,
                "steps": step,
                "boundaries": boundaries[1:],
                **config,
            }
            (folder / "config.json").write_text(json.dumps(stored))

    return write


def _visits(*levels: float, tasks: int = 1, first: float = 0.0) -> list[Visit]:
    """A visit of three rows for each level: the first return of a new network, then the level."""
    return [(at % tasks, [first, level, level]) for at, level in enumerate(levels)]


def _row(tmp_path: Path, arm: str) -> pd.Series:
    table = summary(read_runs(tmp_path)).set_index("arm")
    return table.loc[f"{arm}-relu"]


def test_change_is_no_loss_of_plasticity_where_fresh_falls_alike(
    tmp_path: Path, write: Write
) -> None:
    """Tasks grow harder for all; the gap stays at a tenth of what fresh gains at first."""
    names = ["CartPole-v1"]
    fresh = [30.0, 27.0, 24.0, 21.0]
    write("fresh", *[_visits(*fresh)] * 2, task_names=names)
    write("none", *[_visits(*(level - 3 for level in fresh))] * 2, task_names=names)
    row = _row(tmp_path, "none")
    assert (row["span"], row["change"]) == ("visit", pytest.approx(-6))
    assert row[["gap_slope", "gap_slope_low", "gap_slope_high"]].tolist() == pytest.approx([0] * 3)
    assert row["gap"] == pytest.approx(4 * 3 / sum(fresh))
    assert row["gap_first_visit"] == pytest.approx(3 / 30)
    assert row["gap_last_span"] == pytest.approx(3 / 21)


def test_growth_of_the_gap_is_within_each_environment(tmp_path: Path, write: Write) -> None:
    """Two games at unlike levels: a tenth and a twentieth of the gain go in every cycle."""
    config = {"task_names": ["Breakout", "Asterix"]}
    one, two = 16.90 - 0.41, 4.91 - 0.49
    level = lambda task, gain: 0.41 + gain * one if task == 0 else 0.49 + gain * two  # noqa: E731
    orders = [[0, 1, 1, 0, 0, 1], [1, 0, 0, 1, 1, 0]]
    for arm, losses in (("fresh", (0.0, 0.0)), ("none", (0.1, 0.05))):
        members = [
            [(task, [level(task, 1 - losses[task] * at / 2)] * 3) for at, task in enumerate(order)]
            for order in orders
        ]
        write(arm, *members, **config)
    row = _row(tmp_path, "none")
    assert row["span"] == "cycle"
    assert row["gap_slope/Breakout"] == pytest.approx(0.1)
    assert row["gap_slope/Asterix"] == pytest.approx(0.05)
    assert row["gap_slope"] == pytest.approx(0.075, abs=0.01)
    assert row["gap/Breakout"] > row["gap/Asterix"]
    console = PlainConsole(width=200, file=io.StringIO())
    print_summary(console, summary(read_runs(tmp_path)))
    assert "growth of the gap a cycle, the loss of plasticity" in console.file.getvalue()


def test_gap_to_the_same_arm_started_afresh_holds_no_cost(tmp_path: Path, write: Write) -> None:
    """AdamO learns 20 where Adam learns 30, and loses nothing."""
    names = ["CartPole-v1"]
    write("fresh", *[_visits(30, 30)] * 2, task_names=names)
    write("adamo:isometry=1", *[_visits(20, 20)] * 2, task_names=names)
    row = _row(tmp_path, "adamo:isometry=1")
    assert (row["oracle"], row["like_for_like"]) == ("fresh-relu", False)
    assert row["gap"] == row["gap_first_visit"] == pytest.approx(1 / 3)
    assert "holds the cost of the arm" in " ".join(notes(summary(read_runs(tmp_path))))
    write("fresh+adamo:isometry=1", *[_visits(20, 20)] * 2, task_names=names)
    row = _row(tmp_path, "adamo:isometry=1")
    assert (row["oracle"], row["like_for_like"]) == ("fresh+adamo:isometry=1-relu", True)
    assert row["gap"] == 0


def test_other_activations_have_no_gap(tmp_path: Path, write: Write) -> None:
    names = ["CartPole-v1"]
    write("fresh", _visits(30, 30), task_names=names, activation="relu")
    write("none", _visits(20, 20), task_names=names, activation="groupsort")
    table = summary(read_runs(tmp_path)).set_index("arm")
    assert np.isnan(table.loc["none-groupsort", "gap"])
    assert "No arm fresh has the configuration of" in " ".join(notes(table.reset_index()))


@pytest.mark.parametrize("visits", [4, 40])
def test_variants_with_names_of_their_own_change_and_have_gaps(
    tmp_path: Path, write: Write, visits: int
) -> None:
    names = ["CartPole", *(f"CartPole order {k}" for k in range(1, visits))]
    falling = np.linspace(30, 20, visits).tolist()
    write("fresh", *[_visits(*[30] * visits, tasks=visits)] * 2, task_names=names)
    write("none", *[_visits(*falling, tasks=visits)] * 2, task_names=names)
    row = _row(tmp_path, "none")
    tenth = max(1, visits // 10)
    wanted = 2 / 3 * (np.mean(falling[-tenth:]) - np.mean(falling[:tenth]))
    assert row["span"] == ("visit" if visits == 4 else "tenth")
    assert row["change"] == pytest.approx(wanted)
    assert row["gap_slope"] == pytest.approx((30 - 20) / 30 / (visits - 1) * tenth)
    table = visit_values(read_runs(tmp_path)).set_index("arm")
    assert table.loc["none-relu", "gap"].tolist() == pytest.approx(
        [gap for _ in range(2) for gap in 1 - np.array(falling) / 30]
    )


def test_gaps_of_returns_begin_at_the_untrained_policy(tmp_path: Path, write: Write) -> None:
    """Pendulum: -1,200 untrained, fresh comes to -400 and the arm to -800, half of the way."""
    names = ["Pendulum-v1"]
    rows = {"fresh": [-1200, -400, -400, -400], "none": [-1200, -800, -800, -800]}
    for arm, values in rows.items():
        write(arm, [(0, values)], [(0, values)], task_names=names)
    assert _row(tmp_path, "none")["gap"] == pytest.approx(0.5)


def test_no_gap_where_fresh_learns_nothing(tmp_path: Path, write: Write) -> None:
    names = ["CartPole-v1"]
    write("fresh", *[_visits(22 + noise, first=22) for noise in (0.5, -0.4, 0.1)], task_names=names)
    write("none", *[_visits(30, first=22)] * 3, task_names=names)
    row = _row(tmp_path, "none")
    assert np.isnan(row[["gap", "gap_low", "gap_high", "gap_slope"]].tolist()).all()


def test_returns_of_different_environments_are_put_on_a_scale_of_fresh(
    tmp_path: Path, write: Write
) -> None:
    """CartPole counts to 500 and Pendulum from -1,600: half of each is half of both."""
    names = ["CartPole-v1", "Pendulum-v1"]
    halves = {"fresh": (500, -400), "none": (260, -1000)}
    for arm, (cart, pendulum) in halves.items():
        visits = [(0, [20, cart]), (1, [-1600, pendulum])]
        write(arm, visits, visits, task_names=names)
    row = _row(tmp_path, "none")
    assert row["unit"] == "relative to fresh"
    assert row[["score", "iqm", "gap"]].tolist() == pytest.approx([0.5] * 3)
    assert _row(tmp_path, "fresh")["score"] == pytest.approx(1)


def test_returns_of_different_environments_are_not_averaged(tmp_path: Path, write: Write) -> None:
    write("none", [(0, [500.0]), (1, [-400.0])], task_names=["CartPole-v1", "Pendulum-v1"])
    table = summary(read_runs(tmp_path))
    assert table[["score", "iqm", "change"]].isna().all(axis=None)
    assert table["final/CartPole-v1"].tolist() == [500]
    assert "are not averaged" in " ".join(notes(table))


def test_iterations_count_for_the_episodes_that_were_running(tmp_path: Path, write: Write) -> None:
    """A perfect CartPole ends an episode in one iteration of five."""
    values = [None, None, None, None, 500, None, None, None, None, 100, None]
    write("none", [(0, values)], task_names=["CartPole-v1"])
    row = _row(tmp_path, "none")
    assert row["score"] == pytest.approx((5 * 500 + 6 * 100) / 11)
    assert row["thin"] == 1
    assert "less than a quarter of the iterations" in " ".join(notes(summary(read_runs(tmp_path))))


def test_frozen_seeds_are_counted_and_noted(tmp_path: Path, write: Write) -> None:
    write("none", _visits(1), _visits(2), alive=0, task_names=["CartPole-v1"])
    write("adamo", _visits(1), task_names=["CartPole-v1"])
    table = summary(read_runs(tmp_path)).set_index("arm")
    assert table["dead"].to_dict() == {"none-relu": 2, "adamo-relu": 0}
    assert table.loc["none-relu", "score"] == pytest.approx(1)
    assert "2 seeds were frozen" in " ".join(notes(table.reset_index()))


def test_a_gap_that_rests_on_fewer_seeds_says_so(tmp_path: Path, write: Write) -> None:
    write("fresh", *[_visits(30)] * 2, task_names=["CartPole-v1"])
    write("none", *[_visits(20)] * 3, task_names=["CartPole-v1"])
    row = _row(tmp_path, "none")
    assert (row["seeds"], row["gap_seeds"]) == (3, 2)
    assert "The gap of none rests on 2 of its 3 seeds." in notes(summary(read_runs(tmp_path)))


def test_the_published_summary_follows_from_the_published_visits() -> None:
    folder = Path(metrics.__file__).resolve().parents[2] / "results/continual-minatar"
    found = summary_of_visits(pd.read_csv(folder / "visits.csv"))
    stored = pd.read_csv(folder / "summary.csv")
    pd.testing.assert_frame_equal(found, stored, check_dtype=False)
