"""Convolutions of M members: grouped, grouped with filled channels, unfolded.

python benchmarks/convolutions.py --out results/speed

Forward and backward of the convolutions that networks for MinAtar and MiniGrid begin with. The
first reads the observation and needs no gradient of its input. `filled` is what networks use:
groups whose channels are filled up with zeros to a multiple of 8 on a CPU. `unfolded` gathers
patches for one batched product a layer, and the same again for the gradient of the input.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import torch.nn.functional as F
import tyro
from _measure import Contender, local, paired_ratio, prepare, summarize, take_turns
from _publish import Report, canvas, publish, rate_columns
from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter
from torch import Tensor

from neoteny.experiments.drawing import GREY, PALETTE, quiet
from neoteny.plasticity.layers import IsoConv2d

LABELS = ["layer", "members", "batch", "route"]

LAYERS = {
    "Breakout, first": (4, 10, 16, False),
    "Freeway, first": (7, 10, 16, False),
    "second": (16, 8, 16, True),
}
"""Name to input channels, side, output channels, and whether the input needs a gradient."""


@dataclass(frozen=True)
class Config:
    """What to measure."""

    members: tuple[int, ...] = (1, 4, 8)
    """Members of a layer."""
    batches: tuple[int, ...] = (128, 512, 2048)
    """Samples of each member."""
    kernel: int = 3
    """Side of the kernel."""
    samples: int = 16384
    """Samples a window, over all members."""
    windows: int = 7
    """Timed windows of each contender, after one that is not counted."""
    threads: int | None = None
    """Threads for CPU arithmetic; unset, torch decides."""
    device: str = "cpu"
    """Device of the layers."""
    out: Path | None = None
    """Folder for the table, the CSV and the figure; unset, they are only printed."""
    quick: bool = False
    """Try everything out on tiny sizes."""


def grouped(x: Tensor, layer: IsoConv2d) -> Tensor:
    """Members as groups of channels, as they are."""
    assert layer.bias is not None
    samples, weight, bias = x.transpose(0, 1).flatten(1, 2), layer.weight, layer.bias.flatten()
    out = F.conv2d(samples, weight.flatten(0, 1), bias, groups=len(weight))
    return out.unflatten(1, (len(weight), -1)).transpose(0, 1)


class _Unfolded(torch.autograd.Function):
    """Patches times kernels, a batched product over members."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        patches, shape = _patches(x, weight.shape[-1], 0)
        ctx.save_for_backward(patches, weight)
        out = torch.baddbmm(bias.unsqueeze(1), patches, weight.permute(0, 3, 4, 2, 1).flatten(1, 3))
        return out.view(*shape, -1).movedim(-1, 2)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        patches, weight = ctx.saved_tensors
        members, out, inputs, side, _ = weight.shape
        rows = grads[0].movedim(2, -1).flatten(1, 3)
        d_weight = (patches.mT @ rows).view(members, side, side, inputs, out).permute(0, 4, 3, 1, 2)
        d_x = None
        if ctx.needs_input_grad[0]:
            around, shape = _patches(grads[0], side, side - 1)
            kernel = weight.flip((3, 4)).permute(0, 3, 4, 1, 2).flatten(1, 3)
            d_x = (around @ kernel).view(*shape, -1).movedim(-1, 2)
        return d_x, d_weight, rows.sum(1)


def _patches(x: Tensor, side: int, padding: int) -> tuple[Tensor, tuple[int, ...]]:
    """Patches (M, B * H' * W', side * side * channels) of images, and (M, B, H', W')."""
    x = F.pad(x, (padding,) * 4).movedim(2, -1)
    windows = x.unfold(2, side, 1).unfold(3, side, 1).movedim(4, -1)
    return windows.flatten(4).flatten(1, 3), windows.shape[:4]


def unfolded(x: Tensor, layer: IsoConv2d) -> Tensor:
    """Patches times kernels."""
    out: Tensor = _Unfolded.apply(x, layer.weight, layer.bias)  # type: ignore[no-untyped-call]
    return out


ROUTES: dict[str, Callable[[Tensor, IsoConv2d], Tensor]] = {
    "filled": lambda x, layer: layer(x),
    "grouped": grouped,
    "unfolded": unfolded,
}
"""The layer's own route first. Each gets and gives images as it lays them out in memory."""


