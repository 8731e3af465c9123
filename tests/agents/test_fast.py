"""The fast path against the plain modules, in whole training runs of every agent."""

import pytest
import torch

from neoteny import envs
from neoteny.agents import DQN, PPO, DQNConfig, NetworkSpec, PPOConfig
from neoteny.plasticity.interventions import make_interventions

SHARED = {"num_envs": 16, "num_steps": 16}
DQN_SMALL = {"batch_size": 32, "train_frequency": 16, "learning_starts": 64, "replay_size": 1024}
GAME = "MinAtar-SpaceInvaders"
AGENTS = {
    "ppo": (PPO, GAME, PPOConfig(**SHARED, num_epochs=2, num_minibatches=4)),
    "dqn": (DQN, GAME, DQNConfig(**SHARED, **DQN_SMALL, target_frequency=64)),
    "dueling": (DQN, GAME, DQNConfig(**SHARED, **DQN_SMALL, target_frequency=64, dueling=True)),
    "gaussian": (PPO, "Pendulum-v1", PPOConfig(**SHARED, num_epochs=2, num_minibatches=4)),
}


def trained(kind, spec, fast):
    """Parameters and metrics after two iterations of two members."""
    cls, name, config = AGENTS[kind]
    env = envs.make(name, 16, members=2, seed=4, max_steps=9)
    interventions = make_interventions(["l2_init"])
    agent = cls(env, config, spec, interventions, (4, 5), fast=fast)
    for _ in range(2):
        metrics = agent.iterate(env) if cls is DQN else agent.learn(agent.collect(env))
    assert agent.learner.updates >= 16
    return list(agent.network.parameters()), metrics


SPECS = {
    "relu": NetworkSpec((16, 16)),
    "groupsort": NetworkSpec((16, 16), "groupsort", bias=False),
    "tanh, one body": NetworkSpec((16,), "tanh", shared=True),
}


@pytest.mark.parametrize(
    ("kind", "spec"),
    [
        pytest.param(
            kind, spec, id=f"{kind}-{name}", marks=() if at == place % 3 else pytest.mark.slow
        )
        for place, kind in enumerate(AGENTS)
        for at, (name, spec) in enumerate(SPECS.items())
    ],
)
def test_training_equals_that_of_the_plain_modules_up_to_round_off(kind, spec):
    (ours, metrics), (plain, expected) = (trained(kind, spec, fast) for fast in (True, False))
    for one, two in zip(ours, plain, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-5)
    for name, value in expected.items():
        found, wanted = torch.as_tensor(metrics[name]), torch.as_tensor(value)
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-5, msg=name)
