"""From visits to answers: what arms have kept of a fresh network's gain, and contrasts of arms."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from neoteny.experiments.options.arms import ORACLE, arms_of, labels, oracle_of
from neoteny.experiments.statistics.metrics import (
    UNKNOWN,
    Array,
    Estimate,
    contrast_of_ratios,
    ratio_of_means,
)
from neoteny.experiments.statistics.visits import in_last_third, visit_values

__all__ = ["Kept", "compared", "kept_of", "listed", "verdict"]


@dataclass(frozen=True)
class Kept:
    """Gains of every run in the last third of its tasks, beside those of fresh networks.

    A gain is the mean return, or accuracy, of a visit above that of an untrained network. What an
    arm keeps is a share of the gain of fresh networks with its own layers, where there are some,
    so that layers which learn faster have no head start in it.
    """

    first: pd.DataFrame
    """(seeds, arms) gains in the first visit."""
    last: pd.DataFrame
    """(seeds, arms) mean gains over the last third of the visits."""
    fresh: Mapping[str, str]
    """Every arm to the fresh networks that it is compared with; they stand for themselves."""
    plain: str
    """The fresh networks that arms without some of their own layers are compared with."""
    visits: pd.DataFrame
    """The result of `statistics.visits.visit_values`."""

    @property
    def seeds(self) -> int:
        """Number of seeds."""
        return len(self.last)

    @property
    def unit(self) -> str:
        """Measure of the values of visits: return, accuracy, or a scale of several games."""
        return str(self.visits["unit"].iloc[0])

    @property
    def labels(self) -> dict[str, str]:
        """Short names of the arms, the fresh networks' among them."""
        return labels(list(self.visits["arm"].unique()))

    def share(self, arm: str, *, first: bool = False) -> Estimate:
        """The gain of an arm as a share of that of its fresh networks in the same visits."""
        gains = self.first if first else self.last
        return ratio_of_means(*self._pair(arm, gains))

    def head_start(self, arm: str) -> Estimate:
        """The gain of the fresh networks of an arm's layers, as a share of the plain ones'."""
        pair = (self.last[name].to_numpy(np.float64) for name in (self.fresh[arm], self.plain))
        return ratio_of_means(*pair)

    @property
    def shares(self) -> pd.DataFrame:
        """(seeds, arms) `last` as shares of the mean gain of the arms' fresh networks."""
        means = self.last.mean()
        return self.last / [means[self.fresh[str(arm)]] for arm in self.last]

    def contrast(self, plus: Sequence[str], minus: Sequence[str]) -> Estimate:
        """Difference of the mean shares of two groups of arms, as of `share`.

        Returns:
            The difference late in the stream, paired by seed, with its 95 % interval: Fieller's
            where all arms have the same fresh networks, else that of `contrast_of_ratios`.
        """
        if not plus or not minus:
            return UNKNOWN
        if len({self.fresh[arm] for arm in (*plus, *minus)}) > 1:
            return contrast_of_ratios(
                [[self._pair(arm, self.last) for arm in group] for group in (plus, minus)]
            )
        return self._difference(plus, minus, self.fresh[plus[0]])

    def ahead(self, plus: Sequence[str], minus: Sequence[str]) -> Estimate:
        """Difference of the mean gains of two groups of arms, head starts included.

        Returns:
            The difference late in the stream, of the plain fresh networks' gain.
        """
        return self._difference(plus, minus, self.plain) if plus and minus else UNKNOWN

    def table(self, arms: Iterable[str]) -> pd.DataFrame:
        """A row an arm: its share of a fresh network's gain in the first task and late."""
        return pd.DataFrame(
            {
                "arm": self.labels[arm],
                "seeds": int(self.last[arm].notna().sum()),
                "share in the first task": self.share(arm, first=True).value,
                **self.share(arm).columns("share"),
                "its fresh networks' gain": self.head_start(arm).value,
            }
            for arm in arms
        )

    def _pair(self, arm: str, gains: pd.DataFrame) -> tuple[Array, Array]:
        fresh = gains[self.fresh[arm]]
        return gains[arm].to_numpy(np.float64), fresh.to_numpy(np.float64)

    def _difference(self, plus: Sequence[str], minus: Sequence[str], fresh: str) -> Estimate:
        left, right = (self.last[list(group)].mean(axis=1, skipna=False) for group in (plus, minus))
        gains = (left - right).to_numpy(np.float64)
        return ratio_of_means(gains, self.last[fresh].to_numpy(np.float64))


def kept_of(frame: pd.DataFrame) -> Kept:
    """Gains of every arm beside those of the fresh networks.

    Args:
        frame: Rows of `statistics.runs.read_runs`, of one stream, with an arm `fresh`. The
            first in the order of tables is the plain one.
    """
    visits = visit_values(frame)
    arms = arms_of(visits)
    plain = next(arm.name for arm in arms if arm.role == ORACLE)
    own = {arm.name: oracle_of(arm, arms) for arm in arms}
    fresh = {arm.name: arm.name if arm.role == ORACLE else plain for arm in arms}
    fresh |= {name: oracle.name for name, oracle in own.items() if oracle is not None}
    late = in_last_third(visits["visit"])
    first = visits[visits["visit"] == 0].pivot(index="seed", columns="arm", values="gain")
    last = visits[late].pivot_table("gain", "seed", "arm", "mean", dropna=False)
    return Kept(first, last, fresh, plain, visits)


def verdict(estimate: Estimate, above: str, below: str, unclear: str) -> str:
    """One of three texts, by the side of zero on which an interval lies.

    An interval without ends, as of one seed, leaves the question open.
    """
    if estimate.low > 0:
        return above
    return below if estimate.high < 0 else unclear


def compared(estimate: Estimate, ours: str, theirs: str) -> str:
    """The clause that says which of two keeps more of the ability to learn."""
    clause = f"{ours} keeps %s of the ability to learn than {theirs}"
    more, less = clause % "more", clause % "less"
    return verdict(estimate, more, less, f"the data leave open whether {more}")


def listed(
    rows: Iterable[tuple[Estimate, str]], above: str, below: str, unclear: str, joint: str = "; "
) -> str:
    """Texts, each after the words for the side of zero on which its interval lies.

    Args:
        rows: Intervals and the texts that stand for them.
        above: Words before the texts of intervals above zero.
        below: Those for below.
        unclear: Those for intervals that hold it.
        joint: Stands between the groups that are there.
    """
    groups: dict[str, list[str]] = {above: [], below: [], unclear: []}
    for estimate, text in rows:
        groups[verdict(estimate, above, below, unclear)].append(text)
    return joint.join(f"{words} {', '.join(texts)}" for words, texts in groups.items() if texts)
