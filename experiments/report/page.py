"""The report as one HTML page that needs no other file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from neoteny.experiments.options.arms import RECORDED, labels
from neoteny.experiments.report.markup import (
    Illustration,
    anchor,
    document,
    figure,
    numbers,
    safe,
    section,
)
from neoteny.experiments.report.markup import table as html_table
from neoteny.experiments.report.tables import (
    TextTable,
    definitions,
    notes,
    readable,
    readable_costs,
    tables_per_task,
)
from neoteny.experiments.statistics.runs import Run

__all__ = ["Findings", "page"]

_INTERVALS = """
Brackets are 95 % intervals over runs: Student's t (of an interquartile mean Tukey and McLaughlin's,
of a ratio Fieller's, of a probability Wilson's).
"""
_COSTS = """
Time is that of training and of measuring diagnostics, without writing files. Memory is the most
that a process held: on a CPU all of it, with Python's and torch's own, on a GPU what torch
allocated there.
"""


@dataclass(frozen=True)
class Findings:
    """Content of a report, before it is set as a page."""

    title: str
    """Name of the runs."""
    summary: pd.DataFrame
    """The result of `statistics.summary.summary`."""
    answer: str
    """A sentence that the page begins with, if any."""
    costs: pd.DataFrame
    """The result of `statistics.cost.costs`."""
    failures: pd.DataFrame
    """The result of `statistics.failures.failures`."""
    runs: Sequence[Run]
    """The members that were read."""
    illustrations: Sequence[Illustration]
    """The figures, which are embedded; the first is the one behind the answer, if any."""
    profiles: Illustration | None = None
    """The figure of performance profiles, if any."""
    sweep: Illustration | None = None
    """The figure of `tune`, if its folder has one."""
    tables: Sequence[TextTable] = ()
    """Further tables, each with what its columns mean."""


def page(found: Findings) -> str:
    """Compose the page.

    Returns:
        HTML.
    """
    answer = f'<p class="answer">{safe(found.answer)}</p>' if found.answer else ""
    illustrations = list(found.illustrations)
    behind = figure(illustrations.pop(0)) if found.answer and illustrations else ""
    sections = [
        ("Summary", _summary(found.summary)),
        *((each.title, figure(each)) for each in illustrations),
        *(
            (f"{title[:1].upper()}{title[1:]}", numbers(texts))
            for title, texts in tables_per_task(found.summary)
        ),
        *((table.title[:1].upper() + table.title[1:], _table(table)) for table in found.tables),
        ("Performance profiles", figure(found.profiles) if found.profiles else ""),
        ("Cost", _costs(found.costs)),
        ("Failures", _failures(found)),
        ("Sweep", figure(found.sweep) if found.sweep else ""),
        ("Commands", f"<pre>{_commands(found.runs)}</pre>"),
        ("Configuration", _configuration(_configs(found))),
        ("Versions and hardware", _environment(_configs(found))),
    ]
    links = "".join(
        f'<a href="#{anchor(title)}">{safe(title)}</a> ' for title, body in sections if body
    )
    members = int(found.summary["seeds"].sum())
    head = f"""<h1>{safe(found.title)}</h1>
