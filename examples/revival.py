"""Dead ReLU units under Adam, Adam with L2, and AdamO: who revives them, and from which death.

python examples/revival.py --out results/revival

Half of a layer's units get no input above 0, so that the task gives them no gradient. They are dead
by their weights (all below 0, on inputs that are not), by a bias of -1 beside such weights, or by a
bias of -3, which is more than weights of an isometry can lift. The isometry step removes the
overlap of their rows with other rows, which turns them until some input excites them; L2 only
shrinks them.
"""

import argparse
import csv
from pathlib import Path

import torch
from matplotlib.figure import Figure

from neoteny.plasticity import AdamO
from neoteny.plasticity.diagnostics import dead_fraction

WIDTH = 128
"""Units of the layer, and its inputs."""
BIASES = {"dead by weights": 0.0, "with a bias of -1": -1.0, "with a bias of -3": -3.0}
ARMS = {
    "Adam": {"isometry": 0.0, "decay": 0.0},
    "Adam, L2 1e-2": {"isometry": 0.0, "decay": 1e-2},
    "AdamO": {"isometry": 2.0, "decay": 0.0},
}


def dead_layer(bias: float, seed: int) -> torch.nn.Linear:
    """A layer whose first half is dead: rows below 0 and this bias, which both hold it down."""
    generator = torch.Generator().manual_seed(seed)
    layer = torch.nn.Linear(WIDTH, WIDTH)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(WIDTH, WIDTH, generator=generator) / WIDTH**0.5)
        layer.weight[: WIDTH // 2] = -layer.weight[: WIDTH // 2].abs()
        layer.bias.zero_()
        layer.bias[: WIDTH // 2] = bias
    return layer


def train(bias: float, arm: str, steps: int, every: int, seed: int = 0) -> list[tuple[int, float]]:
    """Steps and the share of dead units among those that began dead, on a task of regression."""
    generator = torch.Generator().manual_seed(seed + 1)
    inputs = torch.randn(512, WIDTH, generator=generator).relu()
    targets = torch.randn(512, WIDTH, generator=generator)
    layer, settings = dead_layer(bias, seed), ARMS[arm]
    groups = [
        {"params": [layer.weight], "isometry": settings["isometry"]},
        {"params": [layer.bias], "isometry": 0.0},
    ]
    optimizer = AdamO(groups, lr=1e-3)
    curve = []
    for step in range(steps + 1):
        if step % every == 0:
            with torch.no_grad():
                units = layer(inputs).relu()[:, : WIDTH // 2]
                curve.append((step, dead_fraction(units.abs()).item()))
        rows = torch.randint(len(inputs), (64,), generator=generator)
        loss = (layer(inputs[rows]).relu() - targets[rows]).square().mean()
        penalty = settings["decay"] * layer.weight.square().sum()
        optimizer.zero_grad()
        (loss + penalty).backward()
        optimizer.step()
    return curve


def draw(curves: dict[tuple[str, str], list[tuple[int, float]]]) -> Figure:
    """A panel for each kind of death, a line for each optimiser."""
    figure = Figure(figsize=(9, 2.8), layout="constrained")
    panels = figure.subplots(1, len(BIASES), sharey=True)
    for panel, death in zip(panels, BIASES, strict=True):
        for arm in ARMS:
            steps, dead = zip(*curves[death, arm], strict=True)
            panel.plot(steps, dead, label=arm, ls="--" if arm.startswith("Adam,") else "-")
        panel.set_title(death, loc="left")
        panel.set_xlabel("updates")
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("dead units, of the dead half")
    panels[0].set_ylim(-0.03, 1.03)
    panels[-1].legend(frameon=False)
    return figure


def main() -> None:
    """Train each optimiser on each kind of death, print what is left dead, and draw it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--out", type=Path, help="folder for revival.csv and revival.png")
    options = parser.parse_args()
    every = max(1, options.steps // 40)
    curves = {
        (death, arm): train(bias, arm, options.steps, every)
        for death, bias in BIASES.items()
        for arm in ARMS
    }
    for (death, arm), curve in curves.items():
        print(f"{death:20} {arm:15} {curve[-1][1]:4.0%} dead after {curve[-1][0]} updates")
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
        draw(curves).savefig(options.out / "revival.png", dpi=150)
        with (options.out / "revival.csv").open("w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(("death", "arm", "step", "dead"))
            writer.writerows((*key, *point) for key, curve in curves.items() for point in curve)


if __name__ == "__main__":
    main()
