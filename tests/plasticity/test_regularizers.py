"""Penalties and their gradients, against autograd, decompositions and loops."""

import numpy as np
import pytest
import scipy.stats
import torch

from neoteny.plasticity.interventions import OptimizerSettings, make_interventions
from neoteny.plasticity.interventions.outputs import effective_rank
from neoteny.plasticity.isometry import isometry_grad
from neoteny.plasticity.learner import Learner
from neoteny.plasticity.networks import HeadSpec, Network, NetworkSpec

NO_OBS = torch.zeros(0)


def gradients(learner, obs=NO_OBS):
    """Gradients of the first intervention's penalty alone, None where it does not reach."""
    learner.optimizer.zero_grad()
    learner.interventions[0].loss(learner, obs).sum().backward()
    return {parameter: parameter.grad for parameter in learner.network.parameters()}


def hidden(learner):
    return [layer for br in learner.network.branches.values() for layer in br.hidden]


def spread(learner):
    """Give the hidden weights, orthogonal at first, a spectrum."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for layer in hidden(learner):
            layer.weight.normal_(std=0.3, generator=generator)


def square(learner, obs):
    return sum(output.square().mean((1, 2)) for output in learner.network(obs).values())


def test_isometry_loss_adds_the_closed_form_gradient_to_hidden_weights_only(make_learner):
    learner = make_learner("isometry_loss:weight=0.3,scale=1")
    gradients(learner)
    for branch in learner.network.branches.values():
        for layer in branch.hidden:
            expected = 0.3 * isometry_grad(layer.weight.detach(), member_dims=1)
            torch.testing.assert_close(layer.weight.grad, expected)
        assert branch.head.weight.grad is None


def test_parseval_is_the_papers_penalty_on_rows_scaled_by_width(make_learner):
    """The rows of the 16 x 6 layer cannot be orthogonal: the gradient is the same all the same."""
    learner = make_learner("parseval:weight=0.01,scale=2")
    with torch.no_grad():
        for layer in hidden(learner):
            layer.weight.mul_(0.7)
    gradients(learner)
    for layer in hidden(learner):
        weight = layer.weight.detach().clone().requires_grad_()
        rows = weight @ weight.mT - 2 * torch.eye(weight.shape[1])
        (0.01 * (64 / weight.shape[1]) ** 2 * rows.square().sum()).backward()
        torch.testing.assert_close(layer.weight.grad, weight.grad, rtol=1e-4, atol=1e-4)


def test_parseval_is_at_rest_at_the_initialisation_if_no_layer_is_wider_than_its_input():
    learner = Learner(
        lambda spec, generators: Network(spec, (32,), {"q": HeadSpec(3)}, generators),
        NetworkSpec(hidden=(16, 16)),
        make_interventions(["parseval"]),
        OptimizerSettings(),
        [0],
    )
    assert all(g is None or g.abs().max() < 1e-4 for g in gradients(learner).values())


def test_l2_is_torchs_coupled_weight_decay(make_learner, train, snapshot):
    learner = make_learner("l2:weight=0.05,everything=true", max_grad_norm=None)
    reference = make_learner("none", max_grad_norm=None)
    for group in reference.optimizer.param_groups:
        group["weight_decay"] = 0.05
    for each in (learner, reference):
        train(each, 5)
    for ours, theirs in zip(snapshot(learner), snapshot(reference), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_l2_init_pulls_with_twice_the_distance_to_the_first_weights(make_learner, train, snapshot):
    learner = make_learner("l2_init:weight=0.1")
    first = snapshot(learner)
    train(learner, 5)
    gradients(learner)
    for parameter, start in zip(learner.network.parameters(), first, strict=True):
        torch.testing.assert_close(parameter.grad, 0.2 * (parameter.detach() - start))


def test_l2_init_can_leave_heads_and_biases_out(make_learner, train):
    learner = make_learner("l2_init:hidden_kernels_only=true")
    train(learner, 2)
    gradients(learner)
    touched = {id(p) for p in learner.network.parameters() if p.grad is not None}
    assert touched == {id(layer.weight) for layer in hidden(learner)}


def test_wasserstein_pulls_each_weight_to_the_initial_one_of_its_rank(make_learner, train):
    learner = make_learner("wasserstein_init:weight=0.5")
    first = [layer.weight.detach().numpy().copy() for layer in hidden(learner)]
    train(learner, 10)
    loss = learner.interventions[0].loss(learner, NO_OBS).detach().numpy()
    gradients(learner)
    total = np.zeros(2)
    for layer, start in zip(hidden(learner), first, strict=True):
        for member in range(2):
            now = layer.weight.detach().numpy()[member].ravel()
            rank = scipy.stats.rankdata(now, method="ordinal").astype(int) - 1
            target = np.sort(start[member].ravel())[rank]
            total[member] += 0.5 * ((now - target) ** 2).sum()
            gradient = layer.weight.grad[member].numpy().ravel()
            np.testing.assert_allclose(gradient, now - target, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(loss, total, rtol=1e-4)


def test_spectral_knows_the_largest_singular_value_and_its_derivative(make_learner, train):
    learner = make_learner("spectral:weight=0.1,iterations=500")
    spread(learner)
    train(learner, 1)
    gradients(learner)
    for layer in hidden(learner):
        left, sigma, right = torch.linalg.svd(layer.weight.detach(), full_matrices=False)
        top = sigma[:, 0, None, None]
        outer = left[..., :, :1] @ right[..., :1, :]
        expected = 0.1 * 2 * (top**2 - 1) * 2 * top * outer
        torch.testing.assert_close(layer.weight.grad, expected, rtol=1e-2, atol=1e-3)
        norm = layer.bias.detach().square().sum(1, keepdim=True)
        torch.testing.assert_close(layer.bias.grad, 0.1 * 4 * norm * layer.bias.detach())


def test_spectral_follows_moving_weights(make_learner, train):
    learner = make_learner("spectral:weight=1e-6", lr=1e-3)
    spread(learner)
    train(learner, 40)
    for index, layer in enumerate(hidden(learner)):
        left, right = (learner.interventions[0].state[f"{s}{index}"] for s in ("left", "right"))
        carried = torch.einsum("mo,moi,mi->m", left, layer.weight.detach(), right)
        exact = torch.linalg.matrix_norm(layer.weight.detach(), ord=2)
        torch.testing.assert_close(carried, exact, rtol=2e-2, atol=0)


def rank_of(features):
    sigma = np.linalg.svd(features, compute_uv=False)
    return np.exp(scipy.stats.entropy(sigma / sigma.sum()))


@pytest.mark.parametrize("shape", [(64, 12), (8, 12)])
def test_effective_rank_is_that_of_roy_and_vetterli(shape):
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(2, *shape, generator=generator) * torch.logspace(0, -2, 12)
    expected = [rank_of(member.numpy()) for member in features]
    np.testing.assert_allclose(effective_rank(features), expected, rtol=1e-4)
    bad = features.clone()
    bad[0, 0, 0] = torch.nan
    assert effective_rank(bad)[1] == effective_rank(features)[1]


def test_effective_ranks_gradient_is_finite_where_singular_values_meet_and_right_elsewhere():
    meeting = torch.eye(12)[None].repeat(1, 3, 1).requires_grad_()
    effective_rank(meeting).sum().backward()
    assert meeting.grad.abs().max() < 1e-4  # the rank is at its largest
    features = torch.randn(1, 20, 5, generator=torch.Generator().manual_seed(1)).double()
    assert torch.autograd.gradcheck(effective_rank, features.requires_grad_())


def test_l2_er_raises_the_rank_of_features(make_learner, train):
    obs = torch.randn(2, 64, 6, generator=torch.Generator().manual_seed(9))
    ranks = {}
    for text in ("l2_er:weight=0", "l2_er:weight=1,every=2"):
        learner = make_learner(text)
        train(learner, 60)
        features = learner.network.features(obs)
        ranks[text] = sum(effective_rank(h) for layers in features.values() for h in layers)
    low, high = ranks.values()
    assert (high > 1.2 * low).all()
