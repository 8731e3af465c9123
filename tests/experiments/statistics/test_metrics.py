import csv
from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from neoteny.experiments.statistics import metrics
from neoteny.experiments.statistics.metrics import (
    Estimate,
    contrast_of_ratios,
    iqm,
    mean,
    mean_curve,
    mean_of_runs,
    mean_over_tasks,
    plasticity_gap,
    probability_of_improvement,
    ratio_of_means,
    slope_within,
)
from neoteny.experiments.statistics.references import REFERENCES, SHORT_FREEWAY, normalise


@pytest.mark.parametrize("shape", [(1,), (3,), (4,), (5, 4), (8, 4), (7, 3)])
def test_iqm_is_the_trimmed_mean_of_rliable(shape: tuple[int, ...]) -> None:
    scores = np.random.default_rng(0).standard_normal(shape)
    assert iqm(scores) == pytest.approx(stats.trim_mean(scores, 0.25, axis=None), rel=1e-12)
    for axis in range(len(shape)):
        assert iqm(scores, axis) == pytest.approx(stats.trim_mean(scores, 0.25, axis=axis))


def test_iqm_of_hand_made_scores() -> None:
    assert iqm(np.array([0.0, 1, 2, 100])) == 1.5
    assert iqm(np.array([np.nan, 100, 1, 0, 2, np.nan])) == 1.5
    assert np.isnan(iqm(np.array([np.nan])))


def test_mean_leaves_nan_out() -> None:
    scores = np.array([[1.0, np.nan], [3.0, np.nan]])
    assert mean(scores) == 2.0
    np.testing.assert_array_equal(mean(scores, axis=0), [2.0, np.nan])


def test_every_task_counts_in_an_interquartile_mean() -> None:
    """Over runs and tasks at once, the best and the worst game would count for nothing."""
    scores = np.tile([0.0, 1.0, 5.0, 30.0], (8, 1))
    assert iqm(scores) == 3.0
    assert mean_over_tasks(scores, interquartile=True).value == 9.0
    scores[0] = 1000.0  # one outlier a task
    assert mean_over_tasks(scores, interquartile=True).value == 9.0


def test_interval_of_means_is_students() -> None:
    scores = np.random.default_rng(1).standard_normal((5, 3))
    runs = scores.mean(axis=1)
    wanted = stats.t.interval(0.95, 4, runs.mean(), stats.sem(runs))
    assert mean_over_tasks(scores) == pytest.approx((runs.mean(), *wanted))
    assert mean_of_runs(runs) == pytest.approx((runs.mean(), *wanted))
    assert mean_of_runs(np.array([0.0, 1.0])) == pytest.approx((0.5, 0.5 - 6.3531, 0.5 + 6.3531))


@pytest.mark.parametrize("runs", [5, 6, 8, 12, 13])
def test_interval_of_an_interquartile_mean_is_that_of_a_trimmed_mean(runs: int) -> None:
    values = np.random.default_rng(2).standard_exponential(runs)
    cut = runs // 4
    proportion = (cut / runs + 1e-9,) * 2
    middle = stats.trim_mean(values, 0.25)
    error = stats.mstats.trimmed_stde(values, proportion)
    reach = stats.t.ppf(0.975, runs - 2 * cut - 1) * error * np.sqrt((runs - 1) / runs)
    found = mean_over_tasks(values[:, None], interquartile=True)
    kept = runs - 2 * cut
    limited = np.sort(values).clip(np.sort(values)[cut], np.sort(values)[runs - 1 - cut])
    squares = ((limited - limited.mean()) ** 2).sum()
    own = stats.t.ppf(0.975, kept - 1) * np.sqrt(squares / (kept * (kept - 1)))
    assert found == pytest.approx((middle, middle - own, middle + own))
    assert own == pytest.approx(reach, rel=0.5)  # SciPy's version divides by n and the exact share


