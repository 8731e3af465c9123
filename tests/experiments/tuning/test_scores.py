"""Scores of trials from runs made up after known rules, and the figure of their sweep."""

import dataclasses
import math

import matplotlib.image
import pandas as pd
import pytest

from neoteny.core.errors import InputError
from neoteny.experiments.options.config import RunConfig
from neoteny.experiments.options.presets import preset_values
from neoteny.experiments.statistics.metrics import Estimate
from neoteny.experiments.statistics.runs import read_runs
from neoteny.experiments.tuning.drawing import draw_sweeps
from neoteny.experiments.tuning.outcome import ArmTrials, Trial, peaks_table
from neoteny.experiments.tuning.scores import Score, check_reference, failed, score
from neoteny.experiments.tuning.search import Dimension
from neoteny.plasticity.interventions import Tasks
from neoteny.plasticity.interventions.ranges import Range


def cells(arm, seed, visit, place):
    """Visits begin at 1; fresh reaches 3 + seed, the arm less by a tenth of that a visit."""
    top = 3 + seed
    if arm != "fresh":
        top -= 0.1 * visit * (2 + seed)
    row = {"charts/episodic_return": 1.0 if place == "first" else top, "charts/alive": 1.0}
    return row | ({"charts/alive": 0.0} if arm == "l2" and (seed, visit) == (1, 3) else {})


@pytest.fixture
def runs(write_visits, tmp_path):
    return write_visits(tmp_path, ("fresh", "redo", "l2"), 3, 6, cells)


def test_the_objectives_are_those_of_the_definition(runs):
    fresh = read_runs(runs / "ppo-fresh")
    found = score(runs / "ppo-redo", fresh, "share")
    # a visit has three rows, the gap filled by the next: online mean (1 + 2 top) / 3, untrained 1
    gain = {s: (1 + 2 * (3 + s)) / 3 - 1 for s in range(3)}
    late = {s: sum(2 * -0.1 * v * (2 + s) / 3 for v in (4, 5)) / 2 + gain[s] for s in range(3)}
    whole = sum(gain.values())
    assert found.objective.value == pytest.approx(sum(late.values()) / whole)
    assert found.objective.value == pytest.approx(0.55)
    assert found.objective.low <= 0.55 + 1e-9
    assert found.seeds == pytest.approx({s: late[s] / (whole / 3) for s in range(3)})
    assert sum(found.seeds.values()) / 3 == pytest.approx(found.objective.value)
    assert found.first_gap == pytest.approx(0)
    online = score(runs / "ppo-redo", fresh, "online")
    tops = {s: [3 + s - 0.1 * v * (2 + s) for v in range(6)] for s in range(3)}
    means = {s: sum((1 + 2 * top) / 3 for top in tops[s]) / 6 for s in range(3)}
    assert online.seeds == pytest.approx(means)
    assert online.objective.value == pytest.approx(sum(means.values()) / 3)
    assert online.first_gap == found.first_gap


def test_a_frozen_seed_fails_its_trial(runs):
    found = score(runs / "ppo-l2", read_runs(runs / "ppo-fresh"), "share")
    assert found.failed
    assert found.failure == "non-finite gradients, seeds 1"
    assert found.objective.value == -math.inf


def test_fresh_networks_that_gain_nothing_are_no_yardstick(write_visits, tmp_path):
    flat = write_visits(tmp_path, ("fresh",), 2, 3, lambda *_: {"charts/episodic_return": 1.0})
    with pytest.raises(InputError, match="gain nothing"):
        check_reference(read_runs(flat))


@pytest.fixture
def arms():
    base = RunConfig(**preset_values("demo"), intervention=("redo",))
    period = Dimension("redo", "period", Range(Tasks(0.02), Tasks(2)), Tasks(0.1))
    tau = Dimension("redo", "tau", Range(0.002, 0.5), 0.025)
    values = [(0.1, 0.025, 0.5), (1.9, 0.1, 0.9), (0.03, 0.01, 0.2), (0.5, 0.4, -math.inf)]
    trials = [
        Trial(
            number,
            base,
            {period: Tasks(p), tau: t},
            Score(Estimate(v, v - 0.1, v + 0.1), 0.1, {0: v - 0.1, 1: v + 0.1})
            if v > 0
            else failed("non-finite gradients in all seeds"),
        )
        for number, (p, t, v) in enumerate(values)
    ]
    plain = dataclasses.replace(base, intervention=("none",))
    known = Score(Estimate(0.4, 0.3, 0.5), 0.0, {0: 0.4, 1: 0.4})
    return [
        ArmTrials(plain, [], [Trial(0, plain, {}, known)]),
        ArmTrials(base, [period, tau], trials),
    ]


def test_peaks(arms):
    table = peaks_table(arms)
    assert list(table["best"]) == [0.4, 0.9]
    assert list(table["trial"]) == [0, 1]
    assert list(table["failed"]) == [0, 1]
    assert list(table["at_edge"]) == ["", "redo:period:high"]


@pytest.mark.parametrize("narrow", [False, True])
def test_the_sweep_is_drawn_at_its_width(arms, tmp_path, narrow):
    draw_sweeps(arms, tmp_path / "sweep.png", "share", narrow=narrow)
    height, width = matplotlib.image.imread(tmp_path / "sweep.png").shape[:2]
    assert width == (880 if narrow else 1400)
    assert (height > width) == narrow


def test_arms_without_ranges_make_no_figure(arms, tmp_path):
    draw_sweeps(arms[:1], tmp_path / "sweep.png", "share")
    assert not (tmp_path / "sweep.png").exists()
    assert isinstance(peaks_table(arms[:1]), pd.DataFrame)
