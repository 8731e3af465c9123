"""Runs read back from their folders, without running code that only their files name.

A run's config.json keeps the whole definition of its stream, so a stream is made again from that
and not from the file it came from. What the definition cannot hold (classes of a Python file's own,
environments that a file or a module registers) needs code, which is run only if the command that
reads the run names it, or trusts the folder.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

from neoteny.agents.agent import AGENTS, Agent
from neoteny.core.errors import InputError, error_context
from neoteny.core.options import fit
from neoteny.core.own_code import run_file, run_module
from neoteny.experiments.options.config import RunConfig
from neoteny.experiments.options.network_options import NetworkOptions
from neoteny.experiments.run.folders import CHECKPOINT, CONFIG, read_json
from neoteny.plasticity.interventions import parse_intervention
from neoteny.wrappers.file_checks import check_keys
from neoteny.wrappers.stream_files import StreamDefinition, define, read_stream
from neoteny.wrappers.supervised_streams import SupervisedDefinition

__all__ = ["Allowed", "completed", "find_run", "from_dict", "load_plugins", "load_run"]

NEEDED = ("agent", "env", "intervention", "seeds", "steps")
"""Fields that every stored run must have; others may be newer than the run."""

UNSTORED = ("out", "resume", "trust", "overwrite", "config")
"""Fields that say what to do with a run, and are not stored in it."""


@dataclass(frozen=True)
class Allowed:
    """The code that a command allows to be run, having named it."""

    everything: bool = False
    """All code that the run's config.json names."""
    plugins: tuple[str, ...] = ()
    """Modules and files of `--plugin`, which have been run by then."""
    stream: Path | StreamDefinition | SupervisedDefinition | None = None
    """The stream file that was given, or its content."""
    env: str | None = None
    """The environment that was given, as in module:id."""


def load_plugins(names: Sequence[str]) -> None:
    """Run Python files and modules, which may register environments, interventions and changes.

    Raises:
        InputError: If there is none of that name, or it is not Python.
    """
    for name in names:
        if name.endswith(".py"):
            run_file(Path(name))
        else:
            run_module(name)


def load_run(folder: Path, allowed: Allowed, **changed: Any) -> RunConfig:
    """The configuration of the run in a folder.

    Args:
        folder: The folder above seed_0.
        allowed: The code that may be run.
        **changed: Values in place of those stored.

    Raises:
        InputError: If there is no run, its config.json does not fit, or it needs code that the
            command has not allowed.
    """
    path = stored_config(folder)
    values = read_json(path)
    with error_context(str(path)):
        return from_dict(values | changed, allowed)


def find_run(folder: Path, allowed: Allowed, **changed: Any) -> tuple[Path, RunConfig]:
    """The folder of a run that has a checkpoint, and its configuration.

    Args:
        folder: It, or one of its seeds' folders.
        allowed: The code that may be run.
        **changed: Values in place of those stored.

    Raises:
        InputError: As `load_run`, and if there is no checkpoint.
    """
    if (folder / CONFIG).is_file() and not (folder / CHECKPOINT).exists():
        folder = folder.parent  # one of its seeds' folders was named
    if not (folder / CHECKPOINT).is_file():
        hint = _runs_below(folder) or "name the folder of a run"
        raise InputError(f"{folder} holds no {CHECKPOINT}: {hint}")
    return folder, load_run(folder, allowed, **changed)


def stored_config(folder: Path) -> Path:
    """The config.json of a run's first member.

    Raises:
        InputError: If the folder holds no run.
    """
    stored = sorted(folder.glob(f"seed_*/{CONFIG}"))
    if not stored:
        hint = _runs_below(folder) or "name the folder above seed_0"
        raise InputError(f"{folder} holds no run: {hint}")
    return stored[0]


def _runs_below(folder: Path) -> str:
    below = sorted(path.parent.name for path in folder.glob(f"*/{CHECKPOINT}"))
    return f"name one of its runs: {', '.join(below)}" if below else ""


