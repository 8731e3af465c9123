"""`diagnose` on networks of the project and on the same networks of torch's layers."""

import pytest
import torch
from torch import nn

from neoteny.plasticity import diagnostics as d
from neoteny.plasticity.activations import CReLU, GroupSort
from neoteny.plasticity.isometry import gram_deviation
from neoteny.plasticity.networks import HeadSpec, Network, NetworkSpec

ALL = d.GROUPS


def random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def network(members=1, shape=(6,), heads=None, **spec):
    generators = [torch.Generator().manual_seed(s) for s in range(members)]
    spec = NetworkSpec(**{"hidden": (8, 8)} | spec)
    return Network(spec, shape, heads or {"q": HeadSpec(3)}, generators)


MODULES = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "groupsort": GroupSort,
    "groupsort4": lambda: GroupSort(4),
    "crelu": CReLU,
}


def sequential(net, activation):
    """The same network of plain layers, and the names of its layers there and here."""
    layers, names, at = [], {}, 0
    for index, own in enumerate([*net.branches["q"].body.hidden, net.branches["q"].head]):
        out, inputs = own.weight.shape[1:]
        linear = nn.Linear(inputs, out)
        linear.weight.data, linear.bias.data = own.weight.data[0], own.bias.data[0]
        names[str(at)] = f"layer{index}" if index < 2 else "head"
        layers += [linear] if index == 2 else [linear, MODULES[activation]()]
        at = len(layers)
    return nn.Sequential(*layers), names


@pytest.mark.parametrize("activation", MODULES)
def test_a_plain_module_has_the_numbers_of_the_same_network(activation):
    net = network(activation=activation)
    plain, names = sequential(net, activation)
    x = random(20, 6)
    expected = d.diagnose(net, x.unsqueeze(0), ALL, loss=lambda out: out["q"].square())
    found = d.diagnose(plain, x, ALL, loss=lambda out: out["model"].square())
    renamed = {}
    for key, value in found.items():
        _, _, layer, name = key.split("/")
        renamed[f"plasticity/q/{names.get(layer, layer)}/{name}"] = value
    assert set(renamed) == set(expected)
    for key, value in expected.items():
        exact = "condition" not in key and "lambda_min" not in key and "_rank" not in key
        tolerance = 1e-4 if exact else 2e-2
        torch.testing.assert_close(renamed[key], value, rtol=tolerance, atol=1e-5, msg=key)


WEIGHTS = {
    *("gram_deviation", "sigma_max", "sigma_min", "condition"),
    *("weight_effective_rank", "weight_stable_rank", "weight_norm", "weight_mean_square"),
}
FEATURES = {"feature_effective_rank", "feature_stable_rank", "dormant_fraction", "dead_fraction"}


@pytest.mark.parametrize("activation", ["relu", "groupsort"])
def test_by_default_weights_and_features_of_every_layer_of_every_branch(activation):
    heads = {"policy": HeadSpec(6), "value": HeadSpec(1)}
    report = d.diagnose(network(3, heads=heads, activation=activation), random(3, 32, 6))
    hidden = WEIGHTS | FEATURES
    if activation == "groupsort":
        hidden = hidden | {"frozen_order_fraction"}
    names = {"layer0": hidden, "layer1": hidden, "head": WEIGHTS}
    assert set(report) == {
        f"plasticity/{branch}/{layer}/{name}"
        for branch in heads
        for layer, of_layer in names.items()
        for name in of_layer
    }
    assert all(value.isfinite().all() for value in report.values())


def test_diagnose_agrees_with_the_single_functions():
    net, x = network(2), random(2, 32, 6)
    report = d.diagnose(net, x, scale=1.5, tau=0.3)
    weight = net.branches["q"].body.hidden[1].weight.detach()
    features = net.features(x)["q"][1].detach()
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
        found = report[f"plasticity/q/layer1/{name}"]
        torch.testing.assert_close(found, value.float(), rtol=1e-4, atol=1e-5)