def contenders(config: Config, name: str, members: int, batch: int) -> list[Contender]:
    """Every route through one layer, which must agree."""
    channels, side, out, differentiable = LAYERS[name]
    layer = IsoConv2d(channels, out, config.kernel, members=members).to(config.device)
    x = torch.randn(batch, members, channels, side, side, device=config.device).transpose(0, 1)
    expected = layer(x).detach()
    found = []
    for route, apply in ROUTES.items():
        own = x
        if route == "unfolded":
            own = x.movedim(2, -1).contiguous().movedim(-1, 2)
        torch.testing.assert_close(apply(own, layer), expected, rtol=1e-3, atol=1e-3)
        own = own.requires_grad_(differentiable)
        wanted = [layer.weight, layer.bias, *([own] if differentiable else [])]
        passes = max(1, config.samples // (members * batch))

        def window(
            apply: Any = apply, own: Tensor = own, wanted: Any = wanted, passes: int = passes
        ) -> int:
            for _ in range(passes):
                torch.autograd.grad(apply(own, layer).relu().sum(), wanted)
            return passes * members * batch

        labels = {"layer": name, "members": members, "batch": batch, "route": route}
        found.append(Contender(labels, local(window, config.device)))
    return found


def with_ratios(summary: pd.DataFrame, windows: pd.DataFrame) -> pd.DataFrame:
    """Add each route's time over that of the layer's own route, window by window."""
    keys, first = LABELS[:-1], next(iter(ROUTES))
    ratios = []
    for row in summary.to_dict("records"):
        same = (windows[keys] == [row[key] for key in keys]).all(axis=1)
        name = windows["route"]
        ratios.append(paired_ratio(windows, same & (name == row["route"]), same & (name == first)))
    columns = [f"time / {first}", "lowest ratio", "highest ratio"]
    return summary.drop(columns="first_call").assign(
        **dict(zip(columns, zip(*ratios, strict=True), strict=True))
    )


def draw(summary: pd.DataFrame) -> Figure:
    """Time over that of the layer's own route, one panel a layer, with the range of the windows."""
    first, *others = ROUTES
    cases = summary[["members", "batch"]].drop_duplicates().to_numpy().tolist()
    layers = summary["layer"].unique()
    figure, panels = canvas(1, len(layers), 1.5 + 2.5 * len(layers), 1.2 + 0.25 * len(cases))
    for panel, layer in zip(panels, layers, strict=True):
        quiet(panel, ())
        panel.axvline(1, color=GREY, lw=1)
        for route, colour in zip(others, PALETTE, strict=False):
            rows = summary[(summary["layer"] == layer) & (summary["route"] == route)]
            places = range(len(rows))
            panel.hlines(places, rows["lowest ratio"], rows["highest ratio"], color=colour, lw=1)
            panel.plot(rows[f"time / {first}"], places, "o", color=colour, ms=5, label=route)
        panel.sharex(panels[0])
        panel.set_xscale("log", base=2)
        panel.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        panel.set_ylim(len(cases) - 0.5, -0.5)
        names = [f"{members} x {batch:,}" for members, batch in cases]
        panel.set_yticks(range(len(cases)), names if panel is panels[0] else [""] * len(cases))
        panel.set_title(layer, loc="left")
        panel.set_xlabel(f"time, times that of {first}")
    panels[0].set_ylabel("members x minibatch")
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper left", ncols=len(names), frameon=False)
    return figure


def main(config: Config) -> None:
    """Measure, print and write."""
    if config.quick:
        config = replace(config, members=(1, 2), batches=(4,), samples=16, windows=2)
    prepare(config.threads)
    windows = pd.concat(
        [
            take_turns(contenders(config, name, members, batch), config.windows)
            for name in LAYERS
            for members in config.members
            for batch in config.batches
        ],
        ignore_index=True,
    )
    summary = with_ratios(summarize(windows, LABELS), windows)
    title = f"Convolutions of {config.kernel} x {config.kernel}: forward and backward"
    publish(
        Report(
            "convolutions",
            title,
            rate_columns(summary, "samples/s"),
            config,
            windows,
            figure=lambda: draw(summary),
        )
    )


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
