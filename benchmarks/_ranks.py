"""Processes that train together or apart, their messages, and the speed of more of them."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection

import numpy as np
import pandas as pd
import torch
from _measure import Contender, Window, prepare, summarize, take_turns
from _work import Training

from neoteny.core.ranks import ALONE, Ranks

SMALL, LARGE = 1, 1 << 22
"""Float32 numbers in the messages that latency and bandwidth are measured with."""
ASSUMPTIONS = (
    "a core or GPU for each process, and the same link between all of them",
    "time of an iteration linear in lanes, from all lanes and half of them",
    "each process acts for all lanes, steps its own, learns from its share of a minibatch",
    "all-reduce and all-gather in a ring, not overlapped with computing",
    "jobs share neither cores nor memory bandwidth",
)


class Crew:
    """Processes that each train with one thread, all at once.

    Args:
        training: The run; of each of them, or of all together.
        size: Number of processes.
        together: Share its lanes among them.
    """

    def __init__(self, training: Training, size: int, together: bool) -> None:
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            port = found.getsockname()[1]
        context = get_context("spawn")
        self._pipes, self._processes = [], []
        self._share = size if together else 1
        for rank in range(size):
            ours, theirs = context.Pipe()
            ranks = Ranks(rank, size) if together else ALONE
            process = context.Process(target=_serve, args=(training, ranks, port, theirs))
            process.start()
            theirs.close()
            self._pipes.append(ours)
            self._processes.append(process)

    def _ask(self, what: str) -> list[float]:
        for pipe in self._pipes:
            pipe.send(what)
        return [pipe.recv() for pipe in self._pipes]

    def window(self) -> Window:
        """An iteration of every process."""
        started = time.perf_counter()
        amounts = self._ask("iterate")
        return Window(sum(amounts) / self._share, time.perf_counter() - started)

    def messages(self) -> Link:
        """Cost of a message between the processes."""
        small, large = (max(self._ask(what)) for what in ("small", "large"))
        hops = 2 * (self._share - 1)
        sent = hops / self._share * 4 * LARGE
        return Link(small / hops, sent / max(large - small, 1e-9))

    def close(self) -> None:
        """End the processes."""
        for pipe in self._pipes:
            pipe.send("")
        for process in self._processes:
            process.join()


def _serve(training: Training, ranks: Ranks, port: int, pipe: Connection) -> None:
    """In a process of a crew: do what it is asked for."""
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    prepare(1)
    device = torch.device(training.device)
    with ranks.connected(device):
        asked = {
            "iterate": training.iteration(ranks),
            "small": partial(_message_time, ranks, SMALL),
            "large": partial(_message_time, ranks, LARGE),
        }
        while what := pipe.recv():
            pipe.send(asked[what]())


def _message_time(ranks: Ranks, numbers: int) -> float:
    """Median seconds of an all-reduce of so many numbers."""
    values, seconds = torch.zeros(numbers), []
    for _ in range(9):
        started = time.perf_counter()
        ranks.sum(values)
        seconds.append(time.perf_counter() - started)
    return float(np.median(seconds))


@dataclass(frozen=True)
class Link:
    """Cost of messages between two processes."""

    latency: float
    """Seconds of a message without content."""
    bandwidth: float
    """Bytes a second."""

    def reduced(self, size: int, count: float) -> float:
        """Seconds of an all-reduce of so many bytes among `size` processes."""
        return 2 * (size - 1) * (self.latency + count / size / self.bandwidth)

    def gathered(self, size: int, count: float) -> float:
        """Seconds of an all-gather whose result has so many bytes."""
        return (size - 1) * (self.latency + count / size / self.bandwidth)


@dataclass(frozen=True)
class Costs:
    """Costs of an iteration of one run."""

    steps: float
    """Environment steps in it."""
    seconds: float
    """In one process."""
    half: float
    """Seconds with half of the lanes, and minibatches half as large."""
    acting: float
    """Seconds of the network's outputs on all lanes in the rollout, which each process computes."""
    updates: int
    gradient: float
    """Bytes that an update reduces."""
    moves: int
    """Steps of the environments, each with a message."""
    outcome: float
    """Bytes of observations, rewards and ends of all lanes in a step."""

    def messages(self, size: int, link: Link) -> float:
        """Seconds of messages in an iteration of `size` processes."""
        if size == 1:
            return 0.0
        reduced = self.updates * link.reduced(size, self.gradient)
        return reduced + self.moves * link.gathered(size, self.outcome)

    def computing(self, size: int) -> float:
        """Seconds that each of `size` processes computes."""
        by_lanes = max(2 * (self.seconds - self.half) - self.acting, 0.0)
        alone = max(self.seconds - self.acting - by_lanes, 0.0)
        return alone + self.acting + by_lanes / size

    def rate(self, size: int, link: Link) -> float:
        """Steps per second of one run in `size` processes."""
        return self.steps / (self.computing(size) + self.messages(size, link))