def test_names_of_all_groups():
    report = d.diagnose(network(2, activation="tanh"), random(2, 20, 6), ALL)
    at = "plasticity/q/layer1/"
    assert {key.removeprefix(at) for key in report if key.startswith(at)} == {
        *(WEIGHTS | FEATURES),
        *("feature_norm", "feature_variance", "feature_participation_ratio", "feature_srank"),
        *("feature_numerical_rank", "sparsity", "saturated_fraction"),
        *("jacobian_sigma_max", "jacobian_sigma_min", "jacobian_mean_square"),
        *("jacobian_log_spread", "jacobian_near_mean"),
    }
    at = "plasticity/q/network/"
    assert {key.removeprefix(at).split("_")[0] for key in report if key.startswith(at)} == {
        "jacobian",
        "kernel",
    }
    for key, value in report.items():
        assert value.shape == (2,), key
        assert value.dtype == torch.float32, key
        assert not value.requires_grad, key


def test_jacobians_of_networks_by_products_are_those_by_autograd():
    net = network(2, residual=True, norm="layer", activation="tanh")
    x = random(2, 5, 6)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter += 0.1 * random(*parameter.shape, seed=3)
    report = d.diagnose(net, x, ["jacobians"])
    inputs = x.clone().requires_grad_()
    features = net.branches["q"].body.features(inputs)
    outputs = net.branches["q"].head(features[-1])
    found = {
        "layer0": d.jacobians(features[0], [inputs])[0],
        "layer1": d.jacobians(features[1], [features[0]])[0],
        "network": d.jacobians(outputs, [inputs])[0],
    }
    summaries = d.jacobian_summary(list(found.values()))
    for layer, summary in zip(found, summaries, strict=True):
        for name, value in summary.items():
            own = report[f"plasticity/q/{layer}/{name}"]
            torch.testing.assert_close(own, value.float(), rtol=1e-3, atol=1e-4, msg=name)


def test_an_isometric_network_is_measured_as_one():
    net = network(2, (8,), {"q": HeadSpec(8)}, activation="groupsort", hidden_gain=1.0)
    report = d.diagnose(net, random(2, 16, 8), ["weights", "jacobians"])
    isometry = {"sigma_max": 1, "sigma_min": 1, "mean_square": 1, "log_spread": 0, "near_mean": 1}
    for layer in ("layer0", "layer1", "network"):
        for name, value in isometry.items():
            found = report[f"plasticity/q/{layer}/jacobian_{name}"]
            torch.testing.assert_close(found, torch.full((2,), float(value)), rtol=0, atol=2e-6)


@pytest.mark.parametrize("activation", ["relu", "groupsort"])
def test_members_do_not_touch_each_other_in_any_group(activation):
    net, x = network(3, activation=activation), random(3, 16, 6)
    clean = d.diagnose(net, x, ALL, loss=lambda out: out["q"].square())
    one = network(1, activation=activation)
    alone = d.diagnose(one, x[:1], ALL, loss=lambda out: out["q"].square())
    with torch.no_grad():
        net.branches["q"].body.hidden[0].weight[1, 0, 0] = torch.nan
    report = d.diagnose(net, x, ALL, loss=lambda out: out["q"].square())
    for key, value in report.items():
        torch.testing.assert_close(value[[0, 2]], clean[key][[0, 2]], rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(clean[key][:1], alone[key], rtol=1e-2, atol=1e-4)
        _, _, layer, name = key.split("/")
        of_weights = d.DIAGNOSTICS[name].of is d.Weights
        assert value[1].isnan() != (of_weights and layer != "layer0"), key


def test_known_spectra_of_weights_are_used():
    net, x = network(2), random(2, 20, 6)
    spectra = d.weight_spectra(net)
    expected = d.diagnose(net, x)
    for key, value in d.diagnose(net, x, spectra=spectra).items():
        assert torch.equal(value, expected[key]), key
    doubled = d.diagnose(net, x, spectra={key: 2 * sigma for key, sigma in spectra.items()})
    for key, value in expected.items():
        factor = 2 if key.rsplit("/", 1)[1] in ("sigma_max", "sigma_min", "weight_norm") else 1
        if "weight" in key or "sigma" in key:
            factor = 4 if key.endswith("mean_square") else factor
            torch.testing.assert_close(doubled[key], factor * value)
