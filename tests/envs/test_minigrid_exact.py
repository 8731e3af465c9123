"""Step-exactness of the MiniGrid families against the `minigrid` package, from its own states."""

import pytest
from oracles.minigrid_pair import Pair, families

LANES = 16
FAMILIES = families()
LONG = ("BlockedUnlockPickup", "KeyCorridor")
"""Families whose episodes rarely end within 320 steps of all lanes."""


def compare(id, steps, seed=0):
    pair = Pair(id, LANES, seed, every=4)
    pair.run(steps // LANES)
    pair.tally.check()
    print(
        f"{id}: {pair.tally.steps} steps exact, {pair.wins} won, {pair.ends} ended without reward,"
        f" {pair.truncations} truncated"
    )
    assert pair.wins + pair.ends > 0


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_families_equal_minigrid_step_by_step(family):
    compare(FAMILIES[family][-1], 960 if family in LONG else 320)


def test_a_difference_is_counted_and_named():
    pair = Pair("MiniGrid-DoorKey-8x8-v0", 4)
    pair.run(3)
    pair.tally.check()
    # In the other half of the lanes the reference's states are written first.
    pair.env.state["elapsed"][2] += 1
    pair.env.state["grid"][3] = pair.env.state["grid"][0]
    pair.run(1)
    assert pair.tally.steps == 16
    assert pair.tally.mismatches == 2
    assert {"elapsed", "grid"} <= set(pair.tally.fields)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*is out of date")
@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_families_equal_minigrid_over_a_long_run(family):
    ids = FAMILIES[family]
    for seed, id in enumerate(ids):
        compare(id, -(-100_000 // len(ids) // LANES) * LANES, seed + 1)
