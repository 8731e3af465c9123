"""The bootstrap, against values by hand and against rliable where that is installed."""

import numpy as np
import pytest

from neoteny.experiments.statistics.metrics import iqm
from neoteny.experiments.statistics.resampling import bootstrap, performance_profile, pooled_iqm

SCORES = np.random.default_rng(0).standard_normal((6, 4)) + np.arange(4)


def test_whole_runs_are_drawn_with_all_their_tasks() -> None:
    labelled = np.arange(5)[:, None] + np.array([0, 100])
    drawn = bootstrap(labelled, lambda x: x, draws=50)
    assert drawn.shape == (50, 5, 2)
    np.testing.assert_array_equal(drawn[..., 1] - drawn[..., 0], 100)
    assert set(drawn[..., 0].ravel()) == set(range(5))
    apart = bootstrap(labelled, lambda x: x, whole_runs=False, draws=50)
    assert (apart[..., 1] - apart[..., 0] != 100).any()
    np.testing.assert_array_equal(apart // 100, np.broadcast_to([0, 1], apart.shape))


def test_pooled_iqm_is_of_all_scores_at_once() -> None:
    scores = np.tile([0.0, 1.0, 5.0, 30.0], (8, 1))
    assert pooled_iqm(scores) == (3.0, 3.0, 3.0)  # runs that agree leave nothing uncertain
    found = pooled_iqm(SCORES)
    assert found.value == iqm(SCORES)
    assert found.low < found.value < found.high
    assert pooled_iqm(SCORES) == found
    assert np.isnan(pooled_iqm(SCORES[:1])[1:]).all()
    assert np.isnan(pooled_iqm(SCORES * np.nan)).all()


def test_profile_by_hand() -> None:
    scores = np.array([[0.0, 1.0], [0.5, np.nan]])
    share, low, high = performance_profile(scores, np.array([-1.0, 0.0, 0.5, 1.0]))
    np.testing.assert_allclose(share, [1, 2 / 3, 1 / 3, 0])
    assert ((low <= share) & (share <= high)).all()
    assert np.isnan(performance_profile(scores[:1], np.array([0.0]))[1]).all()


def test_equal_to_rliable() -> None:
    metrics = pytest.importorskip("rliable.metrics")
    library = pytest.importorskip("rliable.library")
    levels = np.linspace(-1, 4, 5)
    scores = {"arm": SCORES}
    aggregate = lambda x: np.array([metrics.aggregate_iqm(x)])  # noqa: E731
    points, intervals = library.get_interval_estimates(scores, aggregate, reps=2000)
    found = pooled_iqm(SCORES, whole_runs=False)
    assert found.value == pytest.approx(points["arm"][0])
    assert found[1:] == pytest.approx(intervals["arm"][:, 0], abs=0.06)
    profiles, bands = library.create_performance_profile(scores, levels, reps=2000)
    share, *band = performance_profile(SCORES, levels, whole_runs=False)
    np.testing.assert_allclose(share, profiles["arm"])
    np.testing.assert_allclose(band, bands["arm"], atol=0.05)


@pytest.mark.parametrize(
    ("runs", "pooled", "profile"), [(3, 0.76, 0.79), (5, 0.85, 0.75), (10, 0.88, 0.86)]
)
def test_coverage_of_the_bootstrap(runs: int, pooled: float, profile: float) -> None:
    """Too narrow with few runs, as docs/statistics.md says: runs share an effect among tasks."""
    random = np.random.default_rng(runs)
    samples = random.standard_normal((100, runs, 1)) + random.standard_normal((100, runs, 4))
    held = [found.low <= 0 <= found.high for found in map(pooled_iqm, samples)]
    above = 0.2398  # P(N(0, 2) > 1)
    bands = [performance_profile(scores, np.array([1.0])) for scores in samples]
    inside = [low[0] <= above <= high[0] for _, low, high in bands]
    assert np.mean(held) == pytest.approx(pooled, abs=0.09)
    assert np.mean(inside) == pytest.approx(profile, abs=0.09)
