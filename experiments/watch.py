"""Watch a trained agent play: episodes as a GIF or MP4, their returns on the console."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
import tyro
from rich.console import Console

from neoteny.agents.agent import AGENTS
from neoteny.core.errors import InputError
from neoteny.core.names import closest
from neoteny.core.options import check_fields
from neoteny.core.text import shortened, visible
from neoteny.experiments.film import Film, check_film_path, write_film
from neoteny.experiments.options.config import RunConfig
from neoteny.experiments.run.evaluation import play
from neoteny.experiments.run.run_streams import make_envs
from neoteny.experiments.run.runner import Runner
from neoteny.experiments.run.store import read_checkpoint
from neoteny.experiments.run.stored import Allowed, find_run
from neoteny.wrappers.statistics import EpisodeStatistics

__all__ = ["WatchConfig", "watch"]

PAUSE = 0.8
"""Seconds for which the end of an episode stays."""


@dataclass(frozen=True)
class WatchConfig:
    """Write an animation of a trained agent playing, and print the returns."""

    folder: tyro.conf.Positional[Path]
    """Folder of the run, which holds checkpoint.pt; or one of its seeds' folders."""
    seed: int | None = None
    """Seed of the member to watch; unset, the first."""
    episodes: int = 3
    """Episodes, those that an evaluation of as many episodes plays."""
    task: str | None = None
    """Name of a task, as it was when last trained on, or an environment step; unset, the end."""
    out: Path | None = None
    """File ending in .gif or .mp4; unset, a .gif in the run's folder."""
    fps: float = 12.0
    """Frames, which are environment steps, a second."""
    stream: Path | None = None
    """Python file of the run's stream, where it takes the file's code; it is run."""
    plugin: tuple[str, ...] = ()
    """Python files or modules to run first."""
    trust: bool = False
    """Run the code that the run's config.json names: plugins, module, Python stream."""
    limits: ClassVar[Mapping[str, str]] = {"episodes": "from 1 to 1,000", "fps": "in (0, 100]"}

    def __post_init__(self) -> None:
        check_fields(self)


def watch(config: WatchConfig, console: Console) -> list[float]:
    """Play episodes with the agent of a run and write them to a file.

    Returns:
        The return of each episode.

    Raises:
        ValueError: If the folder holds no checkpoint of an agent that acts, or an option does not
            fit it.
    """
    folder, run = _find_run(config)
    seed = _find_seed(config, run)
    if config.out is not None:
        check_film_path(config.out)
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # pygame draws without a screen
    runner = Runner(run, console)
    if "rgb_array" not in getattr(runner.envs, "metadata", {}).get("render_modes", ()):
        raise InputError(f"{run.env} draws no frames: it has no render mode rgb_array")
    runner.load(read_checkpoint(folder, runner.description()))
    member = run.seed_list.index(seed)
    step, task = find_step(config.task, runner, member)
    plain = re.sub(r"[^\w.-]+", "-", task)
    out = config.out or folder / f"watch-{plain}-seed_{seed}.gif"
    check_film_path(out)
    envs = make_envs(run, config.episodes, render_mode="rgb_array")
    envs.seek(step, runner.envs.schedule, hold=True)
    console.print(f"{run.arm}, seed {seed}, after {runner.step:,} steps, plays {task}")
    films, returns = _film(runner, envs, step, member, f"{task}   seed {seed}")
    envs.close()
    for number, (film, value) in enumerate(zip(films, returns, strict=True), start=1):
        console.print(f"episode {number}: return {value:g} in {len(film):,} steps")
        film.linger(_text(number, len(film), value), round(PAUSE * config.fps))
    console.print(f"mean return {sum(returns) / len(returns):g}")
    write_film(out, films, config.fps)
    console.print(f"written {out}", soft_wrap=True)
    return returns


