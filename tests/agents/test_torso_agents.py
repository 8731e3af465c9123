"""PPO, DQN and the classifier on grids: members apart, resumed to the bit, on either path."""

import copy
import io

import pytest
import torch

from neoteny import envs
from neoteny.agents.classifier import Classifier, ClassifierConfig
from neoteny.agents.dqn import DQN
from neoteny.agents.dqn_loss import DQNConfig
from neoteny.agents.ppo import PPO
from neoteny.agents.ppo_loss import PPOConfig
from neoteny.plasticity.interventions import make_interventions
from neoteny.plasticity.networks import NetworkSpec
from neoteny.wrappers.supervised_streams import make_supervised

CONV = {"torso": "conv", "channels": (8,), "hidden": (16, 16)}
PPO_CONFIG = PPOConfig(num_envs=8, num_steps=16, num_epochs=1, num_minibatches=4)
DQN_CONFIG = DQNConfig(
    num_envs=8,
    num_steps=16,
    replay_size=512,
    learning_starts=64,
    train_frequency=32,
    batch_size=16,
    dueling=True,
)
CLASSIFIER_CONFIG = ClassifierConfig(batch_size=16, updates_per_iteration=4)


def stream_and_agent(kind, seeds, names=("none",), **options):
    spec = NetworkSpec(**{**CONV, **options})
    interventions = make_interventions(names)
    if kind == "classifier":
        stream = make_supervised(
            "digits-random-labels", seeds, task_steps=640, steps_per_iteration=64
        )
        return stream, Classifier(stream, CLASSIFIER_CONFIG, spec, interventions, seeds)
    stream = envs.make("MinAtar-Breakout", 8, members=len(seeds), seed=list(seeds))
    if kind == "dqn":
        return stream, DQN(stream, DQN_CONFIG, spec, interventions, seeds)
    return stream, PPO(stream, PPO_CONFIG, spec, interventions, seeds)


def iterate(stream, agent, times=2):
    for _ in range(times):
        if isinstance(agent, DQN):
            metrics = agent.iterate(stream)
        else:
            metrics = agent.learn(agent.collect(stream))
    return metrics


def each_agent(name, values):
    """Both values with every agent; by default one of them each, in turn."""
    cases = [
        pytest.param(kind, value, marks=() if at == place % 2 else pytest.mark.slow)
        for place, kind in enumerate(("dqn", "ppo", "classifier"))
        for at, value in enumerate(values)
    ]
    return pytest.mark.parametrize(("kind", name), cases)


@each_agent("shared", [False, True])
def test_two_members_train_as_two_agents_do(kind, shared):
    _, agent = together = stream_and_agent(kind, (3, 8), shared=shared)
    before = [p.detach().clone() for p in agent.network.parameters()]
    metrics = iterate(*together)
    assert agent.learner.updates > 0
    for old, new in zip(before, agent.network.parameters(), strict=True):
        assert not torch.equal(old, new)  # the torso, too, in every member
    for member, seed in enumerate((3, 8)):
        stream, alone = stream_and_agent(kind, (seed,), shared=shared)
        own = iterate(stream, alone)
        for one, both in zip(alone.network.parameters(), agent.network.parameters(), strict=True):
            torch.testing.assert_close(one[0], both[member], rtol=1e-3, atol=1e-4)
        norm = "losses/gradient_norm/network"
        torch.testing.assert_close(own[norm][0], metrics[norm][member], rtol=1e-3, atol=1e-4)
    if kind == "ppo" and shared:
        assert torch.equal(metrics["losses/gradient_norm/shared"], metrics[norm])


@each_agent("names", [("redo:period=64,tau=0.5", "layer_norm"), ("adamo",)])
def test_a_resumed_agent_goes_on_to_the_bit(kind, names):
    stream, agent = stream_and_agent(kind, (3, 8), names, shared=True)
    iterate(stream, agent)
    file = io.BytesIO()
    torch.save(agent.state_dict(), file)
    twin_stream, spec = copy.deepcopy(stream), NetworkSpec(**CONV, shared=True)
    twin = type(agent)(twin_stream, agent.config, spec, make_interventions(names), (3, 8))
    file.seek(0)
    twin.load_state_dict(torch.load(file, weights_only=False))
    iterate(stream, agent)
    iterate(twin_stream, twin)
    assert len(twin.network.bodies) == 1
    for one, other in zip(agent.network.parameters(), twin.network.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("kind", ["ppo", pytest.param("dqn", marks=pytest.mark.slow)])
def test_64_layers_train(kind):
    stream, agent = stream_and_agent(
        kind, (3,), torso="mlp", hidden=(16,) * 64, activation="groupsort", hidden_gain=None
    )
    metrics = iterate(stream, agent)
    assert agent.learner.updates > 0
    assert agent.learner.alive.all()
    assert 0 < metrics["losses/gradient_norm/network"][0] < 100
    for parameter in agent.network.parameters():
        assert parameter.isfinite().all()
