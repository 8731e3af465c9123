"""Step-exactness of the games against the `minatar` package, fed with the same random words."""

import minatar
import numpy as np
import pytest
from oracles.minatar_pair import READ, REFERENCE, Pair

from neoteny.envs import make

GAMES = sorted(READ)


def report(pair):
    pair.tally.check()
    print(
        f"{pair.name}: {pair.tally.steps} steps exact, {pair.episodes} episodes,"
        f" reward {pair.reward:.0f}, {pair.tally.injected} states injected"
    )


@pytest.mark.parametrize("name", GAMES)
def test_games_equal_minatar_step_by_step(name):
    rng = np.random.default_rng(1)
    pair = Pair(name)
    for _ in range(100):
        pair.step(pair.policy(rng))
    report(pair)
    assert pair.tally.steps >= 6_000
    assert pair.reward > 20


@pytest.mark.slow
@pytest.mark.parametrize("name", GAMES)
def test_games_equal_minatar_over_a_long_run(name):
    rng = np.random.default_rng(6)
    pair = Pair(name, seed=7)
    for step in range(8000):
        if step % 100 == 0:
            pair.inject(rng)
        pair.step(pair.policy(rng))
    report(pair)


@pytest.mark.parametrize("name", GAMES)
def test_games_equal_minatar_from_rare_states(name):
    rng = np.random.default_rng(2)
    pair = Pair(name, ramping=True, seed=5)
    for _ in range(10):
        pair.inject(rng)
        for _ in range(4):
            pair.step(rng.integers(0, 6, pair.tally.lanes))
    report(pair)


def test_breakout_refills_the_wall():
    pair = Pair("Breakout", lanes=16, sticky=0.0)
    rng = np.random.default_rng(3)
    last, refills = pair.env.state["bricks"].clone(), 0
    for _ in range(500):
        pair.step(pair.policy(rng))
        bricks, fresh = pair.env.state["bricks"], pair.env.state["elapsed"] == 0
        refills += int(((last == 0) & (bricks != 0) & ~fresh).sum())
        last = bricks.clone()
    report(pair)
    assert refills > 0


@pytest.mark.parametrize("name", ["Asterix", "SpaceInvaders"])
def test_ramping_off_equals_minatar(name):
    pair = Pair(name, ramping=False)
    rng = np.random.default_rng(4)
    for _ in range(10):
        pair.inject(rng)
        for _ in range(4):
            pair.step(pair.policy(rng))
    report(pair)


@pytest.mark.parametrize("name", REFERENCE)
def test_minimal_actions_and_channels_are_those_of_minatar(name):
    env, reference = make(f"MinAtar-{name}-v1", 1), minatar.Environment(REFERENCE[name])
    assert list(env.game.minimal) == list(reference.minimal_action_set())
    assert env.single_action_space.n == len(env.game.minimal)
    channels = reference.env.channels
    assert list(env.game.channels) == sorted(channels, key=channels.get)


def test_a_difference_is_counted_and_named():
    rng = np.random.default_rng(5)
    pair = Pair("Breakout", lanes=4)
    pair.step(pair.policy(rng))
    pair.tally.check()
    pair.env.state["paddle"][2] = (pair.env.state["paddle"][2] + 5) % 10
    pair.step(np.zeros(4, int))
    assert (pair.tally.steps, pair.tally.mismatches) == (8, 1)
    assert set(pair.tally.fields) == {"paddle", "obs", "final_obs"}
    with pytest.raises(AssertionError, match=r"1 of 8 steps differ: .*paddle"):
        pair.tally.check()
