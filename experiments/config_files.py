"""Options from files: YAML of options by their names, or the config.json of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from neoteny.agents.agent import AGENTS
from neoteny.core.errors import InputError, error_context
from neoteny.core.options import Text
from neoteny.core.yaml_files import read_yaml
from neoteny.experiments.options.arms import RECORDED
from neoteny.experiments.options.config import RunConfig
from neoteny.experiments.options.network_options import NetworkOptions
from neoteny.experiments.run.folders import CONFIG, read_json
from neoteny.experiments.run.stored import Allowed, from_dict
from neoteny.wrappers.file_checks import check_keys

__all__ = ["read_options", "run_of"]

DERIVED = (
    *("arm", "task_names", "boundaries", "steps_per_iteration", "task_aware"),
    *("intervention_settings", "strengths", "dense", "compile"),
)
"""Fields of a config.json that follow from others, or are of earlier versions."""


def read_options(path: Path) -> dict[str, Any]:
    """The mapping in a YAML or JSON file.

    Raises:
        InputError: If it cannot be read, or holds no mapping.
    """
    if not path.is_file():
        stored = sorted((path if path.is_dir() else path.parent).glob(f"seed_*/{CONFIG}"))
        such = f", such as {stored[0]}" if stored else ""
        raise InputError(
            f"config {path} is no file: name a YAML file or the config.json of a run{such}"
        )
    found = read_json(path) if path.suffix == ".json" else read_yaml(path)
    if not isinstance(found, Mapping):
        raise InputError(f"config {path} holds no options: write them as name: value")
    options = {str(name).replace("-", "_"): value for name, value in found.items()}
    if "config" in options:
        raise InputError(f"config {path} names a config itself: write its options in one file")
    return {name: _as_typed(name, value) for name, value in options.items()}


def run_of(path: Path, values: Mapping[str, Any], allowed: Allowed) -> RunConfig | None:
    """The run whose config.json a file is, to be trained anew; None if it is none.

    Raises:
        InputError: If a field is unknown or does not fit, or code is needed that is not allowed.
    """
    if not {"arm", "versions", "intervention"} <= values.keys():
        return None
    with error_context(str(path)):
        own = [field.name for kind in (RunConfig, NetworkOptions) for field in fields(kind)]
        families = [cls.family for cls in AGENTS.values()]
        check_keys(values, [*own, *families, *DERIVED, *RECORDED])
        anew = {name: value for name, value in values.items() if name != "purpose"}
        return from_dict(anew, allowed)


def _as_typed(name: str, value: Any) -> Any:
    """A text as it would be typed, such as 2M, but where it may hold commas of its own."""
    whole = ("intervention", "interventions", "plugin", "env_option", "vary", "tune")
    return Text(value) if isinstance(value, str) and name not in whole else value
