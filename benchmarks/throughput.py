"""Environment steps per second of training with PPO, and of stepping the games alone.

python benchmarks/throughput.py --windows 5

Prints a table with versions, threads and hardware; each figure is the median over windows with its
spread. Run it with nothing else on the machine: torch's threads wait for each other busily.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
import tyro
from rich.console import Console
from rich.table import Table

from neoteny import envs
from neoteny.agents import PPO, NetworkSpec, PPOConfig
from neoteny.experiments.provenance import hardware, versions
from neoteny.plasticity.interventions import make_interventions

GAMES = ("Breakout", "Asterix", "Freeway", "SpaceInvaders")


@dataclass(frozen=True)
class Config:
    """What to measure."""

    windows: int = 5
    """Timed windows of each figure, after one that is not counted."""
    lanes: int = 2048
    """Parallel environments."""
    members: int = 1
    """Members trained together."""
    widths: tuple[int, ...] = (64,)
    """Widths of the four hidden layers to train with."""
    threads: int | None = None
    """Threads for CPU arithmetic; unset, torch decides."""
    device: str = "cpu"
    """Device of environments and networks."""


def rates(work: Callable[[], int], windows: int, device: str) -> list[float]:
    """Time a piece of work that returns how many steps it took; the first call is not counted."""
    found = []
    for window in range(windows + 1):
        started = time.perf_counter()
        steps = work()
        if device != "cpu":
            torch.cuda.synchronize()
        if window:
            found.append(steps / (time.perf_counter() - started))
    return found


def make_env(game: str, config: Config) -> envs.TensorEnv:
    """A game padded to 10 x 10 x 10 with a limit of 1,000 steps, as the isometry paper plays it."""
    return envs.make(
        f"MinAtar-{game}-v1",
        config.lanes,
        members=config.members,
        device=config.device,
        channels=10,
        max_steps=1000,
        sticky=0.0,
    )


def training(
    config: Config, intervention: str, spec: NetworkSpec, *, dense: bool
) -> Callable[[], int]:
    """One iteration of the preset `paper` on Breakout."""
    env = make_env("Breakout", config)
    ppo = PPOConfig(num_envs=config.lanes)
    seeds = range(config.members)
    agent = PPO(env, ppo, spec, make_interventions([intervention]), seeds, dense=dense)

    def iteration() -> int:
        agent.learn(agent.collect(env))
        return ppo.steps_per_iteration * config.members

    return iteration


def stepping(config: Config, game: str) -> Callable[[], int]:
    """A hundred steps with random actions, observation and autoreset included."""
    env = make_env(game, config)
    env.reset()
    actions = torch.randint(env.single_action_space.n, (100, env.num_envs), device=config.device)

    def window() -> int:
        for action in actions:
            env.step(action)
        return actions.numel()

    return window


def main(config: Config) -> None:
    """Measure and print."""
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    table = Table("work", "env steps/s (median)", "lowest", "highest")
    works = {f"step {game}": stepping(config, game) for game in GAMES}
    for width in config.widths:
        hidden = (width,) * 4
        relu, groupsort = NetworkSpec(hidden), NetworkSpec(hidden, "groupsort", bias=False)
        works |= {
            f"PPO 4x{width} ReLU, Adam": training(config, "none", relu, dense=False),
            f"PPO 4x{width} ReLU, Adam, --dense": training(config, "none", relu, dense=True),
            f"PPO 4x{width} GroupSort, AdamO": training(config, "adamo", groupsort, dense=False),
        }
    for name, work in works.items():
        found = rates(work, config.windows, config.device)
        table.add_row(name, *(f"{f(found):,.0f}" for f in (statistics.median, min, max)))
    console = Console()
    console.print(table)
    console.print({"lanes": config.lanes, "members": config.members, "windows": config.windows})
    console.print(versions() | hardware())


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
