"""Continual metrics of runs made by hand."""

import numpy as np
import pytest

from neoteny.experiments.statistics.continual import (
    average_performance,
    forgetting,
    forward_transfer,
    isolated_forgetting,
    jump_start,
    recovery_time,
    regret,
    restricted_mean,
    savings,
    share_recovered,
    switch_dip,
    zero_shot_transfer,
)

NAN, INF = np.nan, np.inf


def test_recovery_is_the_first_row_that_reaches_the_target() -> None:
    steps = np.array([10.0, 20, 30, 40])
    values = np.array([0.0, NAN, 5.0, 9.0])
    assert recovery_time(steps, values, 5.0) == 30
    assert recovery_time(steps, values, 6.0) == 40
    assert recovery_time(steps, values, 9.5) == INF
    assert recovery_time(steps, values, -1.0) == 10
    assert np.isnan(recovery_time(steps, values * NAN, 1.0))
    assert np.isnan(recovery_time(steps, values, NAN))


def test_recovery_of_smoothed_returns() -> None:
    """A lucky iteration is none: the mean of two rows reaches 5 only where both are good."""
    steps, values = np.array([10.0, 20, 30, 40]), np.array([0.0, 8, 0, 10])
    assert recovery_time(steps, values, 5.0) == 20
    assert recovery_time(steps, values, 5.0, window=20) == 40
    assert recovery_time(steps, np.array([0.0, 2, 4, 4]), 4.0, window=20) == 40


def test_censored_times_are_cut_off_and_counted() -> None:
    times = np.array([10.0, INF, 50, NAN])
    assert restricted_mean(times, 100.0) == pytest.approx((10 + 100 + 50) / 3)
    assert restricted_mean(times, np.array([100.0, 60, 100, 100])) == pytest.approx(40)
    assert share_recovered(times) == pytest.approx(2 / 3)
    assert np.isnan(share_recovered(np.array([NAN])))


def test_dip_and_savings() -> None:
    assert switch_dip(np.array([1.0, 0.8, NAN]), np.array([0.1, 0.5, 0.3])) == pytest.approx(-0.6)
    times, tasks = np.array([80.0, 50, 40, INF, 20]), np.array([0, 1, 0, 1, 0])
    assert savings(times, tasks, 90) == pytest.approx(((80 - 30) + (50 - 90)) / 2)
    assert np.isnan(savings(times[:2], tasks[:2]))


def test_regret_weighs_rows_by_their_steps() -> None:
    values, width = np.array([0.0, 10.0, NAN]), np.array([30.0, 10.0, 5.0])
    assert regret(values, 8.0, width) == pytest.approx((30 * 8 - 10 * 2) / 40)
    assert np.isnan(regret(values * NAN, 8.0, width))


def test_forward_transfer_of_continual_world() -> None:
    found = forward_transfer(np.array([0.9, 0.4, 1.0]), np.array([0.8, 0.6, 1.0]))
    np.testing.assert_allclose(found, [0.5, -0.5, NAN])


# Before training, then at the ends of the visits of tasks 0, 1, 0 and 2.
PLAYED = np.array([0, 1, 0, 2])
RETURNS = np.array(
    [
        [0.0, 0.1, 0.0],
        [0.8, 0.3, 0.1],
        [0.2, 0.9, 0.3],
        [0.9, 0.7, 0.2],
        [0.5, 0.6, 1.0],
    ]
)


def test_forgetting_since_the_last_visit() -> None:
    """Task 0 falls from 0.9 to 0.5, task 1 from 0.9 to 0.6; task 2 has just been played."""
    assert average_performance(RETURNS, PLAYED) == pytest.approx(0.7)
    assert forgetting(RETURNS, PLAYED) == pytest.approx((0.4 + 0.3) / 2)
    assert np.isnan(forgetting(RETURNS[:2], PLAYED[:1]))
    gaps = RETURNS.copy()
    gaps[-1, 1] = NAN
    assert forgetting(gaps, PLAYED) == pytest.approx(0.4)


def test_cora_takes_each_visit_by_itself() -> None:
    """Visit 1 costs task 0 0.6, visit 2 costs task 1 0.2, visit 3 costs them 0.4 and 0.1."""
    ones = np.ones(3)
    assert isolated_forgetting(RETURNS, PLAYED, ones) == pytest.approx((0.6 + 0.2 + 0.4 + 0.1) / 4)
    # Task 1 gains 0.2 in visit 0; task 2 gains 0.1, 0.2 and -0.1 in visits 0, 1 and 2.
    gained = (0.2 + 0.1 + 0.2 - 0.1) / 4
    assert zero_shot_transfer(RETURNS, PLAYED, ones) == pytest.approx(gained)
    assert zero_shot_transfer(RETURNS, PLAYED, ones / 10) == pytest.approx(10 * gained)
    alone = np.zeros(3, int)
    assert np.isnan(isolated_forgetting(RETURNS[:4, :1], alone, ones[:1]))
    assert np.isnan(zero_shot_transfer(RETURNS[:4, :1], alone, ones[:1]))


def test_jump_start_of_all_tasks_but_the_first() -> None:
    """Before its first visit task 1 had 0.3, task 2 0.2."""
    assert jump_start(RETURNS, PLAYED, np.full(3, 0.1)) == pytest.approx(0.15)
    assert np.isnan(jump_start(RETURNS[:2], PLAYED[:1], np.zeros(3)))
