import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from neoteny.core.errors import InputError
from neoteny.plasticity import diagnostics as d
from neoteny.plasticity.isometry import gram_deviation
from neoteny.plasticity.layers import ACTIVATIONS, IsoConv2d, IsoLinear
from neoteny.plasticity.surgery import unit_activity


def random(*shape, seed=0, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


IDENTITY = torch.eye(6)
RANK_ONE = torch.outer(torch.arange(1.0, 5.0), torch.tensor([1.0, -2.0, 3.0]))
HALF = torch.diag(torch.tensor([1.0, 1.0, 0.0, 0.0]))
DIAGONAL = torch.diag(torch.tensor([4.0, 2.0, 1.0]))


def entropy_rank(sigma):
    p = [s / sum(sigma) for s in sigma]
    return math.exp(-sum(x * math.log(x) for x in p if x > 0))


@pytest.mark.parametrize(
    ("matrix", "largest", "smallest", "condition", "effective", "stable", "norm"),
    [
        (IDENTITY, 1, 1, 1, 6, 6, math.sqrt(6)),
        (RANK_ONE, math.sqrt(30 * 14), 0, math.inf, 1, 1, math.sqrt(30 * 14)),
        (HALF, 1, 0, math.inf, 2, 2, math.sqrt(2)),
        (DIAGONAL, 4, 1, 4, entropy_rank([4, 2, 1]), 21 / 16, math.sqrt(21)),
        (torch.zeros(3, 5), 0, 0, math.nan, 0, 0, 0),
    ],
    ids=["identity", "rank-one", "half", "diagonal", "zero"],
)
def test_spectra_of_known_matrices(matrix, largest, smallest, condition, effective, stable, norm):
    for m in (matrix, matrix.T):
        sigma = d.singular_values(m)
        assert d.sigma_max(sigma).item() == pytest.approx(largest)
        assert d.sigma_min(sigma).item() == pytest.approx(smallest, abs=1e-6)
        found = d.condition_number(sigma).item()
        if condition == math.inf:
            assert found > 1e6
        else:
            assert found == pytest.approx(condition, nan_ok=True)
        assert d.effective_rank(sigma).item() == pytest.approx(effective, rel=1e-5)
        assert d.stable_rank(sigma).item() == pytest.approx(stable)
        assert d.frobenius_norm(sigma).item() == pytest.approx(norm)


@pytest.mark.parametrize("shape", [(3, 7, 4), (3, 4, 7), (2, 3, 5, 5)])
def test_singular_values_match_the_decomposition(shape):
    matrix = random(*shape)
    expected = torch.linalg.svdvals(matrix.double())
    torch.testing.assert_close(d.singular_values(matrix), expected, rtol=1e-6, atol=1e-7)


def test_many_matrices_at_once_match_one_by_one():
    matrices = [random(2, 4, 9), random(2, 9, 4, seed=1), random(3, 4, seed=2), random(1, 4, 4)]
    for matrix, sigma in zip(matrices, d.singular_values_of(matrices), strict=True):
        torch.testing.assert_close(sigma, d.singular_values(matrix))


def test_a_small_singular_value_survives_the_gram_matrix():
    sigma = d.singular_values(torch.diag(torch.tensor([1.0, 1e-5])))
    assert d.sigma_min(sigma).item() == pytest.approx(1e-5, rel=1e-3)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_matrix_that_is_not_finite_touches_no_other(bad):
    matrix = random(3, 5, 4)
    clean = d.singular_values(matrix)
    matrix[1, 2, 3] = bad
    sigma = d.singular_values(matrix)
    assert sigma[1].isnan().all()
    assert torch.equal(sigma[[0, 2]], clean[[0, 2]])
    for function in (d.effective_rank, d.stable_rank, d.condition_number, d.spectral_deviation):
        assert function(sigma).isnan().tolist() == [False, True, False]


def test_deviation_from_the_spectrum_is_the_penalty():
    for shape in ((2, 4, 7), (2, 7, 4)):
        weight = random(*shape)
        torch.testing.assert_close(
            d.spectral_deviation(d.singular_values(weight), 1.5).float(),
            gram_deviation(weight, 1.5, member_dims=1),
        )


def test_dormant_units_by_hand():
    features = torch.tensor([[1.0, 0.0, 4.0, 0.05], [-1.0, 0.0, 4.0, 0.05]])
    # Mean absolute activations 1, 0, 4, 0.05 have mean 1.2625; scores 0.79, 0, 3.17, 0.0396.
    assert d.dormant_mask(features, 0.0).tolist() == [False, True, False, False]
    assert d.dormant_mask(features, 0.1).tolist() == [False, True, False, True]
    assert d.dormant_fraction(features, 0.025).item() == 0.25
    assert d.dormant_fraction(features, 0.1).item() == 0.5
    assert d.dormant_fraction(100 * features, 0.1).item() == 0.5
    assert d.dormant_fraction(torch.zeros(2, 4)).item() == 1.0


def test_dead_units_by_hand():
    features = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 1e-9]])
    assert d.dead_mask(features).tolist() == [False, True, False]
    assert d.dead_fraction(features).item() == pytest.approx(1 / 3)
    half = torch.cat((random(10, 8).abs(), torch.zeros(10, 8)), -1)
    assert d.dead_fraction(half).item() == 0.5


