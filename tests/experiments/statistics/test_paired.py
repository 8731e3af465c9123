"""Paired comparisons of two arms against closed forms, SciPy and simulation."""

import numpy as np
import pytest
from scipy import stats

from neoteny.experiments.statistics.paired import holm, paired_difference, runs_needed


def test_paired_difference_is_the_paired_t_test() -> None:
    rng = np.random.default_rng(0)
    ones, others = rng.standard_normal(6) + 1, rng.standard_normal(6)
    found = paired_difference(ones, others)
    wanted = stats.ttest_rel(ones, others)
    assert found.p == pytest.approx(wanted.pvalue)
    assert found.estimate == pytest.approx(
        ((ones - others).mean(), *wanted.confidence_interval(0.95))
    )
    assert found.pairs == 6


def test_seeds_that_one_arm_lacks_are_no_pairs() -> None:
    found = paired_difference(np.array([1.0, np.nan, 5.0]), np.array([0.0, 7.0, 3.0]))
    assert (found.estimate.value, found.pairs) == (1.5, 2)
    one = paired_difference(np.array([1.0, np.nan]), np.array([0.0, 7.0]))
    assert (one.estimate.value, one.pairs) == (1.0, 1)
    assert np.isnan([one.estimate.low, one.p, one.needed]).all()
    assert paired_difference(np.array([np.nan]), np.array([1.0])).pairs == 0


def test_pairs_that_differ_alike_leave_nothing_to_test() -> None:
    values = np.array([1.0, 2.0, 3.0])
    assert paired_difference(values + 1, values)[1:] == (0.0, 3, 2.0)
    assert paired_difference(values, values)[1:] == (1.0, 3, np.inf)


@pytest.mark.parametrize(("effect", "seeds"), [(0.2, 199), (0.5, 34), (0.8, 15), (1.0, 10)])
def test_seeds_needed_are_those_of_cohens_tables(effect: float, seeds: int) -> None:
    """Paired t test, two sides, 5 %, power 0.8: G*Power gives these."""
    assert runs_needed(effect) == runs_needed(-effect) == seeds


def test_ends_of_the_seeds_needed() -> None:
    assert runs_needed(0.0) == np.inf
    assert np.isnan(runs_needed(np.nan))
    assert runs_needed(1e9) == 2
    assert runs_needed(0.01) == pytest.approx((1.96 + 0.8416) ** 2 / 0.01**2, rel=1e-3)


def test_holm_by_hand() -> None:
    """Sorted 0.01, 0.02, 0.03: times 3, 2, 1, and never falling."""
    found = holm(np.array([0.03, np.nan, 0.01, 0.02]))
    np.testing.assert_allclose(found, [0.04, np.nan, 0.03, 0.04])
    np.testing.assert_allclose(holm(np.array([0.9, 0.8])), [1.0, 1.0])
    assert holm(np.array([])).shape == (0,)
