"""The answer of a comparison: the arms that keep the ability to learn."""

import numpy as np
import pandas as pd
import pytest

from neoteny.experiments.statistics.answer import abilities, abilities_table, answer


def visits_of(gains, visits=9):
    """Visits of arms with gains (seeds, visits) each; `fresh` gains 2 in every visit."""
    rows = []
    seeds = len(next(iter(gains.values())))
    for arm, table in ({"fresh": np.full((seeds, visits), 2.0)} | gains).items():
        for seed, row in enumerate(table):
            rows += [
                {
                    "arm": f"ppo-{arm}",
                    "seed": seed,
                    "visit": visit,
                    "gain": gain,
                    "interventions": arm,
                    "setup": "x",
                    "complete": True,
                }
                for visit, gain in enumerate(row)
            ]
    return pd.DataFrame(rows)


def falling(to, seeds=4, noise=0.05):
    """From 2 in the first three visits to `to` in the last three; each seed has an offset."""
    line = np.repeat([2.0, 1 + to / 2, to], 3)
    return line + noise * np.arange(seeds)[:, None]


def test_abilities_are_shares_of_the_fresh_networks_gain():
    none, adamo = abilities(visits_of({"none": falling(0.5), "adamo": falling(2.0)}))
    assert [none.arm, adamo.arm] == ["ppo-none", "ppo-adamo"]
    offset = 0.05 * 1.5
    assert none.first.value == pytest.approx((2 + offset) / 2)
    assert none.last.value == pytest.approx((0.5 + offset) / 2)
    assert none.lost.value == pytest.approx(1.5 / 2)
    assert adamo.lost.value == pytest.approx(0, abs=1e-12)
    assert none.seeds == 4


def test_the_table_has_what_the_sentence_says():
    visits = visits_of({"none": falling(0.5), "adamo": falling(2.0)})
    table = abilities_table(visits).set_index("arm")
    assert list(table.index) == ["ppo-none", "ppo-adamo"]
    none, _ = abilities(visits)
    row = table.loc["ppo-none"]
    assert (row["verdict"], row["seeds"]) == ("loses its ability to learn", 4)
    assert row[["last", "last_low", "last_high"]].tolist() == list(none.last)
    assert row[["first", "lost"]].tolist() == [none.first.value, none.lost.value]
    assert abilities_table(visits[visits["visit"] < 2]).empty


def test_the_verdict_follows_the_interval():
    rng = np.random.default_rng(0)
    noisy = 2.0 + 1.5 * rng.normal(size=(4, 9))
    gains = {"none": falling(0.5), "adamo": falling(1.95), "muon": noisy}
    verdicts = {one.arm: one.verdict for one in abilities(visits_of(gains))}
    assert verdicts == {
        "ppo-none": "loses its ability to learn",
        "ppo-adamo": "loses its ability to learn",  # little, but in every seed alike
        "ppo-muon": "leaves it open",
    }
    steady = 2.0 + 0.05 * rng.normal(size=(4, 9))
    (one,) = abilities(visits_of({"adamo": steady}))
    assert one.verdict == "keeps its ability to learn"


def test_the_sentence_names_who_loses_and_who_keeps():
    steady = 2.0 + 0.05 * np.random.default_rng(1).normal(size=(4, 9))
    text = answer(visits_of({"none": falling(0.5), "adamo": steady}))
    assert text.startswith("In the last third of the tasks, beside networks that start each task")
    assert "(4 seeds, 95 % intervals): none loses its ability to learn (0.29 [" in text
    assert "after 1.04 in the first task); adamo keeps its ability to learn (" in text
    reverse = answer(visits_of({"none": steady, "adamo": falling(0.5)}))
    assert "none keeps its ability" in reverse
    assert "adamo loses its ability" in reverse


def test_the_sentence_says_which_intervals_lie_apart():
    rng = np.random.default_rng(2)
    gains = {
        "none": falling(1.0),
        "adamo": 2.0 + 0.05 * rng.normal(size=(4, 9)),
        "muon": 1.0 + 1.5 * rng.normal(size=(4, 9)),
        "adamw": falling(0.2),
        "l2": falling(1.01),
    }
    text = answer(visits_of(gains))
    assert text.endswith(
        "; the interval of adamo lies above that of none; the interval of adamw lies below that "
        "of none; the intervals of muon and l2 overlap that of none."
    )
    assert "the interval of" not in answer(visits_of({"adamo": gains["adamo"]}))
    assert "the interval of" not in answer(visits_of({"none": gains["none"]}))


def test_there_is_no_sentence_without_fresh_networks_or_with_two_visits():
    table = visits_of({"none": falling(0.5)})
    assert answer(table[table["arm"] != "ppo-fresh"]) == ""
    assert answer(table[table["visit"] < 2]) == ""


def test_there_is_no_sentence_of_shares_of_nothing():
    table = visits_of({"none": falling(0.5)})
    table.loc[(table["interventions"] == "fresh") & (table["visit"] == 0), "gain"] = 0.0
    assert answer(table) == ""


def test_unfinished_visits_do_not_count():
    table = visits_of({"none": falling(0.5)})
    table.loc[table["visit"] == 8, ["complete", "gain"]] = [False, 100.0]
    (one,) = abilities(table)
    assert one.last.value == pytest.approx((0.5 + 0.075) / 2)


def test_one_seed_has_no_intervals():
    sentence = answer(visits_of({"none": falling(0.5, seeds=1)}))
    assert "(1 seed, without intervals): none leaves it open (0.25 of their gain" in sentence
