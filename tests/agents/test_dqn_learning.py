"""DQN learns: known values on a ladder of tiny environments, and a pole that stands."""

import dataclasses

import pytest
import torch
from small_dqn import SMALL, make_dqn, trained

from neoteny import envs
from neoteny.agents.dqn_loss import (
    DQNConfig,
)
from neoteny.plasticity.networks import NetworkSpec
from neoteny.wrappers.statistics import EpisodeStatistics


@pytest.mark.parametrize(
    "kind", ["both", *(pytest.param(k, marks=pytest.mark.slow) for k in ("observation", "delayed"))]
)
def test_ladder_reaches_the_known_values_and_actions(ladder, kind):
    env = ladder(kind, 16)
    config = dataclasses.replace(
        SMALL, train_frequency=4, learning_rate=1e-2, gamma=0.5, epsilon_steps=2000
    )
    agent = make_dqn(env, config)
    trained(env, agent, 5)
    obs = agent.replay.sample(torch.randint(2**32, (1, 32))).obs
    values = agent.values(agent.network, obs).amax(-1)
    if kind == "delayed":  # gamma before the last step, 1 on it
        target = torch.where(obs[..., 1] > 0, 1.0, 0.5)
    else:
        target = obs[..., 0] if kind == "observation" else torch.ones_like(values)
    assert (values - target).abs().mean() < 0.1
    if kind == "both":
        best = agent.values(agent.network, obs).argmax(-1)
        assert (best == (obs[..., 0] > 0)).all()


@pytest.mark.parametrize("n_steps", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_time_limits_are_bootstrapped_not_treated_as_ends(ladder, n_steps):
    """One reward a step for ever, cut every 4 steps: the value is 1 / (1 - gamma)."""
    env = ladder("constant", 16, max_steps=4)
    config = dataclasses.replace(
        SMALL,
        train_frequency=4,
        learning_rate=1e-2,
        target_frequency=32,
        gamma=0.5,
        n_steps=n_steps,
    )
    agent = make_dqn(env, config)
    metrics = trained(env, agent, 6)
    assert metrics["losses/q_value"].item() == pytest.approx(2.0, abs=0.1)  # else below 1.6


def cartpole(config, iterations):
    env = EpisodeStatistics(envs.make("CartPole-v1", config.num_envs))
    agent = make_dqn(env, config, NetworkSpec(hidden=(64, 64)))
    trained(env, agent, iterations)
    env.collect()
    trained(env, agent, 10)
    return float(env.collect()["episodic_return"])


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes", [{}, {"n_steps": 3}, {"dueling": True}, {"target_rate": 0.01}], ids=str
)
def test_it_learns_to_balance_a_pole(changes):
    settings = {
        "num_envs": 16,
        "num_steps": 64,
        "batch_size": 64,
        "train_frequency": 4,
        "learning_starts": 1_000,
        "replay_size": 50_000,
        "epsilon_end": 0.02,
        "epsilon_steps": 20_000,
        "target_frequency": 1_000,
    }
    if "target_rate" in changes:
        settings["target_frequency"] = 4
    assert cartpole(DQNConfig(**settings | changes), 26) > 90  # a random policy reaches 22
