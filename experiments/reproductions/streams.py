"""Streams that reproductions share: options of `compare` for each tier, and their rates.

Small ones show the effect on Breakout alone, whose features are shuffled anew at every switch: a
new network learns much in a task this short, as it does in no other game. The paper's own has four
games and a network of 4x64.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from neoteny.experiments.reproductions.reproduction import Comparison, Plan

__all__ = ["PULL", "WEAK", "plans"]

WEAK = "adamo:half_life=5tasks"
"""The pull that small streams can bear."""
PULL = "adamo:isometry=0.05"
"""The authors' pull in streams of games."""
TASK = 30_720
SMALL: Mapping[str, Any] = {"preset": "demo"}
PAPER: Mapping[str, Any] = {
    "preset": "paper",
    "env": "minatar-continual",
    "seeds": 8,
    "steps": 80 * 15_204_352,  # whole iterations
    "hidden": (64, 64, 64, 64),
}
SMALL_RATE, PAPER_RATE = 24_000, 70_000
"""Steps a second of all members together, on one core of a Xeon with AVX-512."""


def plans(
    *arms: Mapping[str, Any],
    paper: tuple[Mapping[str, Any], ...] = (),
    seeds: tuple[int, int] = (6, 24),
    tasks: tuple[int, int] = (5, 12),
) -> dict[str, Plan]:
    """Plans of all tiers for the same arms.

    Args:
        arms: What differs between comparisons: their arms and what these are crossed with.
        paper: The same for the tier `full`, with the paper's strengths; unset, `arms`.
        seeds: Of the tiers `preview` and `laptop`.
        tasks: Of these.
    """
    found = {}
    for tier, count, length in zip(("preview", "laptop"), seeds, tasks, strict=True):
        sizes = {"seeds": count, "steps": length * TASK, "task_steps": TASK}
        found[tier] = _plan([{**SMALL, **sizes, **each} for each in arms], SMALL_RATE)
    full = [{**PAPER, **each} for each in paper or arms]
    return found | {"full": _plan(full, PAPER_RATE, first_seed=26)}


def _plan(options: list[dict[str, Any]], rate: float, first_seed: int = 0) -> Plan:
    named = {str(each.pop("name", "runs")): Comparison(each, rate) for each in options}
    return Plan(named, first_seed)
