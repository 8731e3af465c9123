"""Dead ReLU units under Adam, Adam with L2, and AdamO: who revives them, and from which death."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from neoteny.experiments.report.drawing import PALETTE, light_axes, save, style
from neoteny.experiments.reproductions.drawing import draw_legend, panels
from neoteny.experiments.reproductions.evidence import verdict
from neoteny.experiments.reproductions.reproduction import Evidence, Finding
from neoteny.experiments.statistics.metrics import Array, Estimate, mean_curve, mean_of_runs
from neoteny.plasticity import AdamO
from neoteny.plasticity.diagnostics import dead_fraction

__all__ = ["analyse", "curves"]

BIASES = {"dead by weights": 0.0, "and a bias of -1": -1.0, "and a bias of -3": -3.0}
"""Kinds of death, and the bias that holds down each dead unit."""
ARMS = {"Adam": (0.0, 0.0), "Adam, L2 1e-2": (0.0, 1e-2), "AdamO": (2.0, 0.0)}
"""Optimisers to isometry and the weight of an L2 penalty."""
POINTS = 40
"""Times that dead units are counted, besides before the first step."""
Curves = dict[tuple[str, str], Array]


def analyse(evidence: Evidence) -> Finding:
    """Shares of dead units that come back; settings: `steps`, `width` and `seeds`."""
    settings = evidence.settings
    seeds = range(evidence.first_seed, evidence.first_seed + settings["seeds"])
    found = {
        (death, arm): curves(bias, arm, settings["steps"], settings["width"], seeds)
        for death, bias in BIASES.items()
        for arm in ARMS
    }
    revived = {key: mean_of_runs(1 - dead[:, -1]) for key, dead in found.items()}
    ahead = {
        death: mean_of_runs(found[death, "Adam, L2 1e-2"][:, -1] - found[death, "AdamO"][:, -1])
        for death in BIASES
    }
    rows = [
        {"death": death, "arm": arm, "seeds": len(seeds)} | each.columns("revived")
        for (death, arm), each in revived.items()
    ]
    draw = partial(_draw, found, settings["steps"])
    return Finding(pd.DataFrame(rows), sentence_of(revived, ahead, len(seeds)), draw)


def curves(bias: float, arm: str, steps: int, width: int, seeds: range) -> Array:
    """Shares of dead units among those that began dead, on a task of regression.

    Args:
        bias: Of the units that begin dead.
        arm: One of `ARMS`.
        steps: Updates.
        width: Units of the layer, half of which begin dead, and its inputs.
        seeds: One a layer; all are trained at once.

    Returns:
        (seeds, counts) shares, a column for each step of `_counted_at`.
    """
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def normal(*shape: int) -> Tensor:
        return torch.stack([torch.randn(*shape, generator=each) for each in generators])

    weight = normal(width, width) / width**0.5
    weight[:, : width // 2] = -weight[:, : width // 2].abs()
    biases = torch.zeros(len(seeds), 1, width)
    biases[..., : width // 2] = bias
    inputs, targets = normal(512, width).relu(), normal(512, width)
    isometry, decay = ARMS[arm]
    parameters = [torch.nn.Parameter(weight), torch.nn.Parameter(biases)]
    groups = [
        {"params": [each], "isometry": strength, "member_dims": 1}
        for each, strength in zip(parameters, (isometry, 0.0), strict=True)
    ]
    optimizer = AdamO(groups, lr=1e-3)
    counted = []
    wanted_at = set(_counted_at(steps))
    for step in range(steps + 1):
        if step in wanted_at:
            with torch.no_grad():
                units = _layer(inputs, *parameters)[..., : width // 2]
                counted.append([dead_fraction(each).item() for each in units])
        rows = [torch.randint(512, (64,), generator=each) for each in generators]
        batch, wanted = (
            torch.stack([x[i] for x, i in zip(of, rows, strict=True)]) for of in (inputs, targets)
        )
        errors = (_layer(batch, *parameters) - wanted).square().mean((1, 2)).sum()
        loss = errors + decay * parameters[0].square().sum()
        gradients = torch.autograd.grad(loss, parameters)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        optimizer.step()
    return np.array(counted, np.float64).T


def _counted_at(steps: int) -> list[int]:
    """Steps at which dead units are counted, evenly spread from the first to the last."""
    return sorted({steps * point // POINTS for point in range(POINTS + 1)})


def _layer(inputs: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A ReLU layer for each seed: (M, N, width)."""
    return (inputs @ weight.mT + bias).relu()


def sentence_of(
    revived: Mapping[tuple[str, str], Estimate], ahead: Mapping[str, Estimate], seeds: int
) -> str:
    """Sentence on the units that AdamO revives, by the kind of death, beside those of L2."""
    parts = []
    for death in BIASES:
        ours, other = revived[death, "AdamO"], revived[death, "Adam, L2 1e-2"]
        if ours.value == other.value:
            parts.append(f"{death}: {ours.value:.0%} under both")
            continue
        word = verdict(
            ahead[death], "more than", "less than", "which leaves open if it is more than"
        )
        parts.append(f"{death}: {ours.text()}, {word} L2's {other.text()}")
    plain = max(each.value for (_, arm), each in revived.items() if arm == "Adam")
    return (
        f"Of dead ReLU units AdamO brings back these shares: {'; '.join(parts)}; Adam alone brings "
        f"back {plain:.0%} at most ({seeds} seeds, 95 % intervals)."
    )


def _draw(found: Curves, steps: int, path: Path, *, narrow: bool) -> str:
    x = _counted_at(steps)
    with style():
        figure, places = panels(narrow, 1, 1, 1, height=2.8)
        for panel, death in zip(places, BIASES, strict=True):
            light_axes(panel)
            for arm, line, colour in zip(ARMS, (":", "--", "-"), PALETTE, strict=False):
                middle, low, high = mean_curve(found[death, arm])
                panel.plot(x, middle, ls=line, color=colour, label=arm)
                panel.fill_between(x, low, high, color=colour, alpha=0.15, lw=0)
            panel.set_title(death, loc="left")
            panel.set_xlabel("updates")
            panel.set_ylim(-0.03, 1.03)
        places[0].set_ylabel("dead units, of the dead half")
        draw_legend(figure, places[-1])
        save(figure, path)
    return (
        "Share of the units that began dead and are so still, for three kinds of death. Bands are "
        "95 % t intervals over seeds."
    )