def test_pairs_that_never_change_order():
    # Units 0 and 2 are a pair, and so are 1 and 3.
    z = torch.tensor([[0.0, 0.0, 1.0, 1.0], [0.0, 5.0, 1.0, 1.0]])
    assert d.frozen_order_fraction(z).item() == 0.5
    assert d.frozen_order_fraction(z[:1]).item() == 1.0
    assert d.frozen_order_fraction(z, size=4).item() == 0.0


@pytest.mark.parametrize("function", [d.dormant_fraction, d.dead_fraction, d.frozen_order_fraction])
def test_unit_fractions_keep_members_apart(function):
    features = random(3, 20, 8).relu()
    expected = torch.stack([function(member) for member in features])
    torch.testing.assert_close(function(features), expected)
    features[1, 0, 0] = math.nan
    found = function(features)
    assert found[1].isnan()
    assert torch.equal(found[[0, 2]], expected[[0, 2]])
    assert not d.dormant_mask(features)[1].any()


def test_change_is_the_norm_over_all_tensors_per_member():
    before = [torch.zeros(2, 3, 4), torch.zeros(2, 5)]
    after = [t.clone() for t in before]
    after[0][0] = 1.0
    after[1][0] = 2.0
    found = d.change_between(before, after)
    torch.testing.assert_close(found, torch.tensor([math.sqrt(12 + 20), 0.0]))
    with pytest.raises(ValueError, match="2 tensors before and 1 after"):
        d.change_between(before, after[:1])


class Net(nn.Module):
    """Two branches; the first may begin with a convolution."""

    def __init__(self, members, width=8, inputs=12, activation="relu", depth=2, conv=False):
        super().__init__()
        self.members = members
        self.spec = SimpleNamespace(activation=activation)
        generators = [torch.Generator().manual_seed(m) for m in range(members)]
        kwargs = {"members": members, "generator": generators}
        self.branches = {}
        for name, outputs in (("policy", 6), ("value", 1)):
            layers = [IsoLinear(inputs, width, **kwargs)]
            layers += [IsoLinear(width, width, **kwargs) for _ in range(depth - 1)]
            if conv:
                layers = [IsoConv2d(3, width, 2, **kwargs)]
            head = IsoLinear(width, outputs, role="head", **kwargs)
            self.branches[name] = SimpleNamespace(body=SimpleNamespace(layers=layers), head=head)

    def preactivations(self, obs):
        function = ACTIVATIONS[self.spec.activation].function
        found = {}
        for name, branch in self.branches.items():
            x, found[name] = obs, []
            for layer in branch.body.layers:
                found[name].append(layer(x))
                x = function(found[name][-1], 2)
        return found

    def features(self, obs):
        function = ACTIVATIONS[self.spec.activation].function
        return {
            name: [function(z, 2) for z in layers]
            for name, layers in self.preactivations(obs).items()
        }


WEIGHTS = {
    "gram_deviation",
    "sigma_max",
    "sigma_min",
    "condition",
    "weight_effective_rank",
    "weight_stable_rank",
    "weight_norm",
    "weight_mean_square",
}
FEATURES = {"feature_effective_rank", "feature_stable_rank", "dormant_fraction", "dead_fraction"}


@pytest.mark.parametrize("activation", ["relu", "groupsort"])
def test_diagnose_reports_every_layer_of_every_branch(activation):
    report = d.diagnose(Net(3, activation=activation), random(3, 32, 12))
    hidden = WEIGHTS | FEATURES
    if activation == "groupsort":
        hidden = hidden | {"frozen_order_fraction"}
    names = {"layer0": hidden, "layer1": hidden, "head": WEIGHTS}
    assert set(report) == {
        f"plasticity/{branch}/{layer}/{name}"
        for branch in ("policy", "value")
        for layer, of_layer in names.items()
        for name in of_layer
    }
    for key, value in report.items():
        assert value.shape == (3,), key
        assert value.dtype == torch.float32
        assert not value.requires_grad
        assert value.isfinite().all(), key


