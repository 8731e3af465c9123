"""Jacobians by products, by autograd and by torch.func; their statistics against closed forms."""

import math

import pytest
import torch
from torch.func import jacrev, vmap

from neoteny.plasticity import diagnostics as d
from neoteny.plasticity.activations import ACTIVATIONS
from neoteny.plasticity.diagnostics import layer_jacobians
from neoteny.plasticity.diagnostics.functional import ModelFunction
from neoteny.plasticity.diagnostics.layer_jacobians import jacobians_of, layer_jacobian
from neoteny.plasticity.diagnostics.trace import trace
from neoteny.plasticity.networks import HeadSpec, Network, NetworkSpec

F64 = torch.float64


def random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def layer(weight, bias, gain, function, share):
    """One member's layer of one sample, as a plain function."""

    def apply(x):
        z = weight @ x + bias
        if gain is not None:
            z = torch.nn.functional.layer_norm(z, z.shape) * gain
        h = function(z)
        return h if share is None else x + share * h

    return apply


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("share", [None, 0.25])
def test_products_agree_with_torch_func_and_with_autograd(activation, norm, share):
    kind = ACTIVATIONS[activation]
    units = 8
    inputs = units * kind.fan if share else 5
    weight, bias, x = random(2, units, inputs), random(2, units, seed=1), random(2, 3, inputs)
    gain = random(2, units, seed=2) if norm else None
    x.requires_grad_()
    sums = x @ weight.mT + bias.unsqueeze(1)
    z = torch.nn.functional.layer_norm(sums, (units,)) * gain.unsqueeze(1) if norm else sums
    h = kind.function(z, 2)
    out = h if share is None else x + share * h
    affine = (sums.detach(), gain) if norm else None
    products = d.linear_jacobian(weight, z.detach(), kind, affine, share)
    for member in range(2):
        own = gain[member] if norm else None
        function = layer(weight[member], bias[member], own, kind.function, share)
        exact = vmap(jacrev(function))(x[member].detach())
        torch.testing.assert_close(products[member], exact)
    torch.testing.assert_close(d.jacobians(out, [x])[0], products)


def test_autograd_reaches_inner_layers_and_knows_what_does_not_matter():
    x = random(1, 4, 3).requires_grad_()
    unused = random(1, 4, 2).requires_grad_()
    inner = x * 2
    (by_inner, by_x, none) = d.jacobians(inner.square(), [inner, x, unused])
    torch.testing.assert_close(by_inner, torch.diag_embed(2 * inner.detach()))
    torch.testing.assert_close(by_x, torch.diag_embed(4 * inner.detach()))
    assert none.shape == (1, 4, 3, 2)
    assert not none.any()


def test_convolutions_by_autograd_agree_with_torch_func():
    kernel = random(4, 2, 2, 2)
    x = random(1, 3, 2, 3, 3).requires_grad_()
    out = torch.nn.functional.conv2d(x[0], kernel).relu().unsqueeze(0)
    found = d.jacobians(out, [x])[0]

    def one(sample):
        return torch.nn.functional.conv2d(sample, kernel).relu().flatten()

    exact = vmap(jacrev(one))(x[0].detach()).flatten(2)
    torch.testing.assert_close(found[0], exact)


@pytest.mark.parametrize("activation", ["relu", "crelu", "groupsort"])
@pytest.mark.parametrize("norm", ["none", "layer"])
def test_layers_of_networks_with_convolutions_by_products_and_by_autograd(activation, norm):
    generators = [torch.Generator().manual_seed(s) for s in range(2)]
    convolutions = {"torso": "conv", "channels": (4, 4), "kernel": (3, 3), "padding": (1, 1)}
    spec = NetworkSpec((8, 8), activation, norm=norm, residual=True, **convolutions)
    net = Network(spec, (4, 4, 2), {"q": HeadSpec(3)}, generators).double()
    with torch.no_grad():
        for index, parameter in enumerate(net.parameters()):
            parameter += 0.1 * random(*parameter.shape, seed=index)
    seen = trace(ModelFunction(net), random(2, 5, 4, 4, 2))
    hidden = [layer for layer in seen.layers.values() if layer.units is not None]
    assert len(hidden) == 4
    for each in hidden:
        exact = d.jacobians(each.outputs, [each.inputs])[0]
        torch.testing.assert_close(layer_jacobian(each), exact, rtol=1e-10, atol=1e-10)


def test_large_jacobians_take_fewer_samples(monkeypatch):
    net = torch.nn.Sequential(torch.nn.Linear(6, 10), torch.nn.ReLU(), torch.nn.Linear(10, 2))
    x = torch.randn(9, 6)
    whole = d.diagnose(net, x, ["jacobians"])
    assert all(j.shape[1] == 9 for j in jacobians_of(ModelFunction(net), x).values())
    monkeypatch.setattr(layer_jacobians, "MOST_NUMBERS", 4 * 60)
    assert all(j.shape[1] == 4 for j in jacobians_of(ModelFunction(net), x).values())
    for key, value in d.diagnose(net, x, ["jacobians"]).items():
        torch.testing.assert_close(value, d.diagnose(net, x[:4], ["jacobians"])[key])
        assert value.isfinite().all()
    monkeypatch.setattr(layer_jacobians, "MOST_ENTRIES", 59)
    assert set(d.diagnose(net, x, ["jacobians"])) == {key for key in whole if "/network/" in key}


def test_statistics_by_hand():
    basis = torch.linalg.qr(random(4, 4))[0]
    sigma = torch.tensor([2.0, 1.0, 1.0, 0.0], dtype=F64)
    found = d.jacobian_summary([(basis * sigma).expand(1, 5, 4, 4)])[0]
    expected = {
        "jacobian_sigma_max": 2,
        "jacobian_sigma_min": 0,
        "jacobian_mean_square": 6 / 4,
        # ln 2, 0 and 0 about their mean; the singular value 0 is left out.
        "jacobian_log_spread": math.log(2) * math.sqrt(2) / 3,
        "jacobian_near_mean": 2 / 4,  # the mean is 1
    }
    assert set(found) == set(expected)
    for name, value in expected.items():
        assert found[name].item() == pytest.approx(value, abs=1e-7), name


def test_statistics_are_means_over_samples_and_keep_members_apart():
    scale = torch.tensor([[1.0, 3.0], [2.0, 2.0], [1.0, math.nan]], dtype=F64)
    found = d.jacobian_summary([scale[..., None, None] * torch.eye(3, dtype=F64)])[0]
    assert found["jacobian_sigma_max"][:2].tolist() == [2, 2]
    assert found["jacobian_mean_square"][:2].tolist() == pytest.approx([5, 4])
    assert found["jacobian_near_mean"][:2].tolist() == [1, 1]
    for value in found.values():
        assert value.isnan().tolist() == [False, False, True]
    dead = d.jacobian_summary([torch.zeros(1, 2, 3, 3)])[0]
    assert [value.item() for value in dead.values()] == [0, 0, 0, 0, 0]
