"""Steps of our environments compared with those of the packages that they are exact to.

python benchmarks/exactness.py --out results/environments
python benchmarks/exactness.py --families minigrid --games FourRooms DoorKey

Every lane has an environment of the reference package beside it, and both do the same steps:

- MinAtar is fed with the same random words on both sides, by random and by skilled play, and goes
  on from rare states that are written into both. Rewards, ends, observations and every field of
  the state are compared in every step.
- MiniGrid goes on from states of the reference's, at every start of an episode and, in half of
  the lanes, every four steps, moved to where something can happen. Rewards, flags, images,
  directions, missions and every field of the state are compared in every step.
- Classic control is put into the same state before every step: of episodes, and scattered over
  all that they can reach. Sine and cosine differ in their last bit between NumPy and torch, so
  states may differ by 1e-12 (relative where above 1), observations by 2^-23, rewards by 1e-5;
  MountainCarContinuous, which Gymnasium computes in float32, by 2^-23. Terminations must be equal.

A mismatch is a step of one lane in which anything differs.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import tyro
from _games import chosen
from _publish import Report, publish

from neoteny.envs.classic import PROBLEMS

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from oracles import classic_pair, minatar_pair, minigrid_pair
from oracles.seaquest_pair import SeaquestPair
from oracles.tally import Tally

AFTER = 4
"""Steps of MinAtar after a rare state."""


@dataclass(frozen=True)
class Config:
    """Options of the comparison."""

    families: tuple[str, ...] = ("minatar", "classic", "minigrid")
    """Of minatar, classic, minigrid."""
    games: tuple[str, ...] = ()
    """Parts of names: only the games or families of grids that have one; unset, all."""
    steps: int = 100_000
    """Steps of all lanes together, at least, of each game, problem or family of grids."""
    lanes: int = 64
    """Parallel environments."""
    out: Path | None = None
    """Folder for the table and the CSV; unset, they are only printed."""
    quick: bool = False
    """Try everything out on tiny sizes."""


@dataclass
class Found:
    """Result of one comparison."""

    tallies: list[Tally]
    ids: int = 1
    """Number of our ids that were compared."""
    ends: int = 0
    """Ends of episodes."""
    largest: dict[str, float] = field(default_factory=dict)
    """Largest differences, where some may be."""


class Comparison(NamedTuple):
    """A row of the table."""

    environment: str
    reference: str
    run: Callable[[Config], Found]


def minatar(name: str) -> Comparison:
    """A game: steps of play, and a quarter as many after rare states."""

    def run(config: Config) -> Found:
        rng = np.random.default_rng(1)
        lanes, rounds = config.lanes, -(-config.steps // config.lanes)
        pair = SeaquestPair(lanes) if name == "Seaquest" else minatar_pair.Pair(name, lanes)
        for _ in range(rounds):
            pair.step(pair.policy(rng))
        for _ in range(-(-rounds // AFTER**2)):
            pair.inject(rng)
            for _ in range(AFTER):
                pair.step(pair.policy(rng))
        tallies, ends = [pair.tally], pair.episodes
        if isinstance(pair, SeaquestPair):
            # At the highest speeds, beyond the ends that come soon there.
            endless = SeaquestPair(lanes, seed=1, endless=True)
            endless.hard(rng, -(-rounds // AFTER))
            tallies.append(endless.tally)
        return Found(tallies, ends=ends)

    return Comparison(f"MinAtar-{name}", "minatar", run)


def classic(id: str) -> Comparison:
    """A problem: steps of episodes, and one step from as many scattered states."""

    def run(config: Config) -> Found:
        play = classic_pair.Pair(id, config.lanes)
        play.run(-(-config.steps // config.lanes))
        scattered = classic_pair.Pair(id, config.steps, anywhere=True)
        scattered.run(1)
        largest = {name: max(play.worst[name], scattered.worst[name]) for name in play.worst}
        ends = play.terminations + scattered.terminations
        return Found([play.tally, scattered.tally], ends=ends, largest=largest)

    return Comparison(id, "gymnasium", run)


def minigrid(family: str, ids: list[str]) -> Comparison:
    """A family of grids: all of its ids, which share the steps."""

    def run(config: Config) -> Found:
        found = Found([], len(ids))
        for seed, id in enumerate(ids):
            pair = minigrid_pair.Pair(id, config.lanes, seed)
            pair.run(-(-config.steps // len(ids) // config.lanes))
            found.tallies.append(pair.tally)
            found.ends += pair.wins + pair.ends + pair.truncations
        return found

    return Comparison(f"MiniGrid-{family}", "minigrid", run)


def comparisons(config: Config) -> list[Comparison]:
    """Those that are asked for.

    Raises:
        ValueError: If there is no such family, or nothing of that name.
    """
    every = {
        "minatar": [minatar(name) for name in minatar_pair.REFERENCE],
        # CartPole-v0 differs by its limit of steps alone.
        "classic": [classic(id) for id in PROBLEMS if id != "CartPole-v0"],
        "minigrid": [minigrid(*item) for item in minigrid_pair.families().items()],
    }
    return chosen(every, config.families, config.games, attrgetter("environment"))


def compare(comparison: Comparison, config: Config) -> dict[str, object]:
    """Run a comparison and sum up what it found."""
    started = time.perf_counter()
    found = comparison.run(config)
    fields = sum((tally.fields for tally in found.tallies), Counter[str]())
    row = {
        "environment": comparison.environment,
        "ids": found.ids,
        "reference": f"{comparison.reference} {version(comparison.reference)}",
        "lanes": config.lanes,
        "steps compared": sum(tally.steps for tally in found.tallies),
        "states injected": sum(tally.injected for tally in found.tallies),
        "ends": found.ends,
        "mismatches": sum(tally.mismatches for tally in found.tallies),
        "what differs": _listed(fields, "{} {}") or "nothing",
        "largest difference": _listed(found.largest, "{} {:.2g}") or "none",
    }
    seconds = time.perf_counter() - started
    print(
        f"{row['environment']}: {row['steps compared']:,} steps, {row['mismatches']} mismatches,"
        f" {seconds:.0f} s",
        flush=True,
    )
    return row


def _listed(values: Mapping[str, float], form: str) -> str:
    return ", ".join(form.format(*item) for item in values.items() if item[1])


def main(config: Config) -> None:
    """Compare, print and write."""
    found = comparisons(config)
    if config.quick:
        config = replace(config, lanes=4, steps=64)
    rows = [compare(comparison, config) for comparison in found]
    publish(Report("exactness", "Steps beside the reference packages", pd.DataFrame(rows), config))


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
