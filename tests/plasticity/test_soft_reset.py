"""Drift and step of soft resets, against autograd and a loop over parameters."""

import pytest
import torch
from torch.func import functional_call


def batch(step):
    """The observations that the fixture `train` uses at a step."""
    obs = torch.randn(32, 6, generator=torch.Generator().manual_seed(step))
    return obs.expand(2, -1, -1)


def loss_at(network, parameters, obs):
    """The loss of the fixture `train`, each member's, at other parameters."""
    outputs = functional_call(network, parameters, (obs,)).values()
    return sum(
        (output - obs[..., : output.shape[-1]].sin()).square().mean((1, 2)) for output in outputs
    )


def test_a_parameter_drifts_by_the_slope_of_the_loss_towards_its_initial_value(make_learner, train):
    """gamma = 1 - rate dL(gamma theta + (1 - gamma) mu) / dgamma at gamma = 1, by autograd."""
    learner = make_learner("soft_reset:rate=0.5", activation="tanh")
    initial = {name: p.detach().clone() for name, p in learner.network.named_parameters()}
    train(learner, 3)
    theta = {name: p.detach().clone() for name, p in learner.network.named_parameters()}
    gammas = {name: torch.ones(2, requires_grad=True) for name in theta}

    def mixed(name):
        gamma = gammas[name].view(-1, *[1] * (theta[name].dim() - 1))
        return gamma * theta[name] + (1 - gamma) * initial[name]

    loss = loss_at(learner.network, {name: mixed(name) for name in theta}, batch(3))
    slopes = torch.autograd.grad(loss.sum(), list(gammas.values()))
    train(learner, 1, start=3)
    drifts = learner.interventions[0]._drifts
    assert sum((drift > 0).sum() for drift in drifts) > 5
    for drift, slope in zip(drifts, slopes, strict=True):
        torch.testing.assert_close(drift, (0.5 * slope).clamp(0, 1), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("spread", [0.5, 1.0])
def test_the_step_starts_from_the_drifted_weights_and_is_longer(spread, make_learner, train):
    learner = make_learner(f"soft_reset:rate=0.3,spread={spread}", max_grad_norm=None)
    shadow = make_learner("none", max_grad_norm=None)
    initial = [p.detach().clone() for p in learner.network.parameters()]
    total = torch.zeros(2)
    for step in range(4):
        with torch.no_grad():  # the shadow takes Adam's step from the same weights
            for mine, other in zip(
                learner.network.parameters(), shadow.network.parameters(), strict=True
            ):
                other.copy_(mine)
        before = [p.detach().clone() for p in learner.network.parameters()]
        train(shadow, 1, start=step)
        train(learner, 1, start=step)
        drifts = []
        for mine, other, old, start in zip(
            learner.network.parameters(), shadow.network.parameters(), before, initial, strict=True
        ):
            slope = (mine.grad * (old - start)).flatten(1).sum(1)
            gamma = (1 - 0.3 * slope).clamp(0, 1)
            drifts.append(1 - gamma)
            gamma = gamma.view(-1, *[1] * (old.dim() - 1))
            stretch = gamma**2 + (1 - gamma**2) / spread**2
            expected = gamma * old + (1 - gamma) * start + stretch * (other - old)
            torch.testing.assert_close(mine, expected, rtol=1e-4, atol=1e-6)
        total += torch.stack(drifts).mean(0)
    assert (total > 0).all()
    measured = learner.interventions[0].measured()
    torch.testing.assert_close(measured["drift"], total, rtol=1e-3, atol=1e-6)
    assert measured["activity"].tolist() == [4, 4]


def test_a_whole_drift_is_a_reset(make_learner, train):
    """At gamma = 0 nothing is left of what was learnt, whatever it was."""
    learner = make_learner("soft_reset:rate=1e6,spread=1", lr=1e-4)
    initial = [p.detach().clone() for p in learner.network.parameters()]
    with torch.no_grad():
        for parameter in learner.network.parameters():
            parameter *= 3
    train(learner, 1)
    reset = [bool((drift == 1).all()) for drift in learner.interventions[0]._drifts]
    assert sum(reset) > 3
    for parameter, start, whole in zip(learner.network.parameters(), initial, reset, strict=True):
        if whole:
            torch.testing.assert_close(parameter, start, rtol=0, atol=2e-4)
