"""The tangent kernel by two ways, its statistics against closed forms."""

import math

import pytest
import torch
from torch import nn
from torch.func import functional_call

from neoteny.plasticity import diagnostics as d
from neoteny.plasticity.diagnostics import kernel, tangent
from neoteny.plasticity.diagnostics.functional import ModelFunction
from neoteny.plasticity.networks import HeadSpec, Network, NetworkSpec

F64 = torch.float64


def random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def mlp(bias=True):
    torch.manual_seed(0)
    layers = [nn.Linear(5, 16, bias), nn.Tanh(), nn.Linear(16, 16, bias), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(16, 3, bias)).double()


def explicit(net, x, **options):
    def function(parameters, inputs):
        return functional_call(net, parameters, inputs)

    return d.kernel_by_jacobian(function, dict(net.named_parameters()), x, **options)


def by_layers(net, x):
    """The layer decomposition, with what it needs from autograd."""
    out, inputs, sums = x.unsqueeze(0), [], []
    for module in net:
        if isinstance(module, nn.Linear):
            inputs.append(out.detach())
            sums.append(module(out))
            out = sums[-1]
        else:
            out = module(out)
    pairs = zip(inputs, d.jacobians(out, sums), strict=True)
    return d.kernel_by_layers([d.LinearMap(h, b, net[0].bias is not None) for h, b in pairs])[0]


@pytest.mark.parametrize("bias", [True, False])
def test_the_two_kernels_agree_to_round_off(bias):
    net, x = mlp(bias), random(7, 5)
    first = explicit(net, x)
    torch.testing.assert_close(by_layers(net, x), first, rtol=1e-12, atol=1e-12)
    assert torch.equal(first, first.T)


def test_a_linear_models_kernel_is_the_gram_matrix():
    net, x = nn.Linear(4, 2, bias=False).double(), random(6, 4)
    expected = torch.kron(x @ x.T, torch.eye(2, dtype=F64))
    torch.testing.assert_close(explicit(net, x), expected)


@pytest.mark.parametrize("memory", [1, 20_000, 40_000])
@pytest.mark.parametrize("independent", [True, False])
def test_chunks_change_nothing(memory, independent):
    net, x = mlp(), random(7, 5)
    found = explicit(net, x, memory=memory, independent=independent)
    torch.testing.assert_close(found, explicit(net, x), rtol=1e-12, atol=1e-12)


def test_samples_that_share_a_batch_norm():
    torch.manual_seed(0)
    norm = nn.BatchNorm1d(4, track_running_stats=False)
    net, x = nn.Sequential(nn.Linear(3, 4), norm, nn.Linear(4, 1)).double(), random(6, 3)
    rows = [
        torch.cat([g.flatten() for g in torch.autograd.grad(net(x)[b, 0], net.parameters())])
        for b in range(6)
    ]
    jacobian = torch.stack(rows)
    torch.testing.assert_close(explicit(net, x, independent=False), jacobian @ jacobian.T)


