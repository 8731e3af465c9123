"""How far collecting, learning and the optimiser are from what this machine could do.

python benchmarks/roofline.py --out results/speed

Operations and bytes are counted from shapes (`_costs.py`). The machine's ceilings are measured in
the same run: matrix products of the very shapes in use, in their precision, and copies of as many
bytes as each of the other operations moves, so that what fits in a cache is held to the cache's
speed. A part's floor is the sum over its operations, one after another; measured time over floor
says what a perfect implementation of the same operations could still gain.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

import pandas as pd
import torch
import tyro
from _costs import Shapes, total
from _machine import Machine
from _measure import prepare, synchronize
from _publish import Report, canvas, publish
from _work import Training
from matplotlib.figure import Figure
from torch import Tensor

from neoteny.agents import PPO
from neoteny.agents.ppo import select
from neoteny.agents.ppo_loss import fused_ppo_loss, ppo_loss
from neoteny.agents.rollout import Rollout
from neoteny.agents.sparse import SparseBatch
from neoteny.envs import TensorEnv
from neoteny.experiments.drawing import GREY, PALETTE, quiet


@dataclass(frozen=True)
class Config:
    """What to measure."""

    width: int = 64
    """Width of the hidden layers."""
    depth: int = 4
    """Hidden layers."""
    lanes: int = 2048
    """Lanes of one member."""
    steps: int = 128
    """Steps in each lane an iteration, and minibatches a pass."""
    members: int = 1
    """Members trained together."""
    optimizer: Literal["adam", "adamo"] = "adam"
    """With `adamo`, GroupSort and no biases."""
    path: Literal["fp32", "bf16", "no-compile", "dense"] = "fp32"
    """How PPO computes."""
    windows: int = 7
    """Timed windows of each part and ceiling, after one that is not counted."""
    peak_side: int = 2048
    """Side of the square product that stands for the machine's peak."""
    threads: int | None = None
    """Threads for CPU arithmetic; unset, torch decides."""
    device: str = "cpu"
    """Device of environments and networks."""
    out: Path | None = None
    """Folder for the table, the CSV and the figure; unset, they are only printed."""
    quick: bool = False
    """Try everything out on tiny sizes."""

    @property
    def training(self) -> Training:
        """The run that is taken apart."""
        return Training(
            self.width,
            self.depth,
            self.lanes,
            self.steps,
            self.members,
            optimizer=self.optimizer,
            activation="groupsort" if self.optimizer == "adamo" else "relu",
            path=self.path,
            device=self.device,
        )


class Stopwatch:
    """Adds up the time between laps, by name."""

    def __init__(self, device: str) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._device = device
        self.start()

    def start(self) -> None:
        """Forget the time since the last lap."""
        synchronize(self._device)
        self._last = time.perf_counter()

    def lap(self, part: str, scale: float = 1.0) -> None:
        """Count the time since the last lap as a part's, times a factor."""
        synchronize(self._device)
        self.seconds[part] += scale * (time.perf_counter() - self._last)
        self.start()


def measure(config: Config, env: TensorEnv, agent: PPO, sampled: int = 16) -> pd.DataFrame:
    """Time the parts of an iteration.

    Args:
        config: What to measure.
        env: The environments.
        agent: The agent.
        sampled: Minibatches that stand for all of an iteration.

    Returns:
        A row a window (the first call left out), a column a part: seconds of one iteration.
    """
    windows = []
    for _ in range(config.windows + 1):
        watch = Stopwatch(config.device)
        rollout = agent.collect(env)
        watch.lap("collect")
        _time_collect(env, agent, rollout, watch)
        _time_updates(agent, rollout, watch, sampled)
        watch.start()
        agent.learn(rollout)
        watch.lap("learn")
        windows.append(dict(watch.seconds))
    frame = pd.DataFrame(windows[1:])
    frame["optimizer"] -= frame["backward"]  # the update takes the gradients too
    frame["store"] = frame["collect"] - frame["environment"] - frame["act"]
    return frame


def _time_collect(env: TensorEnv, agent: PPO, rollout: Rollout, watch: Stopwatch) -> None:
    """Steps of the environments with the rollout's actions, and acting on its observations."""
    watch.start()
    for action in rollout.action:
        env.step(action.flatten())
    watch.lap("environment")
    network = agent.network
    with torch.no_grad():
        for obs in rollout.obs:
            agent.act(network.inputs(obs.view(agent.members, -1, *obs.shape[1:])))
    watch.lap("act")


