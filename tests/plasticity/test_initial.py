"""Uniform initial weights: torch's own, for every member, at the start and at every reset."""

import pytest
import torch
from torch import nn

from neoteny.plasticity.interventions import OptimizerSettings, make_interventions
from neoteny.plasticity.layers import IsoConv2d, IsoLinear
from neoteny.plasticity.learner import Learner
from neoteny.plasticity.networks import HeadSpec, Network, NetworkSpec
from neoteny.plasticity.surgery import fresh_weight


@pytest.mark.parametrize(
    ("build", "theirs"),
    [
        (lambda **k: IsoLinear(7, 300, **k), lambda: nn.Linear(7, 300)),
        (lambda **k: IsoConv2d(3, 300, 2, **k), lambda: nn.Conv2d(3, 300, 2)),
    ],
)
def test_a_member_begins_as_torchs_layer_with_its_seed(build, theirs):
    seeds = (4, 9)
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    layer = build(members=2, generator=generators, init="uniform")
    for member, seed in enumerate(seeds):
        torch.manual_seed(seed)
        reference = theirs()
        # torch scales by a gain and a fan of its own before it comes to the same bound.
        torch.testing.assert_close(layer.weight[member], reference.weight)
        torch.testing.assert_close(layer.bias[member], reference.bias)


@pytest.mark.parametrize("torso", ["mlp", "conv"])
def test_layers_heads_and_resets_are_uniform(torso):
    spec = NetworkSpec((16, 16), init="uniform", torso=torso, hidden_gain=50.0)
    heads = {"policy": HeadSpec(3, gain=0.01), "value": HeadSpec(1)}
    learner = Learner(
        lambda spec, generators: Network(spec, (5, 5, 2), heads, generators),
        spec,
        make_interventions(["head_reset"]),
        OptimizerSettings(),
        (0, 1),
    )
    before = [parameter.detach().clone() for parameter in learner.network.parameters()]
    for branch in learner.network.branches.values():
        for layer in (*branch.hidden, branch.head):
            bound = layer.weight[0, 0].numel() ** -0.5
            draws = fresh_weight(layer, [torch.Generator().manual_seed(s) for s in (0, 1)])
            for values in (layer.weight, layer.bias, draws):
                assert values.abs().max() <= bound
            assert layer.weight.std() > 0.45 * bound  # a uniform distribution's is 0.577
            assert layer.bias.abs().max() > 0.2 * bound
            assert draws.std() > 0.45 * bound
    learner.interventions[0].edit(learner, None)
    redrawn = [
        not torch.equal(old, new)
        for old, new in zip(before, learner.network.parameters(), strict=True)
    ]
    names = [name for name, _ in learner.network.named_parameters()]
    assert redrawn == ["head" in name for name in names]
    for branch in learner.network.branches.values():
        assert (branch.head.bias != 0).all()


def test_an_unknown_init_is_refused():
    with pytest.raises(ValueError, match="init 'normal' is unknown: use one of orthogonal"):
        NetworkSpec(init="normal")
    with pytest.raises(ValueError, match="init 'normal' is unknown"):
        IsoLinear(2, 2, init="normal")
