"""Environment steps per second of stepping games alone, beside gymnax.

PEER_PYTHON=... make bench
python benchmarks/environments.py --families minatar classic --peer-python PATH --out results/speed

Random actions drawn beforehand, observation and autoreset included. MinAtar is played as gymnax
plays it: minimal actions, none of them sticky, 1,000 steps at most, unpadded. All contenders of
one game and number of lanes take turns, window by window.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch
import tyro
from _measure import Contender, local, summarize, take_turns
from _peer import Peer
from _publish import Report, bars, canvas, publish, rate_columns
from _work import LIMIT, stepping
from matplotlib.figure import Figure

LABELS = ["game", "lanes", "contender"]


class Game(NamedTuple):
    """One of our ids and the peer that has the same game."""

    id: str
    peer: tuple[str, str] | None = None
    """A module of `benchmarks/peers` and its name of the game."""
    options: dict[str, Any] = {}  # noqa: RUF012 - read only


FAMILIES: dict[str, tuple[Game, ...]] = {
    "minatar": tuple(
        Game(
            f"MinAtar-{name}-v1",
            ("gymnax_steps", f"{name}-MinAtar") if name != "Seaquest" else None,
            {"max_steps": LIMIT, "sticky": 0.0},
        )
        for name in ("Breakout", "Asterix", "Freeway", "SpaceInvaders", "Seaquest")
    ),
    "classic": tuple(
        Game(name, ("gymnax_steps", name))
        for name in ("CartPole-v1", "Acrobot-v1", "MountainCar-v0", "Pendulum-v1")
    ),
    "minigrid": tuple(
        Game(f"MiniGrid-{name}-v0")
        for name in ("Empty-8x8", "DoorKey-8x8", "FourRooms", "Dynamic-Obstacles-8x8")
    ),
}
"""Games by family; gymnax 0.0.9 has no Seaquest, and no MiniGrid."""


@dataclass(frozen=True)
class Config:
    """What to measure."""

    families: tuple[str, ...] = ("minatar",)
    """Families of games: minatar, classic, minigrid."""
    lanes: tuple[int, ...] = (2048, 8192)
    """Parallel environments."""
    steps: int = 100
    """Steps of all lanes a window."""
    windows: int = 5
    """Timed windows of each contender, after one that is not counted."""
    threads: int | None = None
    """Threads for CPU arithmetic, also of the peers; unset, all cores."""
    device: str = "cpu"
    """Device of our environments; peers take JAX's default."""
    peer_python: Path | None = None
    """Interpreter with gymnax 0.0.9 (the extra `jax`); unset, it is left out."""
    out: Path | None = None
    """Folder for the table, the CSV and the figure; unset, they are only printed."""
    quick: bool = False
    """Try everything out on tiny sizes."""


def contenders(config: Config, game: Game, lanes: int, peer: Peer | None) -> list[Contender]:
    """Our game, and the peer's where it has one."""
    labels = {"game": game.id, "lanes": lanes}
    work = stepping(game.id, lanes, config.steps, config.device, **game.options)
    found = [Contender({**labels, "contender": "neoteny"}, local(work, config.device))]
    if peer is not None and game.peer is not None:
        module, name = game.peer
        window = peer.window(module, env=name, lanes=lanes, steps=config.steps)
        found.append(Contender({**labels, "contender": module.partition("_")[0]}, window))
    return found


def with_ratios(summary: pd.DataFrame) -> pd.DataFrame:
    """Add how many times the peer's steps per second we reach in the same game and lanes."""
    keys = ["game", "lanes"]
    theirs = summary[summary["contender"] != "neoteny"].set_index(keys)["median"]
    summary = summary.copy()
    if len(theirs):
        ratio = (
            summary.set_index(keys)["median"]
            / theirs.reindex(pd.MultiIndex.from_frame(summary[keys])).to_numpy()
        )
        summary["times peer"] = ratio.to_numpy()
    return summary


def draw(summary: pd.DataFrame) -> Figure:
    """Steps per second, one panel a number of lanes."""
    lanes = summary["lanes"].unique()
    figure, panels = canvas(1, len(lanes), 4.5 * len(lanes), 0.9 + 0.25 * len(summary) / len(lanes))
    for panel, count in zip(panels, lanes, strict=True):
        own = summary[summary["lanes"] == count]
        names = (own["game"] + ", " + own["contender"]).tolist()
        bars(panel, names, own, (own["contender"] != "neoteny").tolist())
        panel.set_title(f"{count:,} lanes", loc="left")
        panel.set_xlabel("env steps/s")
    return figure


def main(config: Config) -> None:
    """Measure, print and write."""
    if unknown := set(config.families) - set(FAMILIES):
        raise ValueError(f"no family {sorted(unknown)}: use {', '.join(FAMILIES)}")
    if config.quick:
        config = replace(config, windows=1, lanes=(16,), steps=3)
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    with ExitStack() as stack:
        peer = None
        if config.peer_python is not None:
            peer = stack.enter_context(Peer(config.peer_python, config.threads))
        windows = pd.concat(
            [
                take_turns(contenders(config, game, lanes, peer), config.windows)
                for family in config.families
                for game in FAMILIES[family]
                for lanes in config.lanes
            ],
            ignore_index=True,
        )
    summary = with_ratios(summarize(windows, LABELS))
    publish(
        Report(
            "environments",
            "Stepping games with random actions: env steps/s, observation included",
            rate_columns(summary, "env steps/s"),
            config,
            windows,
            peer.versions if peer else {},
            lambda: draw(summary),
        )
    )


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