def test_diagnose_agrees_with_the_single_functions():
    net, probe = Net(2), random(2, 32, 12)
    report = d.diagnose(net, probe, scale=1.5, tau=0.3)
    weight = net.branches["policy"].body.layers[1].weight.detach()
    features = net.features(probe)["policy"][1].detach()
    prefix = "plasticity/policy/layer1/"
    sigma = torch.linalg.svdvals(weight.double())
    expected = {
        "gram_deviation": gram_deviation(weight, 1.5, 1),
        "sigma_max": sigma[:, 0],
        "sigma_min": sigma[:, -1],
        "condition": sigma[:, 0] / sigma[:, -1],
        "weight_norm": weight.flatten(1).norm(dim=1),
        "weight_mean_square": sigma.square().mean(1),
        "dormant_fraction": d.dormant_fraction(features, 0.3),
        "feature_effective_rank": d.effective_rank(torch.linalg.svdvals(features.double())),
    }
    for name, value in expected.items():
        torch.testing.assert_close(report[prefix + name], value.float(), rtol=1e-4, atol=1e-5)


def test_a_crelu_pair_is_one_unit_as_it_is_for_those_who_recycle_units():
    """Of 8 units 2 never see an input below 0 and 1 sees none at all: one dormant, not 5 of 16."""
    z = torch.randn(1, 64, 8, generator=torch.Generator().manual_seed(0))
    z[..., :2] = z[..., :2].abs()
    z[..., 2] = 0.0
    net = Net(1, activation="crelu", depth=1)
    net.preactivations = lambda obs: {"policy": [z], "value": [z]}
    report = d.diagnose(net, random(1, 64, 12))
    activation = ACTIVATIONS["crelu"]
    features = net.features(None)["policy"][0]
    recycled = d.dormant_mask(unit_activity(features, activation)).float().mean(1)
    assert recycled.item() == 1 / 8
    for name in ("dormant_fraction", "dead_fraction"):
        assert report[f"plasticity/policy/layer0/{name}"].item() == 1 / 8
    assert d.dormant_fraction(features).item() == 4 / 16  # what features say


def test_diagnose_treats_the_positions_of_an_image_as_samples():
    net, probe = Net(2, conv=True), random(2, 5, 3, 4, 4)
    report = d.diagnose(net, probe)
    features = net.features(probe)["policy"][0].detach()  # (M, B, channels, 3, 3)
    samples = features.movedim(2, -1).reshape(2, -1, 8)
    expected = d.effective_rank(torch.linalg.svdvals(samples))
    found = report["plasticity/policy/layer0/feature_effective_rank"]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("activation", ["relu", "groupsort"])
def test_a_member_that_is_not_finite_gets_nan_and_touches_no_other(activation):
    net, probe = Net(3, activation=activation), random(3, 32, 12)
    clean = d.diagnose(net, probe)
    with torch.no_grad():
        net.branches["policy"].body.layers[0].weight[1, 0, 0] = math.nan
    report = d.diagnose(net, probe)
    for key, value in report.items():
        others = value[[0, 2]]
        torch.testing.assert_close(others, clean[key][[0, 2]], rtol=1e-5, atol=1e-6)
    assert report["plasticity/policy/layer0/sigma_max"][1].isnan()
    assert report["plasticity/policy/layer1/dormant_fraction"][1].isnan()
    assert report["plasticity/policy/layer1/sigma_max"][1].isfinite()
    assert report["plasticity/value/layer0/dead_fraction"][1].isfinite()


def test_diagnose_does_not_depend_on_the_number_of_members():
    probe = random(1, 32, 12).expand(4, -1, -1)
    four, one = d.diagnose(Net(4), probe), d.diagnose(Net(1), probe[:1])
    for key, value in one.items():
        torch.testing.assert_close(four[key][:1], value, rtol=1e-4, atol=1e-5)


def test_a_diagnostic_that_is_no_number_for_each_member_is_refused():
    @d.DIAGNOSTICS.of(d.Weights)
    def largest_of_all(layer):
        """A maximum over members as well."""
        return layer.matrix.abs().max()

    with pytest.raises(InputError, match=r"'largest_of_all' gives the shape \(\) for 1 members"):
        d.diagnose(nn.Linear(3, 2), random(4, 3), ["weights"])