def test_an_interquartile_mean_of_two_runs_has_no_interval() -> None:
    """Of four runs it keeps two, of three all three."""
    scores = np.array([0.0, 1.0, 2.0, 9.0])[:, None]
    assert mean_over_tasks(scores, interquartile=True) == pytest.approx(
        (1.5, np.nan, np.nan), nan_ok=True
    )
    three = mean_over_tasks(scores[:3], interquartile=True)
    assert three == mean_over_tasks(scores[:3])
    assert np.isfinite(three.low)


def test_whole_runs_are_the_units() -> None:
    """Tasks that differ, in runs that agree, leave nothing uncertain; cells would."""
    scores = np.tile([0.0, 1.0, 5.0, 9.0], (6, 1))
    assert mean_over_tasks(scores) == pytest.approx((3.75, 3.75, 3.75))
    shared = np.random.default_rng(0).standard_normal((6, 1))
    assert mean_over_tasks(shared + scores)[1:] == pytest.approx(
        mean_of_runs(shared[:, 0] + 3.75)[1:]
    )


def test_missing_scores_and_no_scores() -> None:
    scores = np.array([[1.0, np.nan], [3.0, 5.0], [2.0, 7.0]])
    assert mean_over_tasks(scores).value == (2.0 + 6.0) / 2
    assert np.isfinite(mean_over_tasks(scores).low)
    assert mean_over_tasks(np.array([[1.0, np.nan], [3.0, 5.0]])) == pytest.approx(
        (3.5, np.nan, np.nan), nan_ok=True
    )
    for empty in (np.empty((0, 0)), np.full((3, 2), np.nan)):
        assert np.isnan(mean_over_tasks(empty)).all()


def test_mean_curve_against_a_loop() -> None:
    curves = np.random.default_rng(2).standard_normal((4, 6))
    curves[0, 2] = curves[1, 3] = np.nan
    curves[:, 4] = np.nan
    curves[1:, 5] = np.nan
    middle, low, high = mean_curve(curves)
    for point in range(6):
        values = curves[~np.isnan(curves[:, point]), point]
        wanted = mean_of_runs(values) if len(values) else Estimate(np.nan, np.nan, np.nan)
        found = (middle[point], low[point], high[point])
        assert found == pytest.approx(wanted, nan_ok=True)


def test_ratio_of_hand_made_means() -> None:
    assert ratio_of_means(np.array([1.0, 3.0]), np.array([4.0, 4.0])).value == 0.5
    above = np.array([1.0, 2.0, 3.0, 2.0])
    wanted = np.array(mean_of_runs(above)) / 4
    assert ratio_of_means(above, np.full(4, 4.0)) == pytest.approx(tuple(wanted))
    assert ratio_of_means(np.array([1.0]), np.array([2.0])) == pytest.approx(
        (0.5, np.nan, np.nan), nan_ok=True
    )


def test_ends_of_fiellers_interval_are_where_students_test_just_refuses() -> None:
    rng = np.random.default_rng(3)
    below = 2 + rng.standard_normal(6)
    above = 0.3 * below + 0.3 * rng.standard_normal(6)
    found = ratio_of_means(above, below)
    for end in (found.low, found.high):
        assert stats.ttest_1samp(above - end * below, 0).pvalue == pytest.approx(0.05)
    assert found.low < found.value < found.high


@pytest.mark.parametrize(
    "below", [[0.0, 0.0, 0.0], [-1.0, -2.0, -1.5], [0.1, -0.05, 0.02], [np.nan, np.nan, np.nan]]
)
def test_a_ratio_over_nothing_is_unknown(below: list[float]) -> None:
    assert np.isnan(ratio_of_means(np.array([1.0, 2.0, 3.0]), np.array(below))).all()


