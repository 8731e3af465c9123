"""Figure of performance profiles."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes

from neoteny.experiments.report import profile_figure as module
from neoteny.experiments.report.profile_figure import profile_figure, profiles
from neoteny.experiments.statistics.visits import visit_values


@pytest.fixture(scope="module")
def visits(frame: pd.DataFrame) -> pd.DataFrame:
    return visit_values(frame)


def test_lines_are_shares_of_runs_and_tasks_above_each_level(
    visits: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = {}
    plot = Axes.plot

    def noted(panel: Axes, *values: object, **style: object) -> object:
        drawn[style.get("marker")] = values
        return plot(panel, *values, **style)

    monkeypatch.setattr(Axes, "plot", noted)
    found = profiles(visits)
    caption = profile_figure(visits, found, tmp_path / "profile.png")
    assert caption is not None
    assert "percentile bootstrap over whole runs" in caption
    levels, share = drawn["o"]  # the plain agent's marker
    plain = visits[(visits["arm"] == "ppo-none") & visits["complete"]]
    scores = plain.groupby(["seed", "task_name"])["value"].mean().to_numpy()
    np.testing.assert_allclose(share, [(scores > level).mean() for level in levels])
    for _, line, low, high in found.values():
        assert (line[0], line[-1]) == (1, 0)
        assert (low <= line).all()
        assert (line <= high).all()


def test_fewer_than_three_runs_or_two_arms_have_no_profile(
    visits: pd.DataFrame, tmp_path: Path
) -> None:
    assert set(profiles(visits)) == {"ppo-none", "ppo-adamo", "ppo-fresh"}
    assert not profiles(visits[visits["seed"] < module.FEWEST_RUNS - 1])
    assert not profiles(visits[visits["arm"] == "ppo-none"])
    few = visits[(visits["arm"] != "ppo-none") | (visits["seed"] == 0)]
    assert set(profiles(few)) == {"ppo-adamo", "ppo-fresh"}
    assert not profiles(visits.assign(value=np.nan))
    task = visits["task_name"] == visits["task_name"].iloc[0]
    cut = profiles(visits[(visits["arm"] != "ppo-none") | task])["ppo-fresh"]
    alone = visits[task & (visits["arm"] == "ppo-fresh")].groupby("seed")["value"].mean()
    np.testing.assert_allclose(cut[1], [(alone > level).mean() for level in cut[0]])
    assert profile_figure(visits, {}, tmp_path / "none.png") is None
    assert not (tmp_path / "none.png").exists()


def test_the_page_has_it_below_the_comparisons(reported: SimpleNamespace) -> None:
    page = (reported.folder / "report.html").read_text()
    titles = [part[: part.index("<")] for part in page.split("<h2 ")[1:]]
    names = [title[title.index(">") + 1 :] for title in titles]
    place = names.index("Performance profiles")
    assert names[place - 1].startswith("Difference to")
    assert names[place + 1] == "Cost"
    assert (reported.folder / "profile.png").is_file()
