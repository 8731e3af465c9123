"""The page of a reproduction, and the index of several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from neoteny.experiments.report import markup
from neoteny.experiments.report.illustrations import drawn
from neoteny.experiments.report.markup import Illustration, document, safe, section
from neoteny.experiments.reproductions.reproduction import Evidence, Finding, Reproduction
from neoteny.experiments.run.folders import write_atomically
from neoteny.experiments.run.provenance import command, hardware, versions

__all__ = ["Outcome", "shared", "write_index", "write_page"]

PAGE, TABLE, FIGURE = "index.html", "table.csv", "figure.png"


@dataclass(frozen=True)
class Outcome:
    """A reproduction that was carried out."""

    reproduction: Reproduction
    finding: Finding
    folder: Path
    minutes: float
    """That training took, by the clock."""

    @property
    def files(self) -> list[Path]:
        """The page, the table and the figure."""
        return [self.folder / name for name in (PAGE, TABLE, FIGURE)]


def write_page(
    folder: Path, reproduction: Reproduction, tier: str, evidence: Evidence, finding: Finding
) -> Outcome:
    """Write table.csv, figure.png and index.html into a folder that is there.

    Raises:
        RunError: If a file cannot be written.
    """
    outcome = Outcome(reproduction, finding, folder, _minutes(evidence))
    page, table, figure = outcome.files
    write_atomically(table, finding.table.to_csv(index=False))
    illustration = drawn(figure, reproduction.name, finding.draw)
    assert illustration is not None  # a finding's figure has a caption
    write_atomically(page, _page(outcome, tier, evidence, illustration))
    return outcome


def write_index(folder: Path, variant: str, outcomes: Sequence[Outcome]) -> Path:
    """Write the page that lists claims and answers, and return its path.

    Raises:
        RunError: If it cannot be written.
    """
    rows = "".join(
        section(
            each.reproduction.name,
            f'<p class="note">The paper: {safe(each.reproduction.claim)}</p>'
            f"<p><strong>{safe(each.finding.sentence)}</strong></p>"
            f'<p><a href="{safe(each.folder.name)}/{PAGE}">figure and numbers</a></p>',
        )
        for each in outcomes
    )
    path, title = folder / f"{variant}.html", "What the paper claims, and what came out"
    head = f'<h1>{title}</h1><p class="lead">{len(outcomes)} claims, {safe(variant)}</p>'
    write_atomically(path, document(title, head + rows))
    return path


def _minutes(evidence: Evidence) -> float:
    """Minutes that the recorded iterations took."""
    seconds = 0.0
    for frame in evidence.frames.values():
        seconds += float((frame["width"] / frame["charts/SPS"]).sum())
    return seconds / 60


def _page(outcome: Outcome, tier: str, evidence: Evidence, illustration: Illustration) -> str:
    each, finding = outcome.reproduction, outcome.finding
    seeds = sorted({seed for frame in evidence.frames.values() for seed in frame["seed"].unique()})
    facts = {
        "command": command(),
        "plan": f"{each.name}, version {each.version}, tier {tier}",
        "seeds": ", ".join(map(str, seeds)) or f"from {evidence.first_seed} on",
        "training": f"{outcome.minutes:.1f} minutes by the clock",
        **shared(evidence),
        **{name: str(value) for name, value in (versions() | hardware()).items()},
    }
    rows = [[safe(name), f"<code>{safe(value)}</code>"] for name, value in facts.items()]
    made = f'<div class="scroll">{markup.table(["what", "value"], rows, "text")}</div>'
    body = (
        f'<h1>{safe(each.name)}</h1><p class="lead">a published claim, at tier {tier}</p>'
        f'<p class="note">Claim ({safe(each.source)}): {safe(each.claim)}</p>'
        f"<p><strong>{safe(finding.sentence)}</strong></p>"
        f"{markup.figure(illustration)}"
        f"{section('Numbers', markup.numbers(_readable(finding.table)))}"
        f"{section('How it was made', made)}"
    )
    return document(each.name, body)


def shared(evidence: Evidence) -> dict[str, str]:
    """Stream and network of all arms where they have the same; else their names tell them apart."""
    found = [
        {
            "stream": f"{run.env}, {run.steps:,} steps",
            "activation of all arms": run.network.activation,
            "biases of all arms": "yes" if run.network.bias else "no",
            "hidden layers of all arms": " ".join(map(str, run.network.hidden)),
        }
        for run in evidence.runs.values()
    ]
    return {
        name: value
        for name, value in (found[0] if found else {}).items()
        if all(each[name] == value for each in found)
    }


def _readable(table: pd.DataFrame) -> pd.DataFrame:
    """The numbers as texts, each with its interval in brackets."""
    ends = {f"{name}_{end}" for name in table.columns for end in ("low", "high")}
    names = [name for name in table.columns if name not in ends]
    return pd.DataFrame({name: _cell(row, name) for name in names} for _, row in table.iterrows())


def _cell(row: pd.Series, name: str) -> str:
    value = row[name]
    if isinstance(value, str):
        return value
    if pd.isna(value):
        return "-"
    text = f"{value:,}" if float(value).is_integer() else f"{value:.3g}"
    low, high = row.get(f"{name}_low"), row.get(f"{name}_high")
    if low is None or pd.isna(low):
        return text
    return f"{text} [{low:.3g}, {high:.3g}]"
