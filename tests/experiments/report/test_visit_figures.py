"""Figures of whole visits."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes

from neoteny.experiments.report import visit_figures
from neoteny.experiments.report.visit_figures import gap_figure, heat_map_figure
from neoteny.experiments.statistics.visits import visit_values


@pytest.fixture(scope="module")
def visits(frame: pd.DataFrame) -> pd.DataFrame:
    return visit_values(frame)


def test_gaps_of_visits_are_ratios_of_sums_over_seeds(
    visits: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = {}
    plot = Axes.plot

    def noted(panel: Axes, *values: object, **style: object) -> object:
        drawn[style.get("marker")] = values
        return plot(panel, *values, **style)

    monkeypatch.setattr(Axes, "plot", noted)
    caption = gap_figure(visits, tmp_path / "gap.png")
    assert caption is not None
    assert "the grey band is the 95 % interval of their own mean" in caption
    sums = visits.groupby(["arm", "visit"])["gain"].sum().unstack("arm")
    gaps = (1 - sums["ppo-none"] / sums["ppo-fresh"]).clip(-1, 1.5)
    np.testing.assert_allclose(drawn["o"][1], gaps)  # the plain agent's marker
    np.testing.assert_allclose(np.rint(drawn["o"][0]), np.arange(1, 9))
    assert gap_figure(visits[visits["arm"] != "ppo-fresh"], tmp_path / "none.png") is None
    assert not (tmp_path / "none.png").exists()


def test_colours_of_a_heat_map_are_shares_of_the_best_of_the_task(
    visits: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = []
    draw = visit_figures._draw_map

    def noted(panel: Axes, values: np.ndarray, shares: np.ndarray, numbered: bool) -> object:
        drawn.append((values, shares))
        return draw(panel, values, shares, numbered)

    monkeypatch.setattr(visit_figures, "_draw_map", noted)
    assert heat_map_figure(visits, tmp_path / "cycles.png") is not None
    table = visits.groupby(["arm", "task_name", "cycle"])["value"].mean()
    whole = [table[arm].unstack().to_numpy() for arm in ("ppo-none", "ppo-adamo", "ppo-fresh")]
    best = np.nanmax(whole, axis=(0, 2))[:, None]
    worst = np.minimum(np.nanmin(whole, axis=(0, 2)), 0)[:, None]
    order = np.argsort(sorted(visits["task_name"].unique()))
    for (values, shares), wanted in zip(drawn, whole, strict=True):
        np.testing.assert_allclose(values, wanted[order])
        np.testing.assert_allclose(shares, ((wanted - worst) / (best - worst))[order])


def test_tasks_that_come_once_have_no_heat_map(visits: pd.DataFrame, tmp_path: Path) -> None:
    assert heat_map_figure(visits[visits["cycle"] == 0], tmp_path / "cycles.png") is None
