"""Curves, colours and figures of a comparison."""

from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.image import imread

from neoteny.experiments.options.arms import Arm, arms_of
from neoteny.experiments.report import answer_figure, figures
from neoteny.experiments.report.drawing import looks
from neoteny.experiments.report.figures import plasticity_figure, returns_figure
from neoteny.experiments.statistics.answer import Ability, abilities
from neoteny.experiments.statistics.curves import bin_edges, common_switches, curve
from neoteny.experiments.statistics.metrics import Estimate
from neoteny.experiments.statistics.visits import visit_values


def test_bins_average_and_never_cross_a_switch(frame: pd.DataFrame) -> None:
    rows = frame[frame["arm"] == "ppo-none"]
    switches = common_switches(rows)
    assert switches == [8192.0 * 30 * visit for visit in range(1, 8)]
    edges = bin_edges(rows, switches)
    assert len(edges) == 241
    assert set(switches) <= set(edges)
    line = curve(rows, "online_return", edges, switches)
    breaks = np.flatnonzero(np.isnan(line.x))
    assert len(breaks) == 7
    for at, switch in zip(breaks, switches, strict=True):
        assert line.x[at - 1] < switch < line.x[at + 1]
    at_third = rows[rows["step"] == 3 * 8192]["online_return"]
    assert line.mean[np.searchsorted(line.x[:5], 2.5 * 8192)] == pytest.approx(at_third.mean())


def test_coarse_bins_hold_all_rows() -> None:
    steps = np.arange(1, 10_001)
    frame = pd.DataFrame(
        {"arm": "a", "seed": 0, "visit": 0, "step": steps, "width": 1, "x": steps / 1.0}
    )
    edges = bin_edges(frame, [])
    assert len(edges) == 481
    line = curve(frame, "x", edges, [])
    assert len(line.x) == 480
    assert np.abs(line.mean - line.x).max() <= 1
    assert common_switches(frame) == []


def test_runs_that_switch_at_different_steps_have_no_common_switches(frame: pd.DataFrame) -> None:
    rows = frame[frame["arm"] == "ppo-none"].copy()
    shifted = (rows["seed"] == 1) & (rows["visit"] == 1)
    rows.loc[shifted, "step"] += 5
    assert common_switches(rows) == []


def test_colours_are_distinct_and_roles_fixed() -> None:
    names = ["adamo", "fresh", "l2_init", "none", *(f"x{i}" for i in range(12))]
    arms = [Arm(f"ppo-{name}", (name,), "") for name in names]
    found = looks(arms)
    assert next(iter(found)) == "ppo-none"
    assert list(found)[-1] == "ppo-fresh"
    assert len({(look.colour, look.line) for look in found.values()}) == len(arms)
    assert found["ppo-none"].colour == looks([Arm("none", ("none",), "")])["none"].colour
    assert found["ppo-none"].label == "none"


def test_figures_have_ink_of_every_arm(frame: pd.DataFrame, reported: SimpleNamespace) -> None:
    for name in ("returns.png", "plasticity.png"):
        image = np.rint(imread(reported.folder / name)[..., :3] * 255).astype(int)
        assert image.shape[1] == 2000
        for look in looks(arms_of(frame)).values():
            colour = [int(look.colour[at : at + 2], 16) for at in (1, 3, 5)]
            assert (image == colour).all(axis=-1).sum() > 2000


