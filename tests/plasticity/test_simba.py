"""SimBa's trunk against its formula, and what else has to know its layers."""

import pytest
import torch
import torch.nn.functional as F

from neoteny.agents.distributions import Categorical
from neoteny.plasticity.diagnostics.functional import ModelFunction
from neoteny.plasticity.diagnostics.trace import trace
from neoteny.plasticity.interventions import make_interventions
from neoteny.plasticity.networks import HeadSpec, Network, NetworkSpec

HEADS = {"policy": HeadSpec(4, 0.01, Categorical(4)), "value": HeadSpec(1)}


def built(text, hidden, seeds=(0, 1), **options):
    spec = NetworkSpec(hidden, **options)
    for intervention in make_interventions([text] if text else []):
        spec = intervention.spec(spec)
    shape = (4, 4, 2) if spec.torso == "conv" else (6,)
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    return Network(spec, shape, HEADS, generators)


def size(network):
    return sum(p[0].numel() for p in network.parameters())


def by_formula(body, x):
    """h = W0 x, h <- h + V act(W norm(h)), norm(h); affine maps included."""

    def normed(norm, h):
        return F.layer_norm(h, h.shape[2:]) * norm.weight[:, None] + norm.bias[:, None]

    h = body.hidden[0](x)
    for index in range(1, len(body.hidden), 2):
        inner = torch.relu(body.hidden[index](normed(body.norms[index], h)))
        h = h + body.hidden[index + 1](inner)
    return normed(body.norms[-1], h)


@pytest.mark.parametrize("blocks", [1, 3])
def test_outputs_follow_the_formula(blocks):
    network = built(f"simba:blocks={blocks}", (16, 16, 16))
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    obs = torch.randn(2, 32, 6, generator=generator)
    for branch in network.branches.values():
        assert len(branch.hidden) == 1 + 2 * blocks
        expected = branch.head(by_formula(branch.body, obs))
        torch.testing.assert_close(branch(obs), expected, rtol=1e-4, atol=1e-5)
        features = branch.body.features(obs)[-1]
        assert torch.equal(branch.body(obs), features)
    dense = torch.rand(2, 8, 6, generator=generator) < 0.4  # listed by their ones
    for sparse, full in zip(network(dense).values(), network(dense.float()).values(), strict=True):
        torch.testing.assert_close(sparse, full, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("hidden", "blocks"), [((64,) * 4, 1), ((64,) * 4, 2), ((256,) * 2, 1)])
def test_networks_with_and_without_are_of_one_size(hidden, blocks):
    plain, simba = built("", hidden), built(f"simba:blocks={blocks}", hidden)
    assert 1 <= size(simba) / size(plain) < 1.04
    assert simba.spec.hidden[0] == simba.spec.hidden[-1] == hidden[0]


def test_convolutions_come_before_the_trunk():
    network = built("simba", (8, 8), torso="conv", channels=(8, 4), kernel=(2,))
    body = network.branches["value"].body
    assert body.activates == [True, True, False, True, False]
    obs = torch.randn(2, 5, 4, 4, 2)
    images = network.spec.arrange(obs)
    for index in (0, 1):
        images = torch.relu(body.hidden[index](images))
    body.hidden, body.norms = body.hidden[2:], body.norms[2:]
    expected = by_formula(body, images.flatten(2))
    body = built("simba", (8, 8), torso="conv", channels=(8, 4), kernel=(2,)).branches["value"].body
    torch.testing.assert_close(body(network.spec.arrange(obs)), expected, rtol=1e-4, atol=1e-5)


def test_traces_know_which_layers_have_an_activation():
    network = built("simba", (8, 8, 8))
    layers = trace(ModelFunction(network, None, True), torch.randn(2, 16, 6)).layers
    assert [layers[f"value/layer{index}"].units is not None for index in range(3)] == [
        False,
        True,
        False,
    ]
    assert layers["value/layer1"].units.min() == 0


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"activation": "crelu"}, "simba adds units up, which crelu doubles"),
        ({"residual": True}, "leave residual or simba out"),
        ({"norm": "layer"}, "leave a norm or simba out"),
    ],
)
def test_what_does_not_go_with_it_is_refused_in_one_line(options, text):
    with pytest.raises(ValueError, match=f"(?s)^(?!.*\n).*{text}"):
        built("simba", (8, 8), **options)


def test_a_trunk_that_does_not_end_at_its_width_is_refused():
    with pytest.raises(ValueError, match=r"as in \(64, 256, 64\)"):
        NetworkSpec((8, 8), trunk="simba")
