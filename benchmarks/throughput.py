"""Environment steps per second of training with PPO, beside rejax and Stable-Baselines3.

PEER_PYTHON=... make bench
python benchmarks/throughput.py --peer-python PATH --out results/speed

The preset `paper` on Breakout padded to 10 x 10 x 10: 2,048 lanes, 128 steps, 4 epochs of 128
minibatches, separate policy and value networks of four layers. All contenders of one width take
turns, window by window. rejax 0.1.3 (Adam and ReLU) plays gymnax 0.0.9's Breakout with the same
padding in the interpreter that `--peer-python` names; Stable-Baselines3 plays the `minatar`
package's Breakout in 8 environments on the host.
Run it with nothing else on the machine: torch's threads wait for each other busily.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import pandas as pd
import tyro
from _measure import Contender, local, prepare, summarize, take_turns
from _peer import Peer
from _publish import Report, bars, canvas, publish, rate_columns
from _work import How, Training, sb3_training
from matplotlib.figure import Figure

ARMS = {"Adam": ("adam", "relu"), "AdamO": ("adamo", "groupsort")}
LABELS = ["width", "contender", "path"]
PEERS = ("rejax", "SB3")


@dataclass(frozen=True)
class Config:
    """What to measure."""

    windows: int = 5
    """Timed windows of each contender, after one that is not counted."""
    lanes: int = 2048
    """Parallel environments of one member."""
    steps: int = 128
    """Steps in each lane a window, and minibatches a pass, each of one sample a lane."""
    members: int = 1
    """Members trained together; peers train one."""
    widths: tuple[int, ...] = (64, 256)
    """Widths of the four hidden layers."""
    arms: tuple[Literal["Adam", "AdamO"], ...] = ("Adam", "AdamO")
    """Adam with ReLU and biases, AdamO with GroupSort and none."""
    paths: tuple[How, ...] = ("fp32", "bf16", "plain")
    """How PPO computes: the two precisions, and the two plain paths; on a GPU also CUDA graphs."""
    threads: int | None = None
    """Threads for CPU arithmetic, also of the peers; unset, all cores."""
    device: str = "cpu"
    """Device of environments and networks."""
    peer_python: Path | None = None
    """Interpreter with rejax and gymnax (the extra `jax`); unset, rejax is left out."""
    sb3: bool = True
    """Whether to measure Stable-Baselines3, which needs the package `minatar`."""
    out: Path | None = None
    """Folder for the table, the CSV and the figure; unset, they are only printed."""
    quick: bool = False
    """Try everything out on tiny sizes."""


def contenders(config: Config, width: int, peer: Peer | None) -> list[Contender]:
    """Everything of one width."""
    base = Training(width, 4, config.lanes, config.steps, config.members, device=config.device)
    found = []
    for arm in config.arms:
        optimizer, activation = ARMS[arm]
        for path in config.paths:
            work = replace(base, optimizer=optimizer, activation=activation, path=path)
            labels = {"width": width, "contender": f"neoteny {arm}", "path": path}
            found.append(Contender(labels, local(work.iteration(), config.device)))
    if peer is not None:
        options = {
            "game": "Breakout",
            "width": width,
            "depth": base.depth,
            "lanes": config.lanes,
            "steps": config.steps,
            "minibatches": config.steps,
        }
        labels = {"width": width, "contender": "rejax", "path": "fp32"}
        found.append(Contender(labels, peer.window("rejax_ppo", **options)))
    if config.sb3:
        labels = {"width": width, "contender": "SB3", "path": "fp32"}
        found.append(Contender(labels, local(sb3_training(base))))
    return found


def with_ratios(summary: pd.DataFrame) -> pd.DataFrame:
    """Add how many times a peer's steps per second each contender reaches at its width."""
    summary = summary.copy()
    for peer in PEERS:
        rates = summary[summary["contender"] == peer].set_index("width")["median"]
        if len(rates):
            summary[f"times {peer}"] = summary["median"] / summary["width"].map(rates)
    return summary


def draw(summary: pd.DataFrame) -> Figure:
    """Steps per second, one panel a width."""
    widths = summary["width"].unique()
    figure, panels = canvas(len(widths), 1, 7.0, 0.6 + 0.25 * len(summary))
    for panel, width in zip(panels, widths, strict=True):
        own = summary[summary["width"] == width]
        names = (own["contender"] + ", " + own["path"]).tolist()
        bars(panel, names, own, own["contender"].isin(PEERS).tolist())
        panel.set_title(f"4 layers of {width}", loc="left")
    panels[-1].set_xlabel("env steps/s, learning included")
    return figure


def main(config: Config) -> None:
    """Measure, print and write."""
    if config.quick:
        config = replace(config, windows=1, lanes=32, steps=4, widths=(8,))
    prepare(config.threads)
    with ExitStack() as stack:
        peer = None
        if config.peer_python is not None:
            peer = stack.enter_context(Peer(config.peer_python, config.threads))
        groups = [
            take_turns(contenders(config, width, peer), config.windows) for width in config.widths
        ]
    windows = pd.concat(groups, ignore_index=True)
    summary = with_ratios(summarize(windows, LABELS))
    publish(
        Report(
            "training",
            "PPO on padded Breakout: env steps/s, learning included",
            rate_columns(summary, "env steps/s"),
            config,
            windows,
            peer.versions if peer else {},
            lambda: draw(summary),
        )
    )


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
