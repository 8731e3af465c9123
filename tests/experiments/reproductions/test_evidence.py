"""Shares of a fresh network's gain and contrasts, against numbers worked out by hand."""

import numpy as np
import pytest
from claims import frame_of_gains

from neoteny.experiments.reproductions.evidence import kept_of, verdict
from neoteny.experiments.statistics.metrics import Estimate


def test_shares_and_contrasts_are_of_the_last_third_of_the_visits():
    gains = {
        "none": np.array([[4.0, 4, 4, 4, 1, 1], [4, 4, 4, 4, 1, 3]]),
        "adamo": np.array([[2.0, 2, 2, 2, 3, 5], [2, 2, 2, 2, 4, 4]]),
    }
    kept = kept_of(frame_of_gains(gains, fresh=4.0))
    assert kept.seeds == 2
    assert kept.share("ppo-none", first=True).value == pytest.approx(1.0)
    assert kept.share("ppo-none").value == pytest.approx(1.5 / 4)
    assert kept.share("ppo-adamo").value == pytest.approx(1.0)
    assert kept.contrast(["ppo-adamo"], ["ppo-none"]).value == pytest.approx(2.5 / 4)
    swapped = kept.contrast(["ppo-none"], ["ppo-adamo"])
    assert swapped.value == pytest.approx(-2.5 / 4)
    # Student's t over the two differences, 3 and 2, as fresh has no spread
    reach = 12.706 * np.std([3, 2], ddof=1) / np.sqrt(2) / 4
    assert swapped.high - swapped.value == pytest.approx(reach, rel=1e-3)
    both = kept.contrast(["ppo-adamo", "ppo-none"], ["ppo-fresh"])
    assert both.value == pytest.approx((4 + 1.5) / 2 / 4 - 1)


def test_layers_are_set_beside_fresh_networks_of_their_own():
    gains = {
        "none": np.array([[4.0, 4, 2], [4, 4, 4]]),
        "none-groupsort": np.array([[8.0, 8, 6], [8, 8, 8]]),
        "fresh-groupsort": np.full((2, 3), 8.0),
    }
    kept = kept_of(frame_of_gains(gains))
    assert kept.plain == "ppo-fresh-groupsort"  # the first
    gains = {"fresh": np.full((2, 3), 4.0)} | gains
    kept = kept_of(frame_of_gains(gains, fresh=None))
    assert (kept.plain, kept.fresh["ppo-none-groupsort"]) == ("ppo-fresh", "ppo-fresh-groupsort")
    assert kept.share("ppo-none").value == pytest.approx(3 / 4)
    assert kept.share("ppo-none-groupsort").value == pytest.approx(7 / 8)
    assert kept.share("ppo-none-groupsort", first=True).value == pytest.approx(1)
    assert kept.head_start("ppo-none-groupsort") == pytest.approx((2, 2, 2))
    found = kept.contrast(["ppo-none-groupsort"], ["ppo-none"])
    assert found.value == pytest.approx(7 / 8 - 3 / 4)
    # of the two runs the differences of the shares are 6/8 - 2/4 and 8/8 - 4/4
    reach = 12.706 * np.std([0.25, 0.0], ddof=1) / np.sqrt(2)
    assert found.high - found.value == pytest.approx(reach, rel=1e-3)
    assert kept.ahead(["ppo-none-groupsort"], ["ppo-none"]).value == pytest.approx(1)
    shares = kept.shares["ppo-none-groupsort"]
    assert list(shares) == pytest.approx([6 / 8, 1])


def test_a_seed_without_a_late_visit_is_left_out():
    gains = {"none": np.array([[4.0, 4, np.nan], [4, 4, 2]]), "adamo": np.full((2, 3), 3.0)}
    kept = kept_of(frame_of_gains(gains, fresh=4.0))
    assert kept.contrast(["ppo-adamo"], ["ppo-none"]).value == pytest.approx((3 - 2) / 4)
    assert list(kept.table(["ppo-none"])["seeds"]) == [1]


@pytest.mark.parametrize(
    ("low", "high", "word"),
    [(0.1, 0.3, "above"), (-0.3, -0.1, "below"), (-0.1, 0.1, "open"), (np.nan, np.nan, "open")],
)
def test_a_verdict_is_the_side_on_which_the_interval_lies(low, high, word):
    assert verdict(Estimate(0.2, low, high), "above", "below", "open") == word


def test_numbers_are_shown_with_what_is_known_of_them():
    assert Estimate(0.314, 0.12, 0.5).text("+") == "+0.31 [+0.12, +0.50]"
    assert Estimate(0.314, np.nan, np.nan).text() == "0.31"
    assert Estimate(np.nan, np.nan, np.nan).text() == "unknown"
