"""The work that benchmarks time: iterations of PPO and DQN, and steps of environments."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import cycle
from typing import Any, Literal

import torch

from neoteny import envs
from neoteny.agents import DQN, PPO, DQNConfig, NetworkSpec, PPOConfig
from neoteny.agents.graphs import CudaGraph
from neoteny.core.ranks import ALONE, Ranks
from neoteny.envs.shared_lanes import SharedLanes
from neoteny.plasticity.interventions import make_interventions
from neoteny.wrappers.statistics import EpisodeStatistics
from neoteny.wrappers.streams import make_stream

CHANNELS, LIMIT = 10, 1000
"""The isometry paper's padding of MinAtar's channels, and gymnax's limit of steps."""

PATHS: Mapping[str, Mapping[str, Any]] = {
    "fp32": {},
    "bf16": {"precision": torch.bfloat16},
    "plain": {"fast": False},
    "cuda-graphs": {"recorder": CudaGraph},
    "cuda-graphs-plain": {"recorder": CudaGraph, "fast": False},
    "cuda-graphs-bf16": {"recorder": CudaGraph, "precision": torch.bfloat16},
}
"""Ways to compute PPO; `plain` is `--no-fast`."""
How = Literal["fp32", "bf16", "plain", "cuda-graphs", "cuda-graphs-bf16"]


@dataclass(frozen=True)
class Training:
    """A PPO run of the preset `paper` on padded Breakout; minibatches hold one step's samples."""

    width: int = 64
    depth: int = 4
    lanes: int = 2048
    """Lanes of one member."""
    steps: int = 128
    """Steps in each lane between two learning phases."""
    members: int = 1
    minibatches: int | None = None
    """Minibatches a pass; unset, as many as steps, so that each has one sample a lane."""
    optimizer: str = "adam"
    """`adam` or `adamo`."""
    activation: str = "relu"
    """With `groupsort`, layers have no biases, as the paper's."""
    path: str = "fp32"
    """A name in `PATHS`."""
    device: str = "cpu"

    @property
    def ppo(self) -> PPOConfig:
        """Hyper-parameters."""
        return PPOConfig(
            num_envs=self.lanes,
            num_steps=self.steps,
            num_minibatches=self.minibatches or self.steps,
        )

    @property
    def rejax(self) -> dict[str, Any]:
        """Options of the same work for `benchmarks/peers/rejax_ppo.py`."""
        sizes = {name: getattr(self, name) for name in ("width", "depth", "lanes", "steps")}
        return {"game": "Breakout", **sizes, "minibatches": self.steps}

    @property
    def steps_per_iteration(self) -> int:
        """Environment steps of all members in one iteration."""
        return self.lanes * self.steps * self.members

    def build(self, ranks: Ranks = ALONE) -> tuple[envs.TensorEnv | SharedLanes, PPO]:
        """The environments and the agent, trained by this process or by several together."""
        env: envs.TensorEnv | SharedLanes
        if ranks.alone:
            env = breakout(self.lanes, self.members, self.device)
        else:
            make = partial(breakout, members=self.members, device=self.device)
            env = SharedLanes(make, self.lanes, ranks)
        spec = NetworkSpec(
            (self.width,) * self.depth, self.activation, bias=self.activation != "groupsort"
        )
        name = "none" if self.optimizer == "adam" else self.optimizer
        interventions = make_interventions([name])
        options = dict(PATHS[self.path])
        if "recorder" in options:
            options["recorder"] = partial(options["recorder"], env.device)
        agent = PPO(env, self.ppo, spec, interventions, range(self.members), **options)
        agent.learner.ranks = None if ranks.alone else ranks
        return env, agent

    def iteration(self, ranks: Ranks = ALONE) -> Callable[[], int]:
        """A function that collects and learns once."""
        env, agent = self.build(ranks)

        def iterate() -> int:
            agent.learn(agent.collect(env))
            return self.steps_per_iteration

        return iterate


@dataclass(frozen=True)
class DQNTraining:
    """A double-DQN run on Breakout as gymnax plays it, wrapped as the training command does it."""

    hidden: tuple[int, ...]
    """Widths of the hidden layers."""
    lanes: int = 128
    """Lanes of one member."""
    steps: int = 512
    """Steps in each lane an iteration."""
    every: int = 128
    """Environment steps of one member for each gradient step."""
    members: int = 1
    device: str = "cpu"
    graphs: bool = False
    """Replay steps and updates as CUDA graphs."""

    @property
    def dqn(self) -> DQNConfig:
        """Hyper-parameters."""
        return DQNConfig(
            num_envs=self.lanes,
            num_steps=self.steps,
            batch_size=128,
            train_frequency=self.every,
            learning_starts=4_096,
            replay_size=131_072,
            target_frequency=8_192,
        )

    def build(self) -> tuple[EpisodeStatistics, DQN]:
        """The environments and the agent."""
        stream = make_stream(
            "MinAtar-Breakout-v1",
            self.lanes,
            self.members,
            self.device,
            sticky=0.0,
            max_steps=LIMIT,
        )
        env = EpisodeStatistics(stream)
        interventions = make_interventions(["none"])
        recorder = (lambda: CudaGraph(torch.device(self.device))) if self.graphs else None
        spec, seeds = NetworkSpec(self.hidden), range(self.members)
        return env, DQN(env, self.dqn, spec, interventions, seeds, recorder=recorder)

    def iteration(self) -> Callable[[], int]:
        """A function that plays and learns once."""
        env, agent = self.build()

        def iterate() -> int:
            agent.iterate(env)
            env.collect()
            return self.dqn.steps_per_iteration * self.members

        return iterate


def breakout(lanes: int, members: int = 1, device: str = "cpu") -> envs.TensorEnv:
    """Breakout padded to 10 x 10 x 10 with a limit of 1,000 steps, as the isometry paper plays."""
    return envs.make(
        "MinAtar-Breakout-v1",
        lanes,
        members=members,
        device=device,
        channels=CHANNELS,
        max_steps=LIMIT,
        sticky=0.0,
    )


def stepping(
    env: str, lanes: int, steps: int, device: str = "cpu", chunks: int = 1, **options: Any
) -> Callable[[], int]:
    """Steps with random actions, observation and autoreset included.

    Args:
        env: An id of `neoteny.envs.registered()`.
        lanes: Parallel environments.
        steps: Steps of all lanes a call.
        device: Where they live.
        chunks: Calls after which the actions repeat.
        **options: Options of the environment.
    """
    stepped = envs.make(env, lanes, device=device, **options)
    stepped.final_observations = False  # gymnax gives none either
    stepped.reset()
    space = stepped.single_action_space
    drawn = torch.stack([torch.as_tensor(space.sample()) for _ in range(64 * steps)])
    actions = drawn[torch.randint(len(drawn), (chunks, steps, lanes))].to(device)
    turns = cycle(actions)

    def window() -> int:
        for action in next(turns):
            stepped.step(action)
        return steps * lanes

    return window
