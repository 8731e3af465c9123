"""Convolutions, skips, shared torsos and depth against chains of torch's own layers."""

import math
from itertools import pairwise

import pytest
import torch
from torch import nn

from neoteny.plasticity.activations import ACTIVATIONS
from neoteny.plasticity.diagnostics import diagnose
from neoteny.plasticity.interventions import OptimizerSettings, make_interventions
from neoteny.plasticity.learner import Learner
from neoteny.plasticity.networks import HeadSpec, Network, NetworkSpec

M, B, GRID = 2, 10, (6, 5, 3)
HEADS = {"policy": HeadSpec(4, 0.5), "value": HeadSpec(1)}
CONV = {"torso": "conv", "channels": (8, 4)}

SPECS = {
    "mlp": NetworkSpec((16, 8)),
    "conv": NetworkSpec((16, 8), **CONV),
    "one convolution": NetworkSpec((8,), torso="conv", channels=(8,), bias=False),
    "strides": NetworkSpec((8,), **CONV, kernel=(3, 2), stride=(2, 1), padding=(1, 0)),
    "groupsort": NetworkSpec((16, 8), "groupsort", **CONV),
    "crelu": NetworkSpec((16, 8), "crelu", **CONV),
    "deep_fourier": NetworkSpec((16, 8), "deep_fourier", **CONV),
    "norm": NetworkSpec((16, 8), norm="layer", **CONV),
    "residual": NetworkSpec((8,) * 3, "tanh", residual=True),
    "residual conv": NetworkSpec(
        (8, 8), torso="conv", channels=(4, 4), padding=(1,), norm="layer", residual=True
    ),
    "shared": NetworkSpec((16, 8), shared=True),
    "shared conv": NetworkSpec((16, 8), "groupsort", shared=True, **CONV),
}


def network(spec, members=M, heads=HEADS, shape=GRID, first=0, **options):
    generators = [torch.Generator().manual_seed(first + i) for i in range(members)]
    return Network(spec, shape, heads, generators, **options)


def observations(shape=GRID, members=M, seed=0):
    return torch.randn(members, B, *shape, generator=torch.Generator().manual_seed(seed))


class Chain(nn.Module):
    """One member's branch as modules of torch, with its weights."""

    def __init__(self, net, name, member):
        super().__init__()
        spec, branch = net.spec, net.branches[name]
        self.spec, self.activation = spec, ACTIVATIONS[spec.activation].function
        self.layers, self.norms = nn.ModuleList(), nn.ModuleList()
        self.shares = [x.shape == h.shape for x, h in pairwise(net.features(observations())[name])]
        convolutions = iter(spec.convolutions)
        for layer in [*branch.hidden, branch.head]:
            out, inputs = layer.weight.shape[1:3]
            if layer.weight.dim() == 5:
                c = next(convolutions)
                mine = nn.Conv2d(inputs, out, c.kernel, c.stride, c.padding, bias=spec.bias)
            else:
                mine = nn.Linear(inputs, out, bias=spec.bias)
            mine.weight.data.copy_(layer.weight[member])
            if spec.bias:
                mine.bias.data.copy_(layer.bias[member])
            self.layers.append(mine)
            self.norms.append(nn.GroupNorm(1, out))  # over channels and positions, gain 1

    def forward(self, obs):
        x = obs.flatten(1)
        if self.spec.torso == "conv":
            x = obs.permute(0, 3, 1, 2)
        for index, (layer, norm) in enumerate(zip(self.layers[:-1], self.norms, strict=False)):
            z = layer(x.flatten(1) if isinstance(layer, nn.Linear) else x)
            z = norm(z) if self.spec.norm == "layer" else z
            h = self.activation(z, 1)
            skips = self.spec.residual and index and x.shape == h.shape
            x = x + h / sum(self.shares) if skips else h
        return self.layers[-1](x)

    def gradients(self):
        return [p.grad for layer in self.layers for p in layer.parameters()]


def gradients(branch, member):
    layers = [*branch.hidden, branch.head]
    return [p.grad[member] for layer in layers for p in layer.parameters()]


def score(outputs, name):
    """Some function of the outputs (..., n), with another slope for each of them."""
    weights = torch.linspace(0.5, 1.5, outputs.shape[-1])
    return (outputs * weights).sin().sum() * (2.0 if name == "value" else 1.0)


