from itertools import product

import numpy as np
import pytest
from scipy import stats

from neoteny.experiments.metrics import (
    REFERENCES,
    bootstrap,
    iqm,
    mean,
    mean_curve,
    normalise,
    plasticity_gap,
    probability_of_improvement,
)


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


def test_bootstrap_against_a_loop() -> None:
    scores = np.random.default_rng(1).standard_normal((5, 3))
    picked = np.random.default_rng(7).integers(5, size=(400, 5))
    estimates = [stats.trim_mean(scores[rows], 0.25, axis=None) for rows in picked]
    wanted = np.quantile(estimates, [0.025, 0.975])
    assert bootstrap(scores, iqm, draws=400, seed=7) == pytest.approx(tuple(wanted))


def test_bootstrap_of_two_runs_is_exact() -> None:
    # Resamples of {0, 1}: 00, 01, 10, 11, so the 95 % interval of the mean is [0, 1].
    assert bootstrap(np.array([0.0, 1.0]), mean) == (0.0, 1.0)
    assert bootstrap(np.array([2.0, 2.0, 2.0]), mean) == (2.0, 2.0)
    assert all(np.isnan(bootstrap(np.array([[1.0, 2.0]]), iqm)))


def test_no_interval_where_resamples_have_no_value() -> None:
    """Of the resamples of two runs, a quarter hold the empty one alone."""
    assert all(np.isnan(bootstrap(np.array([1.0, np.nan]), mean)))


def test_whole_runs_are_resampled() -> None:
    """Tasks that differ, in runs that agree, leave nothing uncertain; cells would."""
    scores = np.tile([0.0, 1.0, 5.0, 9.0], (6, 1))
    low, high = bootstrap(scores, mean)
    assert low == pytest.approx(3.75)
    assert high == pytest.approx(3.75)


def test_bootstrap_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(300):
        # One effect a run, shared by its tasks: what an i.i.d. bootstrap would miss.
        scores = rng.standard_normal((20, 1)) + 0.2 * rng.standard_normal((20, 4))
        low, high = bootstrap(scores, mean, draws=500)
        covered += low <= 0 <= high
    assert 0.88 <= covered / 300 <= 0.97


def test_mean_curve_against_a_loop() -> None:
    rng = np.random.default_rng(2)
    curves = rng.standard_normal((4, 6))
    curves[0, 2] = curves[1, 3] = np.nan
    curves[:, 4] = np.nan
    curves[1:, 5] = np.nan
    middle, low, high = mean_curve(curves, draws=200, seed=3)
    held = np.random.default_rng(3).multinomial(4, [0.25] * 4, size=200)
    for point in range(6):
        there = ~np.isnan(curves[:, point])
        if there.any():
            assert middle[point] == pytest.approx(curves[there, point].mean())
        if there.sum() < 2:
            assert np.isnan(low[point])
            assert np.isnan(high[point])
            continue
        estimates = [
            np.average(curves[there, point], weights=row[there])
            for row in held
            if row[there].sum() > 0
        ]
        assert (low[point], high[point]) == pytest.approx(
            tuple(np.quantile(estimates, [0.025, 0.975]))
        )
    assert np.isnan(middle[4])


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
    assert probability_of_improvement(left, right)[0] == np.mean(wins)
    assert probability_of_improvement(left + 9, right, paired=True) == (1.0, 1.0, 1.0)
    assert probability_of_improvement(left, left, paired=True)[0] == 0.5
    estimate, low, high = probability_of_improvement(left[:1], right)
    assert estimate == 0.5
    assert np.isnan(low)
    assert np.isnan(high)


def test_reference_scores_are_the_ends_of_the_scale() -> None:
    for name, reference in REFERENCES.items():
        for task in (name, f"neoteny/{name}-v0", f"{name}-v1", name.removeprefix("MinAtar-")):
            assert normalise(reference.random, task) == 0
            assert normalise(reference.trained, task) == 1
    assert normalise(np.array([0.6, 10.2, 19.8]), "MinAtar-Breakout") == pytest.approx([0, 0.5, 1])
    assert np.isnan(normalise(3.0, "CartPole-v1"))
    for other in ("ALE/Breakout-v5", "Breakout-v4", "MinAtar/Breakout-v1", "Seaquest"):
        assert np.isnan(normalise(3.0, other))


def test_plasticity_gap() -> None:
    gap = plasticity_gap(np.array([0.5, 0.25, 0.6, 0.1]), np.array([0.5, 0.5, 0.5, -0.1]))
    np.testing.assert_allclose(gap, [0, 0.5, -0.2, np.nan])
