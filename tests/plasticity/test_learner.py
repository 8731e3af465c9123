import pytest
import torch

from neoteny.plasticity.interventions import OptimizerSettings, make_interventions
from neoteny.plasticity.learner import Learner
from neoteny.plasticity.networks import HeadSpec, Network, NetworkSpec


def make_learner(members=3, interventions=("none",), spec=None, **options):
    heads = {"policy": HeadSpec(4, 0.01), "value": HeadSpec(1)}
    return Learner(
        lambda final, generators: Network(final, (6,), heads, generators),
        spec or NetworkSpec(hidden=(8, 8)),
        make_interventions(interventions),
        OptimizerSettings(learning_rate=1e-2),
        range(members),
        **options,
    )


def loss_of(learner, obs, weights):
    out = learner.network(obs)
    return (out["policy"].square().mean((1, 2)) + out["value"].square().mean((1, 2))) * weights


@pytest.fixture
def obs():
    return torch.randn(3, 32, 6, generator=torch.Generator().manual_seed(0))


def test_clipping_is_a_norm_per_member_and_branch(obs):
    learner = make_learner(max_grad_norm=0.1)
    weights = torch.tensor([1e3, 1e-3, 1.0])
    loss_of(learner, obs, weights).sum().backward()
    raw = {
        name: torch.stack([p.grad.flatten(1).square().sum(1) for p in branch]).sum(0).sqrt()
        for name, branch in learner.network.named_branch_parameters().items()
    }
    norm = learner.update(loss_of(learner, obs, weights), obs)
    torch.testing.assert_close(norm, (raw["policy"] ** 2 + raw["value"] ** 2).sqrt())
    for name, branch in learner.network.named_branch_parameters().items():
        torch.testing.assert_close(learner.branch_norms[name], raw[name])
        clipped = torch.stack([p.grad.flatten(1).square().sum(1) for p in branch]).sum(0).sqrt()
        torch.testing.assert_close(clipped, raw[name].clamp(max=0.1), rtol=1e-4, atol=1e-7)


def test_a_member_that_goes_non_finite_is_frozen_and_leaves_the_others_alone(obs):
    sick, healthy = make_learner(), make_learner()
    weights = torch.tensor([1.0, float("nan"), 1.0])
    for step in range(6):
        bad = weights if step >= 2 else torch.ones(3)
        sick.update(loss_of(sick, obs, bad), obs)
        healthy.update(loss_of(healthy, obs, torch.ones(3)), obs)
        if step == 3:
            sick.freeze(sick.alive.tolist())
            held = [p[1].detach().clone() for p in sick.network.parameters()]
    assert sick.alive.tolist() == [True, False, True]
    parameters = zip(sick.network.parameters(), healthy.network.parameters(), held, strict=True)
    for mine, other, before in parameters:
        assert mine.isfinite().all()
        assert torch.equal(mine[[0, 2]], other[[0, 2]])
        assert torch.equal(mine[1], before)