@pytest.mark.parametrize(
    ("name", "fast"), [*((name, False) for name in SPECS), ("mlp", True), ("shared", True)]
)
def test_outputs_and_gradients_equal_those_of_torchs_layers(name, fast):
    spec = SPECS[name]
    net, obs = network(spec, fast=fast), observations()
    assert net.batchable == (name in ("mlp", "shared"))  # the others know one way
    outputs = net(obs)
    sum(score(out, branch) for branch, out in outputs.items()).backward()
    for member in range(M):
        chains = {branch: Chain(net, branch, member) for branch in HEADS}
        for branch, chain in chains.items():
            out = chain(obs[member])
            torch.testing.assert_close(outputs[branch][member], out, rtol=1e-4, atol=1e-5)
            score(out, branch).backward()
        for branch, chain in chains.items():
            expected = chain.gradients()
            if spec.shared:  # the torso's gradient is the sum of the branches'
                own, other = expected, chains[{"policy": "value", "value": "policy"}[branch]]
                torso = len(own) - (2 if spec.bias else 1)
                added = zip(own[:torso], other.gradients(), strict=False)
                expected = [a + b for a, b in added] + own[torso:]
            found = gradients(net.branches[branch], member)
            for a, b in zip(found, expected, strict=True):
                torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["residual conv", "shared conv"])