def from_dict(values: Mapping[str, Any], allowed: Allowed | None = None) -> RunConfig:
    """Rebuild the configuration that :meth:`RunConfig.to_dict` stored.

    Raises:
        InputError: If a field is missing or does not fit, or code is needed that is not allowed.
    """
    allowed = allowed or Allowed()
    for name in NEEDED:
        if name not in values:
            raise InputError(f"lacks {name!r}: restore the file")
    _load_stored_plugins(fit("plugin", values.get("plugin", ()), tuple[str, ...]), allowed)
    if not isinstance(values["agent"], str) or values["agent"] not in AGENTS:
        raise InputError(f"agent {values['agent']!r} is unknown here: restore the file")
    cls = AGENTS[values["agent"]]
    known = {field.name for field in fields(RunConfig)} - {*UNSTORED, "hyper"}
    kept = {name: value for name, value in values.items() if name in known - {"network"}}
    if "fast" not in values:  # an earlier run had two switches in its place
        kept["fast"] = values.get("compile", True) and not values.get("dense", False)
    shape = {field.name for field in fields(NetworkOptions)}
    kept["network"] = NetworkOptions(**{k: v for k, v in values.items() if k in shape})
    if not isinstance(values.get(cls.family), Mapping):
        raise InputError(f"lacks {cls.family!r}, the agent's hyper-parameters: restore the file")
    with error_context(cls.family):
        check_keys(values[cls.family], [field.name for field in fields(cls.config_class)])
        kept["hyper"] = cls.config_class(**values[cls.family])
    ids = [values["env"]]
    if "stream" in kept or "stream_definition" in kept:
        definition = kept["stream_definition"] = _definition(values, allowed)
        ids = [task["id"] for task in getattr(definition, "environments", ())]
    if allowed.stream is None:  # else the file that was given names them
        _check_modules([str(name) for name in ids], allowed)
    return RunConfig(**kept)


def completed(stored: Mapping[str, Any]) -> dict[str, Any]:
    """A stored configuration, with the options that it is older than at their defaults.

    No code is run: what an agent or an intervention that is unknown here has is left as it is.

    Args:
        stored: Content of a config.json of any version.
    """
    agent = stored.get("agent")
    if not isinstance(agent, str) or agent not in AGENTS:
        return dict(stored)
    family = AGENTS[agent].family
    found = _defaults(AGENTS[agent]) | dict(stored)
    if isinstance(hyper := stored.get(family), Mapping):
        found[family] = asdict(AGENTS[agent].config_class()) | dict(hyper)
    if isinstance(settings := stored.get("intervention_settings"), Mapping):
        found["intervention_settings"] = dict(settings) | _settings(stored, family)
    return found


def _settings(stored: Mapping[str, Any], family: str) -> dict[str, Any]:
    """The stored settings of interventions that are known here, with the new ones."""
    found = {}
    for text in fit("intervention", stored.get("intervention", ()), tuple[str, ...]):
        with suppress(InputError):  # of another version, or of a plugin
            new = parse_intervention(text, family)
            own = stored["intervention_settings"].get(new.name)
            if isinstance(own, Mapping):
                found[new.name] = new.settings | dict(own)
    return found


@cache
def _defaults(cls: type[Agent]) -> dict[str, Any]:
    """Options of a run at their defaults, but those of the agent and those that none can lack."""
    values = RunConfig(agent=cls.name).to_dict()
    return {name: value for name, value in values.items() if name not in (*NEEDED, cls.family)}


def _load_stored_plugins(names: Sequence[str], allowed: Allowed) -> None:
    """Run the plugins of a stored run if all is allowed; else they have been run, or are needed."""
    given = {Path(name).name for name in allowed.plugins}
    missing = [name for name in names if Path(name).name not in given]
    for name in missing:
        if name.endswith(".py") and not Path(name).exists():
            raise InputError(
                f"the run needs the code of {name}, which is not there: say where it is now, with "
                f"--plugin FOLDER/{Path(name).name}"
            )
    if missing and not allowed.everything:
        raise InputError(
            f"the run needs the code of {missing[0]}: allow it with --plugin {missing[0]}, or "
            "whatever the run names with --trust"
        )
    load_plugins(missing)


def _check_modules(ids: Sequence[str], allowed: Allowed) -> None:
    """Refuse environments that import a module which the command has not named."""
    for name in ids:
        module = name.partition(":")[0]
        if ":" not in name or allowed.everything or name == allowed.env:
            continue
        if module not in allowed.plugins:
            raise InputError(
                f"environment {name!r} would run the module {module}: allow it with "
                f"--plugin {module}, or whatever the run names with --trust"
            )


def _definition(
    values: Mapping[str, Any], allowed: Allowed
) -> StreamDefinition | SupervisedDefinition:
    """The stored definition of a stream, or that of its file where it takes the file's code."""
    stored, path = values.get("stream_definition"), values.get("stream")
    if allowed.stream is not None:
        given = allowed.stream
        found = read_stream(given) if isinstance(given, Path) else given
        if json.loads(json.dumps(found.to_dict(), default=str)) != stored:
            raise InputError(
                "the stream file that was given is not what the run was trained on: leave out "
                "--stream, or give the file as it was"
            )
        return found
    with error_context("stream_definition"):
        try:
            return define(stored, str(values["env"]))
        except InputError as error:
            if not isinstance(path, str) or not path.endswith(".py"):
                raise
            if not allowed.everything:
                raise InputError(
                    f"{error}; if it is of {path}, allow that to be run with --stream {path} or "
                    "--trust"
                ) from error
    return read_stream(path)
