"""Evaluation of an agent on the task it is playing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import torch
from torch import Tensor

from neoteny.core import rng
from neoteny.experiments.options.config import RunConfig
from neoteny.experiments.run.run_streams import make_envs
from neoteny.wrappers.member_schedules import MemberSchedules
from neoteny.wrappers.statistics import EpisodeStatistics

__all__ = ["episode_returns", "evaluate", "play"]

MAX_STEPS = 10_000
CHECK_EVERY = 50


def evaluate(config: RunConfig, agent: Any, step: int, schedule: MemberSchedules) -> Tensor:
    """Mean return (M,) of the episodes of :func:`episode_returns`."""
    return episode_returns(config, agent, step, schedule).mean(1)


@torch.no_grad()
def episode_returns(config: RunConfig, agent: Any, step: int, schedule: MemberSchedules) -> Tensor:
    """Play one episode in each of `config.eval_episodes` lanes with the agent's policy.

    One episode a lane, the first: counting whatever ends first would favour short episodes. An
    episode still running after 10,000 steps counts with its return so far.

    Args:
        config: The run's configuration.
        agent: The agent; its training state is left as it is.
        step: Environment step whose task, permutation included, is evaluated.
        schedule: The training environments', whose switches may have waited for returns.

    Returns:
        (M, episodes) returns.
    """
    lanes = config.eval_episodes
    with closing(make_envs(config, lanes)) as envs:
        envs.seek(step, schedule, hold=True)
        obs = envs.reset()[0]
        total = torch.zeros(len(obs), device=agent.device)
        running = torch.ones(len(obs), dtype=torch.bool, device=agent.device)
        for t, (reward, ended) in enumerate(play(config, agent, envs, obs, step), start=1):
            total += reward * running
            running &= ~ended
            if t % CHECK_EVERY == 0 and not running.any():
                break
    return total.view(config.seeds, lanes)


@torch.no_grad()
def play(
    config: RunConfig, agent: Any, envs: EpisodeStatistics, obs: Tensor, step: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Play 10,000 steps with the agent's policy, unless the caller stops earlier.

    Args:
        config: The run's configuration.
        agent: The agent.
        envs: Environments of all members, just reset.
        obs: (L, *shape) observations of the reset.
        step: Environment step of the stream, part of the seed of the agent's choices.

    Yields:
        (L,) reward, and (L,) bool, True where an episode ended, of each step.
    """
    lanes = envs.lanes
    keys = rng.lane_keys(config.seed_list, lanes, f"evaluation {step}", agent.device)
    for t in range(MAX_STEPS):
        action = agent.play(obs.view(config.seeds, lanes, *obs.shape[1:]), keys, t)
        obs, reward, terminated, truncated, _ = envs.step(action)
        yield reward, terminated | truncated