def test_contrasts_of_ratios_have_denominators_of_their_own() -> None:
    rng = np.random.default_rng(5)
    first, second, third = 2 + 0.2 * rng.standard_normal((3, 5))
    ones, twos = np.ones(5), np.full(5, 2.0)
    found = contrast_of_ratios([[(first, ones)], [(second, twos), (third, ones)]])
    # of constant denominators it is the t interval of the differences
    wanted = mean_of_runs(first - (second / 2 + third) / 2)
    assert found == pytest.approx(tuple(wanted))
    same = contrast_of_ratios([[(3 * first, first)], [(2 * second, second)]])
    assert same == pytest.approx((1, 1, 1))
    assert np.isnan(contrast_of_ratios([[(first, first)], [(ones, -ones)]])).all()
    assert np.isnan(contrast_of_ratios([[(first[:0], ones[:0])], [(ones[:0], ones[:0])]])).all()
    alone = contrast_of_ratios([[(first[:1], ones[:1])], [(second[:1], ones[:1])]])
    assert alone == pytest.approx((first[0] - second[0], np.nan, np.nan), nan_ok=True)


def test_slope_within_groups() -> None:
    """Groups at different levels, each rising by 2; one of them comes late."""
    position = np.array([0.0, 1, 2, 5, 6])
    values = np.array([0.0, 2, 4, -90, -88])
    groups = np.array(["a", "a", "a", "b", "b"])
    assert slope_within(position, values, groups) == pytest.approx(2)
    assert np.polyfit(position, values, 1)[0] < -10
    values[2] = np.nan
    assert slope_within(position, values, groups) == pytest.approx(2)
    assert np.isnan(slope_within(position[:1], values[:1], groups[:1]))
    assert np.isnan(slope_within(position[[0, 3]], values[[0, 3]], groups[[0, 3]]))


def test_probability_of_improvement_is_mann_whitney() -> None:
    rng = np.random.default_rng(4)
    left = rng.integers(0, 4, (5, 3)).astype(float)
    right = rng.integers(0, 4, (6, 3)).astype(float)
    wanted = np.mean(
        [stats.mannwhitneyu(left[:, task], right[:, task]).statistic / (5 * 6) for task in range(3)]
    )
    estimate, low, high = probability_of_improvement(left, right)
    assert estimate == pytest.approx(wanted)
    assert 0 <= low <= estimate <= high <= 1


def test_probability_of_improvement_counts_pairs() -> None:
    left, right = np.array([[1.0], [3.0]]), np.array([[0.0], [3.0]])
    wins = [(a > b) + 0.5 * (a == b) for a, b in product([1, 3], [0, 3])]
    assert probability_of_improvement(left, right).value == np.mean(wins)
    estimate, low, high = probability_of_improvement(left[:1], right)
    assert estimate == 0.5
    assert np.isnan(low)
    assert np.isnan(high)


@pytest.mark.parametrize("runs", [2, 5, 20])
def test_an_arm_that_always_wins_is_still_uncertain(runs: int) -> None:
    left, right = np.full((runs, 3), 2.0), np.full((runs + 1, 3), 1.0)
    wanted = stats.binomtest(runs, runs).proportion_ci(method="wilson")
    found = probability_of_improvement(left, right)
    assert found == pytest.approx((1.0, wanted.low, 1.0))


def _normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape)


