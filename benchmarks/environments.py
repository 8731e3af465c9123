"""Environment steps per second of stepping games alone, beside peers and the reference packages.

PEER_PYTHON=... make bench
python benchmarks/environments.py --peer-python PATH --out results/environments
python benchmarks/environments.py --games Empty-8x8 DoorKey --lanes 2048 --peer-python PATH

Random actions drawn beforehand, observation and autoreset included. All contenders of one game and
number of lanes take turns, window by window. Peers are those installed in the interpreter
`--peer-python`, each stepping as many lanes as we do, JAX's in a compiled scan. The reference is
the package that the game is exact to: one environment in a Python loop, on one core.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from operator import attrgetter
from pathlib import Path

import pandas as pd
import tyro
from _games import FAMILIES, PEERS, Game, chosen
from _measure import Contender, local, prepare, summarize, take_turns
from _peer import Peer
from _publish import Report, canvas, publish
from _work import stepping
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from neoteny.experiments.report.drawing import BASELINE_COLOUR, FAINT, GREY, PALETTE, quiet

LABELS = ["game", "lanes", "contender"]
OURS, REFERENCE = "neoteny", "reference"
LOOKS = {
    OURS: (PALETTE[0], "D"),
    "gymnax": (PALETTE[1], "o"),
    "pgx": (PALETTE[2], "o"),
    "navix": (PALETTE[3], "o"),
    "xminigrid": (BASELINE_COLOUR, "o"),
    "envpool": (PALETTE[5], "s"),
    REFERENCE: (GREY, "x"),
}
"""Colours and markers of contenders: round ones are compiled by JAX."""
DRAWN = 32_768
"""Steps of all lanes together that a call does, where it may be neither short nor long."""
SHORTEST, LONGEST = 8, 128
"""Steps of each lane in a call."""
CHUNKS = 8
"""Calls after which the actions repeat."""


@dataclass(frozen=True)
class Config:
    """Options of the benchmark."""

    families: tuple[str, ...] = tuple(FAMILIES)
    """Families of games: minatar, classic, minigrid."""
    games: tuple[str, ...] = ()
    """Parts of ids: only the games that have one of them in theirs; unset, all."""
    lanes: tuple[int, ...] = (64, 2048, 16384)
    """Parallel environments."""
    seconds: float = 0.3
    """Least length of a window."""
    windows: int = 3
    """Timed windows of each contender, after one that is not counted."""
    threads: int | None = None
    """Threads for CPU arithmetic, also of the peers; unset, all cores."""
    device: str = "cpu"
    """Device of our environments; peers take JAX's default."""
    peer_python: Path | None = None
    """Interpreter that has the peers (the extra `peers`); unset, they are left out."""
    reference: bool = True
    """Step one environment of the reference packages too."""
    out: Path | None = None
    """Folder for the table, the CSV and the figure; unset, they are only printed."""
    quick: bool = False
    """Try everything out on tiny sizes."""


