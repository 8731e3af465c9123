"""A small learner to try interventions on, and a task to train it on."""

import pytest
import torch

from neoteny.agents.distributions import Categorical, Gaussian
from neoteny.plasticity.interventions import OptimizerSettings, make_interventions
from neoteny.plasticity.learner import Learner
from neoteny.plasticity.networks import HeadSpec, Network, NetworkSpec

HEADS = {
    "ppo": {"policy": HeadSpec(4, 0.01, Categorical(4)), "value": HeadSpec(1)},
    "gaussian": {
        "policy": HeadSpec(2, 0.01, Gaussian((2,), -torch.ones(2), torch.ones(2), log_std=0.25)),
        "value": HeadSpec(1),
    },
    "dqn": {"q": HeadSpec(4)},
    "classifier": {"logits": HeadSpec(4, distribution=Categorical(4))},
}


SHAPES = {"mlp": (6,), "conv": (4, 4, 2)}
"""Torso to the shape of an observation."""


@pytest.fixture
def make_learner():
    """Builds a learner of one network kind with interventions given by name."""

    def build(
        *names,
        kind="ppo",
        seeds=(0, 1),
        activation="relu",
        bias=True,
        lr=1e-2,
        torso="mlp",
        shared=False,
        residual=False,
        init="orthogonal",
        **options,
    ):
        grid = {"torso": torso, "channels": (8, 4), "kernel": (2,)} if torso == "conv" else {}
        hidden = (8, 8) if residual else (16, 8) if torso == "mlp" else (8,)
        spec = NetworkSpec(
            hidden, activation, bias, shared=shared, residual=residual, init=init, **grid
        )
        return Learner(
            lambda spec, generators: Network(spec, SHAPES[torso], HEADS[kind], generators),
            spec,
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
        network = learner.network
        shape = SHAPES[network.spec.torso]
        for step in range(start, start + updates):
            obs = torch.randn(32, *shape, generator=torch.Generator().manual_seed(step))
            obs = obs.expand(network.members, *obs.shape)
            loss = torch.zeros(network.members)
            for output in network(obs).values():
                target = obs.flatten(2)[..., : output.shape[-1]].sin()
                loss = loss + (output - target).square().mean((1, 2))
            learner.update(loss, obs)

    return run


@pytest.fixture
def snapshot():
    """Copies all parameters of a learner's network."""
    return lambda learner: [p.detach().clone() for p in learner.network.parameters()]