def _skewed(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Exponential, with mean 0."""
    return rng.standard_exponential(shape) - 1


def _coverage(runs: int, draw: Callable[..., np.ndarray], what: str, samples: int = 1000) -> float:
    """Share of intervals that hold the truth, over runs that share an effect among four tasks."""
    rng = np.random.default_rng(runs)
    hits = 0
    for _ in range(samples):
        scores = draw(rng, runs, 1) + 0.5 * draw(rng, runs, 4)
        if what == "gap":
            fresh = 3 + scores.mean(axis=1)
            missing = 0.3 * fresh + 0.3 * draw(rng, runs)
            found, truth = ratio_of_means(missing, fresh), 0.3
        elif what == "contrast":
            fresh = 3 + scores.mean(axis=1)
            own = 4 + draw(rng, runs)
            pairs = [(0.9 * own + 0.3 * draw(rng, runs), own)], [(0.3 * fresh, fresh)]
            found, truth = contrast_of_ratios(pairs), 0.6
        elif what == "improvement":
            others = 1 + draw(rng, runs, 1) + 0.5 * draw(rng, runs, 4)
            found, truth = probability_of_improvement(others, scores), TRUTH[draw]
        else:
            found, truth = mean_over_tasks(scores, interquartile=what == "iqm"), 0.0
        hits += not (truth < found.low or truth > found.high)  # without ends: all numbers
    return hits / samples


# P(1 + a > b) of independent a and b, each one effect and half another, from 4 M draws.
TRUTH = {_normal: float(stats.norm.cdf(1 / np.sqrt(2.5))), _skewed: 0.7772}


USUAL = {("mean", 2), ("improvement", 3), ("iqm", 6), ("gap", 10), ("contrast", 3)}


@pytest.mark.parametrize(
    ("what", "runs"),
    [
        pytest.param(what, runs, marks=() if (what, runs) in USUAL else pytest.mark.slow)
        for what in ("mean", "iqm", "gap", "contrast", "improvement")
        for runs in (2, 3, 6, 10)
    ],
)
def test_intervals_hold_the_truth_as_often_as_they_say(what: str, runs: int) -> None:
    """95 % of normal runs, within what 1,000 samples leave uncertain.

    That of an improvement is cautious, and a gap may have no ends with two or three runs.
    """
    coverage = _coverage(runs, _normal, what)
    assert coverage >= 0.95 - 0.02
    if what in ("mean", "iqm") or runs > 3:
        assert coverage <= (1.0 if what == "improvement" else 0.97)


@pytest.mark.slow
@pytest.mark.parametrize("runs", [3, 10])
def test_skewed_runs_cost_some_coverage(runs: int) -> None:
    assert _coverage(runs, _skewed, "mean") >= 0.88
    assert _coverage(runs, _skewed, "gap") >= 0.88
    assert _coverage(runs, _skewed, "improvement") >= 0.95


def test_reference_scores_are_the_ends_of_the_scale() -> None:
    for name, reference in REFERENCES.items():
        for task in (name, f"neoteny/{name}-v0", f"{name}-v1", name.removeprefix("MinAtar-")):
            assert normalise(reference.random, task) == 0
            assert normalise(reference.trained, task) == 1
    half = (0.41 + 16.90) / 2
    assert normalise(np.array([0.41, half, 16.90]), "Breakout") == pytest.approx([0, 0.5, 1])
    assert np.isnan(normalise(3.0, "CartPole-v1"))
    for other in ("ALE/Breakout-v5", "Breakout-v4", "MinAtar/Breakout-v1", "Seaquest"):
        assert np.isnan(normalise(3.0, other))


def test_references_are_the_published_runs_of_single_games() -> None:
    path = Path(metrics.__file__).resolve().parents[2] / "results/single-games/summary.csv"
    with path.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for name, reference in {**REFERENCES, "short": SHORT_FREEWAY}.items():
        long = name == "MinAtar-Freeway"
        game = "Freeway" if name == "short" else name.removeprefix("MinAtar-")
        column = "evaluation_return_2500_steps" if long else "evaluation_return"
        values = [float(row[column]) for row in rows if row["game"] == game]
        assert reference.trained == pytest.approx(np.mean(values), abs=0.006)
        assert reference.spread == pytest.approx(np.std(values, ddof=1), abs=0.006)
        assert reference.seeds == len(values) >= 5


def test_plasticity_gap() -> None:
    gap = plasticity_gap(np.array([0.5, 0.25, 0.6, 0.1]), np.array([0.5, 0.5, 0.5, -0.1]))
    np.testing.assert_allclose(gap, [0, 0.5, -0.2, np.nan])
