"""Time of an update with each intervention, as a ratio to plain Adam in the same run.

python benchmarks/overhead.py --out results/speed
python benchmarks/overhead.py --agent dqn --out results/speed

Updates are those of the agent, on one rollout of Breakout (a replay, a stream of digits) that stays
the same. Edits that are made once a period are left out of the timed updates, timed on their own
and shared out over the period's updates; those made at task switches are only timed.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import torch
import tyro
from _measure import Contender, local, paired_ratio, prepare, summarize, take_turns
from _publish import Report, bars, canvas, publish
from _work import breakout
from matplotlib.figure import Figure
from torch import Tensor

from neoteny.agents import DQN, PPO, DQNConfig, NetworkSpec, PPOConfig
from neoteny.agents.classifier import Classifier, ClassifierConfig
from neoteny.plasticity.interventions import INTERVENTIONS, Intervention, make_interventions
from neoteny.plasticity.interventions.resets import Timed, period_in_updates
from neoteny.plasticity.learner import Learner
from neoteny.wrappers.supervised_streams import make_supervised

BASELINE = "none"


@dataclass(frozen=True)
class Config:
    """Options of the benchmark."""

    agent: Literal["ppo", "dqn", "classifier"] = "ppo"
    """Whose updates."""
    interventions: tuple[str, ...] = ()
    """Names, with settings after a colon; empty, all of them, with the agent's defaults."""
    width: int = 64
    """Units of a hidden layer."""
    depth: int = 4
    """Hidden layers of a branch."""
    batch: int | None = None
    """Samples of a member in a minibatch; unset, 2,048 for PPO and 128 for the others."""
    members: int = 1
    """Networks that are trained together."""
    updates: int = 32
    """Updates a window."""
    windows: int = 7
    """Timed windows of each intervention, after one that is not counted."""
    edits: int = 5
    """Timed calls of each edit."""
    threads: int | None = None
    """Threads for CPU arithmetic; unset, torch decides."""
    device: str = "cpu"
    """Device of the networks."""
    out: Path | None = None
    """Folder for the table, the CSV and the figure; unset, they are only printed."""
    quick: bool = False
    """Try everything out on tiny sizes."""

    @property
    def samples(self) -> int:
        """Samples of a member in a minibatch."""
        return self.batch or (2048 if self.agent == "ppo" else 128)


@dataclass(frozen=True)
class Work:
    """An agent's updates on data that stays the same."""

    learner: Learner
    run: Callable[[], int]
    """Makes a window's updates and returns their number."""
    obs: Tensor
    """A minibatch (M, B, *shape), for edits that judge units on one."""