def test_two_members_equal_two_networks_of_one(name):
    spec = SPECS[name]
    together, obs = network(spec), observations()
    outputs = together(obs)
    sum(out.square().sum() for out in outputs.values()).backward()
    for member in range(M):
        alone = network(spec, 1, first=member)
        own = alone(obs[member : member + 1])
        for name, out in own.items():
            torch.testing.assert_close(outputs[name][member], out[0], rtol=1e-4, atol=1e-5)
        sum(out.square().sum() for out in own.values()).backward()
        for one, all_ in zip(alone.parameters(), together.parameters(), strict=True):
            assert torch.equal(one[0], all_[member])
            torch.testing.assert_close(one.grad[0], all_.grad[member], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_layers_begin_orthogonal_and_a_reset_draws_them_as_at_first(spec):
    net = network(spec)
    first = [p.detach().clone() for p in net.parameters()]
    for branch in net.branches.values():
        gains = [spec.hidden_gain] * len(branch.hidden) + [branch.head.gain]
        for layer, gain in zip([*branch.hidden, branch.head], gains, strict=True):
            sigma = torch.linalg.svdvals(layer.weight.detach().flatten(2))
            torch.testing.assert_close(sigma, torch.full_like(sigma, gain))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter += 1
    net.reset_parameters([torch.Generator().manual_seed(i) for i in range(M)])
    for parameter, before in zip(net.parameters(), first, strict=True):
        assert torch.equal(parameter, before)


def test_images_of_every_type_are_seen_channels_first():
    net = network(SPECS["conv"])
    whole = torch.arange(M * B * math.prod(GRID), dtype=torch.uint8).view(M, B, *GRID) % 7
    expected = whole.float().permute(0, 1, 4, 2, 3)
    assert torch.equal(net.inputs(whole), expected)
    assert torch.equal(net.inputs(whole > 3), expected > 3)
    flat = network(SPECS["conv"], shape=GRID[:2])
    assert torch.equal(flat.inputs(whole[..., 0]), expected[:, :, :1])
    assert flat.branches["policy"].hidden[0].weight.shape == (M, 8, 1, 3, 3)


def test_a_shared_torso_is_one_set_of_parameters_and_one_clipping_group():
    separate, shared = network(SPECS["conv"]), network(SPECS["shared conv"])
    body = sum(p.numel() for p in shared.bodies[0].parameters())
    count = sum(p.numel() for p in shared.parameters())
    assert sum(p.numel() for p in separate.parameters()) == count + body
    assert len(shared.bodies) == 1
    assert len(separate.bodies) == 2
    learner = build(SPECS["shared conv"], max_grad_norm=0.1)
    step(learner)
    assert list(learner.branch_norms) == ["shared"]
    clipped = torch.cat([p.grad.flatten(1) for p in learner.network.parameters()], 1).norm(dim=1)
    torch.testing.assert_close(clipped, torch.full((M,), 0.1), rtol=1e-3, atol=0)


def build(spec, *names, shape=GRID, **options):
    return Learner(
        lambda final, generators: Network(final, shape, HEADS, generators),
        spec,
        make_interventions(names or ("none",)),
        OptimizerSettings(learning_rate=1e-3),
        range(M),
        **options,
    )


def step(learner, shape=GRID, seed=0):
    obs = observations(shape, seed=seed)
    loss = sum((out - 1).square().mean((1, 2)) for out in learner.network(obs).values())
    return loss.detach(), learner.update(loss, obs)


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("activation", ["relu", "groupsort"])
def test_64_layers_keep_the_signals_size_and_learn(activation, residual):
    # The paper's gain suits ReLU, and either kind of network with skips.
    gain = {} if residual or activation == "relu" else {"hidden_gain": None}
    spec = NetworkSpec((16,) * 64, activation, residual=residual, **gain)
    learner = build(spec, shape=(6,))
    features = learner.network.features(observations((6,)))["value"]
    assert 0.1 < features[-1].norm() / features[0].norm() < 5
    losses = torch.stack([step(learner, (6,))[0] for _ in range(3)])
    assert learner.alive.all()
    for parameter in learner.network.parameters():
        assert parameter.grad.isfinite().all()
        assert parameter.isfinite().all()
    if residual:
        assert (losses[-1] < losses[0]).all()


def test_a_network_whose_signal_would_explode_is_refused():
    deep = {"hidden": (16,) * 64, "activation": "groupsort"}
    with pytest.raises(ValueError, match=r"64 layers of groupsort.* by 1e10: use the activation's"):
        network(NetworkSpec(**deep))
    for remedy in ({"hidden_gain": None}, {"norm": "layer"}, {"residual": True}):
        assert network(NetworkSpec(**deep | remedy))(observations())["value"].isfinite().all()
    assert NetworkSpec(**deep, hidden_gain=None).gain == 1
    assert NetworkSpec((16,), "tanh", hidden_gain=None).gain == 5 / 3


def test_diagnostics_take_kernels_as_matrices_and_a_shared_body_once():
    shared, probe = network(SPECS["shared conv"]), observations()
    report = diagnose(shared, probe)
    assert {key.split("/")[1] for key in report if "layer" in key} == {"shared"}
    assert {key.split("/")[1] for key in report if "head" in key} == set(HEADS)
    kernel = shared.branches["value"].hidden[1].weight.detach()
    largest = torch.linalg.svdvals(kernel.view(M, 4, 8 * 9))[:, 0]
    torch.testing.assert_close(report["plasticity/shared/layer1/sigma_max"], largest)
    image = shared.features(probe)["policy"][1].permute(0, 1, 3, 4, 2).flatten(1, 3)
    sigma = torch.linalg.svdvals(image.detach())
    stable = sigma.square().sum(1) / sigma[:, 0].square()
    torch.testing.assert_close(report["plasticity/shared/layer1/feature_stable_rank"], stable)


def test_units_die_by_their_own_activation_whatever_a_skip_adds():
    net, probe = network(NetworkSpec((8, 8), residual=True)), observations()
    layer = net.branches["policy"].hidden[1]
    with torch.no_grad():
        layer.weight[:, :3] = 0
        layer.bias[:, :3] = -1
        layer.bias[:, 3:] = 9
    report = diagnose(net, probe)
    assert (report["plasticity/policy/layer1/dead_fraction"] == 3 / 8).all()
    handed_on = torch.linalg.svdvals(net.features(probe)["policy"][1].detach().double())
    rank = report["plasticity/policy/layer1/feature_stable_rank"].double()
    torch.testing.assert_close(rank, handed_on.square().sum(1) / handed_on[:, 0].square())
    assert (handed_on[:, -1] > 0.1).all()  # the dead units' features are the layer before's


@pytest.mark.parametrize(
    ("spec", "shape", "message"),
    [
        ({"torso": "cnn"}, GRID, "'cnn' is unknown: use one of mlp, conv"),
        ({"torso": "conv"}, (8,), "observations have shape .8,.*use torso mlp"),
        ({"torso": "conv", "kernel": (7,)}, GRID, "kernel 7 is larger than the 6 x 5 grid"),
        ({**CONV, "stride": (2,)}, GRID, "kernel 3 is larger than the 2 x 2 grid"),
        ({**CONV, "kernel": (3, 3, 3)}, GRID, "for 2 convolutions: give one number"),
        ({**CONV, "stride": (0,)}, GRID, "stride is .0,.: it must be at least 1"),
        ({**CONV, "padding": (-1,)}, GRID, "padding is .-1,.: it must be at least 0"),
        ({"torso": "conv", "channels": ()}, GRID, "channels is .*at least one positive"),
        ({"torso": "conv", "channels": (5,), "activation": "crelu"}, GRID, "channels.*multiples"),
        ({"hidden": (8, 4), "residual": True}, GRID, "hidden is .8, 4.*give all.*one width"),
        ({"hidden": (8,), "residual": True}, GRID, "no two of the layers"),
        ({"hidden": ()}, GRID, "hidden is ..: give at least one"),
    ],
)
def test_what_cannot_work_is_refused_in_one_line(spec, shape, message):
    with pytest.raises(ValueError, match=message) as error:
        network(NetworkSpec(**{"hidden": (8,)} | spec), shape=shape)
    assert "\n" not in str(error.value)
