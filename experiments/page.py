"""The report as one HTML page that needs no other file."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape as html_escape
from pathlib import Path
from typing import Any

import pandas as pd

from neoteny.core.text import visible
from neoteny.experiments.arms import labels
from neoteny.experiments.folders import RECORDED
from neoteny.experiments.runs import Run
from neoteny.experiments.tables import definitions, notes, readable, tables_per_task

_CSS = """
:root { color-scheme: light; }
body { font: 16px/1.55 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif;
  color: #222; background: #fff; max-width: 66rem; margin: 0 auto; padding: 2.5rem 1.5rem 4rem; }
h1 { font-size: 1.7rem; margin: 0; }
h2 { font-size: 1.15rem; margin: 2.6rem 0 .7rem; }
.lead { color: #555; margin: .3rem 0 0; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .88rem; font-variant-numeric: tabular-nums; }
th { text-align: right; font-weight: 600; border-bottom: 1.5px solid #222; vertical-align: bottom; }
th, td { padding: .38rem .8rem .38rem 0; white-space: nowrap; }
td { text-align: right; border-bottom: 1px solid #e6e6e6; }
th:first-child, td:first-child { text-align: left; font-weight: 600; }
table.text td, table.text th { text-align: left; font-weight: 400; white-space: normal; }
table.text th, table.text td:first-child { font-weight: 600; white-space: nowrap; }
th { white-space: normal; }
.interval { display: block; color: #777; font-size: .92em; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem; color: #555;
  font-size: .88rem; }
dt { font-weight: 600; }
dd { margin: 0; }
figure { margin: 1rem 0 2rem; }
figure img { width: 100%; height: auto; }
figcaption, .note { color: #555; font-size: .88rem; }
pre { background: #f6f6f6; padding: .8rem 1rem; overflow-x: auto; font-size: .84rem; }
@media (max-width: 40rem) {
  body { padding: 1.2rem .9rem 3rem; font-size: 15px; }
  .scroll th:first-child, .scroll td:first-child { position: sticky; left: 0;
    background: #fff; padding-right: .6rem; }
  table.text th:first-child, table.text td:first-child { position: static; white-space: normal; }
  table.text td { overflow-wrap: anywhere; }
  dl { display: block; }
  dd { margin: 0 0 .5rem; }
}
code { font-family: ui-monospace, "DejaVu Sans Mono", monospace; font-size: .92em;
  overflow-wrap: anywhere; }
"""

_INTERVALS = """
Brackets are 95 % intervals over runs: Student's t (of an interquartile mean Tukey and McLaughlin's,
of a ratio Fieller's, of a probability Wilson's).
"""


@dataclass(frozen=True)
class Illustration:
    """A figure of the page."""

    path: Path
    caption: str
    narrow: bytes | None = None
    """The figure for narrow screens, as a PNG file."""


def page(
    title: str,
    table: pd.DataFrame,
    runs: Sequence[Run],
    illustrations: Sequence[Illustration],
    answer: str = "",
) -> str:
    """Compose the page.

    Args:
        title: name of the runs.
        table: the result of `neoteny.experiments.summary.summary`.
        runs: the members that were read.
        illustrations: the figures, which are embedded.
        answer: a sentence that the page begins with, if any.

    Returns:
        HTML.
    """
    firsts: dict[str, Run] = {}
    for run in runs:
        firsts.setdefault(run.arm, run)
    short = labels(list(firsts))
    configs = {short[arm]: firsts[arm].config for arm in table["arm"] if arm in firsts}
    images = "".join(map(_figure, illustrations))
    remarks = "".join(f'<p class="note">{_safe(note)}</p>' for note in notes(table))
    tasks = "".join(
        f'<h2>{title[:1].upper()}{title[1:]}</h2><div class="scroll">{_numbers(texts)}</div>'
        for title, texts in tables_per_task(table)
    )
    members = int(table["seeds"].sum())
    return f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{_safe(title)} · neoteny</title>
<style>{_CSS}</style>
<h1>{_safe(title)}</h1>
<p class="lead">{_count(len(table), "arm")}, {_count(members, "run")}</p>
{f"<p><strong>{_safe(answer)}</strong></p>" if answer else ""}
<h2>Summary</h2>
<div class="scroll">{_numbers(readable(table))}</div>
{remarks}
{_meanings(table)}
{tasks}
<h2>Figures</h2>
{images}
<h2>Commands</h2>
<pre>{_commands(runs)}</pre>
<h2>Configuration</h2>
<div class="scroll">{_configuration(configs)}</div>
<h2>Versions and hardware</h2>
<div class="scroll">{_environment(configs)}</div>
</html>
"""


def _safe(text: str) -> str:
    """A text that a browser shows as it is."""
    return html_escape(visible(text, keep="\n"))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _figure(illustration: Illustration) -> str:
    caption = _safe(illustration.caption)
    image = f'<img alt="{caption}" src="{_embedded(illustration.path.read_bytes())}">'
    if illustration.narrow is not None:
        source = f'<source media="(max-width: 40rem)" srcset="{_embedded(illustration.narrow)}">'
        image = f"<picture>{source}{image}</picture>"
    return f"<figure>{image}<figcaption>{caption}</figcaption></figure>"


def _embedded(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _meanings(table: pd.DataFrame) -> str:
    """The columns of the summary that are shown, explained."""
    terms = "".join(
        f"<dt>{_safe(name)}</dt><dd>{_safe(meaning)}</dd>"
        for name, meaning in definitions(table).items()
    )
    bounds = f'<p class="note">{_INTERVALS}</p>' if " [" in readable(table).to_string() else ""
    return f"<dl>{terms}</dl>{bounds}"


def _numbers(table: pd.DataFrame) -> str:
    """A table of texts; the interval of a cell is set in grey."""
    rows = [
        [
            re.sub(r" (\[[^\[\]]+\])$", r' <span class="interval">\1</span>', _safe(text))
            for text in row
        ]
        for row in table.itertuples(index=False)
    ]
    header = [_safe(str(name)).replace("&gt; ", "&gt;&nbsp;") for name in table.columns]
    return _table(header, rows)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], kind: str = "") -> str:
    head = "".join(f"<th>{name}</th>" for name in header)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    attribute = f' class="{kind}"' if kind else ""
    return f"<table{attribute}><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _commands(runs: Sequence[Run]) -> str:
    """Every command that wrote into the runs, once each, in order."""
    found = []
    for run in runs:
        found += [
            run.config.get("command"),
            *(part.get("command") for part in run.config.get("resumed", ())),
        ]
    return _safe("\n".join(dict.fromkeys(command for command in found if command)))


def _configuration(configs: Mapping[str, Mapping[str, Any]]) -> str:
    """One row a field: a single value where all arms agree, else each arm's."""
    skip = {*RECORDED, "arm"}
    fields = dict.fromkeys(key for config in configs.values() for key in config if key not in skip)
    rows = []
    for field in fields:
        values = {arm: _shown(config.get(field)) for arm, config in configs.items()}
        rows.append([_safe(field), _merged(values)])
    return _table(["field", "value"], rows, "text")


def _environment(configs: Mapping[str, Mapping[str, Any]]) -> str:
    rows = []
    for part in ("versions", "hardware"):
        names = dict.fromkeys(key for config in configs.values() for key in config.get(part, {}))
        for name in names:
            values = {
                arm: _shown(config.get(part, {}).get(name)) for arm, config in configs.items()
            }
            rows.append([_safe(name), _merged(values)])
    return _table(["what", "value"], rows, "text")


def _merged(values: Mapping[str, str]) -> str:
    if len(set(values.values())) == 1:
        return f"<code>{_safe(next(iter(values.values())))}</code>"
    return "<br>".join(
        f"{_safe(arm)}: <code>{_safe(value)}</code>" for arm, value in values.items()
    )


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
