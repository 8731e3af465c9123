"""Tables of environments, streams, interventions and presets."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import partial
from typing import Any, Literal

import tyro
from gymnasium import Space
from gymnasium.spaces import Box, Discrete
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from neoteny import envs
from neoteny.agents.agent import AGENTS
from neoteny.core.console import as_markdown
from neoteny.core.options import check_fields
from neoteny.core.registry import Registry, first_line
from neoteny.envs.datasets import DATASETS
from neoteny.experiments import catalogue
from neoteny.experiments.options.presets import PRESETS
from neoteny.experiments.reproductions import REPRODUCTIONS, TIERS
from neoteny.plasticity.activations import ACTIVATIONS
from neoteny.plasticity.diagnostics import DIAGNOSTICS
from neoteny.plasticity.interventions import INTERVENTIONS
from neoteny.wrappers.change_base import Change
from neoteny.wrappers.schedules import Schedule
from neoteny.wrappers.streams import STREAMS
from neoteny.wrappers.supervised_streams import KINDS, OPTIONS

__all__ = ["LISTED", "ListConfig", "list_things"]


LISTED: dict[str, Registry[Any]] = {
    "interventions": INTERVENTIONS,
    "diagnostics": DIAGNOSTICS,
    "changes": Change.kinds,
    "schedules": Schedule.kinds,
    "envs": envs.ENVIRONMENTS,
    "streams": STREAMS,
    "agents": AGENTS,
    "presets": PRESETS,
    "activations": ACTIVATIONS,
    "reproductions": REPRODUCTIONS,
}
"""Plurals on the command line to the things that they list."""


@dataclass(frozen=True)
class ListConfig:
    """Print what there is to choose from."""

    what: tyro.conf.Positional[Literal[tuple(LISTED)]]  # type: ignore[valid-type]
    """Kind of thing to list."""
    name: tyro.conf.Positional[str | None] = None
    """Name of one of them, to explain it and its settings."""
    markdown: bool = False
    """Print Markdown."""
    plugin: tuple[str, ...] = ()
    """Python files or modules to run first, whose things are listed as well."""

    def __post_init__(self) -> None:
        check_fields(self)


def list_things(config: ListConfig, console: Console) -> None:
    """Print the things of a kind, or everything about one; in Markdown all about interventions.

    Raises:
        InputError: If there is no such thing.
    """
    what, things = config.what, LISTED[config.what]
    if config.name is not None:
        things.find(config.name)
        known = catalogue.intervention if what == "interventions" else partial(_about, things)
        console.print(known(config.name))
        return
    if what == "interventions" and config.markdown:
        table = catalogue.interventions()
    else:
        tables = {
            "envs": _environments,
            "streams": _streams,
            "presets": _presets,
            "reproductions": _reproductions,
        }
        table = tables.get(what, partial(_names, things, what))()
    if config.markdown:
        console.print(as_markdown(table), soft_wrap=True)
    else:
        console.print(table)


def _about(things: Registry[Any], name: str) -> Text:
    """The documentation of a class or function, else a thing's line and its values."""
    thing = things[name]
    made_of = getattr(thing, "function", thing)
    made_of = made_of[0] if isinstance(made_of, tuple) else made_of
    if (isinstance(made_of, type) or callable(made_of)) and (text := inspect.getdoc(made_of)):
        return Text(text)
    if is_dataclass(thing) and not isinstance(thing, type):
        thing = {key: value for key, value in vars(thing).items() if not callable(value)}
    shown = thing if isinstance(thing, Mapping) else {}
    return Text("\n".join([things.line(name), "", *_differences(shown)]))


def _names(things: Registry[Any], what: str) -> Table:
    """A row for each thing: its name and one line."""
    table = Table(Column("name", no_wrap=True), "what it is", title=what)
    for name in things:
        table.add_row(Text(name), Text(things.line(name)))
    return table


def _environments() -> Table:
    """A row a kind, with a line for each of its ids and its description below them."""
    table = Table("id", "observation", "actions", "limit")
    table.title = "environments stepped on the device; limits in steps an episode"
    kinds: dict[type[Any], list[Any]] = {}
    for name in envs.registered():
        # MultiRoom makes a pool of layouts, which takes seconds.
        quick: dict[str, Any] = {"layouts": 1} if "MultiRoom" in name else {}
        sample = envs.make(name, 1, **quick)
        kinds.setdefault(type(sample), []).append((name.removeprefix(envs.NAMESPACE), sample))
    for kind, members in kinds.items():
        ids, samples = zip(*members, strict=True)
        line = first_line(kind)
        table.add_row(
            Text.assemble("\n".join(ids), "\n", (line.partition(": ")[2] or line, "italic")),
            _space(samples[0].single_observation_space),
            "\n".join(_space(sample.single_action_space) for sample in samples),
            "\n".join(f"{sample.max_steps or 'none'}" for sample in samples),
            end_section=True,
        )
    host = ("stepped on the host, if Gymnasium or an installed package knows it", "italic")
    table.add_row(Text.assemble("any other id\n", host), "its own", "its own", "its own")
    return table


def _space(space: Space[Any]) -> str:
    """A space in a few characters: a number of choices, bounds, or shape and type."""
    if isinstance(space, Discrete):
        return str(space.n)
    assert isinstance(space, Box)
    if space.shape == (1,):
        return f"[{space.low[0]:g}, {space.high[0]:g}]"
    return f"{'x'.join(map(str, space.shape))} {space.dtype}"


def _streams() -> Table:
    table = Table(
        Column("name", no_wrap=True), "what it is", "what it stresses", "options", title="streams"
    )
    for name, stream in STREAMS.items():
        table.add_row(name, first_line(stream), _stresses(stream), _options(stream))
    for kind, changes in KINDS.items():
        sources = "\n".join(f"{source}-{kind}" for source in DATASETS)
        table.add_row(sources, first_line(changes), _stresses(changes), ", ".join(OPTIONS))
    table.add_row("--stream FILE", "Your own, from a YAML or Python file.", "-", "-")
    return table


def _stresses(stream: object) -> str:
    """The sentence of the documentation that begins with "Stresses", up to its colon."""
    text = " ".join((inspect.getdoc(stream) or "").split())
    return text.partition("Stresses ")[2].split(". ")[0].split(": ")[0]


def _options(stream: Callable[..., object]) -> str:
    parameters = inspect.signature(stream).parameters.values()
    return ", ".join(p.name for p in parameters if p.kind is p.KEYWORD_ONLY)


def _presets() -> Table:
    table = Table("name", "what it is", "what differs from the defaults", title="presets")
    for name, values in PRESETS.items():
        table.add_row(name, PRESETS.line(name), "; ".join(_differences(values)))
    return table


def _reproductions() -> Table:
    """A row a claim, with the time that each tier takes on one core."""
    table = Table(Column("name", no_wrap=True), "claim", *TIERS, title="reproductions")
    for name, each in REPRODUCTIONS.items():
        table.add_row(name, each.claim, *map(each.cost, TIERS))
    return table


def _differences(values: Mapping[str, Any]) -> Iterator[str]:
    """`name=value` of what differs, of a dataclass those of its fields that do."""
    for name, value in values.items():
        if is_dataclass(value):
            kind: Any = type(value)
            default = kind()
            inner = {f.name: getattr(value, f.name) for f in fields(value)}
            changed = {key: got for key, got in inner.items() if got != getattr(default, key)}
            if changed:
                yield f"{name}: {', '.join(_differences(changed))}"
        else:
            shown = " ".join(map(str, value)) if isinstance(value, tuple) else value
            yield f"{name}={shown}"
