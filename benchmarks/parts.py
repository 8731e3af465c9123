"""Where the time of a step of our environments goes: the move, the fresh episode, the observation.

python benchmarks/parts.py --out results/environments
python benchmarks/parts.py --games KeyCorridor FourRooms --lanes 2048

All lanes do the same operations in every step, so a fresh episode is made for every lane and kept
where one ended. What is left over is drawing random words, counting and copying. The number of
operator calls a step tells what few lanes cost, each call some microseconds whatever it does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import tyro
from _games import FAMILIES, Game, chosen
from _measure import Contender, local, prepare, take_turns
from _publish import Report, publish
from torch.utils._python_dispatch import TorchDispatchMode

from neoteny import envs

LABELS = ["game", "lanes", "part"]
WARM = 20
"""Steps before anything is timed, so that states are not all those of a start."""


@dataclass(frozen=True)
class Config:
    """What to measure."""

    families: tuple[str, ...] = tuple(FAMILIES)
    """Families of games: minatar, classic, minigrid."""
    games: tuple[str, ...] = ()
    """Parts of ids: only the games that have one of them in theirs; unset, all."""
    lanes: tuple[int, ...] = (64, 2048)
    """Parallel environments."""
    seconds: float = 0.1
    """What a window lasts at least."""
    windows: int = 5
    """Timed windows of each part, after one that is not counted."""
    threads: int | None = 1
    """Threads for CPU arithmetic; unset, all cores."""
    device: str = "cpu"
    """Where the environments live."""
    out: Path | None = None
    """Folder for the table and the CSV; unset, they are only printed."""
    quick: bool = False
    """Try everything out on tiny sizes."""


class Calls(TorchDispatchMode):
    """Counts calls of operators but those that only look at a tensor in another way."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Count, then do what is asked for."""
        self.count += not func.is_view
        return func(*args, **(kwargs or {}))


def contenders(config: Config, game: Game, lanes: int) -> Iterator[Contender]:
    """A step of a game, and its parts."""
    env = envs.make(game.id, lanes, device=config.device, **game.options)
    env.final_observations = False
    env.reset()
    space = env.single_action_space
    actions = torch.stack([torch.as_tensor(space.sample()) for _ in range(lanes)]).to(config.device)
    for _ in range(1 if config.quick else WARM):
        env.step(actions[torch.randperm(lanes)])
    state, draws = env.state, env._draw(env.state["t_env"])
    done = torch.arange(lanes, device=config.device) % 64 == 0
    with Calls() as calls:
        env.step(actions)
    parts: dict[str, Callable[[], object]] = {
        "step": lambda: env.step(actions),
        "move": lambda: env._transition(state, actions, draws),
        "fresh episode": lambda: env._restart(done, state, draws),
        "observation": lambda: env._observe(state),
    }
    for part, work in parts.items():

        def once(work: Callable[[], object] = work) -> int:
            work()
            return lanes

        window = local(once, config.device, config.seconds)
        labels = {"game": game.id, "lanes": lanes, "part": part}
        yield Contender(labels, window, {"operators": calls.count})


def table(windows: pd.DataFrame) -> pd.DataFrame:
    """Nanoseconds of one lane's step by part, medians over the windows, slowest game first."""
    counted = windows[windows["window"] > 0]
    cost = counted.assign(ns=1e9 * counted["seconds"] / counted["amount"])
    found = cost.groupby(LABELS, sort=False)["ns"].median().unstack()
    found = found[["step", "move", "fresh episode", "observation"]]
    found["rest"] = found["step"] - found.drop(columns="step").sum(axis=1)
    found["operators"] = counted.groupby(LABELS[:2], sort=False)["operators"].first()
    found = found.rename_axis(columns=None).reset_index()
    return found.sort_values(["lanes", "step"], ascending=[True, False], ignore_index=True)


def main(config: Config) -> None:
    """Measure, print and write."""
    if config.quick:
        config = replace(config, windows=1, lanes=(16,), seconds=0.0)
    prepare(config.threads)
    windows = pd.concat(
        [
            take_turns(contenders(config, game, lanes), config.windows)
            for game in chosen(config.families, config.games)
            for lanes in config.lanes
        ],
        ignore_index=True,
    )
    title = "A step of one lane by part: ns (median), and operator calls of all lanes together"
    publish(Report("parts", title, table(windows), config, windows))


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
