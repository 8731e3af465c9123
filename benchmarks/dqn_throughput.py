"""Environment steps per second of training with DQN, beside rejax.

PEER_PYTHON=... make bench
python benchmarks/dqn_throughput.py --peer-python PATH --out results/speed

Double DQN on Breakout as gymnax plays it: minimal actions, none of them sticky, 1,000 steps at
most. Ours is wrapped as the training command wraps it, episode statistics included; rejax 0.1.3
plays gymnax 0.0.9 in the interpreter that `--peer-python` names. Both have the same network,
minibatch, replay and number of gradient steps, which are timed with the playing; evaluations are
left out. All contenders of one network and number of steps an update take turns, window by window.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import tyro
from _measure import Contender, local, paired_ratio, prepare, summarize, take_turns
from _peer import Peer
from _publish import Report, bars, canvas, publish, rate_columns
from _work import LIMIT
from matplotlib.figure import Figure

from neoteny.agents import DQN, DQNConfig, NetworkSpec
from neoteny.plasticity.interventions import make_interventions
from neoteny.wrappers.statistics import EpisodeStatistics
from neoteny.wrappers.streams import make_stream

LABELS = ["network", "steps an update", "contender"]
REPLAY, STARTS, TARGET = 131_072, 4_096, 8_192
"""Transitions kept, those there are before learning, and steps between copies to the target."""


@dataclass(frozen=True)
class Config:
    """What to measure."""

    networks: tuple[str, ...] = ("64x64", "64x64x64x64")
    """Widths of the hidden layers, joined by x."""
    frequencies: tuple[int, ...] = (128, 32)
    """Environment steps of one member for each gradient step; each divides `lanes`."""
    lanes: int = 128
    """Parallel environments of one member."""
    steps: int = 512
    """Steps in each lane a window."""
    batch_size: int = 128
    """Transitions of one member in a minibatch."""
    members: tuple[int, ...] = (1, 8)
    """Members trained together, each a contender; rejax trains one."""
    windows: int = 7
    """Timed windows of each contender, after one that is not counted."""
    threads: int | None = None
    """Threads for CPU arithmetic, also of the peer; unset, all cores."""
    device: str = "cpu"
    """Device of environments and networks."""
    peer_python: Path | None = None
    """Interpreter with rejax and gymnax (the extra `peers`); unset, rejax is left out."""
    out: Path | None = None
    """Folder for the table, the CSV and the figure; unset, they are only printed."""
    quick: bool = False
    """Try everything out on tiny sizes."""


def training(
    config: Config, hidden: tuple[int, ...], every: int, members: int
) -> Callable[[], int]:
    """An iteration of our agent, which returns the steps that all members took."""
    hyper = DQNConfig(
        num_envs=config.lanes,
        num_steps=config.steps,
        batch_size=config.batch_size,
        train_frequency=every,
        learning_starts=STARTS,
        replay_size=REPLAY,
        target_frequency=TARGET,
    )
    stream = make_stream(
        "MinAtar-Breakout-v1",
        config.lanes,
        members,
        config.device,
        sticky=0.0,
        max_steps=LIMIT,
    )
    envs = EpisodeStatistics(stream)
    agent = DQN(envs, hyper, NetworkSpec(hidden), make_interventions(["none"]), range(members))

    def iterate() -> int:
        agent.iterate(envs)
        envs.collect()
        return hyper.steps_per_iteration * members

    return iterate


def contenders(config: Config, network: str, every: int, peer: Peer | None) -> list[Contender]:
    """Everything of one network and number of steps an update."""
    hidden = tuple(int(width) for width in network.split("x"))
    labels = {"network": network, "steps an update": every}
    found = []
    for members in config.members:
        name = "neoteny" if members == 1 else f"neoteny, {members} members"
        work = training(config, hidden, every, members)
        found.append(Contender({**labels, "contender": name}, local(work, config.device)))
    if peer is not None:
        window = peer.window(
            "rejax_dqn",
            game="Breakout",
            hidden=hidden,
            lanes=config.lanes,
            steps=config.steps,
            updates=config.lanes // every,
            batch_size=config.batch_size,
            replay_size=REPLAY,
            learning_starts=STARTS,
            target_frequency=TARGET,
        )
        found.append(Contender({**labels, "contender": "rejax"}, window))
    return found


def with_ratios(summary: pd.DataFrame, windows: pd.DataFrame) -> pd.DataFrame:
    """Add how many times rejax's steps per second each contender reaches at the same work.

    It is the median over the windows, each against the window beside it.
    """
    if "rejax" not in set(windows["contender"]):
        return summary
    ratios = []
    for _, row in summary.iterrows():
        same = (windows[LABELS[:2]] == row[LABELS[:2]].tolist()).all(axis=1)
        name = windows["contender"]
        ratios.append(
            paired_ratio(windows, same & (name == "rejax"), same & (name == row["contender"]))[0]
        )
    return summary.assign(**{"times rejax": ratios})


def draw(summary: pd.DataFrame) -> Figure:
    """Steps per second, one panel a network and number of steps an update."""
    groups = list(summary.groupby(LABELS[:2], sort=False))
    figure, panels = canvas(len(groups), 1, 7.0, 0.8 + 0.32 * len(summary))
    for panel, ((network, every), own) in zip(panels, groups, strict=True):
        names = own["contender"].tolist()
        bars(panel, names, own, (own["contender"] == "rejax").tolist())
        panel.set_title(f"{network}, an update every {every} steps", loc="left")
    panels[-1].set_xlabel("env steps/s of all members, learning included")
    return figure


def main(config: Config) -> None:
    """Measure, print and write."""
    if wrong := [every for every in config.frequencies if every < 1 or config.lanes % every]:
        raise ValueError(f"frequencies has {wrong[0]}: give divisors of lanes, {config.lanes}")
    if config.quick:
        config = replace(config, windows=1, steps=34, networks=("8",), members=(1,))
    prepare(config.threads)
    with ExitStack() as stack:
        peer = None
        if config.peer_python is not None:
            peer = stack.enter_context(Peer(config.peer_python, config.threads))
        groups = [
            take_turns(contenders(config, network, every, peer), config.windows)
            for network in config.networks
            for every in config.frequencies
        ]
    windows = pd.concat(groups, ignore_index=True)
    summary = with_ratios(summarize(windows, LABELS), windows)
    publish(
        Report(
            "dqn",
            "DQN on Breakout: env steps/s, learning included",
            rate_columns(summary, "env steps/s"),
            config,
            windows,
            peer.versions if peer else {},
            lambda: draw(summary),
        )
    )


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
