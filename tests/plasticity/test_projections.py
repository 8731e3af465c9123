"""Projections of weights, against SciPy's polar factor, NumPy and the function they must keep."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.linalg
import torch

from neoteny.plasticity.interventions import parse_intervention
from neoteny.plasticity.isometry import gram_deviation, isometry_grad
from neoteny.plasticity.layers import IsoConv2d
from neoteny.plasticity.polar import CUBIC, QUINTIC, newton_schulz, polar


def hidden(learner):
    return [layer for br in learner.network.branches.values() for layer in br.hidden]


@pytest.mark.parametrize("shape", [(8, 8), (12, 5), (5, 12)])
def test_polar_is_scipys_and_survives_collapsed_matrices(shape):
    matrix = torch.randn(3, *shape, generator=torch.Generator().manual_seed(0))
    for ours, member in zip(polar(matrix), matrix, strict=True):
        side = "right" if shape[0] >= shape[1] else "left"
        expected = scipy.linalg.polar(member.double().numpy(), side=side)[0]
        np.testing.assert_allclose(ours, expected, atol=1e-5)
    matrix[0, :, 0] = matrix[0, :, 1]
    matrix[1] = 0.0
    matrix[2, 0, 0] = torch.nan
    result = polar(matrix)
    assert gram_deviation(result[:2], member_dims=1).max() < 1e-8
    assert torch.equal(result[2].isnan(), matrix[2].isnan())


def test_a_cubic_newton_schulz_step_is_an_isometry_step_of_strength_one_half():
    weight = torch.randn(4, 7, 5, generator=torch.Generator().manual_seed(1))
    weight = weight / weight.norm(dim=(1, 2), keepdim=True)
    expected = weight - 0.5 / 4 * isometry_grad(weight, member_dims=1)
    torch.testing.assert_close(newton_schulz(weight, 1, CUBIC), expected)


def test_twenty_quintic_newton_schulz_steps_bring_all_singular_values_near_one():
    left, right = (torch.linalg.qr(torch.randn(64, 64).double())[0] for _ in range(2))
    matrix = left @ torch.diag(torch.logspace(0, -4, 64).double()) @ right
    quintic = torch.linalg.svdvals(newton_schulz(matrix, 20, QUINTIC))
    assert 0.65 < quintic.min() < quintic.max() < 1.25


@pytest.mark.parametrize("heads", [True, False])
def test_weight_clipping_is_clipping_by_fan_in(heads, make_learner, train):
    learner = make_learner(f"weight_clipping:kappa=0.5,heads={heads}")
    expected, count = {}, np.zeros(2)
    for name, branch in learner.network.branches.items():
        for index, layer in enumerate([*branch.hidden, branch.head]):
            with torch.no_grad():
                layer.bias += 1.0
            bound = 0.5 / math.sqrt(layer.weight.shape[2])
            for part in ("weight", "bias"):
                value = getattr(layer, part).detach().numpy().copy()
                if heads or index < len(branch.hidden):
                    count += (np.abs(value) > bound).reshape(2, -1).sum(1)
                    value = value.clip(-bound, bound)
                expected[name, index, part] = value
    with torch.no_grad():
        learner.interventions[0].after_step(learner, torch.zeros(0))
    for (name, index, part), value in expected.items():
        branch = learner.network.branches[name]
        layer = [*branch.hidden, branch.head][index]
        np.testing.assert_array_equal(getattr(layer, part).detach(), value)
    np.testing.assert_array_equal(learner.interventions[0].activity, count)


def test_nap_keeps_every_length_and_its_projection_keeps_the_function(make_learner, train):
    learner = make_learner("nap")
    assert all(layer.bias is None for layer in hidden(learner))
    lengths = [layer.weight.detach().flatten(1).norm(dim=1) for layer in hidden(learner)]
    norms = [norm for br in learner.network.branches.values() for norm in br.body.norms]
    affine = [norm.weight.shape[1] ** 0.5 for norm in norms]  # gains 1, offsets 0
    train(learner, 40)
    for layer, length in zip(hidden(learner), lengths, strict=True):
        torch.testing.assert_close(layer.weight.detach().flatten(1).norm(dim=1), length)
    for norm, length in zip(norms, affine, strict=True):
        joint = torch.cat([norm.weight, norm.bias], 1).detach().norm(dim=1)
        torch.testing.assert_close(joint, torch.full((2,), length))
    obs = torch.randn(2, 32, 6)
    before = learner.network(obs)
    with torch.no_grad():
        for layer in hidden(learner):
            layer.weight.mul_(7.0)
        learner.interventions[0].after_step(learner, obs)
    for name, output in learner.network(obs).items():
        torch.testing.assert_close(output, before[name], rtol=1e-3, atol=1e-5)


def test_fire_is_the_polar_factor_scaled_by_the_shape_and_leaves_the_rest(make_learner, train):
    learner = make_learner("fire")
    train(learner, 20)
    with torch.no_grad():
        hidden(learner)[1].weight[:, 2] = 0.0  # a dead direction
    weights = [layer.weight.detach().double().numpy().copy() for layer in hidden(learner)]
    untouched = {
        name: p.detach().clone()
        for name, p in learner.network.named_parameters()
        if not any(p is layer.weight for layer in hidden(learner))
    }
    moments = [state["exp_avg"].clone() for state in learner.optimizer.state.values()]
    learner.boundary(torch.ones(2))
    for layer, weight in zip(hidden(learner), weights, strict=True):
        out, inputs = weight.shape[1:]
        assert gram_deviation(layer.weight, out / inputs, member_dims=1).max() < 1e-6
        if np.linalg.matrix_rank(weight[0]) == min(out, inputs):
            for member in range(2):
                factor = scipy.linalg.polar(weight[member], side="right")[0]
                if out < inputs:
                    factor = scipy.linalg.polar(weight[member], side="left")[0]
                expected = math.sqrt(out / inputs) * factor
                np.testing.assert_allclose(layer.weight.detach()[member], expected, atol=1e-4)
    for name, parameter in learner.network.named_parameters():
        if name in untouched:
            assert torch.equal(parameter, untouched[name])
    kept = [state["exp_avg"] for state in learner.optimizer.state.values()]
    assert all(map(torch.equal, moments, kept))


def test_newton_schulz_projects_once_a_period(make_learner, train):
    learner = make_learner("newton_schulz:period=8,steps=20,scale=2")
    train(learner, 7)
    assert gram_deviation(hidden(learner)[0].weight, 2.0, member_dims=1).min() > 1e-3
    train(learner, 1, start=7)
    for layer in hidden(learner):
        assert gram_deviation(layer.weight, 2.0, member_dims=1).max() < 1e-4
    assert (learner.interventions[0].activity == 1).all()


@pytest.mark.parametrize("name", ["fire", "newton_schulz"])
def test_kernels_are_projected_per_tap_by_fire_and_whole_by_newton_schulz(name):
    layer = IsoConv2d(4, 6, (3, 2), members=2)
    with torch.no_grad():
        layer.weight.normal_(generator=torch.Generator().manual_seed(3))
    before = layer.weight.detach().clone()
    branch = SimpleNamespace(hidden=[layer])
    learner = SimpleNamespace(
        network=SimpleNamespace(branches={"q": branch}),
        updates=0,
        targets=[],
        edited=lambda *_: None,
    )
    intervention = parse_intervention(name)
    intervention.state["activity"] = torch.zeros(2)
    with torch.no_grad():
        intervention.edit(learner, None)
    if name == "newton_schulz":
        assert gram_deviation(layer.weight, member_dims=1).max() < 1e-4
        return
    for tap in np.ndindex(3, 2):
        expected = scipy.linalg.polar(before[1, :, :, *tap].double().numpy())[0]
        ours = layer.weight.detach()[1, :, :, *tap]
        np.testing.assert_allclose(ours, math.sqrt(6 / 4) / 6 * expected, atol=1e-5)


def test_keep_norm_halves_the_distance_of_norms_and_leaves_ratios_of_singular_values(make_learner):
    learner = make_learner("keep_norm:half_life=10")  # one update per step here
    initial = [layer.weight.detach().clone() for layer in hidden(learner)]
    with torch.no_grad():
        for layer in hidden(learner):
            layer.weight[0].mul_(9)
            layer.weight[1].mul_(0.25)
            layer.weight[:, 0] *= 1.5
    before = [layer.weight.detach().clone() for layer in hidden(learner)]
    with torch.no_grad():
        for _ in range(10):
            learner.interventions[0].after_step(learner, None)
    for layer, start, moved in zip(hidden(learner), initial, before, strict=True):
        weights = [x.detach().flatten(1) for x in (start, moved, layer.weight)]
        length, away, back = (weight.norm(dim=1, keepdim=True) for weight in weights)
        torch.testing.assert_close((back / length).log(), (away / length).log() / 2)
        torch.testing.assert_close(weights[1] / away, weights[2] / back)
