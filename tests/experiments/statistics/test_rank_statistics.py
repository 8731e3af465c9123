"""Rank correlations over runs: equal to SciPy's, with a control about 0 and honest corrections."""

import numpy as np
import pytest
from scipy import stats

from neoteny.experiments.statistics.rank_statistics import (
    adjusted,
    correlate,
    rank_correlation,
    rank_correlation_within,
)

ARMS = np.repeat(np.arange(12), 4)


def test_a_correlation_is_spearmans_with_ties_and_infinities():
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 5, 30).astype(float), rng.normal(size=30)
    assert rank_correlation(x, y) == pytest.approx(stats.spearmanr(x, y).statistic)
    x[:4] = np.inf
    whole = np.where(np.isinf(x), 1e9, x)
    assert rank_correlation(x, y) == pytest.approx(stats.spearmanr(whole, y).statistic)


def test_pairs_without_a_value_are_left_out():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(2, 20))
    x[3], y[7] = np.nan, np.nan
    kept = np.isfinite(x) & np.isfinite(y)
    assert rank_correlation(x, y) == pytest.approx(stats.spearmanr(x[kept], y[kept]).statistic)
    assert np.isnan(rank_correlation(x, np.ones(20)))
    assert np.isnan(rank_correlation(x[:3], y[:3]))


def test_within_arms_the_arms_own_level_counts_nothing():
    """Four runs an arm: y rises with x within each arm and falls from arm to arm."""
    inner = np.tile(np.arange(4.0), 12)
    x, y = 10.0 * ARMS + inner, -10.0 * ARMS + inner
    assert rank_correlation(x, y) < -0.9
    assert rank_correlation_within(x, y, ARMS) == pytest.approx(1.0)
    assert np.isnan(rank_correlation_within(10.0 * ARMS, y, ARMS))


def test_the_control_lies_about_zero_and_a_true_relation_outside_it():
    rng = np.random.default_rng(2)
    level = rng.normal(size=(1, 12, 1))
    y = level + 0.2 * rng.normal(size=(3, 12, 4))
    x = level + 0.2 * rng.normal(size=(3, 12, 4))
    found = correlate(x, y, 500, 0)
    assert abs(np.mean(found.shuffled)) < 0.05
    assert found.low > np.quantile(found.shuffled, 0.975)
    assert found.low < found.value < found.high
    assert abs(found.within) < 0.3
    assert found.runs == 48


def test_runs_of_one_arm_are_no_independent_evidence():
    """A level of arms that has nothing to do with the shortfall is clear by runs, not by arms."""
    rng = np.random.default_rng(5)
    x = np.broadcast_to(rng.normal(size=(1, 8, 1)), (2, 8, 10)).copy()
    y = np.broadcast_to(rng.normal(size=(1, 8, 1)), (2, 8, 10)).copy()
    shuffled = correlate(x, y, 500, 0).shuffled
    assert 0.25 < np.std(shuffled) < 0.55  # 1 / sqrt(8 - 1) = 0.38; 1 / sqrt(79) by runs


def test_an_arm_without_the_diagnostic_is_left_out():
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(2, 3, 12, 4))
    x[:, :6] = np.nan
    found = correlate(x, y, 200, 0)
    assert found.runs == 24
    expected = np.mean(
        [rank_correlation(a[6:].ravel(), b[6:].ravel()) for a, b in zip(x, y, strict=True)]
    )
    assert found.value == pytest.approx(expected)


def test_p_values_count_shuffles_and_grow_with_the_number_of_measures():
    shuffled = np.linspace(-1, 1, 99)[:, None]
    p, corrected = adjusted(np.array([0.99]), shuffled)
    assert p[0] == corrected[0] == pytest.approx(3 / 100)  # itself and the two ends
    rng = np.random.default_rng(4)
    many = np.tanh(0.3 * rng.normal(size=(999, 20)))
    values = np.append(many[0, :19], 0.6)
    p, corrected = adjusted(values, many)
    assert (corrected >= p).all()
    alone = np.mean(np.abs(many[:, 19]) >= 0.6)
    assert p[19] == pytest.approx(alone, abs=2e-3)
    assert corrected[19] == pytest.approx(1 - (1 - alone) ** 20, rel=0.3)
    same = np.repeat(many[:, :1], 20, axis=1)  # twenty times one measure is one
    p, corrected = adjusted(np.full(20, 0.6), same)
    assert corrected == pytest.approx(p)