@pytest.mark.parametrize(
    "spec",
    [
        {"norm": "layer"},
        {"norm": "layer", "residual": True, "activation": "crelu"},
        {"torso": "conv", "activation": "groupsort"},
        {"torso": "conv", "norm": "layer", "bias": False},
        {"shared": True},
        {"hidden": (8, 16, 8), "trunk": "simba"},
    ],
    ids=["norm", "residual", "conv", "conv_norm", "shared", "simba"],
)
@pytest.mark.parametrize("memory", [2**28, 100])
def test_layers_of_networks_give_the_kernel_of_their_jacobian(spec, memory, monkeypatch):
    monkeypatch.setattr(kernel, "MEMORY", memory)
    generators = [torch.Generator().manual_seed(s) for s in range(2)]
    heads = {"policy": HeadSpec(3), "value": HeadSpec(1)}
    spec = NetworkSpec(**{"hidden": (8, 8)} | spec)
    net = Network(spec, (4, 4, 2), heads, generators).double()
    with torch.no_grad():
        for index, parameter in enumerate(net.parameters()):
            parameter += 0.1 * random(*parameter.shape, seed=index)
    x = random(2, 5, 4, 4, 2).float().double()
    found = d.tangent_kernels(net, x)
    function = ModelFunction(net)
    for branch, whole in found.items():
        for member in range(2):
            point = {name: value[member] for name, value in function.parameters().items()}
            exact = d.kernel_by_jacobian(
                lambda p, inputs, branch=branch: function(p, inputs)[branch], point, x[member]
            )
            torch.testing.assert_close(whole[member], exact, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("options", [{}, {"stride": 2, "padding": 1, "dilation": 2, "bias": False}])
def test_convolutions_of_torch_by_their_patches(options, monkeypatch):
    torch.manual_seed(0)
    first = nn.Conv2d(2, 3, (3, 2), **options)
    net = nn.Sequential(first, nn.ReLU(), nn.Flatten(), nn.LazyLinear(2)).double()
    x = random(4, 2, 6, 6)
    net(x)
    expected = explicit(net, x)
    monkeypatch.setattr(tangent, "kernel_by_jacobian", None)  # it is not needed
    found = d.tangent_kernels(net, x)["model"][0]
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


def test_convolutions_with_groups_or_reflection_take_the_jacobian():
    torch.manual_seed(0)
    for options in ({"groups": 2}, {"padding": 1, "padding_mode": "reflect"}, {"padding": "same"}):
        net = nn.Sequential(nn.Conv2d(2, 4, 3, **options), nn.ReLU(), nn.Flatten()).double()
        x = random(2, 2, 4, 4)
        found = d.tangent_kernels(net, x)["model"][0]
        torch.testing.assert_close(found, explicit(net, x), rtol=1e-10, atol=1e-10)


def test_statistics_of_a_known_kernel():
    basis = torch.linalg.qr(random(4, 4))[0]
    values = torch.tensor([8.0, 4.0, 4.0, 0.0], dtype=F64)
    kernel = (basis * values) @ basis.T
    found = d.kernel_summary(torch.stack([kernel, 3 * kernel, torch.full_like(kernel, math.nan)]))
    expected = {
        "kernel_lambda_max": 8,
        "kernel_lambda_min": 4,
        "kernel_condition": 2,
        "kernel_condition_p5": 8 / (0.15 * 4),  # between 0 and 4, linearly
        "kernel_rank": 3,
        "kernel_effective_rank": math.exp(0.5 * math.log(2) + 0.5 * math.log(4)),
        "kernel_trace": 16,
    }
    assert set(found) == set(expected)
    for name, value in expected.items():
        scale = 3 if "lambda" in name or "trace" in name else 1
        assert found[name][0].item() == pytest.approx(value), name
        assert found[name][1].item() == pytest.approx(scale * value), name
        assert found[name][2].isnan(), name
    half = torch.diag(torch.tensor([1.0, 1, 1, 1, 0, 0, 0, 0]))
    assert d.kernel_summary(half)["kernel_condition_p5"].item() == math.inf


def test_alignment_is_the_cosine_of_kernels():
    y = random(2, 5, 3)
    flat = y.flatten(1)
    target = flat.unsqueeze(2) * flat.unsqueeze(1)
    torch.testing.assert_close(d.kernel_alignment(target, y), torch.ones(2, dtype=F64))
    identity = torch.eye(15, dtype=F64).expand(2, -1, -1)
    expected = torch.full((2,), 1 / math.sqrt(15), dtype=F64)
    torch.testing.assert_close(d.kernel_alignment(identity, y), expected)


def test_drift_ignores_scale_and_is_one_where_nothing_is_shared():
    kernel = random(2, 4, 4)
    kernel = kernel @ kernel.mT
    assert d.kernel_drift(kernel, 5 * kernel).abs().max().item() < 1e-12
    apart = torch.diag_embed(torch.tensor([[1.0, 0, 0, 0], [0, 0, 0, 1.0]]))
    assert d.kernel_drift(apart[0], apart[1]).item() == 1
