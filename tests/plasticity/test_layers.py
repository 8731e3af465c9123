import copy
import math
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from neoteny.plasticity.layers import (
    ACTIVATIONS,
    CReLU,
    GroupSort,
    IsoConv2d,
    IsoLinear,
    MaxMin,
    groupsort,
)

SIZES = (2, 4, 8)


def generators(count):
    return [torch.Generator().manual_seed(10 + m) for m in range(count)]


def random(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def fill_biases(layer):
    with torch.no_grad():
        layer.bias.copy_(torch.arange(layer.bias.numel()).reshape(layer.bias.shape) / 7)


@pytest.mark.parametrize("members", [None, 1, 3])
@pytest.mark.parametrize("bias", [True, False])
def test_linear_maps_each_member_by_its_own_weight(members, bias):
    layer = IsoLinear(5, 7, bias=bias, members=members)
    if bias:
        fill_biases(layer)
    lead = () if members is None else (members,)
    for shape in ((11,), (2, 11)):
        x = random(*lead, *shape, 5, dtype=torch.float32)
        if members is None:
            expected = F.linear(x, layer.weight, layer.bias)
        else:
            expected = torch.stack(
                [
                    F.linear(x[m], layer.weight[m], layer.bias[m] if bias else None)
                    for m in range(members)
                ]
            )
        torch.testing.assert_close(layer(x), expected)


@pytest.mark.parametrize("members", [None, 1, 3])
@pytest.mark.parametrize("bias", [True, False])
def test_conv_maps_each_member_by_its_own_kernel(members, bias):
    layer = IsoConv2d(2, 6, (3, 2), stride=2, padding=1, bias=bias, members=members)
    if bias:
        fill_biases(layer)
    lead = () if members is None else (members,)
    x = random(*lead, 4, 2, 9, 8, dtype=torch.float32)
    if members is None:
        expected = F.conv2d(x, layer.weight, layer.bias, 2, 1)
    else:
        expected = torch.stack(
            [
                F.conv2d(x[m], layer.weight[m], layer.bias[m] if bias else None, 2, 1)
                for m in range(members)
            ]
        )
    torch.testing.assert_close(layer(x), expected)


@pytest.mark.parametrize(
    ("build", "rows"),
    [
        (lambda **k: IsoLinear(9, 4, **k), 4),
        (lambda **k: IsoLinear(4, 9, **k), 4),
        (lambda **k: IsoConv2d(2, 4, 3, **k), 4),
    ],
    ids=["wide", "tall", "conv"],
)
def test_members_start_orthogonal_as_a_layer_of_one_member_would(build, rows):
    layer = build(members=3, gain=1.5, generator=generators(3))
    for m, generator in enumerate(generators(3)):
        alone = build(members=1, gain=1.5, generator=[generator])
        assert torch.equal(layer.weight[m], alone.weight[0])
    plain = build(gain=1.5, generator=generators(1)[0])
    assert torch.equal(layer.weight[0], plain.weight)
    sigma = torch.linalg.svdvals(layer.weight.detach().flatten(2))
    torch.testing.assert_close(sigma, torch.full((3, rows), 1.5))
    assert (layer.bias == 0).all()
    before = layer.weight.detach().clone()
    nn.init.zeros_(layer.weight)
    nn.init.ones_(layer.bias)
    layer.reset_parameters(generators(3))
    assert torch.equal(layer.weight, before)
    assert (layer.bias == 0).all()


def test_bad_layers():
    with pytest.raises(ValueError, match='role \'output\' is unknown; use "hidden" or "head"'):
        IsoLinear(2, 2, role="output")
    with pytest.raises(ValueError, match="1 generators for 2 members"):
        IsoLinear(2, 2, members=2, generator=torch.Generator())
    with pytest.raises(ValueError, match="at least 1"):
        IsoLinear(2, 0)
    with pytest.raises(ValueError, match="at least 1"):
        IsoConv2d(2, 2, 3, members=0)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dim", [-1, 1, 0])
def test_groupsort_sorts_units_that_lie_a_slice_apart(size, dim):
    x = random(16, 16, 5 if dim == 1 else 16)
    last = x.movedim(dim, -1)
    expected = torch.empty_like(last)
    width = last.shape[-1] // size
    for unit in range(width):
        group = list(range(unit, last.shape[-1], width))
        expected[..., group] = last[..., group].sort(-1).values
    assert torch.equal(groupsort(x, dim, size), expected.movedim(-1, dim))


@pytest.mark.parametrize("size", SIZES)
def test_groupsort_derivatives(size):
    x = random(3, 16).requires_grad_()

    def function(y):
        return groupsort(y, -1, size)

    assert torch.autograd.gradcheck(function, x)
    assert torch.autograd.gradgradcheck(function, x)
    column = random(16, 3).requires_grad_()
    assert torch.autograd.gradcheck(lambda y: groupsort(y, 0, size), column)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")
@pytest.mark.parametrize("size", SIZES)
def test_groupsort_jacobian_is_a_permutation_however_it_is_computed(size):
    x = random(4, 16)

    def function(y):
        return groupsort(y, size=size)

    jacobian = torch.autograd.functional.jacobian(function, x[0])
    assert torch.equal(jacobian @ x[0], function(x[0]))
    assert torch.equal(torch.linalg.svdvals(jacobian), torch.ones(16, dtype=torch.float64))
    ways = (
        torch.autograd.functional.jacobian(function, x[0], vectorize=True),
        torch.func.jacrev(function)(x[0]),
        torch.func.jacfwd(function)(x[0]),
        torch.func.vmap(torch.func.jacrev(function))(x)[0],
    )
    assert all(torch.equal(way, jacobian) for way in ways)


def test_groupsort_with_ties_special_values_and_expanded_gradients():
    x = torch.tensor([1.0, 2.0, math.inf, 0.0, 1.0, -math.inf, math.inf, -0.0], requires_grad=True)
    out = groupsort(x)
    assert torch.equal(out, torch.tensor([1.0, -math.inf, math.inf, 0.0, 1.0, 2.0, math.inf, 0.0]))
    (gradient,) = torch.autograd.grad(out, x, torch.arange(8.0))
    assert torch.equal(gradient, torch.tensor([0.0, 5.0, 2.0, 3.0, 4.0, 1.0, 6.0, 7.0]))
    (ones,) = torch.autograd.grad(groupsort(x).sum(), x)
    assert torch.equal(ones, torch.ones(8))


@pytest.mark.parametrize("size", SIZES)
def test_groupsort_gradient_is_an_exact_permutation_in_half_precision(size):
    x = random(5, 32, dtype=torch.bfloat16).requires_grad_()
    upstream = random(5, 32, seed=1, dtype=torch.bfloat16)
    (gradient,) = torch.autograd.grad(groupsort(x, size=size), x, upstream)
    assert torch.equal(gradient.sort().values, upstream.sort().values)


@pytest.mark.slow
def test_groupsort_compiles_without_a_graph_break():
    x = random(3, 16).requires_grad_()
    compiled = torch.compile(lambda y: groupsort(y, size=4), fullgraph=True, backend="aot_eager")
    eager = groupsort(x, size=4)
    assert torch.equal(compiled(x), eager)
    upstream = random(3, 16, seed=1)
    (found,) = torch.autograd.grad(compiled(x), x, upstream)
    assert torch.equal(found, torch.autograd.grad(eager, x, upstream)[0])


def test_activation_modules():
    x = random(2, 3, 8, 5)
    assert torch.equal(MaxMin(dim=2)(x), groupsort(x, 2))
    assert torch.equal(GroupSort(4, dim=2)(x), groupsort(x, 2, 4))
    low, high = MaxMin()(random(4, 6)).chunk(2, -1)
    assert (low <= high).all()
    out = CReLU(dim=2)(x)
    assert torch.equal(out, torch.cat((x.relu(), (-x).relu()), 2))
    torch.testing.assert_close(out.norm(), x.norm())
    with pytest.raises(ValueError, match="size 3 is not available; use 2, 4 or 8"):
        GroupSort(3)
    with pytest.raises(ValueError, match=r"GroupSort\(4\) got 6 units; use a width divisible by 4"):
        groupsort(x[..., :5].new_zeros(2, 6), size=4)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_registry_declares_what_its_functions_do(name):
    activation = ACTIVATIONS[name]
    x = random(2000, 64)
    out = activation.function(x)
    assert out.shape == (2000, 64 * activation.fan)
    assert torch.equal(activation.function(x.T, 0).T, out)
    assert pickle.loads(pickle.dumps(activation)) == activation
    # The signal keeps its size under the default gain, up to tanh's saturation.
    size = activation.function(activation.gain * x).square().sum(-1).mean() / 64
    assert size.item() == pytest.approx(1.0, abs=0.5 if name == "tanh" else 0.02)
    unit = torch.zeros(64, dtype=torch.float64)
    unit[5] = 1.0
    touched = (activation.function(x + unit) - out).ne(0).any(0).nonzero().flatten().tolist()
    stride = 64 // activation.group
    own = [5 + 64 * f for f in range(activation.fan)]
    tied = {index % 64 % stride for index in own}
    assert {index % 64 % stride for index in touched} == tied


@pytest.mark.parametrize("size", SIZES)
def test_orthogonal_groupsort_network_is_an_isometry_end_to_end(size):
    layers = [IsoLinear(16, 16, generator=generators(1)[0]) for _ in range(4)]
    for seed, layer in enumerate(layers):
        layer.reset_parameters(torch.Generator().manual_seed(seed))
        nn.init.normal_(layer.bias, generator=torch.Generator().manual_seed(seed))
    net = nn.Sequential(*[m for layer in layers for m in (layer, GroupSort(size))]).double()
    for layer in layers:  # orthogonal to double precision
        u, _, vh = torch.linalg.svd(layer.weight.detach())
        layer.weight.data = u @ vh
    for x in random(5, 16):
        sigma = torch.linalg.svdvals(torch.autograd.functional.jacobian(net, x))
        torch.testing.assert_close(sigma, torch.ones(16, dtype=torch.float64))


def test_layers_copy_and_print():
    layer = IsoLinear(3, 4, members=2, role="head")
    twin = copy.deepcopy(layer)
    assert twin.role == "head"
    assert torch.equal(twin.weight, layer.weight)
    assert "members=2" in repr(layer)
    assert "size=2" in repr(MaxMin())


def test_smelu_is_relu_with_a_parabola_at_its_corner():
    x = torch.tensor([-3.0, -1, -0.5, 0, 0.5, 1, 3], dtype=torch.float64, requires_grad=True)
    out = ACTIVATIONS["smelu"].function(x)
    assert out.tolist() == [0, 0, 0.25 / 4, 0.25, 2.25 / 4, 1, 3]
    (slope,) = torch.autograd.grad(out.sum(), x)
    assert slope.tolist()[2:5] == [0.25, 0.5, 0.75]
    assert (slope[0], slope[-1]) == (0, 1)
    torch.autograd.gradcheck(ACTIVATIONS["smelu"].function, random(50).requires_grad_())
