"""A small learner to try interventions on, and a task to train it on."""

import pytest
import torch

from neoteny.agents.learner import Learner
from neoteny.agents.networks import HeadSpec, Network, NetworkSpec
from neoteny.agents.policies import Categorical
from neoteny.plasticity.interventions import OptimizerSettings, make_interventions

HEADS = {
    "ppo": {"policy": HeadSpec(4, 0.01, Categorical(4)), "value": HeadSpec(1)},
    "dqn": {"q": HeadSpec(4)},
    "classifier": {"logits": HeadSpec(4, family=Categorical(4))},
}


@pytest.fixture
def make_learner():
    """Builds a learner of one network kind with interventions given by name."""

    def build(*names, kind="ppo", seeds=(0, 1), activation="relu", bias=True, lr=1e-2, **options):
        return Learner(
            lambda spec, generators: Network(spec, (6,), HEADS[kind], generators),
            NetworkSpec(hidden=(16, 8), activation=activation, bias=bias),
            make_interventions(names),
            OptimizerSettings(learning_rate=lr),
            seeds,
            **options,
        )

    return build


@pytest.fixture
def train():
    """Trains a learner on a regression, with the same data for every member."""

    def run(learner, updates, start=0):
        members = learner.network.members
        for step in range(start, start + updates):
            obs = torch.randn(32, 6, generator=torch.Generator().manual_seed(step))
            obs = obs.expand(members, -1, -1)
            loss = torch.zeros(members)
            for output in learner.network(obs).values():
                target = obs[..., : output.shape[-1]].sin()
                loss = loss + (output - target).square().mean((1, 2))
            learner.update(loss, obs)

    return run


@pytest.fixture
def snapshot():
    """Copies all parameters of a learner's network."""
    return lambda learner: [p.detach().clone() for p in learner.network.parameters()]
