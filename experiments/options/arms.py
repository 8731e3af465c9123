"""Arms of a comparison: their roles, the pairs that are compared, and their labels."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from neoteny.core.errors import InputError
from neoteny.core.names import hint
from neoteny.core.text import distinct, shortened, visible
from neoteny.plasticity.interventions import changes_network

if TYPE_CHECKING:
    import pandas as pd

BASELINE = "none"
ORACLE = "fresh"
LONGEST = 48
"""Characters of an arm's label; longer ones are cut in the middle, and numbered where alike."""

RECORDED = ("seed", "run", "command", "versions", "hardware", "resumed")
"""Fields that the recorder adds to a member's config.json; not compared on resume."""
FOLLOWS = ("arm", "named", "intervention", "intervention_settings", "strengths", "task_aware")
"""Fields of a configuration that name the interventions or follow from them."""
NEUTRAL = (
    *("seeds", "first_seed", "steps", "boundaries", "preset", "device", "threads", "fast"),
    *("stream",),  # a path; what it holds is in stream_definition
    *("cuda_graphs", "check_graphs", "diagnose_every", "diagnose_switches", "eval_episodes"),
    *("checkpoint_minutes", "evaluate_tasks", "evaluate_every"),
    *("env_timeout", "wandb"),
    *("dense", "compile"),  # what `fast` was in files of earlier runs
)
"""Fields without effect on the first steps of training, up to round-off."""


@dataclass(frozen=True)
class Arm:
    """One way to train, for all seeds."""

    name: str
    interventions: tuple[str, ...]
    """With their settings, as in ``"adamo:isometry=0.1"``; none if there is no configuration."""
    setup: str
    """Stands for the rest of the configuration: arms of one setup differ in interventions alone."""

    @property
    def role(self) -> str:
        """``"none"`` for the plain agent, ``"fresh"`` for an oracle, else nothing."""
        names = _names(self.interventions)
        if ORACLE in names:
            return ORACLE
        return BASELINE if names == (BASELINE,) else ""

    @property
    def beside_oracle(self) -> frozenset[str]:
        """The interventions other than ``none`` and ``fresh``."""
        return frozenset(
            text for text in self.interventions if text.partition(":")[0] not in (BASELINE, ORACLE)
        )

    @property
    def architecture(self) -> frozenset[str]:
        """The interventions that change the network, such as ``crelu`` or ``layer_norm``."""
        return frozenset(text for text in self.beside_oracle if changes_network(text))


def setup_of(config: Mapping[str, Any]) -> str:
    """Stand for everything in a run's configuration but its interventions and seeds."""
    skip = {*RECORDED, *FOLLOWS, *NEUTRAL}
    rest = {key: value for key, value in config.items() if key not in skip}
    text = json.dumps(rest, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def interventions_of(config: Mapping[str, Any]) -> str:
    """The interventions of a run's configuration, joined by ``+``; empty without any."""
    return visible("+".join(config.get("intervention", ())))


def arms_of(table: pd.DataFrame) -> list[Arm]:
    """The arms of a table with the columns ``arm``, ``interventions`` and ``setup``, in order."""
    rows = table.drop_duplicates("arm")[["arm", "interventions", "setup"]].fillna("")
    return in_order(
        Arm(str(name), tuple(filter(None, str(found).split("+"))), str(setup))
        for name, found, setup in rows.itertuples(index=False)
    )


def in_order(arms: Iterable[Arm]) -> list[Arm]:
    """The arms as tables and figures list them: baselines first, oracles last."""
    return sorted(arms, key=lambda arm: (arm.role == ORACLE, arm.role != BASELINE))


def baseline_of(arm: Arm, arms: Sequence[Arm]) -> Arm | None:
    """The arm ``none`` of the same setup; None if there is none, or the arm is it itself."""
    found = [other for other in arms if other.role == BASELINE and other.setup == arm.setup]
    return found[0] if found and arm.role != BASELINE else None


def oracle_of(arm: Arm, arms: Sequence[Arm]) -> Arm | None:
    """The arm that starts every visit with a new network and is like an arm otherwise.

    Returns:
        The ``fresh`` arm with the same setup and the same interventions beside ``fresh``, as
        ``fresh+adamo`` is for ``adamo``; else one with the same setup and network, as ``fresh`` is.
        None if there is none, or the arm is an oracle itself: an arm with other activations or
        biases is never taken.
    """
    if arm.role == ORACLE:
        return None
    mine = [other for other in arms if other.role == ORACLE and other.setup == arm.setup]
    alike = [other for other in mine if other.beside_oracle == arm.beside_oracle]
    plain = [other for other in mine if other.beside_oracle == arm.architecture]
    return next(iter([*alike, *plain]), None)


def named_arms(text: str, arms: Sequence[Arm]) -> list[Arm]:
    """The arms that a text of interventions names, one for each setup that has it.

    Args:
        text: interventions joined by ``+``, with all their settings or with none.
        arms: all arms.

    Raises:
        InputError: If it names none, or several of one setup.
    """
    typed = tuple(text.split("+"))
    found = [arm for arm in arms if arm.interventions == typed]
    if not found:
        found = [arm for arm in arms if _names(arm.interventions) == typed]
    known = ["+".join(arm.interventions) for arm in arms]
    if not found:
        raise InputError(f"versus {text!r} names no arm: {hint(text, known)}")
    if len({arm.setup for arm in found}) < len(found):
        several = ", ".join("+".join(arm.interventions) for arm in found)
        raise InputError(f"versus {text!r} names several arms: write one of {several}")
    return found


def labels(arms: Sequence[str]) -> dict[str, str]:
    """Short names for tables and figures: words that all arms begin or end with are left out.

    Returns:
        Name to label, such as ``{"ppo-none-nobias": "none", "ppo-adamo-nobias": "adamo"}``.
    """
    words = [arm.split("-") for arm in arms]
    if len(arms) > 1:
        words = _without_common(words)
        words = [word[::-1] for word in _without_common([word[::-1] for word in words])]
    short = {arm: "-".join(word) for arm, word in zip(arms, words, strict=True)}
    in_turn = sorted(arms)  # the same numbers whatever the order of the arms
    shown = distinct([shortened(short[arm], LONGEST) for arm in in_turn])
    return {arm: shown[in_turn.index(arm)] for arm in arms}


def _names(texts: Iterable[str]) -> tuple[str, ...]:
    """Names of interventions without their settings."""
    return tuple(text.partition(":")[0] for text in texts)


def _without_common(words: list[list[str]]) -> list[list[str]]:
    """Leave out the words that all begin with, but never all words of one."""
    most = min(map(len, words)) - 1
    common = next((i for i in range(most) if len({word[i] for word in words}) > 1), most)
    return [word[common:] for word in words]
