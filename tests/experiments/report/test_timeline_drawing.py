"""Timelines: what is drawn and printed is what the schedule says."""

from itertools import pairwise

import numpy as np
import pytest
from matplotlib.collections import PolyCollection

from neoteny.experiments.report.timeline_drawing import BARS, draw, picture, table
from neoteny.wrappers import (
    Asynchronous,
    At,
    Cyclic,
    LinearDrift,
    MemberSchedules,
    OnReturn,
    Periodic,
    Poisson,
    RandomOrder,
    Sinusoidal,
    make_stream,
)


def bars(panel):
    """(row, from, to, height) of every bar, rows counted from 0."""
    found = []
    for collection in panel.collections:
        assert isinstance(collection, PolyCollection)
        for path in collection.get_paths():
            x, y = path.vertices[:, 0], path.vertices[:, 1]
            found.append((round(y.mean()), int(x.min()), int(x.max()), y.max() - y.min()))
    return found


@pytest.mark.parametrize(
    "schedule",
    [
        Cyclic(300, 3),
        Periodic(250),
        At((100, 950), tasks=2),
        RandomOrder(200, 4, seed=3),
        Poisson(150, tasks=4, seed=1),
        OnReturn(1.0, 10, switches=(40, 700)),
    ],
    ids=repr,
)
def test_every_visit_is_a_bar(schedule):
    panel = picture([schedule], 1000, (), ()).axes[0]
    found = bars(panel)
    assert [row for row, *_ in found] == [schedule.task(start) for _, start, *_ in found]
    edges = [0, *schedule.boundaries(1000), 1000]
    assert [(start, end) for _, start, end, _ in found] == list(pairwise(edges))
    assert all(0.5 < height < 0.9 for *_, height in found)
    assert len(panel.lines) == len(edges) - 2


def test_lanes_that_lag_have_stripes_of_their_own():
    schedule = Asynchronous(Cyclic(400, 2), 160)
    found = bars(picture([schedule], 1000, (), ()).axes[0])
    delays = schedule.delays(8)
    assert len(found) == 3 * 8
    first = [(start, end) for row, start, end, _ in found if row == 0][::2]
    assert first == [(0, 400 + delay) for delay in delays]
    assert sum(end - start for _, start, end, _ in found) == 8 * 1000
    assert all(height < 0.1 for *_, height in found)


def test_a_drift_is_a_curve():
    panel = picture([Sinusoidal(1000, 3)], 2000, (), ()).axes[0]
    steps, phases = panel.lines[0].get_data()
    assert np.array_equal(phases, Sinusoidal(1000, 3).phase(steps))
    assert panel.get_ylabel() == "phase"
    lagging = picture([Asynchronous(Sinusoidal(1000), 300)], 2000, (), ()).axes[0]
    assert len(lagging.lines) == 8


def test_many_visits_are_a_curve_too():
    panel = picture([Periodic(10)], 10 * (BARS + 2), (), ()).axes[0]
    assert not panel.collections
    assert len(panel.lines) == 1
    assert panel.yaxis_inverted()


def test_tasks_and_members_are_named():
    names = ("Breakout", "Asterix", "Freeway")
    schedules = [RandomOrder(100, 3, seed=seed) for seed in range(2)]
    first, second = picture(schedules, 900, names, ("seed 4", "seed 5")).axes
    for panel, label in ((first, "seed 4"), (second, "seed 5")):
        assert tuple(text.get_text() for text in panel.get_yticklabels()) == names
        assert panel.get_title("right") == label
    assert second.get_xlabel() == "environment steps of one member"
    assert "wait for returns" in picture([OnReturn(1.0, 9)], 99, (), ()).axes[0].get_title("right")


def test_tables_name_tasks_and_say_what_is_not_known():
    lines = table(Cyclic(40, 2), 100, ("one", "two")).splitlines()
    assert [line.split()[-1] for line in lines[2:]] == ["one", "two", "one"]
    assert table(Cyclic(40, 3), 100, ("one",)).splitlines()[2].split() == ["0", "0", "0", "40"]
    assert "wait for returns" in table(OnReturn(1.0, 10), 100)


def test_members_that_agree_share_a_panel(tmp_path):
    same = MemberSchedules(Cyclic(40, 2), 3)
    assert table(same, 100) == table(Cyclic(40, 2), 100)
    stream = make_stream("minatar-five", 2, seed=[0, 1, 0], members=3, task_steps=64)
    text = table(stream.schedule, 640, stream.task_names)
    assert text.startswith("member 0, member 2: RandomOrder(")
    assert "\n\nmember 1: RandomOrder(" in text
    assert "Seaquest" in text
    for suffix in ("png", "svg"):
        path = draw(stream.schedule, 640, tmp_path / f"a.{suffix}", stream.task_names)
        assert path.stat().st_size > 1000
    with pytest.raises(ValueError, match=r"ends in nothing: use \.png"):
        draw(Cyclic(40, 2), 100, tmp_path / "a")


def test_a_table_has_a_line_a_visit():
    lines = table(Cyclic(400, 2), 1000).splitlines()
    assert lines[0] == "Cyclic(period=400, tasks=2)"
    assert [line.split() for line in lines[2:]] == [
        ["0", "0", "0", "400"],
        ["1", "1", "400", "800"],
        ["2", "0", "800", "1,000"],
    ]
    phases = [line.split() for line in table(LinearDrift(1000), 1000).splitlines()[2:]]
    assert phases[3] == ["300", "0.300"]
    assert table(Periodic(1), 100).splitlines()[-1].split() == ["60", "more", "visits"]


@pytest.mark.parametrize("schedule", [Cyclic(50, 3), LinearDrift(100), Poisson(40)], ids=repr)
def test_every_kind_is_drawn(schedule, tmp_path):
    path = draw(schedule, 150, tmp_path / "timeline.png")
    assert path.read_bytes().startswith(b"\x89PNG")