def _film(
    runner: Runner, envs: EpisodeStatistics, step: int, member: int, title: str
) -> tuple[list[Film], list[float]]:
    """Play one episode in each lane of a member, all at once, as `evaluate` does.

    The picture is taken before each step, since a lane shows its next episode after the last.
    """
    first = member * envs.lanes
    films = [Film(title) for _ in range(envs.lanes)]
    total = torch.zeros(envs.lanes)
    running = [True] * envs.lanes
    obs = envs.reset()[0]
    steps = play(runner.config, runner.agent, envs, obs, step)
    while any(running):
        envs.render_lanes = [first + lane for lane, still in enumerate(running) if still]
        drawn: Any = envs.render()
        frames = iter(drawn)
        for lane, film in enumerate(films):
            if running[lane]:
                film.add(next(frames), _text(lane + 1, len(film), total[lane].item()))
        outcome = next(steps, None)
        if outcome is None:
            break
        reward, ended = (values.view(-1, envs.lanes)[member].cpu() for values in outcome)
        total += reward * torch.tensor(running)
        running = [still and not over for still, over in zip(running, ended.tolist(), strict=True)]
    return films, total.tolist()


def _text(episode: int, step: int, value: float) -> str:
    return f"episode {episode}   step {step}   return {value:g}"


def _find_run(config: WatchConfig) -> tuple[Path, RunConfig]:
    """The run's folder and its configuration, on the CPU."""
    allowed = Allowed(config.trust, config.plugin, config.stream)
    folder, run = find_run(config.folder, allowed, device="cpu", cuda_graphs=False)
    kind = AGENTS[run.agent]
    if kind.supervised:
        raise InputError(f"{folder} is of a classifier, which plays nothing: watch PPO or DQN")
    if not kind.plays:
        raise InputError(
            f"{folder} is of {run.agent}: agents of Stable-Baselines3 cannot be loaded from "
            "a checkpoint, so watch one of ppo or dqn"
        )
    return folder, run


def _find_seed(config: WatchConfig, run: RunConfig) -> int:
    named = config.folder.name.removeprefix("seed_")
    own = int(named) if named != config.folder.name and named.isdigit() else run.first_seed
    seed = own if config.seed is None else config.seed
    if seed not in run.seed_list:
        raise InputError(f"seed is {seed}: the run has the seeds {run.seed_list}")
    return seed


def find_step(text: str | None, runner: Runner, member: int) -> tuple[int, str]:
    """The environment step whose task is to be played, and the task's name.

    By default that of the last iteration, which an evaluation at the end of the run takes.
    """
    last = max(runner.step - runner.per_iteration, 0)
    schedule = runner.envs.schedule.members[member]
    if text is None:
        step = last
    elif text.replace("_", "").replace(",", "").isdigit():
        step = int(text.replace(",", ""))
    else:
        step = _last_step(text, runner, member)
    names = runner.envs.task_names
    name = names[schedule.task(step)] if len(names) > 1 else names[0]
    return step, shortened(visible(_short(name)), 60)


def _short(task: str) -> str:
    return task.removeprefix("neoteny/")


def _last_step(name: str, runner: Runner, member: int) -> int:
    """The step of the last iteration in which a member was trained on the task of that name.

    A task that comes only later in the run counts from its first step.
    """
    names = runner.envs.task_names
    known = {shown.lower(): k for k, n in enumerate(names) for shown in (n, _short(n))}
    task = known.get(name.lower())
    if task is None:
        near = closest(name, known)
        some = ", ".join(map(_short, names[:12])) + (", ..." if len(names) > 12 else "")
        hint = (
            f"did you mean {_short(names[known[near]])!r}?"
            if near
            else f"the run's tasks are {some}"
        )
        raise InputError(f"task {name!r} is unknown: {hint}")
    if len(names) == 1:
        return int(max(runner.step - runner.per_iteration, 0))
    schedule = runner.envs.schedule.members[member]
    starts = [0, *schedule.boundaries(max(runner.total, 1))]
    ends = [*starts[1:], runner.total]
    visits = [(a, b) for a, b in zip(starts, ends, strict=True) if schedule.task(a) == task]
    if not visits:
        raise InputError(f"task {name!r} does not come in this run: name another")
    past = [(a, min(b, runner.step)) for a, b in visits if a < runner.step]
    start, end = past[-1] if past else (visits[0][0], visits[0][0])
    return int(max(start, end - runner.per_iteration))
