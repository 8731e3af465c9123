"""Step-exactness of Seaquest against the `minatar` package, fed with the same random words."""

from functools import cache

import numpy as np
import pytest
from oracles.seaquest_pair import SeaquestPair


def report(pair):
    pair.tally.check()
    print(
        f"{pair.tally.steps} steps exact, {pair.episodes} terminals, reward {pair.reward:.0f},"
        f" {pair.rescues} rescues, {pair.slots} slots"
    )


def test_seaquest_equals_minatar_step_by_step():
    rng, pair = np.random.default_rng(1), SeaquestPair()
    for _ in range(120):
        pair.step(pair.policy(rng))
    report(pair)
    assert pair.reward > 30


@pytest.mark.slow
def test_seaquest_equals_minatar_at_full_speed_without_an_end():
    rng, pair = np.random.default_rng(2), SeaquestPair(seed=3, endless=True)
    most = pair.hard(rng, 260)
    report(pair)
    assert most > 16
    assert pair.rescues > 0


@pytest.mark.slow
def test_seaquest_equals_minatar_from_rare_states():
    rng, pair = np.random.default_rng(4), SeaquestPair(seed=5)
    for _ in range(15):
        pair.inject(rng)
        for _ in range(4):
            pair.step(pair.policy(rng))
    report(pair)
    assert pair.rescues > 0


def test_ramping_off_and_no_sticky_actions_equal_minatar():
    rng, pair = np.random.default_rng(6), SeaquestPair(seed=7, ramping=False, sticky=0.0)
    for _ in range(5):
        pair.inject(rng)
        for _ in range(4):
            pair.step(pair.policy(rng))
    report(pair)


@pytest.mark.slow
def test_seaquest_equals_minatar_over_a_long_run():
    rng, pair = np.random.default_rng(8), SeaquestPair(seed=11)
    for _ in range(4000):
        pair.step(pair.policy(rng))
    report(pair)
    for _ in range(600):
        pair.inject(rng)
        for _ in range(4):
            pair.step(pair.policy(rng))
    report(pair)
    pair = SeaquestPair(seed=12, endless=True)
    most = pair.hard(rng, 3000)
    report(pair)
    assert 20 < most <= 30


def test_an_enemy_sees_at_most_29_later_spawns():
    """The most spawns in an enemy's life, over all ways to surface from its step on."""

    @cache
    def most(left, timer, wait, ramps, may_ramp):
        if timer == 0:
            left, timer = left - 1, max(2, 5 - ramps // 2)
            if left == 0:
                return 0
        else:
            timer -= 1
        wait = max(0, wait - 1)
        counts = []
        # Surfacing takes a step under water and one back up: every other step at most.
        for ramp in {False, may_ramp}:
            after = min(ramps + ramp, 19)
            later = most(left, timer, wait or max(1, 20 - after), after, not ramp)
            counts.append(later + (wait == 0))
        return max(counts)

    starts = [(max(2, 5 - ramps // 2), max(1, 20 - ramps), ramps) for ramps in range(20)]
    assert max(most(10, *start, True) for start in starts) == 29