def _time_updates(agent: PPO, rollout: Rollout, watch: Stopwatch, sampled: int) -> None:
    """Phases of some minibatches, counted for all."""
    config = agent.config
    sampled = min(sampled, config.num_minibatches)
    scale = config.num_epochs * config.num_minibatches / sampled
    obs = SparseBatch.join(rollout.sparse) if rollout.sparse else rollout.obs.flatten(0, 1)
    advantage = agent.advantages(rollout)
    fields = torch.stack(
        [rollout.log_prob, rollout.value, advantage, advantage, rollout.action.float()], dim=-1
    ).flatten(0, 2)
    rows = torch.arange(len(fields), device=fields.device)
    rows = rows.view_as(rollout.action).transpose(0, 1).flatten(1)  # (M, T N)
    order = rows[:, torch.randperm(rows.shape[1], device=rows.device)]
    loss = partial(fused_ppo_loss if agent.network.stacked else ppo_loss, agent.policy)
    for index in order.split(config.minibatch_size, dim=1)[:sampled]:
        watch.start()
        batch, (*floats, action) = select(obs, index), fields[index].unbind(-1)
        watch.lap("gather", scale)

        def losses() -> Tensor:
            outputs = agent.network(batch)  # noqa: B023 - called at once
            value = outputs["value"].squeeze(-1)
            found: Tensor = loss(outputs["policy"], value, action.long(), *floats, config)[0]  # noqa: B023
            return found

        found = losses()
        watch.lap("forward", scale)
        found.sum().backward()
        watch.lap("backward", scale)
        found = losses()
        watch.start()
        agent.learner.update(found, batch)
        watch.lap("optimizer", scale)


def shapes(config: Config, env: TensorEnv, agent: PPO, rollout: Rollout) -> Shapes:
    """What the counts need to know of a run."""
    ones = rollout.obs.count_nonzero().item() / rollout.reward.numel() if rollout.sparse else None
    ppo = agent.config
    return Shapes(
        members=agent.members,
        lanes=ppo.num_envs,
        steps=ppo.num_steps,
        epochs=ppo.num_epochs,
        minibatches=ppo.num_minibatches,
        inputs=math.prod(agent.observation_shape),
        width=config.width,
        depth=config.depth,
        outputs=tuple(branch.head.weight.shape[1] for branch in agent.network.branches.values()),
        ones=ones,
        state_bytes=sum(value.nbytes for value in env.state.values()),
        activation=agent.network.spec.activation,
        bias=agent.network.spec.bias,
        precision="bf16" if config.path == "bf16" else "fp32",
        isometry=config.optimizer == "adamo",
    )


PARTS = {
    "environment": ("environment",),
    "act": ("act",),
    "store": ("store",),
    "collect": ("environment", "act", "store"),
    "gather": ("gather",),
    "forward": ("forward",),
    "backward": ("backward",),
    "optimizer": ("optimizer",),
    "learn": ("gather", "forward", "backward", "optimizer"),
}
"""Rows of the table, and whose counts they sum; `learn` also shuffles and estimates advantages."""


def compare(shape: Shapes, seconds: pd.DataFrame, machine: Machine) -> pd.DataFrame:
    """Counts, floors and measured times of every part.

    Args:
        shape: What to count.
        seconds: Rows of :func:`measure`.
        machine: Ceilings.

    Returns:
        A row a part and one for the iteration: work, milliseconds at the floor and measured
        (median, lowest, highest), their ratio, and operations per second as a share of the peak.
    """
    seconds = seconds.assign(iteration=seconds["collect"] + seconds["learn"])
    parts = {**PARTS, "iteration": (*PARTS["collect"], *PARTS["learn"])}
    rows = []
    for name, members in parts.items():
        work = [operation for operation in shape.iteration if operation.part in members]
        floor = sum(machine.floor(operation) * operation.times for operation in work)
        taken = seconds[name].median()
        flops = total(work, "flops")
        rows.append(
            {
                "part": name,
                "GFLOP": flops / 1e9,
                "GB": total(work, "bytes") / 1e9,
                "floor, ms": 1e3 * floor,
                "measured, ms": 1e3 * taken,
                "lowest": 1e3 * seconds[name].min(),
                "highest": 1e3 * seconds[name].max(),
                "measured / floor": taken / floor,
                "of peak": flops / taken / machine.peak(shape.precision),
            }
        )
    return pd.DataFrame(rows)


def draw(table: pd.DataFrame) -> Figure:
    """Measured milliseconds of every part, and the floor inside them."""
    figure, panels = canvas(1, 1, 7.0, 3.2)
    panel, places = panels[0], range(len(table))
    panel.barh(places, table["measured, ms"], color=GREY, height=0.7, label="measured")
    panel.barh(places, table["floor, ms"], color=PALETTE[0], height=0.4, label="floor")
    quiet(panel, ())
    panel.set_yticks(places, table["part"])
    panel.invert_yaxis()
    panel.set_xlabel("ms an iteration")
    panel.legend(frameon=False)
    return figure


def main(config: Config) -> None:
    """Measure, print and write."""
    if config.quick:
        config = replace(config, width=8, lanes=16, steps=4, windows=1, peak_side=64)
    prepare(config.threads)
    env, agent = config.training.build()
    seconds = measure(config, env, agent)
    machine = Machine(config.device, config.windows, config.peak_side)
    table = compare(shapes(config, env, agent, agent.collect(env)), seconds, machine)
    name = f"roofline-{config.optimizer}-{config.width}-{config.path}"
    title = "One iteration of the preset `paper`: counted work, its floor on this machine, time"
    publish(Report(name, title, table, config, figure=lambda: draw(table)))
    publish(Report(f"{name}-ceilings", "Measured ceilings", machine.ceilings(), config))


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
