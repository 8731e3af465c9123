"""Pieces of HTML: texts, tables and figures, as a report's page and a leaderboard have them."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import pandas as pd

from neoteny.core.text import visible

__all__ = ["Illustration", "document", "figure", "numbers", "safe", "section", "table"]

CSS = """
:root { color-scheme: light; }
body { font: 16px/1.55 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif;
  color: #222; background: #fff; max-width: 70rem; margin: 0 auto; padding: 2.5rem 1.5rem 4rem; }
h1 { font-size: 1.7rem; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2.6rem 0 .7rem; }
.lead { color: #555; margin: .3rem 0 0; }
.answer { font-weight: 600; overflow-wrap: anywhere; }
nav { font-size: .88rem; margin: .8rem 0; line-height: 2; }
nav a { margin-right: 1rem; }
a { color: #0b5394; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .88rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: #555; padding-bottom: .3rem; }
thead th { text-align: right; font-weight: 600; border-bottom: 1.5px solid #222;
  vertical-align: bottom; white-space: normal; }
th, td { padding: .38rem .8rem .38rem 0; }
td, tbody th { text-align: right; border-bottom: 1px solid #e6e6e6; white-space: nowrap; }
th:first-child, tbody th { text-align: left; font-weight: 600; }
tbody th { white-space: normal; min-width: 6.5rem; max-width: 14rem; overflow-wrap: anywhere; }
table.text td, table.text th { text-align: left; white-space: normal; vertical-align: top; }
.interval { display: block; color: #666; font-size: .92em; }
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
  .scroll th:first-child { position: sticky; left: 0; background: #fff; padding-right: .6rem;
    max-width: 9rem; }
  table.text th:first-child { position: static; }
  table.text td { overflow-wrap: anywhere; }
  dl { display: block; }
  dd { margin: 0 0 .5rem; }
}
code { font-family: ui-monospace, "DejaVu Sans Mono", monospace; font-size: .92em;
  overflow-wrap: anywhere; }
"""


@dataclass(frozen=True)
class Illustration:
    """A figure of a page."""

    path: Path
    caption: str
    narrow: bytes | None = None
    """The figure for narrow screens, as a PNG file."""
    title: str = ""
    """Heading of its section."""


def document(title: str, body: str) -> str:
    """A whole page that needs no other file.

    Args:
        title: Title, as text.
        body: Content, as HTML.
    """
    return f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{safe(title)} · neoteny</title>
<style>{CSS}</style>
{body}
</html>
"""


def safe(text: str) -> str:
    """A text that a browser shows as it is."""
    return escape(visible(text, keep="\n"))


def anchor(title: str) -> str:
    """The name by which links find a section."""
    return re.sub(r"\W+", "-", title.lower()).strip("-")


def section(title: str, body: str) -> str:
    """A heading and what stands below it; nothing where there is nothing.

    Args:
        title: Heading, as text.
        body: Content, as HTML.
    """
    return f'<h2 id="{anchor(title)}">{safe(title)}</h2>\n{body}\n' if body else ""


def figure(illustration: Illustration) -> str:
    """A figure with its caption; narrow screens show one of their own."""
    alt = safe(f"Figure: {illustration.title or illustration.path.stem}")
    image = f'<img alt="{alt}" src="{_embedded(illustration.path.read_bytes())}">'
    if illustration.narrow is not None:
        source = f'<source media="(max-width: 40rem)" srcset="{_embedded(illustration.narrow)}">'
        image = f"<picture>{source}{image}</picture>"
    caption = safe(illustration.caption)
    return f"<figure>{image}<figcaption>{caption}</figcaption></figure>"


def _embedded(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def numbers(texts: pd.DataFrame) -> str:
    """A table of texts that scrolls sideways; the interval of a cell is set in grey.

    Args:
        texts: Texts; the first column names the rows.
    """
    rows = [
        [
            re.sub(r" (\[[^\[\]]+\])$", r' <span class="interval">\1</span>', safe(text))
            for text in row
        ]
        for row in texts.itertuples(index=False)
    ]
    header = [safe(str(name)).replace("&gt; ", "&gt;&nbsp;") for name in texts.columns]
    return f'<div class="scroll">{table(header, rows)}</div>'


def table(header: Sequence[str], rows: Sequence[Sequence[str]], kind: str = "") -> str:
    """A table whose first column names the rows.

    Args:
        header: Heads of the columns, as HTML.
        rows: Cells, as HTML.
        kind: ``"text"`` for cells of words.
    """
    head = "".join(f'<th scope="col">{name}</th>' for name in header)
    body = "".join(
        f'<tr><th scope="row">{row[0]}</th>'
        + "".join(f"<td>{cell}</td>" for cell in row[1:])
        + "</tr>"
        for row in rows
    )
    attribute = f' class="{kind}"' if kind else ""
    return f"<table{attribute}><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