def ppo(config: Config, spec: NetworkSpec, interventions: list[Intervention]) -> Work:
    """Learning phases on one rollout: four passes, and as many updates a step as the paper's."""
    epochs = min(4, config.updates)
    minibatches = config.updates // epochs
    lanes = min(256, config.samples)
    steps = config.samples * minibatches // lanes
    env = breakout(lanes, config.members, config.device)
    hyper = PPOConfig(lanes, steps, epochs, minibatches)
    agent = PPO(env, hyper, spec, interventions, range(config.members))
    rollout = agent.collect(env)

    def run() -> int:
        agent.learn(rollout)
        return epochs * minibatches

    obs = rollout.obs[: -(-config.samples // lanes)]  # (T, M N, *shape)
    obs = obs.unflatten(1, (config.members, lanes)).transpose(0, 1).flatten(1, 2)
    return Work(agent.learner, run, obs[:, : config.samples])


def dqn(config: Config, spec: NetworkSpec, interventions: list[Intervention]) -> Work:
    """Updates on one minibatch of a replay that was filled at random."""
    hyper = DQNConfig(batch_size=config.samples)
    # One iteration fills a part of the replay, without updates.
    hyper = replace(hyper, learning_starts=hyper.steps_per_iteration + 1)
    env = breakout(hyper.num_envs, config.members, config.device)
    agent = DQN(env, hyper, spec, interventions, range(config.members))
    agent.iterate(env)
    assert agent.replay is not None
    words = torch.arange(config.members * config.samples, device=config.device) * 7919
    batch = agent.replay.sample(words.view(config.members, -1))

    def run() -> int:
        for _ in range(config.updates):
            agent._update(batch)
        return config.updates

    return Work(agent.learner, run, batch.obs)


def classifier(config: Config, spec: NetworkSpec, interventions: list[Intervention]) -> Work:
    """Updates on minibatches of digits."""
    hyper = ClassifierConfig(config.samples, config.updates)
    stream = make_supervised("digits-random-labels", range(config.members), config.device)
    agent = Classifier(stream, hyper, spec, interventions, range(config.members))
    samples = agent.collect(stream)

    def run() -> int:
        agent.learn(samples)
        return config.updates

    return Work(agent.learner, run, samples[0][0])


AGENTS = {"ppo": ppo, "dqn": dqn, "classifier": classifier}


def build(config: Config, name: str) -> tuple[Work, Intervention]:
    """The updates of an agent with one intervention, whose edits are left out of them."""
    interventions = make_interventions([name], config.agent)
    spec = NetworkSpec((config.width,) * config.depth)
    work = AGENTS[config.agent](config, spec, interventions)
    intervention: Any = interventions[0]
    if isinstance(intervention, Timed):
        intervention.edit = lambda *_: None
    return work, intervention


def edit_seconds(config: Config, work: Work, intervention: Intervention) -> float:
    """Median seconds of an edit; NaN if it makes none."""
    if not isinstance(intervention, Timed):
        return float("nan")
    edit = type(intervention).edit

    def call() -> int:
        with torch.no_grad():
            edit(intervention, work.learner, work.obs)
        return 1

    window = local(call, config.device)
    window()
    return statistics.median(window().seconds for _ in range(config.edits))


def measure(config: Config, names: list[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The summary and every timed window."""
    built = {name: build(config, name) for name in names}
    contenders = [
        Contender({"intervention": name}, local(work.run, config.device))
        for name, (work, _) in built.items()
    ]
    windows = take_turns(contenders, config.windows)
    summary = summarize(windows, ["intervention"])
    column = windows["intervention"]
    ratios = [paired_ratio(windows, column == name, column == BASELINE) for name in names]
    times_adam, lowest, highest = (list(ratio) for ratio in zip(*ratios, strict=True))
    update = 1e3 / summary["median"]
    edit = [1e3 * edit_seconds(config, *built[name]) for name in names]
    every = [updates_between(*built[name]) for name in names]
    shared = pd.Series(edit).div(pd.Series(every, dtype=float)).fillna(0.0)
    baseline = float(update[names.index(BASELINE)])
    table = pd.DataFrame(
        {
            "intervention": names,
            "update, ms": update,
            "times Adam": times_adam,
            "lowest": lowest,
            "highest": highest,
            "edit, ms": edit,
            "updates between edits": every,
            "times Adam with edits": pd.Series(times_adam) + shared / baseline,
        }
    )
    return table, windows


def updates_between(work: Work, intervention: Intervention) -> float:
    """Updates from one edit to the next; NaN if there are none, or they wait for task switches."""
    period = getattr(intervention, "period", None)
    if period is None:
        return float("nan")
    return float(period_in_updates(period, work.learner.settings))


def draw(table: pd.DataFrame) -> Figure:
    """Times Adam's update, with the range of the windows."""
    figure, panels = canvas(1, 1, 7.0, 0.9 + 0.16 * len(table))
    shown = table.assign(median=table["times Adam"])
    bars(panels[0], table["intervention"].tolist(), shown, (table.index == -1).tolist())
    panels[0].axvline(1.0, color="black", lw=0.8)
    panels[0].set_xlabel("time of an update, times plain Adam's; edits left out")
    return figure


def main(config: Config) -> None:
    """Measure, print and write."""
    names = list(config.interventions or INTERVENTIONS)
    if config.quick:
        config = replace(config, width=16, depth=2, batch=16, updates=4, windows=2, edits=1)
    names = [BASELINE, *(name for name in names if name != BASELINE)]
    prepare(config.threads)
    table, windows = measure(config, names)
    title = (
        f"Time of an update of {config.agent} with each intervention: {config.depth} x "
        f"{config.width}, minibatches of {config.samples}, members: {config.members}"
    )
    publish(
        Report(
            f"overhead-{config.agent}", title, table, config, windows, figure=lambda: draw(table)
        )
    )


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
