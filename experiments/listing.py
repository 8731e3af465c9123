"""Tables of what there is to choose from."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable

from rich.console import Console
from rich.table import Column, Table

from neoteny import envs
from neoteny.experiments.config import PRESETS
from neoteny.plasticity.interventions import INTERVENTIONS
from neoteny.wrappers.streams import STREAMS

__all__ = ["print_listing"]


def print_listing(what: str, console: Console) -> None:
    """Print the environments, interventions, streams or presets.

    Args:
        what: `envs`, `interventions`, `streams` or `presets`.
        console: Where to print.
    """
    tables = {
        "envs": _environments,
        "interventions": _interventions,
        "streams": _streams,
        "presets": _presets,
    }
    console.print(tables[what]())


def _first_line(thing: object) -> str:
    return (inspect.getdoc(thing) or "").split("\n")[0]


def _environments() -> Table:
    table = Table("id", title="environments")
    for name in envs.registered():
        table.add_row(name)
    return table


def _streams() -> Table:
    table = Table(
        Column("name", no_wrap=True), "what it is", "what it stresses", "options", title="streams"
    )
    for name, stream in STREAMS.items():
        table.add_row(name, _first_line(stream), _stresses(stream), _options(stream))
    table.add_row("--stream FILE", "Your own, from a YAML or Python file.", "-", "-")
    return table


def _stresses(stream: object) -> str:
    """The sentence of the documentation that begins with "Stresses", up to its colon."""
    text = " ".join((inspect.getdoc(stream) or "").split())
    return text.partition("Stresses ")[2].split(". ")[0].split(": ")[0]


def _options(stream: Callable[..., object]) -> str:
    parameters = inspect.signature(stream).parameters.values()
    return ", ".join(p.name for p in parameters if p.kind is p.KEYWORD_ONLY)


def _interventions() -> Table:
    table = Table("name", "what it does", "hook", "told of switches", "settings", "source")
    table.title = "interventions"
    for name, cls in INTERVENTIONS.items():
        settings = ", ".join(f"{f.name}={f.default}" for f in dataclasses.fields(cls) if f.init)
        aware = "yes (task-aware)" if cls.needs_boundaries else "no"
        table.add_row(name, _first_line(cls), cls.hooks, aware, settings or "-", cls.source)
    return table


def _presets() -> Table:
    table = Table("name", "what differs from the defaults", title="presets")
    for name, values in PRESETS.items():
        table.add_row(name, ", ".join(f"{key}={value}" for key, value in values.items()))
    return table