def costs(training: Training, seconds: float, half: float) -> Costs:
    """The costs of a run, from the times of its iterations with all and with half of its lanes."""
    env, agent = training.build()
    obs = env.reset()[0]
    inputs = agent.network.listed(obs.view(training.members, -1, *obs.shape[1:]))
    agent.act(inputs)
    started = time.perf_counter()
    for _ in range(training.steps):
        agent.act(inputs)
    acting = time.perf_counter() - started
    config = agent.config
    weights = sum(p.numel() for p in agent.network.parameters())
    row = obs[0].numel() * obs.element_size() + 4 + 2
    return Costs(
        steps=training.steps_per_iteration,
        seconds=seconds,
        half=half,
        acting=acting,
        updates=config.num_epochs * config.num_minibatches,
        gradient=4 * weights,
        moves=config.num_steps,
        outcome=row * len(obs),
    )


def measured(training: Training, most: int, windows: int) -> tuple[pd.DataFrame, Link]:
    """Steps/s of 1 to `most` processes, apart and together, in turns; and their messages' cost."""
    with ExitStack() as stack:
        crews = {}
        for name, size, together in (
            ("one", 1, False),
            ("half", 1, False),
            ("jobs", most, False),
            ("ranks", most, True),
        ):
            own = replace(training, lanes=training.lanes // 2) if name == "half" else training
            crews[name] = Crew(own, size, together)
            stack.callback(crews[name].close)
        link = crews["ranks"].messages()
        contenders = [Contender({"run": name}, crew.window) for name, crew in crews.items()]
        return take_turns(contenders, windows), link


def table(
    windows: pd.DataFrame, link: Link, most: int, sizes: tuple[int, ...], find: Callable[..., Costs]
) -> pd.DataFrame:
    """Speed of jobs and of ranks: measured up to `most` processes, predicted beyond."""
    summary = summarize(windows, ["run"]).set_index("run")
    one = float(summary.loc["one", "median"])
    found = find(float(summary.loc["one", "seconds"]), float(summary.loc["half", "seconds"]))
    rows = []
    for kind in ("jobs", "ranks"):
        for size in sorted({1, most, *sizes}):
            rate = size * one if kind == "jobs" else found.rate(size, link)
            if size == 1:
                rate = one
            is_measured = size in (1, most)
            seen = {1: one, most: float(summary.loc[kind, "median"])}.get(size, rate)
            sent = found.messages(size, link) if kind == "ranks" else 0.0
            whole = found.computing(size) + sent
            rows.append(
                {
                    "kind": kind,
                    "processes": size,
                    "steps/s": seen,
                    "times one": seen / one,
                    "": "measured" if is_measured else "predicted",
                    "model's steps/s": rate,
                    "messages' share": sent / whole if kind == "ranks" else 0.0,
                }
            )
    return pd.DataFrame(rows)
