"""Comparisons of arms in pairs: with the plain agent, the best arm, and an arm of choice."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from neoteny.experiments.options.arms import ORACLE, Arm, arms_of, baseline_of, named_arms
from neoteny.experiments.statistics.answer import last_third
from neoteny.experiments.statistics.metrics import (
    Array,
    mean,
    mean_over_tasks,
    probability_of_improvement,
)
from neoteny.experiments.statistics.paired import Difference, holm, paired_difference
from neoteny.experiments.statistics.resampling import performance_profile
from neoteny.experiments.statistics.summary import countable_visits, run_matrix

NONE, BEST, CHOSEN = "none", "best", "chosen"
"""Arms that others are compared with: the plain agent of the same setup, the best of all, one that
the user names."""
KEYS = ["seed", "visit"]


def comparison_table(visits: pd.DataFrame, versus: str = "") -> pd.DataFrame:
    """Compare every arm with the plain agent, with the best arm and with one of choice.

    Args:
        visits: the result of `statistics.visits.visit_values`.
        versus: interventions of the arm of choice, see `options.arms.named_arms`; of
            several setups, each arm is compared with that of its own.

    Returns:
        One row a pair, those with the plain agent first:

        - ``arm``, ``other``; ``versus``: ``"none"``, ``"best"``, the arm with the highest score
          that is no oracle, or ``"chosen"``; an arm is in the rows of the first of these kinds
          alone, so a plain agent that is best is in those of ``"none"``;
        - ``unit`` of the difference; ``seeds`` that both have; ``visits`` of these seeds that both
          finished; ``blank``: those of them in which no episode of one or the other ended, so that
          they count nowhere;
        - ``difference`` of the scores, over these visits, averaged within tasks, then over tasks;
          ``difference_low``, ``difference_high``: Student's t interval of the pairs; ``late``,
          with the same: the difference over the last third of the visits;
        - ``improvement``: probability that a run of the arm beats one of the other on a task;
        - ``p``: of the paired t test; ``p_holm``: Holm's correction for all arms in rows of the
          same kind that are no oracles; ``seeds_needed`` to find the difference seen with a
          probability of 80 %.

        Empty, with these columns, if no arm has another to be compared with.

    Raises:
        InputError: If no arm is that of choice.
    """
    arms = arms_of(visits)
    counted = countable_visits(visits)
    best = _best(counted, arms)
    pairs = [(NONE, arm, baseline_of(arm, arms)) for arm in arms]
    if best is not None and baseline_of(best, arms) is not None:
        pairs += [(BEST, arm, best) for arm in arms if arm.role != ORACLE]
    if versus:
        pairs += _chosen(versus, arms, best)
    rows = [
        {"versus": versus, **_pair(counted, arm, other), "is_oracle": arm.role == ORACLE}
        for versus, arm, other in pairs
        if other is not None and other.name != arm.name
    ]
    table = pd.DataFrame(rows, columns=None if rows else list(_COLUMNS))
    for kind in (NONE, BEST, CHOSEN):
        tested = (table["versus"] == kind) & ~table["is_oracle"].astype(bool)
        table.loc[tested, "p_holm"] = holm(table.loc[tested, "p"].to_numpy(np.float64))
    return table[list(_COLUMNS)]


_COLUMNS = (
    *("arm", "other", "versus", "unit", "seeds", "visits", "blank"),
    *("difference", "difference_low", "difference_high"),
    *("late", "late_low", "late_high"),
    *("improvement", "improvement_low", "improvement_high"),
    *("p", "p_holm", "seeds_needed", "is_oracle"),
)


def _chosen(versus: str, arms: list[Arm], best: Arm | None) -> list[tuple[str, Arm, Arm | None]]:
    """Pairs with the arm of choice, unless the table has them already."""
    found = named_arms(versus, arms)
    pairs: list[tuple[str, Arm, Arm | None]] = []
    for arm in arms:
        other = next((one for one in found if one.setup == arm.setup), found[0])
        if len(found) == 1 or other.setup == arm.setup:
            known = other == best or (other.role == NONE and other == baseline_of(arm, arms))
            pairs += [] if known else [(CHOSEN, arm, other)]
    return pairs


def profile(visits: pd.DataFrame, arm: str, levels: Array) -> tuple[Array, Array, Array]:
    """Performance profile of an arm.

    Args:
        visits: the result of `statistics.visits.visit_values`.
        arm: the arm's name.
        levels: (P,) levels of the score.

    Returns:
        As `statistics.resampling.performance_profile`, over the runs and tasks of the
        arm's finished visits.
    """
    counted = countable_visits(visits)
    scores = run_matrix(counted[counted["arm"] == arm]).to_numpy(np.float64)
    return performance_profile(scores, levels)


def _best(visits: pd.DataFrame, arms: list[Arm]) -> Arm | None:
    """The arm with the highest mean score, if any is known."""
    scores = {}
    for arm in arms:
        mine = run_matrix(visits[visits["arm"] == arm.name]).to_numpy(np.float64)
        score = mean_over_tasks(mine).value
        if arm.role != ORACLE and np.isfinite(score):
            scores[arm] = score
    return max(scores, key=lambda arm: scores[arm]) if scores else None


def _pair(visits: pd.DataFrame, arm: Arm, other: Arm) -> dict[str, Any]:
    """One row of the table."""
    mine = visits[visits["arm"] == arm.name]
    theirs = visits.loc[visits["arm"] == other.name, [*KEYS, "value"]]
    both = mine.merge(theirs, on=KEYS, suffixes=("", "_other"))
    known = both.dropna(subset=["value", "value_other"])
    found, late = _difference(known), _difference(last_third(known))
    improvement = probability_of_improvement(*_scores(known))
    return {
        "arm": arm.name,
        "other": other.name,
        "unit": visits["unit"].iloc[0],
        "seeds": found.pairs,
        "visits": len(both),
        "blank": int((both["auc"].isna() | both["value_other"].isna()).sum()),
        **found.estimate.columns("difference"),
        **late.estimate.columns("late"),
        **improvement.columns("improvement"),
        "p": found.p,
        "p_holm": np.nan,
        "seeds_needed": found.needed,
    }


def _scores(known: pd.DataFrame) -> list[Array]:
    """(R, T) scores of an arm and of the other in the visits that both have."""
    return [run_matrix(known, name).to_numpy(np.float64) for name in ("value", "value_other")]


def _difference(known: pd.DataFrame) -> Difference:
    return paired_difference(*(mean(scores, axis=1) for scores in _scores(known)))
