"""Configurations from options by name, as functions take them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import tyro

from neoteny.agents.agent import AGENTS
from neoteny.core.errors import InputError
from neoteny.core.names import hint
from neoteny.core.options import show
from neoteny.experiments.cli import resume_defaults
from neoteny.experiments.config_files import read_options, run_of
from neoteny.experiments.early import Early, files_named
from neoteny.experiments.options.config import CompareConfig, RunConfig, TrainConfig
from neoteny.experiments.options.crossing import names_of
from neoteny.experiments.options.network_options import NetworkOptions
from neoteny.experiments.options.option_rules import ALIASES
from neoteny.experiments.options.presets import preset_values
from neoteny.experiments.run.stored import Allowed, load_plugins

__all__ = ["configure", "one_or_more"]

C = TypeVar("C", bound=TrainConfig)


def configure(kind: type[C], given: Mapping[str, Any]) -> C:
    """A configuration from options by name, over the defaults of the preset and agent.

    Args:
        kind: `RunConfig`, `CompareConfig` or `TuneConfig`.
        given: Options by name; those of the network and the agent stand beside the others. None
            stands for an option that is not given. `config` names a file of more, which hold where
            none is given.

    Raises:
        InputError: If one is unknown or does not fit.
    """
    options = {name: value for name, value in given.items() if value is not None}
    file = {} if "config" not in options else read_options(Path(options["config"]))
    if "arm" not in file:  # else it is of a run, and read with the code that is allowed
        options = file | options
    _as_tuples(options)
    texts = options.get("intervention", options.get("interventions", ()))
    plugins = tuple(dict.fromkeys([*options.get("plugin", ()), *files_named(texts)]))
    load_plugins(plugins)
    values = _stored(kind, options, file, plugins) if "arm" in file else _defaults(options, plugins)
    nested = {"network": values.pop("network", NetworkOptions()), "hyper": values.pop("hyper")}
    parts: dict[str, dict[str, Any]] = {name: {} for name in nested}
    known = _settable(kind)
    for name, value in options.items():
        owner = next((part for part, base in nested.items() if name in names_of(base)), None)
        if owner is not None:
            parts[owner][name] = value
        elif name in known:
            values[name] = value
        else:
            every = [*known, *names_of(nested["network"]), *names_of(nested["hyper"])]
            ours = next((own for own in every if name in ALIASES.get(own, ())), name)
            raise InputError(f"option {name!r} is unknown: {hint(ours, every)}")
    for part, base in nested.items():
        values.setdefault(part, dataclasses.replace(base, **parts[part]))
    return kind(**values)


def _as_tuples(options: dict[str, Any]) -> None:
    """One text, or options of an environment as a mapping, in the form of the command line."""
    for name in ("intervention", "interventions", "plugin", "vary", "tune"):
        if name in options:
            options[name] = tuple(one_or_more(name, options[name]))
    if isinstance(options.get("env_option"), Mapping):
        pairs = options["env_option"].items()
        options["env_option"] = tuple(f"{name}={_as_typed(value)}" for name, value in pairs)


def _settable(kind: type[Any]) -> list[str]:
    """Names of a configuration's fields, without those that the command line has no option for."""
    hints = get_type_hints(kind, include_extras=True)
    marks = {name: getattr(hint, "__metadata__", ()) for name, hint in hints.items()}
    return [name for name in names_of(kind) if tyro.conf.Fixed not in marks[name]]


def _defaults(options: dict[str, Any], plugins: tuple[str, ...]) -> dict[str, Any]:
    """Values of a configuration that hold where no option is given.

    Those of the run that goes on, whose folder is then the `out` of the options; else those of the
    preset and agent.
    """
    agent = options.get("agent")
    if "resume" not in options:
        return preset_values(options.get("preset") or AGENTS.find(agent or "ppo").preset, agent)
    folder = Path(options["resume"])
    allowed = Allowed(bool(options.get("trust")), plugins)
    stored = resume_defaults(Early(agent, None, folder, None, allowed))
    options.setdefault("out", folder)
    return dict(vars(stored))


def _stored(
    kind: type[TrainConfig], options: dict[str, Any], file: dict[str, Any], plugins: tuple[str, ...]
) -> dict[str, Any]:
    """Values of the configuration in a run's config.json, for a new run or comparison."""
    path = Path(options["config"])
    for name in ("agent", "preset"):
        if options.pop(name, file.get(name)) != file.get(name):
            raise InputError(f"{name} is {file.get(name)!r} in {path}: leave it out beside config")
    stream = None if "stream" not in options else Path(options["stream"])
    allowed = Allowed(bool(options.get("trust")), plugins, stream, options.get("env"))
    found = run_of(path, file, allowed)
    if found is None:
        raise InputError(f"config {path} is of no run: restore the config.json of one")
    if issubclass(kind, RunConfig):
        return found.shared | {"intervention": found.intervention, "named": found.named}
    if issubclass(kind, CompareConfig):
        return found.shared | {"interventions": ("+".join(found.intervention),)}
    return found.shared


def _as_typed(value: Any) -> str:
    """An option's value as the command line has it: a list with commas, a mapping as JSON."""
    if isinstance(value, Mapping):
        return json.dumps(value)
    if isinstance(value, list | tuple):
        return ",".join(map(str, value)) + ("," if len(value) == 1 else "")
    return str(value)


def one_or_more(name: str, texts: Any) -> list[str]:
    """One text, or several, as a list.

    Raises:
        InputError: If it is neither, as a class or an object.
    """
    if isinstance(texts, str | Path):
        return [str(texts)]
    if not isinstance(texts, Iterable) or isinstance(texts, type):
        raise InputError(
            f"{name} is {show(texts)}: give a text or several, as 'adamo:isometry=0.1', of a class "
            "the name that it is registered by"
        )
    return [str(text) if isinstance(text, Path) else text for text in texts]
