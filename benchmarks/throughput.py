"""Environment steps per second of training, beside rejax and Stable-Baselines3.

PEER_PYTHON=... make bench
python benchmarks/throughput.py --peer-python PATH --out results/speed
python benchmarks/throughput.py --agent dqn --peer-python PATH --out results/speed

PPO: the preset `paper` on Breakout padded to 10 x 10 x 10, 4 epochs of 128 minibatches, separate
policy and value networks. Stable-Baselines3 plays the `minatar` package's Breakout in 8
environments on the host.

DQN: double DQN on Breakout as gymnax plays it: minimal actions, none of them sticky, 1,000 steps at
most. Ours is wrapped as the training command wraps it, episode statistics included.

rejax 0.1.3 plays gymnax 0.0.9 in the interpreter that `--peer-python` names, with the same network
(Adam and ReLU), minibatches and number of gradient steps; evaluations are left out. Contenders of
one network and number of steps an update take turns, window by window.
Run it with nothing else on the machine: torch's threads wait for each other busily.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Literal

import pandas as pd
import tyro
from _measure import Contender, local, paired_ratio, prepare, summarize, take_turns
from _peer import Peer
from _publish import Report, bars, canvas, publish, rate_columns
from _sb3_work import sb3_training
from _work import DQNTraining, How, Training
from matplotlib.figure import Figure

ARMS = {"Adam": ("adam", "relu"), "AdamO": ("adamo", "groupsort")}
WORK = {"ppo": ["network"], "dqn": ["network", "steps an update"]}
"""Properties that are equal for contenders that take turns."""
DETAILS = {"ppo": ["contender", "path"], "dqn": ["contender"]}
PEERS = ("rejax", "SB3")
SIZES = {"ppo": (2_048, 128, ("4x64", "4x256")), "dqn": (128, 512, ("2x64", "4x64"))}
"""Lanes, steps in each lane and networks where none are given."""
QUICK = {"ppo": (32, 4, ("1x8",)), "dqn": (128, 34, ("1x8",))}


@dataclass(frozen=True)
class Config:
    """Options of the benchmark."""

    agent: Literal["ppo", "dqn"] = "ppo"
    """Agent that is trained."""
    networks: tuple[str, ...] = ()
    """Hidden layers times their width; empty, 4x64 and 4x256 for PPO, 2x64 and 4x64 for DQN."""
    lanes: int | None = None
    """Parallel environments of one member; unset, 2,048 for PPO and 128 for DQN."""
    steps: int | None = None
    """Steps in each lane a window; unset, 128 for PPO, whose minibatches have one sample a lane,
    and 512 for DQN."""
    members: tuple[int, ...] = (1,)
    """Members trained together, each number a contender; peers train one."""
    arms: tuple[Literal["Adam", "AdamO"], ...] = ("Adam", "AdamO")
    """PPO: Adam with ReLU and biases, AdamO with GroupSort and none."""
    paths: tuple[How, ...] = ("fp32", "bf16", "plain")
    """PPO: the two precisions and the plain path; on a GPU also CUDA graphs."""
    frequencies: tuple[int, ...] = (128, 32)
    """DQN: environment steps of one member for each gradient step; each divides `lanes`."""
    windows: int = 5
    """Timed windows of each contender, after one that is not counted."""
    threads: int | None = None
    """Threads for CPU arithmetic, also of the peers; unset, all cores."""
    device: str = "cpu"
    """Device of environments and networks."""
    peer_python: Path | None = None
    """Interpreter with rejax and gymnax (the extra `peers`); unset, rejax is left out."""
    sb3: bool = True
    """PPO: measure Stable-Baselines3 as well, which needs the package `minatar`."""
    out: Path | None = None
    """Folder for the table, the CSV and the figure; unset, they are only printed."""
    quick: bool = False
    """Try everything out on tiny sizes."""


def filled(config: Config) -> Config:
    """The configuration with the agent's own sizes where none are given.

    Raises:
        ValueError: If a number of steps an update does not divide the lanes.
    """
    lanes, steps, networks = (QUICK if config.quick else SIZES)[config.agent]
    lanes, steps = config.lanes or lanes, config.steps or steps
    config = replace(config, lanes=lanes, steps=steps, networks=config.networks or networks)
    wrong = [every for every in config.frequencies if every < 1 or lanes % every]
    if wrong and config.agent == "dqn":
        raise ValueError(f"frequencies has {wrong[0]}: give divisors of lanes, {lanes}")
    return replace(config, windows=1) if config.quick else config


def layers(network: str) -> tuple[int, int]:
    """Number and width of the hidden layers of a text such as "4x64"."""
    depth, width = network.split("x")
    return int(depth), int(width)


def groups(config: Config, peer: Peer | None) -> Iterator[list[Contender]]:
    """Contenders that do the same work and take turns."""
    for network in config.networks:
        if config.agent == "ppo":
            yield ppo_contenders(config, network, peer)
        else:
            for every in config.frequencies:
                yield dqn_contenders(config, network, every, peer)


def ppo_contenders(config: Config, network: str, peer: Peer | None) -> list[Contender]:
    """Everything that trains one network by PPO."""
    depth, width = layers(network)
    base = Training(width, depth, config.lanes, config.steps, device=config.device)
    found = []
    for arm, members, path in product(config.arms, config.members, config.paths):
        optimizer, activation = ARMS[arm]
        work = replace(base, members=members, optimizer=optimizer, activation=activation, path=path)
        labels = {"network": network, "contender": f"{named(members)} {arm}", "path": path}
        found.append(Contender(labels, local(work.iteration(), config.device)))
    if peer is not None:
        window = peer.window("rejax_ppo", **base.rejax)
        labels = {"network": network, "contender": "rejax", "path": "fp32"}
        found.append(Contender(labels, window))
    if config.sb3:
        labels = {"network": network, "contender": "SB3", "path": "fp32"}
        found.append(Contender(labels, local(sb3_training(base))))
    return found


def dqn_contenders(config: Config, network: str, every: int, peer: Peer | None) -> list[Contender]:
    """Everything that trains one network by DQN, with an update every so many steps."""
    depth, width = layers(network)
    base = DQNTraining((width,) * depth, config.lanes, config.steps, every, device=config.device)
    labels = {"network": network, "steps an update": every}
    found = []
    for members in config.members:
        work = replace(base, members=members).iteration()
        found.append(Contender({**labels, "contender": named(members)}, local(work, config.device)))
    if peer is not None:
        window = peer.window(
            "rejax_dqn",
            game="Breakout",
            hidden=base.hidden,
            lanes=config.lanes,
            steps=config.steps,
            updates=config.lanes // every,
            batch_size=base.dqn.batch_size,
            replay_size=base.dqn.replay_size,
            learning_starts=base.dqn.learning_starts,
            target_frequency=base.dqn.target_frequency,
        )
        found.append(Contender({**labels, "contender": "rejax"}, window))
    return found


def named(members: int) -> str:
    """Name of our package in tables."""
    return "neoteny" if members == 1 else f"neoteny, {members} members"


def with_ratios(summary: pd.DataFrame, windows: pd.DataFrame, work: list[str]) -> pd.DataFrame:
    """Add how many times a peer's steps per second each contender reaches at the same work.

    It is the median over the windows, each against the window beside it.
    """
    labels = [name for name in windows if name not in ("window", "amount", "seconds")]

    def rows(row: pd.Series, columns: list[str]) -> pd.Series:
        return (windows[columns] == row[columns].tolist()).all(axis=1)

    for peer in PEERS:
        theirs = windows["contender"] == peer
        if theirs.any():
            summary[f"times {peer}"] = [
                paired_ratio(windows, rows(row, work) & theirs, rows(row, labels))[0]
                for _, row in summary.iterrows()
            ]
    return summary


def draw(summary: pd.DataFrame, work: list[str], details: list[str]) -> Figure:
    """Steps per second, a panel for contenders that take turns."""
    same = list(summary.groupby(work, sort=False))
    figure, panels = canvas(len(same), 1, 7.0, 0.8 + 0.28 * len(summary))
    for panel, (labels, own) in zip(panels, same, strict=True):
        names = [", ".join(map(str, row)) for row in own[details].to_numpy()]
        bars(panel, names, own, own["contender"].isin(PEERS).tolist())
        network, *every = labels
        panel.set_title(
            f"{network}, an update every {every[0]} steps" if every else network, loc="left"
        )
    panels[-1].set_xlabel("env steps/s of all members, learning included")
    return figure


def main(config: Config) -> None:
    """Measure, print and write."""
    config = filled(config)
    work, details = WORK[config.agent], DETAILS[config.agent]
    prepare(config.threads)
    with ExitStack() as stack:
        peer = None
        if config.peer_python is not None:
            peer = stack.enter_context(Peer(config.peer_python, config.threads))
        measured = [take_turns(group, config.windows) for group in groups(config, peer)]
    windows = pd.concat(measured, ignore_index=True)
    summary = with_ratios(summarize(windows, work + details), windows, work)
    name, game = {"ppo": ("training", "PPO on padded Breakout"), "dqn": ("dqn", "DQN on Breakout")}[
        config.agent
    ]
    publish(
        Report(
            name,
            f"{game}: env steps/s, learning included",
            rate_columns(summary),
            config,
            windows,
            peer.versions if peer else {},
            lambda: draw(summary, work, details),
        )
    )


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
