"""The agents that can be trained, and how the run loop uses each of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from neoteny.agents.classifier import Classifier, ClassifierConfig
from neoteny.agents.dqn import DQN, DQNConfig
from neoteny.agents.graphs import CudaGraph
from neoteny.agents.ppo import PPO
from neoteny.agents.ppo_loss import PPOConfig
from neoteny.agents.rollout import Rollout
from neoteny.core import rng
from neoteny.core.registry import Registry
from neoteny.plasticity.interventions import Intervention
from neoteny.plasticity.network_spec import NetworkSpec

__all__ = ["AGENTS", "AGENT_CONFIGS", "AgentKind", "AgentSettings", "Probe", "task_steps"]

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}

Probe = Callable[[int], Tensor]
"""Given n, at most n observations per member that the iteration met, (M, B, *shape)."""

AGENT_CONFIGS: dict[str, type[Any]] = {
    "ppo": PPOConfig,
    "dqn": DQNConfig,
    "classifier": ClassifierConfig,
}
"""Field of a configuration to the hyper-parameters that it holds."""


@dataclass(frozen=True)
class AgentSettings:
    """Arguments of every agent's constructor, as a run's configuration gives them."""

    hyper: Any
    """An instance of a class in `AGENT_CONFIGS`."""
    spec: NetworkSpec
    make_interventions: Callable[[], list[Intervention]]
    """New interventions at every call; Stable-Baselines3 takes a list for each member."""
    seeds: Sequence[int]
    steps: int
    """Environment steps of one member in the run."""
    fast: bool = True
    precision: str = "fp32"
    """A name in `PRECISIONS`."""
    cuda_graphs: bool = False


@dataclass(frozen=True)
class AgentKind:
    """Functions that build and use a kind of agent."""

    hyper: str
    """Name in `AGENT_CONFIGS`, and the configuration's field, of its hyper-parameters."""
    build: Callable[[AgentSettings, Any], Any]
    """From settings and the world to act in."""
    iterate: Callable[[Any, Any], tuple[dict[str, Any], Probe]]
    """One iteration of the agent in its world: metrics, and observations for diagnostics."""
    preset: str
    """The defaults it starts from unless another preset is named."""
    policy: Callable[[Any, Tensor, Tensor, int], Tensor] | None = None
    """Actions (L, *action) of the agent on observations (M, N, *shape), by random numbers of lanes
    with keys (L,) at a step."""
    switch: Callable[[Any], None] | None = None
    """The agent's own reaction to a task switch."""
    supervised: bool = False
    """True if its stream is supervised."""
    separate: bool = False
    """True if each member has a stream of its own."""


def _shared(settings: AgentSettings, world: Any) -> dict[str, Any]:
    """Arguments that every agent on the device is built with."""
    return {
        "config": settings.hyper,
        "spec": settings.spec,
        "interventions": settings.make_interventions(),
        "seeds": settings.seeds,
        "fast": settings.fast,
        "precision": PRECISIONS[settings.precision],
        "task_steps": task_steps(settings.steps, world),
    }


def task_steps(steps: int, world: Any) -> float:
    """Environment steps that a task of a run lasts: the mean if they differ, the run if it is one.

    Of members that switch at steps of their own, the first counts.
    """
    boundaries = world.schedule.members[0].boundaries(steps)
    return boundaries[-1] / len(boundaries) if boundaries else float(steps)


def _build_ppo(settings: AgentSettings, world: Any) -> PPO:
    recorder = partial(CudaGraph, world.device) if settings.cuda_graphs else None
    return PPO(world, recorder=recorder, **_shared(settings, world))


def _iterate_ppo(agent: PPO, world: Any) -> tuple[dict[str, Tensor], Probe]:
    rollout = agent.collect(world)
    return agent.learn(rollout), partial(_spread, rollout)


def _spread(rollout: Rollout, most: int) -> Tensor:
    """Observations spread over a rollout's steps and lanes."""
    lanes = rollout.reward.shape[2]
    steps = min(rollout.steps, 8)
    times = torch.linspace(0, rollout.steps - 1, steps).long().tolist()
    per_step = min(most // steps, lanes)
    obs = torch.stack([rollout.obs[t] for t in times])  # (steps, L, *shape)
    obs = obs.view(steps, rollout.members, lanes, *obs.shape[2:])[:, :, :: lanes // per_step]
    return obs[:, :, :per_step].transpose(0, 1).flatten(1, 2)


def _ppo_policy(agent: PPO, obs: Tensor, keys: Tensor, step: int) -> Tensor:
    uniform = agent.policy.draw(keys, step, agent.members)
    return agent.policy.to_env(agent.policy.sample(agent.network.branch("policy", obs), uniform)[0])


def _build_dqn(settings: AgentSettings, world: Any) -> DQN:
    return DQN(world, **_shared(settings, world))


def _iterate_dqn(agent: DQN, world: Any) -> tuple[dict[str, Any], Probe]:
    return agent.iterate(world), agent.recent


def _dqn_policy(agent: DQN, obs: Tensor, keys: Tensor, step: int) -> Tensor:
    uniform = rng.uniform(rng.bits(keys, step, 0)).view(agent.members, -1)
    return agent.act(obs, uniform, agent.config.epsilon_end).flatten()


def _build_classifier(settings: AgentSettings, world: Any) -> Classifier:
    return Classifier(world, **_shared(settings, world))


def _iterate_classifier(agent: Classifier, world: Any) -> tuple[dict[str, Tensor], Probe]:
    samples = agent.collect(world)
    return agent.learn(samples), samples.observations


def _build_sb3(settings: AgentSettings, world: Any) -> Any:
    from neoteny.sb3.agents import SB3Agents  # Stable-Baselines3 takes a second to import

    spec = settings.spec
    return SB3Agents(
        world.worlds,
        settings.hyper,
        spec,
        settings.make_interventions,
        settings.seeds,
        task_steps(settings.steps, world),
    )


def _iterate_sb3(agent: Any, world: Any) -> tuple[dict[str, Tensor], Probe]:
    return agent.iterate(), agent.recent


AGENTS: Registry[AgentKind] = Registry("agent")
"""Every agent by its name for `--agent`."""

AGENTS.add(
    "ppo",
    AgentKind("ppo", _build_ppo, _iterate_ppo, "cpu", _ppo_policy),
    "Proximal policy optimisation, of discrete and continuous actions.",
)
AGENTS.add(
    "dqn",
    AgentKind("dqn", _build_dqn, _iterate_dqn, "cpu", _dqn_policy, DQN.switch),
    "Deep Q-learning, double and dueling, of discrete actions.",
)
AGENTS.add(
    "classifier",
    AgentKind("classifier", _build_classifier, _iterate_classifier, "supervised", supervised=True),
    "A classifier of supervised streams.",
)
AGENTS.add(
    "sb3-ppo",
    AgentKind("ppo", _build_sb3, _iterate_sb3, "cpu", separate=True),
    "PPO of Stable-Baselines3.",
)
AGENTS.add(
    "sb3-dqn",
    AgentKind("dqn", _build_sb3, _iterate_sb3, "sb3", separate=True),
    "DQN of Stable-Baselines3.",
)
