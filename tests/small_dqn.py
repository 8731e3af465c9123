"""A DQN that is small enough to train in a test."""

from neoteny.agents.dqn import DQN
from neoteny.agents.dqn_loss import DQNConfig
from neoteny.plasticity.interventions import make_interventions
from neoteny.plasticity.networks import NetworkSpec

SMALL = DQNConfig(
    num_envs=16,
    num_steps=8,
    batch_size=32,
    train_frequency=16,
    learning_starts=64,
    replay_size=1024,
    target_frequency=64,
    epsilon_steps=1000,
)


def make_dqn(env, config=SMALL, spec=None, interventions=("none",), seeds=(0,), **options):
    spec = spec or NetworkSpec(hidden=(16, 16))
    return DQN(env, config, spec, make_interventions(interventions), seeds, **options)


def trained(env, agent, iterations):
    """Metrics of the last of some iterations."""
    for _ in range(iterations):
        metrics = agent.iterate(env)
    return metrics
