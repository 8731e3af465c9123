"""What each visit of a task was worth, and which arms are compared with which."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from neoteny.core.text import distinct, shortened
from neoteny.experiments.metrics import Array, normalise, plasticity_gap

EVALUATION = "eval/episodic_return"
"""Mean return of evaluation episodes, recorded in the last row of a visit."""

BASELINE = "none"
ORACLE = "fresh"
LONGEST = 48
"""Characters of an arm's label; longer ones are cut in the middle, and numbered where alike."""


def is_arm(name: str, role: str) -> bool:
    """Whether an arm plays a role: ``"ppo-fresh-groupsort"`` is a ``"fresh"`` arm."""
    return role in _words(name)


def matched(arm: str, arms: Sequence[str], role: str) -> str | None:
    """The arm of a role that an arm is compared with: the one most like it in everything else.

    Args:
        arm: the arm's name, words joined by ``-``.
        arms: all arms.
        role: ``"none"`` or ``"fresh"``.

    Returns:
        ``"ppo-fresh-groupsort"`` for ``"ppo-adamo-groupsort"`` and role ``"fresh"`` if there is
        one, else another arm of the role; None if there is none or the arm plays it itself.
    """
    if is_arm(arm, role):
        return None
    candidates = [other for other in arms if is_arm(other, role)]
    mine = set(_words(arm))
    likeness = [len(mine ^ set(_words(other))) for other in candidates]
    return candidates[int(np.argmin(likeness))] if candidates else None


def in_order(arms: Sequence[str]) -> list[str]:
    """The arms as tables and figures list them: baselines first, oracles last."""
    return sorted(arms, key=lambda arm: (is_arm(arm, ORACLE), not is_arm(arm, BASELINE)))


def labels(arms: Sequence[str]) -> dict[str, str]:
    """Short names for tables and figures: the words that all arms begin with are left out.

    Args:
        arms: the arms' names.

    Returns:
        Name to label, such as ``{"ppo-none": "none", "ppo-adamo": "adamo"}``.
    """
    words = [_words(arm) for arm in arms]
    common = 0
    while len(arms) > 1 and len({tuple(word[: common + 1]) for word in words}) == 1:
        common += 1
    cut = min(common, *(len(word) - 1 for word in words)) if len(words) > 1 else 0
    short = {arm: "-".join(word[cut:]) for arm, word in zip(arms, words, strict=True)}
    in_turn = sorted(arms)  # the same numbers whatever the order of the arms
    shown = distinct([shortened(short[arm], LONGEST) for arm in in_turn])
    return {arm: shown[in_turn.index(arm)] for arm in arms}


def visit_values(frame: pd.DataFrame) -> pd.DataFrame:
    """What each visit of a task was worth.

    Args:
        frame: rows of `neoteny.experiments.runs.read_runs`.

    Returns:
        One row per (arm, seed, visit) with ``task``, ``task_name``, ``cycle``, ``start`` and
        ``end`` (steps), ``complete``; ``auc``, the mean online return over the visit, weighted
        by steps; ``final``, the same over its last 10 %; both also normalised as ``score`` and
        ``final_score``; ``evaluation``, the visit's last evaluation, NaN without; and ``gap``,
        the plasticity gap to the `matched` ``fresh`` arm in the same visit of the same seed
        (NaN without one, or where fresh learnt nothing).
    """
    rows = []
    for (arm, seed, visit), group in frame.groupby(["arm", "seed", "visit"], sort=False):
        first, last = group.iloc[0], group.iloc[-1]
        start, end = last["step"] - last["task_step"], last["step"]
        values, width = group["online_return"].to_numpy(), group["width"].to_numpy()
        late = group["step"].to_numpy() > end - 0.1 * (end - start)
        rows.append(
            {
                "arm": arm,
                "seed": seed,
                "visit": visit,
                "task": first["task"],
                "task_name": first["task_name"],
                "cycle": first["cycle"],
                "start": start,
                "end": end,
                "complete": bool(first["complete"]),
                "auc": _weighted(values, width),
                "final": _weighted(values[late], width[late]),
                "evaluation": _last(group[EVALUATION]) if EVALUATION in group else np.nan,
            }
        )
    table = pd.DataFrame(rows)
    for source, target in (("auc", "score"), ("final", "final_score")):
        pairs = zip(table[source], table["task_name"], strict=True)
        table[target] = np.array([normalise(value, name) for value, name in pairs], np.float64)
    table["gap"] = _gaps(table)
    return table


def _gaps(table: pd.DataFrame) -> Array:
    arms = list(table["arm"].unique())
    partner = table["arm"].map({arm: matched(arm, arms, ORACLE) for arm in arms})
    scores = table.set_index(["arm", "seed", "visit"])["score"]
    keys = pd.MultiIndex.from_arrays([partner, table["seed"], table["visit"]])
    fresh = scores.reindex(keys).to_numpy(np.float64)
    return plasticity_gap(table["score"].to_numpy(np.float64), fresh)


def _last(column: pd.Series) -> float:
    values = column.dropna()
    return float(values.iloc[-1]) if len(values) else np.nan


def _weighted(values: Array, width: Array) -> float:
    there = np.isfinite(values)
    total = width[there].sum()
    return float((values[there] * width[there]).sum() / total) if total > 0 else np.nan


def _words(arm: str) -> list[str]:
    return arm.split("-")
