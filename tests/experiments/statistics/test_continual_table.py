"""The table of continual metrics, of runs each number of which is known beforehand."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from neoteny.experiments.report.continual_tables import continual_tables, readable_continual
from neoteny.experiments.statistics.continual_table import continual_table
from neoteny.experiments.statistics.matrices import MATRIX_COLUMNS, matrix_of, read_matrices
from neoteny.experiments.statistics.runs import find_runs, frame_of
from neoteny.experiments.statistics.visits import visit_values

# Returns of the ten rows of each visit, of 10 steps each. Fresh networks rise from 0 to 10.
FRESH = [0.0, 2, 4, 6, 8, 10, 10, 10, 10, 10]
SLOW = [0.0, 1, 2, 3, 4, 5, 6, 7, 8, 8]
NEVER = [1.0] * 10
EVALUATED = [(-1, 0, 0.0), (-1, 1, 1.0), (0, 0, 8.0), (0, 1, 2.0), (1, 0, 5.0), (1, 1, 9.0)]
"""Visit, task and return."""


def _write(folder: Path, arm: str, members: list[list[list[float]]], *, matrix: bool) -> None:
    for seed, visits in enumerate(members):
        place = folder / arm / f"seed_{seed}"
        place.mkdir(parents=True)
        rows = [
            {"step": 100 * visit + 10 * at + 10, "task": visit, "visit": visit, "return": value}
            for visit, values in enumerate(visits)
            for at, value in enumerate(values)
        ]
        table = pd.DataFrame(rows).rename(columns={"return": "charts/episodic_return"})
        table.to_csv(place / "metrics.csv", index=False)
        config = {"arm": arm, "intervention": [arm], "seed": seed, "steps": 100 * len(visits)}
        config |= {"task_names": ["Cart"], "boundaries": [100 * k for k in range(1, len(visits))]}
        (place / "config.json").write_text(json.dumps(config))
        if matrix:
            found = [
                (100 * (visit + 1), visit if visit >= 0 else None, task, "Cart", task, value + seed)
                for visit, task, value in EVALUATED
            ]
            pd.DataFrame(found, columns=MATRIX_COLUMNS).to_csv(place / "matrix.csv", index=False)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    folder = tmp_path_factory.mktemp("made")
    _write(folder, "fresh", [[FRESH, FRESH]] * 2, matrix=False)
    nothing = [float("nan")] * 10
    _write(folder, "none", [[FRESH, SLOW], [SLOW, NEVER]], matrix=True)
    _write(folder, "adamo", [[FRESH, nothing]] * 2, matrix=False)
    runs = find_runs(folder)
    frame = frame_of(runs)
    matrices = read_matrices(runs)
    table = continual_table(frame, visit_values(frame), matrices)
    return SimpleNamespace(table=table.set_index("arm"), matrices=matrices, frame=frame)


def test_recovery_and_what_is_censored(made: SimpleNamespace) -> None:
    """Half of 10 is reached after 40 steps of 100, after 60, or never; 9 after 60 or never."""
    row = made.table.loc["none"]
    assert row["recovery_50"] == pytest.approx(((0.4 + 0.6) / 2 + (0.6 + 1.0) / 2) / 2)
    assert row["recovered_50"] == pytest.approx((1 + 0.5) / 2)
    assert row["recovery_90"] == pytest.approx(((0.6 + 1) / 2 + 1) / 2)
    assert row["recovered_90"] == pytest.approx((0.5 + 0) / 2)
    assert made.table.loc["fresh", ["recovery_50", "recovery_90"]].tolist() == [0.4, 0.6]
    low, high = row[["recovery_50_low", "recovery_50_high"]]
    assert high - 0.65 == pytest.approx(0.65 - low) == pytest.approx(12.7062 * 0.15, rel=1e-5)


def test_dip_regret_and_forward_transfer(made: SimpleNamespace) -> None:
    row = made.table.loc["none"]
    assert row["dip"] == pytest.approx(((0 - 10) + (1 - 8)) / 2)
    means = [np.mean(FRESH), np.mean(SLOW), np.mean(SLOW), 1.0]
    assert row["regret"] == pytest.approx((40 - sum(means)) / 40)
    assert row["forward_transfer_form"] == "ratio"
    assert row["forward_transfer"] == pytest.approx(sum(means) / (4 * np.mean(FRESH)) - 1)
    assert row["final"] == pytest.approx(((10 + 8) / 2 + (8 + 1) / 2) / 2)


def test_visits_without_an_episode_are_counted(made: SimpleNamespace) -> None:
    row = made.table.loc["adamo"]
    assert row[["visits", "blank", "untaught"]].tolist() == [4, 2, 0]
    assert row["recovery_50"] == 0.4
    assert np.isnan(row["dip"])
    texts = readable_continual(made.table.reset_index()).set_index("arm")
    assert texts["blank visits"].to_dict() == {"none": "0", "adamo": "2", "fresh": "0"}
    assert texts.loc["none", "recovered to 50 %"].startswith("0.75 [")


def test_metrics_of_the_matrix(made: SimpleNamespace) -> None:
    """Seed 1 has 1 more everywhere. Task 0 falls by 3; task 1 gains 1 before it is played."""
    row = made.table.loc["none"]
    assert row["evaluated"] == 2
    assert row["average_performance"] == pytest.approx((7 + 8) / 2)
    assert row["forgetting"] == 3
    assert row["isolated_forgetting"] == pytest.approx(3 / 9)  # the largest of task 0 in any run
    assert row["zero_shot"] == pytest.approx(1 / 10)
    assert row["jump_start"] == pytest.approx((2 + 3) / 2)  # untrained: 0
    assert np.isnan(made.table.loc["fresh", "forgetting"])


def test_metrics_are_in_two_tables_that_fit_on_a_page(made: SimpleNamespace) -> None:
    played, evaluated = continual_tables(made.table.reset_index())
    assert list(played.texts)[:2] == ["arm", "recovery to 50 %"]
    assert list(played.texts)[-1] == "blank visits"
    assert evaluated.texts.columns.tolist() == [
        *("arm", "average performance", "forgetting", "isolated forgetting"),
        *("zero-shot transfer", "jump start"),
    ]
    assert max(len(each.texts.columns) for each in (played, evaluated)) <= 10
    alone = made.table[["blank", "dip"]].reset_index()
    assert [list(each.texts) for each in continual_tables(alone)] == [
        ["arm", "dip", "blank visits"]
    ]


def test_matrix_of_a_run_ends_with_its_finished_visits(made: SimpleNamespace) -> None:
    rows = made.matrices[made.matrices["seed"] == 0]
    rows = rows.assign(value=rows["eval/return"])
    values, played, families = matrix_of(rows, 2)
    np.testing.assert_array_equal(values, [[0, 1], [8, 2], [5, 9]])
    assert (played.tolist(), families) == ([0, 1], ["Cart", "Cart"])
    assert matrix_of(rows, 1)[0].tolist() == [[0, 1], [8, 2]]
    late = rows[rows["visit"] != 0]
    assert matrix_of(late, 2)[1].tolist() == []


def test_a_report_has_the_table(reported: SimpleNamespace) -> None:
    stored = pd.read_csv(reported.folder / "continual.csv")
    pd.testing.assert_frame_equal(stored, reported.report.continual, check_dtype=False)
    score = reported.report.summary["gap"]
    np.testing.assert_allclose(stored["forward_transfer"], -score)
    assert "forgetting" not in stored
    assert "Recovery to 50 %" not in (reported.folder / "report.html").read_text()
    assert "recovery to 50 %" in (reported.folder / "report.html").read_text()
