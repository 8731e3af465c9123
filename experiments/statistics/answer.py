"""The answer of a comparison: the arms that keep the ability to learn, in one sentence."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from neoteny.experiments.options.arms import BASELINE, Arm, arms_of, labels, oracle_of
from neoteny.experiments.statistics.metrics import Estimate, ratio_of_means
from neoteny.experiments.statistics.summary import countable_visits, paired_visits

__all__ = ["MARGIN", "Ability", "abilities", "abilities_table", "ability", "answer", "last_third"]

MARGIN = 0.25
"""Share of a fresh network's gain: an arm keeps its ability to learn if it has, with 95 %
confidence, lost less."""


@dataclass(frozen=True)
class Ability:
    """An arm's ability to learn: its gain as a share of the gain of fresh networks."""

    arm: str
    role: str
    """As `Arm.role`: ``"none"`` for the plain agent."""
    seeds: int
    """Seeds that the arm and the fresh networks both have."""
    first: Estimate
    """In the first visit, before which no plasticity can be lost: the arm's own cost, or gain."""
    last: Estimate
    """In the last third of the visits."""
    lost: Estimate
    """Growth of the gap to the fresh networks' gain, from the first visit to the mean of the
    last third, as a share of their gain over all visits; paired by seed."""

    @property
    def verdict(self) -> str:
        """One of `loses its ability to learn`, `keeps it` and `leaves it open`."""
        if self.lost.low > 0:
            return "loses its ability to learn"
        return "keeps its ability to learn" if self.lost.high < MARGIN else "leaves it open"


def abilities(visits: pd.DataFrame) -> list[Ability]:
    """The ability to learn of every arm of `visit_values` that has fresh networks beside it.

    Returns:
        One entry an arm, in the order of tables; none with fewer than three visits.
    """
    arms = arms_of(visits)
    visits = countable_visits(visits)
    found = [ability(visits, arm, oracle_of(arm, arms)) for arm in arms]
    return [one for one in found if one is not None]


def abilities_table(visits: pd.DataFrame) -> pd.DataFrame:
    """The abilities to learn as a table, a row an arm; empty with fewer than three visits.

    Returns:
        ``arm``, ``verdict``, ``seeds``; ``first``, ``last`` and ``lost`` of `Ability`, each with
        ``_low`` and ``_high``, shares of the gain of fresh networks with the arm's layers.
    """
    return pd.DataFrame(
        {
            "arm": one.arm,
            "verdict": one.verdict,
            "seeds": one.seeds,
            **one.first.columns("first"),
            **one.last.columns("last"),
            **one.lost.columns("lost"),
        }
        for one in abilities(visits)
    )


def answer(visits: pd.DataFrame) -> str:
    """Arms that keep the ability to learn, by the data.

    Returns:
        A sentence of the arms whose shares are known; empty without any, as without fresh networks
        that gain clearly, or with fewer than three visits.
    """
    found = [
        one for one in abilities(visits) if np.isfinite([one.first.value, one.last.value]).all()
    ]
    if not found:
        return ""
    short = labels(list(visits["arm"].unique()))
    seeds = sorted({one.seeds for one in found})
    counted = " to ".join(str(count) for count in dict.fromkeys((seeds[0], seeds[-1])))
    sure = f"{counted} seeds, 95 % intervals" if seeds[-1] > 1 else "1 seed, without intervals"
    parts = [
        f"{short[one.arm]} {one.verdict} ({one.last.text()} of their gain, after "
        f"{one.first.value:.2f} in the first task)"
        for one in found
    ]
    return (
        f"In the last third of the tasks, beside networks that start each task afresh ({sure}): "
        f"{'; '.join([*parts, *_comparison(found, short)])}."
    )


def _comparison(found: list[Ability], short: dict[str, str]) -> list[str]:
    """Places of the other arms' intervals beside that of the plain agent, if there is one."""
    plain = [one for one in found if one.role == BASELINE]
    others = [one for one in found if one.role != BASELINE]
    if len(plain) != 1 or not others or not np.isfinite(plain[0].last).all():
        return []
    low, high = plain[0].last.low, plain[0].last.high
    above, below, across = (list[str]() for _ in range(3))
    for one in others:
        place = above if one.last.low > high else below if one.last.high < low else across
        place.append(short[one.arm])
    return [
        f"{text} that of {short[plain[0].arm]}"
        for text in (
            _of_all(above, "lies above", "lie above"),
            _of_all(below, "lies below", "lie below"),
            _of_all(across, "overlaps", "overlap"),
        )
        if text
    ]


def _of_all(arms: list[str], one: str, several: str) -> str:
    """The intervals of arms as the subject of a verb in its two numbers; empty without arms."""
    if len(arms) < 2:
        return "".join(f"the interval of {arm} {one}" for arm in arms)
    return f"the intervals of {', '.join(arms[:-1])} and {arms[-1]} {several}"


def ability(visits: pd.DataFrame, arm: Arm, oracle: Arm | None) -> Ability | None:
    """The ability to learn of an arm beside an oracle; None with fewer than three visits.

    Args:
        visits: those that count, see `statistics.summary.countable_visits`.
        arm: any arm.
        oracle: the arm of fresh networks to compare it with.
    """
    pairs = paired_visits(visits, arm, oracle)
    late = last_third(pairs)
    if late.empty:
        return None
    early = pairs[pairs["visit"] == pairs["visit"].min()]
    change = _mean_missing(late) - _mean_missing(early)
    gains = pairs.groupby("seed")["gain_fresh"].mean()
    lost = ratio_of_means(
        change.reindex(gains.index).to_numpy(np.float64), gains.to_numpy(np.float64)
    )
    seeds = int(pairs["seed"].nunique())
    return Ability(arm.name, arm.role, seeds, _share(early), _share(late), lost)


def last_third(pairs: pd.DataFrame) -> pd.DataFrame:
    """The last third of the visits, rounded down, of the result of `paired_visits`."""
    places = np.sort(pairs["visit"].unique())
    third = len(places) // 3
    return pairs[pairs["visit"] >= places[-third]] if third else pairs[:0]


def _mean_missing(pairs: pd.DataFrame) -> pd.Series:
    means: pd.Series = pairs.groupby("seed")["missing"].mean()
    return means


def _share(pairs: pd.DataFrame) -> Estimate:
    runs = pairs.groupby("seed")[["gain", "gain_fresh"]].sum().to_numpy(np.float64)
    return ratio_of_means(runs[:, 0], runs[:, 1])