class Stage:
    """Everything that takes turns, and the processes that others run in.

    Args:
        config: What to measure.
        stack: Ends the processes.
    """

    def __init__(self, config: Config, stack: ExitStack) -> None:
        self._config = config
        self._peer = self._reference = None
        if config.peer_python is not None:
            self._peer = stack.enter_context(Peer(config.peer_python, config.threads))
            if missing := set(PEERS.values()) - set(self._peer.versions):
                print(f"left out, not in {config.peer_python}: {', '.join(sorted(missing))}")
        if config.reference:
            self._reference = stack.enter_context(Peer(Path(sys.executable), config.threads))

    @property
    def versions(self) -> dict[str, str]:
        """Versions of everything that is measured beside."""
        found = [process.versions for process in (self._peer, self._reference) if process]
        return {name: version for versions in found for name, version in versions.items()}

    def play(self, game: Game, lanes: int) -> pd.DataFrame:
        """Windows of all that have the game."""
        started = time.perf_counter()
        found = take_turns(self._contenders(game, lanes), self._config.windows)
        for process in (self._peer, self._reference):
            if process is not None:
                process.forget()
        print(f"{game.id}, {lanes} lanes: {time.perf_counter() - started:.0f} s", flush=True)
        return found

    def _contenders(self, game: Game, lanes: int) -> Iterator[Contender]:
        config = self._config
        steps = 1 if config.quick else min(max(DRAWN // lanes, SHORTEST), LONGEST)
        labels = {"game": game.id, "lanes": lanes}
        work = stepping(game.id, lanes, steps, config.device, CHUNKS, **game.options)
        window = local(work, config.device, config.seconds)
        yield Contender({**labels, "contender": OURS}, window)
        for name, id in game.peers.items():
            if self._peer is None or PEERS[name] not in self._peer.versions:
                continue
            options = {"env": id, "lanes": lanes, "steps": steps, "chunks": CHUNKS}
            window = self._peer.window(f"{name}_steps", config.seconds, **options)
            yield Contender({**labels, "contender": name}, window)
        module, id = game.reference
        if self._reference is not None and (module != "minatar" or module in self.versions):
            window = self._reference.window(f"{module}_steps", config.seconds, env=id, steps=512)
            yield Contender({**labels, "contender": REFERENCE}, window)


def beside(summary: pd.DataFrame) -> pd.DataFrame:
    """A row a game and number of lanes, a column a contender, and how many times theirs we reach.

    Args:
        summary: A row a contender, with `LABELS` and `median`.
    """
    keys = LABELS[:2]
    order = [name for name in (OURS, *PEERS, REFERENCE) if name in set(summary["contender"])]
    rates = summary.set_index(LABELS)["median"].unstack()
    rates = rates.reindex(pd.MultiIndex.from_frame(summary[keys].drop_duplicates()))[order]
    peers = [name for name in order if name in PEERS]
    if peers:
        rates["times the fastest peer"] = rates[OURS] / rates[peers].max(axis=1)
    if REFERENCE in order:
        rates["times the reference"] = rates[OURS] / rates[REFERENCE]
    return rates.rename_axis(columns=None).reset_index()


def draw(summary: pd.DataFrame) -> Figure:
    """Steps per second as dots with the range of the windows, one panel a number of lanes."""
    lanes, games = summary["lanes"].unique(), summary["game"].unique()
    figure, panels = canvas(1, len(lanes), 2.0 + 3.2 * len(lanes), 1.2 + 0.22 * len(games))
    present = [name for name in LOOKS if name in set(summary["contender"])]
    for panel, count in zip(panels, lanes, strict=True):
        quiet(panel, ())
        own = summary[summary["lanes"] == count].set_index("contender")
        for name in present:
            colour, marker = LOOKS[name]
            rows = own.loc[own.index.intersection([name])]
            places = [list(games).index(game) for game in rows["game"]]
            panel.hlines(places, rows["lowest"], rows["highest"], color=colour, lw=1)
            panel.plot(rows["median"], places, marker, color=colour, ms=5, label=name)
        panel.set_yticks(range(len(games)), games if panel is panels[0] else [""] * len(games))
        panel.set_ylim(len(games) - 0.5, -0.5)
        panel.grid(axis="y", color=FAINT, lw=0.6)
        panel.set_axisbelow(True)
        panel.set_xscale("log")
        panel.xaxis.set_major_formatter(EngFormatter(sep=" "))
        panel.set_title(f"{count:,} lanes", loc="left")
        panel.set_xlabel("env steps/s")
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper left", ncols=len(names), frameon=False)
    return figure


def main(config: Config) -> None:
    """Measure, print and write."""
    games = chosen(FAMILIES, config.families, config.games, attrgetter("id"))
    if config.quick:
        config = replace(config, windows=1, lanes=(16,), seconds=0.0)
    prepare(config.threads)
    with ExitStack() as stack:
        stage = Stage(config, stack)
        windows = pd.concat(
            [stage.play(game, lanes) for game in games for lanes in config.lanes],
            ignore_index=True,
        )
    summary = summarize(windows, LABELS)
    publish(
        Report(
            "speed",
            "Stepping games with random actions: env steps/s (median), observation included",
            beside(summary),
            config,
            windows,
            stage.versions,
            lambda: draw(summary),
        )
    )


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
