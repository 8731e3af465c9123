"""Tables of what there is to choose from."""

from __future__ import annotations

import inspect
from collections.abc import Callable

from rich.console import Console
from rich.table import Column, Table

from neoteny import envs
from neoteny.envs.datasets import DATASETS
from neoteny.experiments import catalogue
from neoteny.experiments.catalogue import first_line
from neoteny.experiments.config import PRESETS
from neoteny.wrappers.streams import STREAMS
from neoteny.wrappers.supervised import KINDS, OPTIONS

__all__ = ["as_markdown", "print_listing"]


def print_listing(
    what: str, console: Console, *, name: str | None = None, markdown: bool = False
) -> None:
    """Print the environments, interventions, streams or presets.

    Args:
        what: `envs`, `interventions`, `streams` or `presets`.
        console: Where to print.
        name: Of one intervention, to print everything about it.
        markdown: Print Markdown, as the README has it for interventions.

    Raises:
        ValueError: If there is no intervention of that name, or it is of something else.
    """
    if name is not None:
        if what != "interventions":
            raise ValueError(f"{what} are listed without a name: leave out {name!r}")
        console.print(catalogue.intervention(name))
        return
    table = {
        "envs": _environments,
        "interventions": lambda: catalogue.interventions(brief=not markdown),
        "streams": _streams,
        "presets": _presets,
    }[what]()
    if markdown:
        console.print(as_markdown(table), markup=False, soft_wrap=True)
    else:
        console.print(table)


def as_markdown(table: Table) -> str:
    """A table of text in Markdown."""
    rows = [
        [str(column.header) for column in table.columns],
        ["---"] * len(table.columns),
        *zip(*(map(str, column.cells) for column in table.columns), strict=True),
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


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
    table = Table("name", "what differs from the defaults", title="presets")
    for name, values in PRESETS.items():
        table.add_row(name, ", ".join(f"{key}={value}" for key, value in values.items()))
    return table
