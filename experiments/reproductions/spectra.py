"""Spectra of the tangent kernel and of Jacobians over tasks, beside what arms keep."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter
from scipy import stats

from neoteny.experiments.options.arms import arms_of
from neoteny.experiments.report.drawing import light_axes, looks, save, style
from neoteny.experiments.report.lens import lens_table
from neoteny.experiments.reproductions.drawing import draw_legend, panels
from neoteny.experiments.reproductions.evidence import Kept, kept_of, verdict
from neoteny.experiments.reproductions.matches import matching
from neoteny.experiments.reproductions.reproduction import Evidence, Finding
from neoteny.experiments.statistics.metrics import Estimate
from neoteny.experiments.statistics.switches import LAST, by_branch, switch_values
from neoteny.experiments.statistics.visits import in_last_third

__all__ = ["analyse"]

SHOWN = {
    "kernel_condition": "condition of the tangent kernel",
    "jacobian_log_spread": "spread of Jacobians",
}
"""Diagnostics, and their names in figures."""


def analyse(evidence: Evidence) -> Finding:
    """Growth of the kernel's condition in each arm, and whether it goes with what is lost."""
    frame = evidence.frame
    kept = kept_of(frame)
    ours = matching(evidence.runs, evidence.settings["ours"])
    plain = matching(evidence.runs, "none", "relu")
    values = by_branch(switch_values(frame))
    values = values[(values["place"] == LAST) & values["name"].isin(list(SHOWN))]
    lens = lens_table(frame)
    growth = lens[(lens["layer"] == "network") & (lens["name"] == "kernel_condition")]
    growth = growth.groupby("arm")[["change", "change_low", "change_high"]].mean()
    table = kept.table(evidence.runs)
    for end in ("", "_low", "_high"):
        column = np.exp(growth[f"change{end}"])
        table[f"condition grown by{end}"] = column.reindex(list(evidence.runs)).to_numpy()
    each = {arm: Estimate(*growth.loc[arm]) for arm in (ours, plain)}
    sentence = _sentence(kept, each, ours, plain, _relation(kept, values))
    return Finding(table, sentence, partial(_draw, kept, values))


def _relation(kept: Kept, values: pd.DataFrame) -> tuple[float, float, int]:
    """Rank correlation of condition and share late in the stream over runs, its p-value, runs."""
    late = values[in_last_third(values["visit"])]
    logs = late[late["name"] == "kernel_condition"].assign(value=lambda x: np.log(x["value"]))
    condition = logs.groupby(["arm", "seed"])["value"].mean()
    gains = pd.Series(kept.shares.unstack(), name="gain")
    both = pd.concat([condition, gains], axis=1).dropna()
    fresh = {arm.name for arm in arms_of(kept.visits) if arm.role == "fresh"}
    both = both[~both.index.get_level_values(0).isin(fresh)]
    found = stats.spearmanr(both["value"], both["gain"])
    return float(found.statistic), float(found.pvalue), len(both)


def _sentence(
    kept: Kept,
    growth: dict[str, Estimate],
    ours: str,
    plain: str,
    relation: tuple[float, float, int],
) -> str:
    words = {
        arm: verdict(each, "grows", "falls", "is not shown to change")
        for arm, each in growth.items()
    }
    factor = {arm: Estimate(*map(float, np.exp(each))).text() for arm, each in growth.items()}
    rho, p, runs = relation
    tie = (
        "those with a worse condition keep less"
        if rho < 0 and p < 0.05
        else "those with a worse condition keep more"
        if rho > 0 and p < 0.05
        else "the condition does not tell which keep more"
    )
    ahead = kept.contrast([ours], [plain])
    kind = verdict(
        ahead,
        "which keeps more of the ability to learn",
        "which keeps less of the ability to learn",
        "which leaves open if it keeps more of the ability to learn",
    )
    return (
        f"From the first task to the last third, the condition of the tangent kernel "
        f"{words[plain]} under Adam with ReLU (factor {factor[plain]}) and {words[ours]} under "
        f"{kept.labels[ours]} (factor {factor[ours]}), {kind} "
        f"({ahead.text('+')} of the gain of fresh networks with the same layers; {kept.seeds} "
        f"seeds, 95 % intervals); over the {runs} runs of all arms {tie} "
        f"(rank correlation {rho:+.2f}, p = {p:.2g})."
    )


def _draw(kept: Kept, values: pd.DataFrame, path: Path, *, narrow: bool) -> str:
    with style():
        figure, places = panels(narrow, 1, 1)
        for panel, (name, label) in zip(places, SHOWN.items(), strict=True):
            light_axes(panel)
            mine = values[values["name"] == name]
            for arm, look in looks(arms_of(kept.visits)).items():
                runs = mine[mine["arm"] == arm].groupby(["visit", "seed"])["value"].median()
                line = runs.groupby("visit").median()
                panel.plot(line.index + 1, line, **look.drawn, ms=4, label=look.label)
            panel.set_xlabel("task")
            panel.set_title(label, loc="left")
            if name == "kernel_condition":
                panel.set_yscale("log")
                panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
                panel.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
                panel.yaxis.set_minor_formatter(NullFormatter())
        draw_legend(figure, places[-1])
        save(figure, path)
    return (
        "At the end of each task: condition number of the empirical tangent kernel, and spread of "
        "the logarithms of the singular values of hidden layers' Jacobians; medians over branches, "
        "layers and seeds."
    )
