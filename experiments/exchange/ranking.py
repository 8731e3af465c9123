"""Arms of many result files, merged where they are the same and ranked stream by stream."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any, Literal

import numpy as np
import pandas as pd

from neoteny.experiments.options.arms import ORACLE, Arm
from neoteny.experiments.statistics.metrics import UNKNOWN, Estimate, mean_over_tasks
from neoteny.experiments.statistics.summary import paired_visits, pooled_gap, run_matrix

__all__ = ["Board", "By", "Standing", "differences", "rank"]

By = Literal["score", "gap"]
PROTOCOL = ("environment", "options", "steps", "visits", "measure", "unit", "tasks")
"""Fields that two results must share to be compared."""


@dataclass(frozen=True)
class Standing:
    """An arm's place on a board."""

    arm: str
    role: str
    score: Estimate
    gap: Estimate
    """To the fresh networks of its own files; NaN without."""
    seeds: tuple[int, ...]
    unfinished: int
    """Runs that lack visits of the protocol."""
    blank: int
    """Visits without a score."""
    suite: str
    sources: tuple[str, ...]
    """Files that its runs come from."""
    places: tuple[int, int] | None = None
    """First and last place that its interval allows; None for what is not ranked."""


@dataclass(frozen=True)
class Board:
    """The arms that were judged by one protocol, the best first."""

    protocol: Mapping[str, Any]
    standings: Sequence[Standing]


@dataclass
class _Entry:
    """Runs of one arm, from one file or several."""

    name: str
    role: str
    suite: str
    seeds: set[int] = field(default_factory=set)
    sources: list[str] = field(default_factory=list)
    visits: list[pd.DataFrame] = field(default_factory=list)
    pairs: list[pd.DataFrame] = field(default_factory=list)


def rank(results: Mapping[str, Mapping[str, Any]], by: By = "score") -> list[Board]:
    """Rank arms within each protocol.

    Runs of one suite whose arms have one name and the same settings, and different seeds, are of
    one arm, whichever file they come from.

    Args:
        results: Name of a file to its content, see `neoteny.experiments.exchange.result_format`.
        by: Rank by the mean score, the highest first, or by the gap to fresh, the lowest first.

    Returns:
        One board a protocol, in alphabetic order of the environments.
    """
    boards: dict[str, tuple[dict[str, Any], dict[tuple[Any, ...], list[_Entry]]]] = {}
    for name, content in sorted(results.items()):
        protocol = {
            **{key: content["protocol"].get(key) for key in PROTOCOL[:-1]},
            **{key: int(content["protocol"][key]) for key in ("steps", "visits")},  # 2e6 is 2000000
            "tasks": sorted(task["name"] for task in content["tasks"]),
        }
        key = json.dumps(protocol, sort_keys=True)
        _, entries = boards.setdefault(key, (protocol, {}))
        _add(entries, name, content)
    found = [
        Board(protocol, _placed([_standing(e, protocol) for e in chain(*entries.values())], by))
        for protocol, entries in boards.values()
    ]
    return sorted(found, key=lambda board: json.dumps(board.protocol, sort_keys=True))


def differences(board: Board, boards: Iterable[Board]) -> list[str]:
    """Reasons for which a board is not mixed with others of its environment, one a board."""
    reasons = []
    for other in boards:
        mine, theirs = board.protocol, other.protocol
        if other is board or mine["environment"] != theirs["environment"]:
            continue
        parts = [
            f"{key} {_shown(mine[key])} here, {_shown(theirs[key])} there"
            for key in PROTOCOL
            if mine[key] != theirs[key]
        ]
        reasons.append("; ".join(parts))
    return reasons


def _add(
    entries: dict[tuple[Any, ...], list[_Entry]], source: str, content: Mapping[str, Any]
) -> None:
    """Add the arms of a file, to entries that hold others of their runs where there are any."""
    table = visits_of(content)
    arms = {arm["name"]: arm for arm in content["arms"]}
    suite = content["suite"]
    for name, about in arms.items():
        mine = table[table["arm"] == name]
        seeds = {int(run["seed"]) for run in content["runs"] if run["arm"] == name}
        if not seeds:
            continue
        settings = about.get("settings") or {}
        key = (name, suite["name"], json.dumps(settings, sort_keys=True, default=str))
        known = entries.setdefault(key, [])
        free = [entry for entry in known if settings and not entry.seeds & seeds]
        if free:
            entry = free[0]
        else:
            entry = _Entry(name, about.get("role", ""), f"{suite['name']} {suite['version']}")
            known.append(entry)
        entry.seeds |= seeds
        entry.sources.append(source)
        entry.visits.append(mine)
        if oracle := about.get("oracle"):
            pair = (Arm(name, (), ""), Arm(oracle, (), ""))
            entry.pairs.append(paired_visits(table, *pair))


def visits_of(content: Mapping[str, Any]) -> pd.DataFrame:
    """The visits of a result file.

    Returns:
        One row a visit: ``arm``, ``seed``, ``visit``, ``task_name``, ``value`` (NaN for null),
        ``gain`` above an untrained policy; a run without visits has none.
    """
    untrained = {
        task["name"]: np.nan if task.get("untrained") is None else float(task["untrained"])
        for task in content["tasks"]
    }
    rows = [
        (run["arm"], run["seed"], number, visit["task"], visit["score"])
        for run in content["runs"]
        for number, visit in enumerate(run["visits"])
    ]
    table = pd.DataFrame(rows, columns=["arm", "seed", "visit", "task_name", "value"])
    value = table["value"].astype(float)
    return table.assign(value=value, gain=value - table["task_name"].map(untrained).astype(float))


def _standing(entry: _Entry, protocol: Mapping[str, Any]) -> Standing:
    visits = pd.concat(entry.visits, ignore_index=True)
    scored = visits[visits["value"].notna()]
    pairs = pd.concat(entry.pairs, ignore_index=True) if entry.pairs else None
    counts = Counter(map(int, visits["seed"]))
    return Standing(
        entry.name,
        entry.role,
        mean_over_tasks(run_matrix(scored).to_numpy(np.float64)),
        pooled_gap(pairs) if pairs is not None else UNKNOWN,
        tuple(sorted(entry.seeds)),
        sum(counts[seed] < protocol["visits"] for seed in entry.seeds),
        len(visits) - len(scored),
        entry.suite,
        tuple(entry.sources),
    )


def _placed(standings: Iterable[Standing], by: By) -> list[Standing]:
    """The standings in order, with the places that their intervals allow; fresh networks last."""
    sign = 1 if by == "score" else -1

    def value(standing: Standing) -> float:
        found: Estimate = getattr(standing, by)
        return sign * found.value

    def ends(standing: Standing) -> tuple[float, float]:
        found: Estimate = getattr(standing, by)
        if not np.isfinite(found.low):
            return -np.inf, np.inf
        low, high = sorted((sign * found.low, sign * found.high))
        return low, high

    known = list(standings)
    ranked = [one for one in known if one.role != ORACLE and np.isfinite(value(one))]
    ranked.sort(key=value, reverse=True)
    rest = [one for one in known if one not in ranked]
    placed = []
    for one in ranked:
        low, high = ends(one)
        above = sum(ends(other)[0] > high for other in ranked)
        below = sum(ends(other)[1] < low for other in ranked)
        placed.append(replace(one, places=(1 + above, len(ranked) - below)))
    return [*placed, *rest]


def _shown(value: object) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    return text if len(text) <= 80 else f"{text[:77]}…"
