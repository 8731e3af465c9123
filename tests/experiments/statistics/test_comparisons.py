"""Comparisons of arms made by hand, each number of which is known beforehand."""

import io
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from neoteny.core.console import PlainConsole
from neoteny.core.errors import InputError
from neoteny.experiments.report.comparison_tables import comparison_tables
from neoteny.experiments.report.tables import print_tables
from neoteny.experiments.statistics.comparisons import comparison_table, profile

NAN = float("nan")


def _visits(**arms: list[list[float]]) -> pd.DataFrame:
    """Visits of two tasks in turn: the values of each seed of each arm."""
    rows = [
        {
            "arm": f"ppo-{arm}",
            "seed": seed,
            "visit": visit,
            "value": value,
            "auc": value,
            "task_name": "ab"[visit % 2],
            "interventions": arm,
            "setup": "s",
            "complete": True,
            "unit": "return",
        }
        for arm, seeds in arms.items()
        for seed, values in enumerate(seeds)
        for visit, value in enumerate(values)
    ]
    return pd.DataFrame(rows)


def test_comparison_by_hand() -> None:
    """Task a is better by 1 and 2, task b by 3 and 4: by 2 and 3, or 2.5 with an error of 0.5."""
    none, adamo = [[0.0, 10.0], [1.0, 11.0]], [[1.0, 13.0], [3.0, 15.0]]
    table = comparison_table(_visits(none=none, adamo=adamo, fresh=none)).set_index("arm")
    row = table[table["versus"] == "none"].loc["ppo-adamo"]
    assert row[["other", "seeds", "visits", "blank"]].tolist() == ["ppo-none", 2, 4, 0]
    reach = 12.7062 * 0.5
    assert row[["difference", "difference_low", "difference_high"]].tolist() == pytest.approx(
        [2.5, 2.5 - reach, 2.5 + reach], rel=1e-5
    )
    assert row["improvement"] == np.mean([(0.5 + 1 + 1) / 4 + 1 / 4, 1.0])  # 1 v 0 1, 3 v 0 1
    assert row["p"] == row["p_holm"] == pytest.approx(0.12567, rel=1e-4)  # t = 5, 1 d. f.
    assert row["seeds_needed"] == 3
    fresh = table.loc["ppo-fresh"]
    assert (fresh["p"], np.isnan(fresh["p_holm"]), fresh["seeds_needed"]) == (1, True, np.inf)
    best = table[table["versus"] == "best"]
    assert best["other"].to_dict() == {"ppo-none": "ppo-adamo"}
    assert best["difference"].tolist() == [-2.5]


def test_the_last_third_by_hand() -> None:
    """Visits 3 of 3: by 5 and 7, or 6 with an error of 1."""
    none, adamo = [[0.0, 0.0, 1.0], [0.0, 0.0, 2.0]], [[9.0, 9.0, 6.0], [8.0, 8.0, 9.0]]
    row = comparison_table(_visits(none=none, adamo=adamo)).iloc[0]
    reach = 12.7062
    assert row[["late", "late_low", "late_high"]].tolist() == pytest.approx(
        [6, 6 - reach, 6 + reach], rel=1e-5
    )


def test_an_arm_of_choice() -> None:
    arms = {"none": [[1.0, 1.0], [1.0, 2.0]], "l2:weight=0.1": [[2.0, 2.0], [3.0, 3.0]]}
    visits = _visits(**arms, redo=[[4.0, 4.0], [4.0, 5.0]], fresh=arms["none"])
    table = comparison_table(visits, "l2")
    rows = table[table["versus"] == "chosen"].set_index("arm")
    assert set(rows["other"]) == {"ppo-l2:weight=0.1"}
    assert rows["difference"].to_dict() == pytest.approx(
        {"ppo-none": -1.25, "ppo-redo": 1.75, "ppo-fresh": -1.25}
    )
    assert rows["p_holm"].isna().to_dict() == {
        "ppo-none": False,
        "ppo-redo": False,
        "ppo-fresh": True,
    }
    assert [one.title.partition(",")[0] for one in comparison_tables(table)] == [
        "difference to the plain agent",
        "difference to the best arm",
        "difference to l2:weight=0.1",
    ]
    for known in ("none", "redo"):  # their rows are there already
        assert set(comparison_table(visits, known)["versus"]) == {"none", "best"}
    with pytest.raises(InputError, match="versus 'l3' names no arm: use one of none"):
        comparison_table(visits, "l3")
    both = _visits(**{"none": arms["none"], "l2:weight=1": arms["none"], **arms})
    with pytest.raises(
        InputError, match="versus 'l2' names several arms: write one of l2:weight=1"
    ):
        comparison_table(both, "l2")


def test_visits_without_an_episode_are_counted_and_left_out_of_both_arms() -> None:
    none, adamo = [[0.0, 10.0], [1.0, NAN]], [[1.0, NAN], [2.0, 15.0]]
    table = comparison_table(_visits(none=none, adamo=adamo))
    row = table.iloc[0]
    assert row[["difference", "visits", "blank"]].tolist() == [1.0, 4, 2]
    console = PlainConsole(width=200, file=io.StringIO())
    print_tables(console, comparison_tables(table))
    assert "blank visits" in console.file.getvalue()


def test_many_arms_are_corrected_for() -> None:
    rng = np.random.default_rng(0)
    arms = {name: rng.standard_normal((5, 2)).tolist() for name in ("none", "adamo", "shrink")}
    table = comparison_table(_visits(**arms))
    p = table.loc[table["versus"] == "none", "p"].to_numpy()
    adjusted = table.loc[table["versus"] == "none", "p_holm"].to_numpy()
    assert len(p) == 2
    low = p.argmin()
    assert adjusted[low] == pytest.approx(min(2 * p[low], 1))
    assert adjusted[1 - low] == pytest.approx(max(adjusted[low], p[1 - low]))


def test_no_pair_no_row() -> None:
    table = comparison_table(_visits(adamo=[[1.0, 2.0]]))
    assert table.empty
    assert {"arm", "p_holm", "seeds_needed"} <= set(table.columns)
    assert comparison_tables(table) == []


def test_profile_of_an_arm() -> None:
    visits = _visits(none=[[0.0, 10.0], [1.0, 11.0]], adamo=[[50.0, 50.0]])
    share, low, high = profile(visits, "ppo-none", np.array([0.5, 10.5, 11.0]))
    np.testing.assert_allclose(share, [0.75, 0.25, 0.0])
    assert (low <= share).all()
    assert (share <= high).all()


def test_a_report_has_the_comparisons(reported: SimpleNamespace) -> None:
    stored = pd.read_csv(reported.folder / "comparisons.csv")
    pd.testing.assert_frame_equal(stored, reported.report.comparisons, check_dtype=False)
    assert stored["arm"].tolist() == ["ppo-adamo", "ppo-fresh", "ppo-none"]
    assert stored["difference"].iloc[0] == pytest.approx(-stored["difference"].iloc[2])
    score = reported.report.summary.set_index("arm")["score"]
    assert stored["difference"].iloc[0] == pytest.approx(score["ppo-adamo"] - score["ppo-none"])