def test_many_tasks_of_one_kind_are_a_point_each(
    frame: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = []
    monkeypatch.setattr(figures, "draw_curve", lambda panel, line, look: drawn.append(line))
    period = frame["step"].max() / 32
    rows = frame.assign(task_name="digits", visit=((frame["step"] - 1) // period).astype(int))
    caption = returns_figure(rows, visit_values(rows), tmp_path / "returns.png")
    assert "of each whole task" in caption
    means = rows[rows["arm"] == "ppo-adamo"].groupby(["seed", "visit"])["online_return"].mean()
    line = drawn[list(looks(arms_of(rows))).index("ppo-adamo")]
    expected = means.groupby("visit").mean().dropna()
    assert len(expected) > figures.MOST_SWITCHES
    np.testing.assert_allclose(line.mean, expected)


def test_variants_that_come_once_have_no_panels(frame: pd.DataFrame) -> None:
    rows = frame.assign(task_name=frame["visit"].map("Breakout features {}".format))
    rows["family"] = "Breakout"
    assert figures._panel_tasks(rows) == []
    again = rows.assign(visit=rows["visit"] + 10 * (rows["visit"] > 5))
    assert figures._panel_tasks(again) == []
    twice = rows.assign(task_name=(rows["visit"] % 2).map("Breakout features {}".format))
    assert figures._panel_tasks(twice) == ["Breakout features 0", "Breakout features 1"]
    assert len(figures._panel_tasks(rows.assign(family=rows["task_name"]))) == 8


def test_only_arms_that_start_afresh_have_lines_broken_at_switches(
    frame: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = []
    monkeypatch.setattr(figures, "draw_curve", lambda panel, line, look: drawn.append((look, line)))
    monkeypatch.setattr(figures, "save", lambda *_: None)
    caption = plasticity_figure(frame, tmp_path / "plasticity.png")
    assert "means over 4 seeds, with 95 % t intervals; vertical lines are task switches" in caption
    for look, line in drawn:
        assert np.isnan(line.x).sum() == (7 if look.label == "fresh" else 0)


@pytest.mark.slow
def test_captions_say_only_what_is_drawn(frame: pd.DataFrame, tmp_path: Path) -> None:
    rows = frame[(frame["visit"] == 0) & (frame["seed"] == 0)].assign(task_name="one")
    visits = visit_values(rows)
    for draw in (partial(returns_figure, rows, visits), partial(plasticity_figure, rows)):
        caption = draw(tmp_path / "figure.png")
        assert "mean over 1 seed" in caption or "means over 1 seed" in caption
        for absent in ("vertical lines", "interval", "Lower panels", "thin lines"):
            assert absent not in caption
    whole = rows.assign(**{"return": 1.0, "online_return": 1.0})
    assert "no episode ended" in returns_figure(rows, visits, tmp_path / "figure.png")
    assert "no episode ended" not in returns_figure(whole, visits, tmp_path / "figure.png")


def test_few_seeds_are_drawn_as_lines_of_their_own(
    frame: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = frame[frame["seed"] < 3]
    filled = []
    monkeypatch.setattr(figures, "save", lambda *_: None)  # which takes most of the time
    monkeypatch.setattr(Axes, "fill_between", lambda *_, **__: filled.append(1))
    for rows, bands in ((few, 0), (frame, 3)):
        one = rows[rows["task_name"] == rows["task_name"].iloc[0]]
        returns_figure(one, visit_values(one), tmp_path / "r.png")
        assert len(filled) == bands
    assert "thin lines are the seeds" in plasticity_figure(few, tmp_path / "p.png")


def test_lines_differ_without_colours() -> None:
    arms = [Arm(f"ppo-{name}", (name,), "") for name in ("none", "fresh", *"abcdefghijkl")]
    found = looks(arms).values()
    assert len({(look.line, look.marker) for look in found}) == len(arms)


@pytest.mark.slow
def test_narrow_figures_are_legible_at_400_pixels(frame: pd.DataFrame, tmp_path: Path) -> None:
    visits = visit_values(frame)
    for draw in (partial(returns_figure, frame, visits), partial(plasticity_figure, frame)):
        draw(tmp_path / "narrow.png", narrow=True)
        width = imread(tmp_path / "narrow.png").shape[1]
        assert width == 880
        assert 8.5 * 200 / 72 * 370 / width > 9.5  # pixels of the smallest letters' size


def test_the_figure_behind_the_answer_has_its_shares(
    reported: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    visits = pd.read_csv(reported.folder / "visits.csv")
    drawn = []
    monkeypatch.setattr(
        answer_figure, "_draw", lambda panel, place, one, look, _: drawn.append((look.label, one))
    )
    caption = answer_figure.answer_figure(visits, tmp_path / "answer.png")
    assert caption is not None
    assert "95 % intervals over seeds. At the dashed line" in caption
    assert [(label, one.last.value) for label, one in drawn] == [
        (one.arm.removeprefix("ppo-"), one.last.value) for one in abilities(visits)
    ]
    alone = visits[visits["arm"] != "ppo-fresh"]
    assert answer_figure.answer_figure(alone, tmp_path / "none.png") is None
    assert not (tmp_path / "none.png").exists()


def test_the_axis_of_the_answer_reaches_every_share_and_cuts_wide_intervals() -> None:
    small, nothing = Estimate(0.9, 0.8, 1.0), Estimate(0.0, 0.0, 0.0)
    wide = Ability("wide", "", 3, small, Estimate(0.5, -9.0, 9.0), nothing)
    large = Ability("large", "", 3, small, Estimate(2.7, 2.6, 2.8), nothing)
    assert answer_figure._ends([wide]) == (-1, 2)
    assert answer_figure._ends([wide, large]) == (-1, 2.7)
    low, high = answer_figure._limits([wide, large], (-1, 2.7))
    assert low < -1
    assert high > 2.7
    assert answer_figure._cut([wide], (-1, 2)) == ", cut at -1 and 2"
    assert answer_figure._cut([Ability("a", "", 3, small, small, nothing)], (-1, 2)) == ""
