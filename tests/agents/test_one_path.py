"""Every gradient reaches the parameters through `Learner.update`, as it is seen at run time."""

from types import SimpleNamespace

import pytest
import torch
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_pre_hook

from neoteny import envs
from neoteny.agents import DQN, PPO, DQNConfig, NetworkSpec, PPOConfig
from neoteny.agents.classifier import Classifier, ClassifierConfig
from neoteny.plasticity.interventions import make_interventions
from neoteny.plasticity.learner import Learner
from neoteny.wrappers.supervised_streams import make_supervised

SPEC = NetworkSpec((8, 8))
CONFIGS = {
    "ppo": PPOConfig(num_envs=8, num_steps=8, num_epochs=1, num_minibatches=4),
    "dqn": DQNConfig(
        num_envs=8, num_steps=8, batch_size=8, train_frequency=8, learning_starts=16,
        replay_size=128,
    ),
    "classifier": ClassifierConfig(batch_size=8, updates_per_iteration=4),
}  # fmt: skip


@pytest.fixture
def calls(monkeypatch):
    """Calls of `backward` and `step`, inside and outside of `Learner.update`."""
    found = {inside: {"backward": 0, "step": 0} for inside in (True, False)}
    now = SimpleNamespace(inside=False)
    update, backward = Learner.update, torch.autograd.backward

    def watched_update(*args, **kwargs):
        now.inside = True
        try:
            return update(*args, **kwargs)
        finally:
            now.inside = False

    def watched_backward(*args, **kwargs):
        found[now.inside]["backward"] += 1
        return backward(*args, **kwargs)

    def watched_step(optimizer: Optimizer, *_):
        found[now.inside]["step"] += 1

    monkeypatch.setattr(Learner, "update", watched_update)
    monkeypatch.setattr(torch.autograd, "backward", watched_backward)  # Tensor.backward calls it
    hook = register_optimizer_step_pre_hook(watched_step)
    yield found
    hook.remove()


def trained(kind, interventions):
    """An agent after two iterations, and its initial parameters."""
    config, made = CONFIGS[kind], make_interventions(interventions)
    if kind == "classifier":
        name, steps = "digits-random-labels", config.steps_per_iteration
        stream = make_supervised(name, (0,), task_steps=2 * steps, steps_per_iteration=steps)
        agent = Classifier(stream, config, SPEC, made, (0,))
    else:
        stream = envs.make("CartPole-v1", 8)
        agent = {"ppo": PPO, "dqn": DQN}[kind](stream, config, SPEC, made, (0,))
    before = [p.detach().clone() for p in agent.network.parameters()]
    for _ in range(2):
        if kind == "dqn":
            agent.iterate(stream)
        else:
            agent.learn(agent.collect(stream))
    return agent, before


@pytest.mark.parametrize("interventions", [("none",), ("adamo", "l2_init", "c_chain")])
@pytest.mark.parametrize("kind", CONFIGS)
def test_nothing_but_the_learner_calls_backward_or_step(calls, kind, interventions):
    agent, before = trained(kind, interventions)
    updates = agent.learner.updates
    assert updates >= 8
    assert calls[False] == {"backward": 0, "step": 0}
    assert calls[True] == {"backward": updates, "step": updates}
    for old, new in zip(before, agent.network.parameters(), strict=True):
        assert not torch.equal(old, new)


@pytest.mark.parametrize("kind", CONFIGS)
def test_without_the_learner_no_parameter_moves(kind, monkeypatch):
    def no_update(learner, *_):
        learner.updates += 1
        norm = torch.zeros(1)
        learner.branch_norms = dict.fromkeys(learner.network.named_branch_parameters(), norm)
        return norm

    monkeypatch.setattr(Learner, "update", no_update)
    agent, before = trained(kind, ("none",))
    for old, new in zip(before, agent.network.parameters(), strict=True):
        assert torch.equal(old, new)
        assert new.grad is None
