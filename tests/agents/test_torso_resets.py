"""Units of convolutions and of shared torsos: resets take out exactly what they contributed."""

import pytest
import torch

from neoteny.plasticity.activations import ACTIVATIONS
from neoteny.plasticity.interventions import OptimizerSettings, make_interventions
from neoteny.plasticity.learner import Learner
from neoteny.plasticity.networks import HeadSpec, Network, NetworkSpec
from neoteny.plasticity.surgery import (
    expand_to_group,
    fresh_weight,
    outgoing,
    outgoing_magnitude,
    reset_units,
)

M, GRID = 2, (6, 5, 3)
HEADS = {"policy": HeadSpec(4, 0.5), "value": HeadSpec(1)}
OBS = torch.randn(M, 20, *GRID, generator=torch.Generator().manual_seed(0))


def trained(activation="relu", shared=False, names=("none",), **options):
    spec = NetworkSpec(
        (16, 16), activation, torso="conv", channels=(8, 8), padding=(1,), shared=shared, **options
    )
    learner = Learner(
        lambda final, generators: Network(final, GRID, HEADS, generators),
        spec,
        make_interventions(names),
        OptimizerSettings(learning_rate=1e-2),
        range(M),
    )
    for _ in range(2):
        outputs = learner.network(OBS).values()
        learner.update(sum((out - 1).square().mean((1, 2)) for out in outputs), OBS)
    return learner


def without(network, name, layer, dropped):
    """A branch's outputs if features `dropped` (M, n) of a layer were 0."""
    branch, x = network.branches[name], network.inputs(OBS)
    function = ACTIVATIONS[network.spec.activation].function
    for index, (each, norm) in enumerate(zip(branch.hidden, branch.body.norms, strict=True)):
        h = function(norm(each(x if each.weight.dim() == 5 else x.flatten(2))), 2)
        kept = ~dropped.view(M, 1, -1, *[1] * (h.dim() - 3))
        x = h * kept if index == layer else h
    return branch.head(x)


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("activation", ["relu", "groupsort", "crelu"])
@pytest.mark.parametrize("layer", [0, 1, 2, 3])  # read by conv, flattened, linear layer and heads
def test_the_function_loses_exactly_what_the_units_contributed(layer, activation, shared):
    learner = trained(activation, shared)
    network, kind = learner.network, ACTIVATIONS[activation]
    source = network.branches["policy"].hidden[layer]
    draw = torch.rand(M, source.weight.shape[1], generator=torch.Generator().manual_seed(layer))
    mask = expand_to_group(draw < 0.4, kind)
    assert mask.any(1).all()
    dropped = mask.repeat(1, kind.fan)
    expected = {name: without(network, name, layer, dropped) for name in HEADS}
    untouched = network(OBS)["value"]
    fresh = fresh_weight(source, [torch.Generator().manual_seed(i) for i in range(M)])
    reset_units(learner, "policy", layer, mask, fresh)
    outputs = network(OBS)
    torch.testing.assert_close(outputs["policy"], expected["policy"], rtol=1e-4, atol=1e-5)
    assert torch.equal(source.weight[mask], fresh[mask])
    if shared:
        torch.testing.assert_close(outputs["value"], expected["value"], rtol=1e-4, atol=1e-5)
        readers = network.branches
        assert layer < 3 or outgoing(network, source) == [b.head for b in readers.values()]
    else:
        assert torch.equal(outputs["value"], untouched)
    for reader in outgoing(network, source):
        moment = learner.optimizer.state[reader.weight]["exp_avg"]
        columns = moment.reshape(M, moment.shape[1], dropped.shape[1], -1)
        assert not columns.transpose(1, 2)[dropped].any()
        assert columns.transpose(1, 2)[~dropped].any()


def test_a_folded_mean_keeps_the_mean_of_a_linear_layer_that_flattens_an_image():
    learner = trained()
    branch = learner.network.branches["policy"]
    image = learner.network.features(OBS)["policy"][1]
    assert branch.hidden[2].weight.shape[2] == image[0, 0].numel()
    with (
        torch.no_grad()
    ):  # what a channel contributes on average is exact where positions count alike
        kernel = branch.hidden[2].weight.view(M, 16, 8, -1)
        kernel.copy_(kernel.mean(3, keepdim=True).expand_as(kernel))
    before = learner.network.preactivations(OBS)["policy"][2].mean(1)
    mask = torch.rand(M, 8, generator=torch.Generator().manual_seed(1)) < 0.5
    fresh = fresh_weight(branch.hidden[1], [torch.Generator().manual_seed(i) for i in range(M)])
    mean = image.mean((1, 3, 4)).detach()
    reset_units(learner, "policy", 1, mask, fresh, mean=mean)
    after = learner.network.preactivations(OBS)["policy"][2].mean(1)
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("activation", ["relu", "crelu"])
def test_outgoing_magnitude_is_the_mean_over_all_that_reads_a_feature(activation):
    network = trained(activation, shared=True).network
    for layer in (1, 3):  # read by a linear layer at every position, and by both heads
        source = network.branches["policy"].hidden[layer]
        magnitude = outgoing_magnitude(network, source)
        features = source.weight.shape[1] * ACTIVATIONS[activation].fan
        expected = torch.zeros(M, features)
        for reader in outgoing(network, source):
            inputs = reader.weight.view(M, reader.weight.shape[1], features, -1)
            for feature in range(features):
                expected[:, feature] += inputs[:, :, feature].abs().mean((1, 2))
        torch.testing.assert_close(magnitude, expected)


def test_units_of_residual_networks_are_refused_and_whole_layers_are_not():
    spec = NetworkSpec((8, 8), residual=True)
    network = Network(spec, (6,), HEADS, [torch.Generator().manual_seed(0)])
    with pytest.raises(ValueError, match="none has outgoing weights of its own"):
        outgoing(network, network.branches["policy"].hidden[0])
    with pytest.raises(ValueError, match=r"^redo takes single units out.*leave residual or redo"):
        trained(names=("redo",), residual=True)
    learner = trained(names=("layer_reset:period=2",), residual=True)
    assert (learner.interventions[0].activity > 0).all()
