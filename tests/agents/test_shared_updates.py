"""Agents whose lanes and minibatches several processes share learn what one process learns."""

import dataclasses

import pytest
import torch
from together import together

from neoteny.agents import DQN, PPO, DQNConfig, NetworkSpec, PPOConfig
from neoteny.agents.classifier import Classifier, ClassifierConfig
from neoteny.core.ranks import ALONE
from neoteny.plasticity.interventions import INTERVENTIONS, make_interventions
from neoteny.wrappers.streams import StreamContext, build_stream
from neoteny.wrappers.supervised_streams import make_supervised

SEEDS = (3, 8)
SPEC = NetworkSpec((16, 16))
PPO_CONFIG = PPOConfig(num_envs=8, num_steps=4, num_epochs=2, num_minibatches=4, learning_rate=1e-3)
DQN_CONFIG = DQNConfig(
    num_envs=8,
    num_steps=8,
    batch_size=16,
    train_frequency=8,
    learning_starts=64,
    target_frequency=64,
    replay_size=1024,
)


def trained(ranks, cls, config, interventions, iterations, fast=True):
    """An agent after some iterations on a stream of two tasks, and its last metrics."""
    each = config.steps_per_iteration
    context = StreamContext(8, torch.device("cpu"), SEEDS, 2 * each, each, ranks=ranks)
    stream = build_stream("minatar-permute", context, {"max_steps": 9})
    arms = make_interventions(interventions, cls.name)
    agent = cls(stream, config, SPEC, arms, SEEDS, fast=fast)
    agent.learner.ranks = None if ranks.alone else ranks
    for iteration in range(iterations):
        if iteration and iteration % 2 == 0:
            agent.switch()
            agent.learner.reset_optimizer()
        metrics = agent.iterate(stream)
    return agent, metrics


def assert_alike(agents, expected, metrics=None, rtol=1e-3, atol=1e-5):
    """The networks of all processes are the same, and that of one process up to round-off."""
    wanted, recorded = expected
    for agent, found in agents:
        assert agent.learner.updates == wanted.learner.updates
        own = list(agent.network.parameters())
        for one, same in zip(own, agents[0][0].network.parameters(), strict=True):
            assert torch.equal(one, same)
        for one, other in zip(own, wanted.network.parameters(), strict=True):
            torch.testing.assert_close(one, other, rtol=rtol, atol=atol)
        for name, value in recorded.items():
            one, other = torch.as_tensor(found[name]), torch.as_tensor(value)
            torch.testing.assert_close(one, other, rtol=1e-2, atol=1e-4, equal_nan=True, msg=name)


@pytest.mark.parametrize("fast", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_ppo_shared_by_processes_learns_what_one_learns(fast):
    arms = ["adamo:isometry=1", "layer_norm", "redo:period=12"]
    one = trained(ALONE, PPO, PPO_CONFIG, arms, 3, fast)
    assert one[0].learner.updates == 24
    resets = one[0].learner.interventions[2].state["activity"]
    assert resets.sum() > 0
    agents = together(2, lambda ranks: trained(ranks, PPO, PPO_CONFIG, arms, 3, fast))
    assert_alike(agents, one)
    assert torch.equal(agents[1][0].learner.interventions[2].state["activity"], resets)


def test_dqn_shared_by_processes_learns_what_one_learns():
    arms = ["adamo:isometry=1", "redo:period=16"]
    one = trained(ALONE, DQN, DQN_CONFIG, arms, 4)
    assert one[0].learner.updates > 20
    agents = together(2, lambda ranks: trained(ranks, DQN, DQN_CONFIG, arms, 4))
    assert_alike(agents, one)
    first, last = (agent.replay.state_dict()["ring"] for agent, _ in (agents[0], one))
    assert torch.equal(first["fields"], last["fields"])


def test_a_penalty_that_reads_losses_and_minibatches_finds_those_of_all():
    arms = ["c_chain:target=0.1"]
    one = trained(ALONE, PPO, PPO_CONFIG, arms, 2)
    agents = together(4, lambda ranks: trained(ranks, PPO, PPO_CONFIG, arms, 2))
    assert_alike(agents, one)
    for name in ("mean_loss", "mean_churn", "last"):
        found = agents[3][0].learner.interventions[0].state[name]
        torch.testing.assert_close(
            found, one[0].learner.interventions[0].state[name], rtol=1e-3, atol=1e-6
        )


# Near an isometry isometry_loss has a gradient of mere round-off where a pixel is never seen, of
# which Adam with a smaller epsilon makes whole steps.
LARGE_EPSILON = dataclasses.replace(PPO_CONFIG, adam_eps=1e-2)


def test_a_penalty_in_the_loss_counts_once():
    one = trained(ALONE, PPO, LARGE_EPSILON, ["isometry_loss"], 1)
    plain = trained(ALONE, PPO, LARGE_EPSILON, ["none"], 1)
    agents = together(2, lambda ranks: trained(ranks, PPO, LARGE_EPSILON, ["isometry_loss"], 1))
    assert_alike(agents, one, rtol=0, atol=1e-6)
    with pytest.raises(AssertionError):  # of what is not penalised at all
        assert_alike([plain], one, rtol=0, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(INTERVENTIONS))
def test_every_intervention_finds_in_two_processes_what_it_finds_in_one(name):
    config = LARGE_EPSILON if name == "isometry_loss" else PPO_CONFIG
    one = trained(ALONE, PPO, config, [name], 5)
    assert_alike(together(2, lambda ranks: trained(ranks, PPO, config, [name], 5)), one)


def test_the_classifier_shared_by_processes_learns_what_one_learns():
    def act(ranks):
        stream = make_supervised("digits-random-labels", SEEDS, "cpu", 400, 200)
        config = ClassifierConfig(batch_size=20, updates_per_iteration=10)
        agent = Classifier(stream, config, SPEC, make_interventions(["redo"], "classifier"), SEEDS)
        agent.learner.ranks = None if ranks.alone else ranks
        for _ in range(3):
            metrics = agent.iterate(stream)
        return agent, metrics | stream.collect()

    assert_alike(together(2, act), act(ALONE))


def test_a_member_that_goes_non_finite_in_one_process_is_frozen_in_all():
    def act(ranks):
        agent = trained(ranks, PPO, PPO_CONFIG, ["none"], 1)[0]
        obs = torch.rand(2, 4, *agent.observation_shape)
        loss = agent.network(obs)["policy"].square().mean((1, 2))
        if ranks.rank == 1:
            loss = loss * torch.tensor([1.0, torch.inf])
        agent.learner.update(loss, obs)
        return agent.learner.alive.tolist()

    assert together(2, act) == [[True, False]] * 2
