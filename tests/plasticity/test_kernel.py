"""The tangent kernel by two ways, its statistics against closed forms."""

import math

import pytest
import torch
from torch import nn
from torch.func import functional_call

from neoteny.plasticity import diagnostics as d

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