<p class="lead">{_count(len(found.summary), "arm")}, {_count(members, "run")}</p>
{answer}
{behind}
<nav aria-label="Sections">{links}</nav>
"""
    return document(found.title, head + "".join(section(*each) for each in sections))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _summary(table: pd.DataFrame) -> str:
    """The table, remarks, and the columns that are shown, explained."""
    texts = readable(table)
    remarks = "".join(f'<p class="note">{safe(note)}</p>' for note in notes(table))
    terms = _terms(definitions(table))
    bounds = f'<p class="note">{_INTERVALS}</p>' if " [" in texts.to_string() else ""
    return f"{numbers(texts)}\n{remarks}\n{terms}{bounds}"


def _table(table: TextTable) -> str:
    return f"{numbers(table.texts)}\n{_terms(table.explained())}"


def _terms(meanings: Mapping[str, str]) -> str:
    terms = "".join(
        f"<dt>{safe(name)}</dt><dd>{safe(meaning)}</dd>" for name, meaning in meanings.items()
    )
    return f"<dl>{terms}</dl>"


def _costs(costs: pd.DataFrame) -> str:
    texts = readable_costs(costs)
    if len(texts.columns) < 3:
        return '<p class="note">The runs have not recorded their speed.</p>'
    machines = costs["machine"].unique()
    where = (
        f"All arms ran on {machines[0]}."
        if len(machines) == 1
        else "Arms ran on different machines: their times do not compare."
    )
    return f'{numbers(texts)}<p class="note">{safe(where)} {_COSTS}</p>'


def _failures(found: Findings) -> str:
    if found.failures.empty:
        return (
            '<p class="note">None: all runs are finished, no seed was frozen, and episodes ended '
            "in every visit.</p>"
        )
    rows = [[safe(text) for text in row] for row in found.failures.itertuples(index=False)]
    return f'<div class="scroll">{html_table(["arm", "failure", "where"], rows, "text")}</div>'


def _configs(found: Findings) -> dict[str, Mapping[str, Any]]:
    """The configuration of each arm, by its label."""
    firsts: dict[str, Run] = {}
    for run in found.runs:
        firsts.setdefault(run.arm, run)
    short = labels(list(firsts))
    return {short[arm]: firsts[arm].config for arm in found.summary["arm"] if arm in firsts}


def _commands(runs: Sequence[Run]) -> str:
    """Every command that wrote into the runs, once each, in order, and that of the report."""
    commands = []
    for run in runs:
        commands += [
            run.config.get("command"),
            *(part.get("command") for part in run.config.get("resumed", ())),
        ]
    made = [*dict.fromkeys(command for command in commands if command)]
    return safe("\n".join([*made, "neoteny report FOLDER  # this page, of the folder it lies in"]))


def _configuration(configs: Mapping[str, Mapping[str, Any]]) -> str:
    """One row a field: a single value where all arms agree, else each arm's."""
    skip = {*RECORDED, "arm"}
    fields = dict.fromkeys(key for config in configs.values() for key in config if key not in skip)
    rows = []
    for field in fields:
        values = {arm: _shown(config.get(field)) for arm, config in configs.items()}
        rows.append([safe(field), _merged(values)])
    return f'<div class="scroll">{html_table(["field", "value"], rows, "text")}</div>'


def _environment(configs: Mapping[str, Mapping[str, Any]]) -> str:
    rows = []
    for part in ("versions", "hardware"):
        names = dict.fromkeys(key for config in configs.values() for key in config.get(part, {}))
        for name in names:
            values = {
                arm: _shown(config.get(part, {}).get(name)) for arm, config in configs.items()
            }
            rows.append([safe(name), _merged(values)])
    return f'<div class="scroll">{html_table(["what", "value"], rows, "text")}</div>'


def _merged(values: Mapping[str, str]) -> str:
    if len(set(values.values())) == 1:
        return f"<code>{safe(next(iter(values.values())))}</code>"
    return "<br>".join(f"{safe(arm)}: <code>{safe(value)}</code>" for arm, value in values.items())


def _shown(value: object) -> str:
    """A value as text, long lists cut in the middle, nested fields as name=value."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={_shown(item)}" for key, item in value.items()) or "-"
    if isinstance(value, list | tuple) and len(value) > 12:
        ends = ", ".join(map(_shown, value[:4])), _shown(value[-1])
        return f"{ends[0]}, … {ends[1]} ({len(value)} values)"
    if isinstance(value, list | tuple):
        return ", ".join(map(_shown, value)) or "-"
    if value is None:
        return "-"
    return value if isinstance(value, str) else json.dumps(value)
