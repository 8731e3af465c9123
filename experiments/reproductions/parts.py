"""The lens as a reproduction: what part of isometry each method keeps."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from neoteny.experiments.options.arms import arms_of, labels
from neoteny.experiments.report.lens import QUANTITIES, lens_table
from neoteny.experiments.report.lens_drawing import draw_lens
from neoteny.experiments.reproductions.evidence import kept_of, verdict
from neoteny.experiments.reproductions.matches import matching
from neoteny.experiments.reproductions.reproduction import Evidence, Finding

__all__ = ["analyse", "kept_parts"]

SPECTRUM = (
    *("sigma_max", "weight_mean_square", "sigma_min"),
    *("jacobian_sigma_max", "jacobian_mean_square", "jacobian_sigma_min"),
)
"""Parts of the spectra of weights and Jacobians: largest, mean square, smallest."""


def analyse(evidence: Evidence) -> Finding:
    """Parts of the spectra that each arm keeps, and whether the paper's keeps most."""
    frame = evidence.frame
    table = lens_table(frame)
    ours = matching(evidence.runs, evidence.settings["ours"])
    kept, parts = kept_of(frame), kept_parts(table)
    short = labels(list(kept.visits["arm"].unique()))
    others = {arm: found for arm, found in parts.items() if arm != ours and "fresh" not in arm}
    most = max(map(len, others.values()))
    word = (
        "more than"
        if len(parts[ours]) > most
        else "as many as"
        if len(parts[ours]) == most
        else "fewer than"
    )
    best = ", ".join(short[arm] for arm, found in others.items() if len(found) == most)
    ahead = kept.contrast([ours], [matching(evidence.runs, "none", "relu")])
    counts = ", ".join(f"{short[arm]} {len(found)}" for arm, found in others.items())
    gain = verdict(
        ahead,
        "it keeps more of the ability to learn than Adam with ReLU",
        "it keeps less of the ability to learn than Adam with ReLU",
        "the data leave open if it keeps more of the ability to learn than Adam with ReLU",
    )
    sentence = (
        f"{short[ours]} keeps {len(parts[ours])} of {len(SPECTRUM)} parts of the spectra of "
        f"weights and Jacobians within a factor of 2 of the young network's "
        f"({', '.join(parts[ours]) or 'none'}), {word} the best of the others, {best}, with {most} "
        f"(of the others {counts}); {gain} ({ahead.text('+')} of the gain of fresh networks with "
        f"the same layers; {kept.seeds} seeds, 95 % intervals)."
    )

    def draw(path: Path, *, narrow: bool) -> str:
        names = dict(list(QUANTITIES.items())[:3]) if narrow else QUANTITIES
        draw_lens(table, names, arms_of(frame), path)
        return CAPTION

    return Finding(table, sentence, draw)


CAPTION = (
    "Each quantity of each arm. Ring: young network; dot: at the end of tasks, late in the run, "
    "blue if within a factor of 2 of the young one; bar: at their start; band: a factor of 2 "
    "around the median young network. W and J: singular values of weights and Jacobians."
)


def kept_parts(table: pd.DataFrame) -> dict[str, list[str]]:
    """The parts of the spectra that each arm keeps in every branch, with 95 % confidence."""
    whole = table[table["layer"] == "layers"]
    return {
        str(arm): [
            QUANTITIES[name]
            for name in SPECTRUM
            if set(mine.loc[mine["name"] == name, "verdict"]) == {"kept"}
        ]
        for arm, mine in whole.groupby("arm", sort=False)
    }
