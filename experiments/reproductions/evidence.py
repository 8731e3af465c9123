"""From visits to answers: what arms have kept of a fresh network's gain, and contrasts of arms."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from neoteny.experiments.arms import ORACLE, arms_of, labels
from neoteny.experiments.metrics import UNKNOWN, Estimate, ratio_of_means
from neoteny.experiments.visits import visit_values

__all__ = ["Kept", "kept_of", "shown", "verdict"]


@dataclass(frozen=True)
class Kept:
    """Gains of every run in the last third of its tasks, beside those of fresh networks.

    A gain is the mean return, or accuracy, of a visit above that of an untrained network.
    """

    first: pd.DataFrame
    """(seeds, arms) gains in the first visit."""
    last: pd.DataFrame
    """(seeds, arms) mean gains over the last third of the visits."""
    fresh: pd.Series
    """(seeds,) of the fresh networks in the same visits as `last`."""
    visits: pd.DataFrame
    """The result of `neoteny.experiments.visits.visit_values`."""

    @property
    def seeds(self) -> int:
        """Number of seeds."""
        return len(self.last)

    @property
    def unit(self) -> str:
        """What the values of visits are: return, accuracy, or a scale of several games."""
        return str(self.visits["unit"].iloc[0])

    @property
    def labels(self) -> dict[str, str]:
        """Short names of the arms, the fresh networks' among them."""
        return labels(list(self.visits["arm"].unique()))

    def share(self, arm: str, *, first: bool = False) -> Estimate:
        """The gain of an arm as a share of that of fresh networks."""
        return self._over_fresh((self.first if first else self.last)[arm])

    def contrast(self, plus: Sequence[str], minus: Sequence[str]) -> Estimate:
        """Difference of the mean gains of two groups of arms, as a share of a fresh network's.

        Args:
            plus: Arms.
            minus: Arms to compare with, of the same seeds.

        Returns:
            The difference late in the stream, paired by seed, with Fieller's 95 % interval.
        """
        if not plus or not minus:
            return UNKNOWN
        left, right = (self.last[list(group)].mean(axis=1, skipna=False) for group in (plus, minus))
        return self._over_fresh(left - right)

    def table(self, arms: Iterable[str]) -> pd.DataFrame:
        """A row an arm: its share of a fresh network's gain in the first task and late."""
        return pd.DataFrame(
            {
                "arm": self.labels[arm],
                "seeds": int(self.last[arm].notna().sum()),
                "share in the first task": self.share(arm, first=True).value,
                **_columns("share", self.share(arm)),
            }
            for arm in arms
        )

    def _over_fresh(self, gains: pd.Series) -> Estimate:
        return ratio_of_means(gains.to_numpy(np.float64), self.fresh.to_numpy(np.float64))


def kept_of(frame: pd.DataFrame) -> Kept:
    """Gains of every arm beside those of the fresh networks.

    Args:
        frame: Rows of `neoteny.experiments.runs.read_runs`, of one stream, with one arm `fresh`
            (of several, the first in the order of tables).
    """
    visits = visit_values(frame)
    fresh = next(arm.name for arm in arms_of(visits) if arm.role == ORACLE)
    count = int(visits["visit"].max()) + 1
    late = visits["visit"] >= count - max(1, count // 3)
    first = visits[visits["visit"] == 0].pivot(index="seed", columns="arm", values="gain")
    last = visits[late].pivot_table("gain", "seed", "arm", "mean", dropna=False)
    return Kept(first, last, last[fresh], visits)


def verdict(estimate: Estimate, above: str, below: str, unclear: str) -> str:
    """One of three texts, by the side of zero on which an interval lies.

    An interval without ends, as of one seed, leaves the question open.
    """
    if estimate.low > 0:
        return above
    return below if estimate.high < 0 else unclear


def shown(estimate: Estimate, sign: str = "") -> str:
    """A number with its interval, such as ``+0.31 [+0.12, +0.50]`` with the sign ``"+"``."""
    if not np.isfinite(estimate.value):
        return "unknown"
    text = f"{estimate.value:{sign}.2f}"
    if not np.isfinite([estimate.low, estimate.high]).all():
        return text
    return f"{text} [{estimate.low:{sign}.2f}, {estimate.high:{sign}.2f}]"


def _columns(name: str, estimate: Estimate) -> dict[str, float]:
    return dict(zip((name, f"{name}_low", f"{name}_high"), estimate, strict=True))
