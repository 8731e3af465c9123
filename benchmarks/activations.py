"""GroupSort's time against ReLU's, forward and backward.

python benchmarks/activations.py --out results/speed

Once as the kernels of the stacked network, which write in place (`kernel`), and once as functions
of autograd for anybody's network (`autograd`, whose tape both activations pay for).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import pandas as pd
import torch
import tyro
from _measure import Contender, local, paired_ratio, prepare, summarize, take_turns
from _publish import Report, bars, canvas, publish, rate_columns
from matplotlib.figure import Figure
from torch import Tensor

from neoteny.agents.stacked import KERNELS
from neoteny.plasticity.layers import ACTIVATIONS

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
ROUTES = ("kernel", "autograd")
LABELS = ["route", "precision", "width", "activation"]


@dataclass(frozen=True)
class Config:
    """What to measure."""

    widths: tuple[int, ...] = (64, 256)
    """Units of the layer."""
    batch: int = 2048
    """Rows of the layer."""
    branches: int = 2
    """Networks that are computed together: policy and value."""
    precisions: tuple[Literal["fp32", "bf16"], ...] = ("fp32", "bf16")
    """Types of the layer."""
    activations: tuple[str, ...] = ("relu", "groupsort")
    """What to compare, the first one with the others; kernels of the stacked network."""
    repeats: int = 300
    """Forward and backward passes a window."""
    windows: int = 9
    """Timed windows of each contender, after one that is not counted."""
    threads: int | None = None
    """Threads for CPU arithmetic; unset, torch decides."""
    device: str = "cpu"
    """Device of the layer."""
    out: Path | None = None
    """Folder for the table, the CSV and the figure; unset, they are only printed."""
    quick: bool = False
    """Try everything out on tiny sizes."""


def kernel(name: str, z: Tensor, grad: Tensor) -> Callable[[], None]:
    """A pass through a kernel of the stacked network."""
    own = KERNELS[name]

    def run() -> None:
        _, kept = own.forward(z)
        own.backward(grad, kept)

    return run


def autograd(name: str, z: Tensor, grad: Tensor) -> Callable[[], None]:
    """A pass through the activation as autograd takes it."""
    function = ACTIVATIONS[name].function
    z = z.requires_grad_()

    def run() -> None:
        torch.autograd.grad(function(z), z, grad)

    return run


def contenders(config: Config, width: int, precision: str) -> list[Contender]:
    """Every activation by both routes."""
    shape = (config.branches, config.batch, width)
    found = []
    for route, build in zip(ROUTES, (kernel, autograd), strict=True):
        for name in config.activations:
            z, grad = torch.randn(2, *shape, device=config.device).to(DTYPES[precision])
            run = build(name, z.clone(), grad.clone())

            def window(run: Callable[[], None] = run) -> int:
                for _ in range(config.repeats):
                    run()
                return config.repeats

            labels = {"route": route, "precision": precision, "width": width, "activation": name}
            found.append(Contender(labels, local(window, config.device)))
    return found


def with_ratios(summary: pd.DataFrame, windows: pd.DataFrame) -> pd.DataFrame:
    """Add each activation's time over that of the first one, window by window."""
    keys = LABELS[:-1]
    first = summary["activation"].iloc[0]
    ratios = []
    for row in summary.to_dict("records"):
        same = (windows[keys] == [row[key] for key in keys]).all(axis=1)
        name = windows["activation"]
        ratios.append(
            paired_ratio(windows, same & (name == row["activation"]), same & (name == first))
        )
    columns = [f"time / {first}", "lowest ratio", "highest ratio"]
    summary = summary.drop(columns="first_call").assign(microseconds=1e6 / summary["median"])
    return summary.assign(**dict(zip(columns, zip(*ratios, strict=True), strict=True)))


def draw(summary: pd.DataFrame) -> Figure:
    """Microseconds of a pass."""
    figure, panels = canvas(1, 1, 7.0, 0.9 + 0.25 * len(summary))
    names = summary[LABELS].astype(str).agg(", ".join, axis=1).tolist()
    bars(panels[0], names, summary, (summary["activation"] == "relu").tolist())
    panels[0].set_xlabel("passes/s, forward and backward")
    return figure


def main(config: Config) -> None:
    """Measure, print and write."""
    if config.quick:
        config = replace(config, widths=(8,), batch=16, repeats=3, windows=2)
    prepare(config.threads)
    windows = pd.concat(
        [
            take_turns(contenders(config, width, precision), config.windows)
            for precision in config.precisions
            for width in config.widths
        ],
        ignore_index=True,
    )
    summary = with_ratios(summarize(windows, LABELS), windows)
    title = f"Activations of {config.branches} x {config.batch} x width: forward and backward"
    publish(
        Report(
            "activations",
            title,
            rate_columns(summary, "passes/s"),
            config,
            windows,
            figure=lambda: draw(summary),
        )
    )


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
