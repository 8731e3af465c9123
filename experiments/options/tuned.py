"""tuned.yaml: every arm at its peak, for `compare --tuned`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neoteny.core.errors import InputError, error_context
from neoteny.core.options import fit, fit_all
from neoteny.core.yaml_files import read_yaml
from neoteny.wrappers.file_checks import check_keys

__all__ = ["FIRST_EVALUATION_SEED", "LAST_TUNING_SEED", "TUNED", "Tuned", "read_tuned"]

TUNED = "tuned.yaml"
LAST_TUNING_SEED = 99
FIRST_EVALUATION_SEED = 1000

_FILE: Mapping[str, Any] = {
    **dict.fromkeys(("agent", "env", "preset", "objective", "sampler", "command"), str),
    **dict.fromkeys(("trials", "sampler_seed", "steps", "task_steps"), int),
    "seeds": tuple[int, ...],
    **dict.fromkeys(("arms", "versions", "reference"), Mapping[str, Any]),
}
_ARM: Mapping[str, Any] = {
    "options": str,
    "own": Mapping[str, Any],
    **dict.fromkeys(("objective", "default", "ranges", "at_edge", "failed"), Any),
    **dict.fromkeys(("first_visit_gap", "trial", "trials"), Any),
}


@dataclass(frozen=True)
class Tuned:
    """Content of a tuned.yaml that a comparison needs."""

    agent: str
    env: str
    seeds: tuple[int, ...]
    """Seeds on which the arms were tuned."""
    arms: tuple[tuple[str, Mapping[str, Any]], ...]
    """Of each arm its interventions joined by +, and the options of the agent and the network that
    were tuned or crossed."""


def read_tuned(path: Path) -> Tuned:
    """Read the tuned.yaml that a file or the folder of `tune` holds.

    Raises:
        InputError: If there is none, or it does not fit.
    """
    file = path / TUNED if path.is_dir() else path
    if not file.is_file():
        raise InputError(f"tuned {path} is no file: name the {TUNED} of a finished tune")
    found = read_yaml(file)
    with error_context(str(file)):
        if not isinstance(found, Mapping):
            raise InputError("holds no mapping: restore it")
        check_keys(found, list(_FILE))
        values = fit_all(found, _FILE)
        for name in ("agent", "env", "seeds", "arms"):
            if not values.get(name):
                raise InputError(f"lacks {name!r}: restore it")
        arms = []
        for name, arm in values["arms"].items():
            with error_context(f"arm {name}"):
                arms.append(_read_arm(arm))
        return Tuned(values["agent"], values["env"], values["seeds"], tuple(arms))


def _read_arm(arm: Any) -> tuple[str, Mapping[str, Any]]:
    values = fit("options", arm, Mapping[str, Any])
    check_keys(values, list(_ARM))
    if "options" not in values:
        raise InputError("lacks 'options': restore it")
    values = fit_all(values, _ARM)
    return values["options"], values.get("own") or {}
