"""Activations as interventions: what each keeps, and that they are refused where undefined."""

import pytest
import torch

from neoteny.plasticity.activations import ACTIVATIONS, deep_fourier
from neoteny.plasticity.interventions import (
    OptimizerSettings,
    make_interventions,
    parse_intervention,
)
from neoteny.plasticity.learner import Learner
from neoteny.plasticity.networks import HeadSpec, Network, NetworkSpec

NETS = {
    "crelu": "crelu",
    "deep_fourier": "deep_fourier",
    "groupsort": "groupsort",
    "groupsort:size=4": "groupsort4",
    "groupsort:size=8": "groupsort8",
}
OBS = torch.randn(2, 40, 6, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("text", NETS)
def test_the_intervention_is_the_network_with_that_activation(text, make_learner, train):
    learner, plain = make_learner(text), make_learner(activation=NETS[text])
    for each in (learner, plain):
        train(each, 3)
    for one, other in zip(learner.network.parameters(), plain.network.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("text", NETS)
def test_widths_count_features(text, make_learner):
    learner = make_learner(text)
    for layers in learner.network.features(OBS).values():
        assert [layer.shape for layer in layers] == [(2, 40, 16), (2, 40, 8)]
    fan = ACTIVATIONS[NETS[text]].fan
    assert learner.network.branches["policy"].hidden[1].weight.shape == (2, 8 // fan, 16)


@pytest.mark.parametrize("text", NETS)
def test_features_keep_the_norm_that_each_activation_promises(text, make_learner):
    learner = make_learner(text)
    for name, layers in learner.network.features(OBS).items():
        before = learner.network.preactivations(OBS)[name]
        for h, z in zip(layers, before, strict=True):
            expected = z.square().sum(-1)
            if text == "deep_fourier":  # sin^2 + cos^2 = 1 for every unit
                expected = torch.full_like(expected, z.shape[-1])
            torch.testing.assert_close(h.square().sum(-1), expected)
            if text == "crelu":
                assert ((h == 0).sum(-1) == z.shape[-1]).all()
            if text.startswith("groupsort"):
                assert torch.equal(h.sort(-1).values, z.sort(-1).values)


def test_one_of_sine_and_cosine_is_always_nearly_linear_and_none_ever_dies():
    z = torch.linspace(-20, 20, 4001, dtype=torch.float64).requires_grad_()
    sine, cosine = deep_fourier(z.unsqueeze(1)).unbind(1)
    slopes = torch.stack(
        [torch.autograd.grad(f.sum(), z, create_graph=True)[0] for f in (sine, cosine)]
    )
    torch.testing.assert_close(slopes.square().sum(0), torch.ones_like(z))
    assert slopes.abs().amax(0).min() >= 0.5**0.5 - 1e-9
    # Over a range of pi / 2 in which it is the steeper one, it departs from its tangent by 0.08.
    inner = torch.linspace(-torch.pi / 4, torch.pi / 4, 101, dtype=torch.float64)
    assert (deep_fourier(inner.unsqueeze(1))[:, 0] - inner).abs().max() < 0.08


def test_default_gain_of_deep_fourier_keeps_preactivations_at_unit_variance():
    spec = NetworkSpec(hidden=(256,) * 4, activation="deep_fourier", hidden_gain=2**0.5)
    assert ACTIVATIONS["deep_fourier"].gain == spec.hidden_gain
    learner = Learner(
        lambda spec, generators: Network(spec, (256,), {"q": HeadSpec(2)}, generators),
        spec,
        make_interventions(["none"]),
        OptimizerSettings(),
        [0],
    )
    for z in learner.network.preactivations(torch.randn(1, 500, 256))["q"][1:]:
        assert z.var().item() == pytest.approx(1.0, abs=0.1)


def test_redo_refuses_an_activation_without_dormant_units(make_learner):
    with pytest.raises(ValueError, match="redo"):
        make_learner("redo", activation="deep_fourier")


def test_a_size_that_cannot_be_sorted_is_refused():
    with pytest.raises(ValueError, match="use 2, 4 or 8"):
        parse_intervention("groupsort:size=3")
