"""`diagnose` on modules written elsewhere: residual networks, transformers, agents."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from neoteny.core.errors import InputError
from neoteny.plasticity import diagnostics as d
from neoteny.plasticity.activations import CReLU

ALL = d.GROUPS


def random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


class Block(nn.Module):
    """A basic block of a residual network, with its one ReLU in place and used twice."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = None
        if stride != 1 or inputs != outputs:
            conv = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.downsample = nn.Sequential(conv, nn.BatchNorm2d(outputs))

    def forward(self, x):
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += x if self.downsample is None else self.downsample(x)
        return self.relu(out)


class ResNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(4)
        self.layer1 = Block(4, 4, 1)
        self.layer2 = Block(4, 8, 2)
        self.fc = nn.Linear(8, 5)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        return self.fc(self.layer2(self.layer1(x)).mean((2, 3)))


@pytest.fixture
def resnet():
    torch.manual_seed(0)
    net = ResNet()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    return net.train()


def jacobian(outputs, module):
    """Gradients of each output by all parameters, row by row."""
    rows = []
    for value in outputs.flatten():
        own = torch.autograd.grad(
            value, list(module.parameters()), retain_graph=True, allow_unused=True
        )
        rows.append(torch.cat([g.flatten() for g in own if g is not None]))
    return torch.stack(rows)


def hooks(module):
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in module.modules())


def test_a_residual_network_with_batch_norms(resnet):
    x = random(12, 3, 6, 6)
    before = copy.deepcopy(resnet.state_dict())
    report = d.diagnose(resnet, x, ALL, samples=4)
    convs = {n for n, m in resnet.named_modules() if isinstance(m, nn.Conv2d)}
    assert {key.split("/")[2] for key in report} == {*convs, "fc", "network"}
    resnet.eval()
    first = F.relu(resnet.bn1(resnet.conv1(x)))
    second = resnet.layer2(resnet.layer1(first))
    for layer, features in (("conv1", first), ("layer2.conv2", second)):
        samples = features.movedim(1, -1).flatten(0, 2).detach()
        found = report[f"plasticity/model/{layer}/feature_effective_rank"]
        expected = d.effective_rank(torch.linalg.svdvals(samples.double()))
        torch.testing.assert_close(found[0], expected.float(), rtol=1e-4, atol=1e-4)
        dead = d.dormant_fraction(samples, 0.3)
        at = f"plasticity/model/{layer}/dormant_fraction"
        assert d.diagnose(resnet, x, tau=0.3)[at].item() == dead.item()
    kernel = report["plasticity/model/conv1/sigma_max"]
    torch.testing.assert_close(kernel[0], torch.linalg.svdvals(resnet.conv1.weight.flatten(1))[0])
    trace = jacobian(resnet(x[:4]), resnet).square().sum()
    torch.testing.assert_close(report["plasticity/model/network/kernel_trace"][0], trace)
    for name, value in resnet.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_training_mode_uses_the_batch_and_changes_nothing(resnet):
    x = random(12, 3, 6, 6)
    before = copy.deepcopy(resnet.state_dict())
    evaluated = d.diagnose(resnet, x)
    report = d.diagnose(resnet, x, training=True)
    at = "plasticity/model/conv1/feature_effective_rank"
    assert report[at] != evaluated[at]
    kernel = d.tangent_kernels(resnet, x[:3], training=True)["model"]
    for name, value in resnet.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert all(module.training for module in resnet.modules())
    features = F.relu(resnet.bn1(resnet.conv1(x))).movedim(1, -1).flatten(0, 2)
    expected = d.effective_rank(torch.linalg.svdvals(features.detach().double()))
    torch.testing.assert_close(report[at][0], expected.float(), rtol=1e-4, atol=1e-4)
    rows = jacobian(resnet(x[:3]), resnet)
    torch.testing.assert_close(kernel[0], rows @ rows.T, rtol=1e-3, atol=1e-3)
    with pytest.raises(ValueError, match="drop training"):
        d.diagnose(resnet, x, ["jacobians"], training=True)


def test_nothing_stays_on_a_model_that_raises(resnet):
    resnet.layer2.eval()
    modes = [module.training for module in resnet.modules()]
    with pytest.raises(RuntimeError, match="shape"):
        d.diagnose(resnet, random(2, 3, 6, 6), forward=lambda net, x: net.fc(net.conv1(x)))
    assert hooks(resnet) == 0
    assert [module.training for module in resnet.modules()] == modes
    assert all(m.track_running_stats for m in resnet.modules() if isinstance(m, nn.BatchNorm2d))
    assert torch.backends.mha.get_fastpath_enabled()


@pytest.mark.parametrize("norm_first", [True, False])
def test_a_transformers_projections_features_and_kernel(norm_first):
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(
        8, 2, 16, 0.1, F.gelu, batch_first=True, norm_first=norm_first
    )
    encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
    net = nn.Sequential(encoder, nn.Flatten(), nn.Linear(24, 2))
    x = random(10, 3, 8)
    report = d.diagnose(net, x, ALL, samples=4)
    projections = [f"self_attn.{name}" for name in ("q", "k", "v", "out_proj")]
    blocks = (*projections, "linear1", "linear2")
    layers = {f"0.layers.{index}.{name}" for index in (0, 1) for name in blocks}
    assert {key.split("/")[2] for key in report} == {*layers, "2", "network"}
    first = encoder.layers[0].eval()
    attention = first.self_attn
    at = "plasticity/model/0.layers.0.self_attn.k/sigma_max"
    expected = torch.linalg.svdvals(attention.in_proj_weight[8:16])[0]
    torch.testing.assert_close(report[at][0], expected)
    mixed = first.norm1(x) if norm_first else x
    mixed = x + attention(mixed, mixed, mixed)[0]
    inner = F.gelu(first.linear1(first.norm2(mixed) if norm_first else first.norm1(mixed)))
    rank = d.effective_rank(torch.linalg.svdvals(inner.detach().flatten(0, 1).double()))
    at = "plasticity/model/0.layers.0.linear1/feature_effective_rank"
    torch.testing.assert_close(report[at][0], rank.float(), rtol=1e-4, atol=1e-4)
    trace = jacobian(net.eval()(x[:4]), net).square().sum()
    torch.testing.assert_close(report["plasticity/model/network/kernel_trace"][0], trace)


class Agent(nn.Module):
    """Actor and critic of one network, as single-file implementations write them."""

    def __init__(self, shared):
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(4, 8), nn.Tanh()) if shared else nn.Identity()
        inputs = 8 if shared else 4
        self.critic = nn.Sequential(nn.Linear(inputs, 8), nn.Tanh(), nn.Linear(8, 1))
        self.actor = nn.Sequential(nn.Linear(inputs, 8), nn.Tanh(), nn.Linear(8, 2))

    def outputs(self, x):
        x = self.trunk(x)
        return {"policy": self.actor(x), "value": self.critic(x)}


@pytest.mark.parametrize("shared", [False, True])
def test_an_agent_without_forward_says_how_it_is_applied(shared):
    torch.manual_seed(0)
    agent, x = Agent(shared), random(12, 4)
    with pytest.raises(NotImplementedError):
        d.diagnose(agent, x)
    assert hooks(agent) == 0
    report = d.diagnose(agent, x, ALL, forward=Agent.outputs)
    layers = {tuple(key.split("/")[1:3]) for key in report}
    expected = {
        *(("policy", "actor.0"), ("policy", "actor.2"), ("policy", "network")),
        *(("value", "critic.0"), ("value", "critic.2"), ("value", "network")),
    }
    assert layers == (expected | {("shared", "trunk.0")} if shared else expected)
    h = agent.actor[1](agent.actor[0](agent.trunk(x)))
    sizes = report["plasticity/policy/actor.0/feature_norm"]
    torch.testing.assert_close(sizes[0], h.norm(dim=1).mean().detach())
    kernel = d.tangent_kernels(agent, x, forward=Agent.outputs)["policy"]
    rows = jacobian(agent.outputs(x)["policy"], agent)
    torch.testing.assert_close(kernel[0], rows @ rows.T, rtol=1e-4, atol=1e-4)


class Tied(nn.Module):
    """One layer under two names, and two layers with one weight."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(4, 4), nn.Linear(4, 4)
        self.again = self.first
        self.last.weight = self.first.weight

    def forward(self, x):
        return self.last(self.again(self.first(x).tanh()).tanh())


def test_tied_layers_and_weights_count_once_and_stay_as_they_were():
    torch.manual_seed(0)
    net, x = Tied(), random(3, 4)
    before = {name: (p, p.detach().clone()) for name, p in net.named_parameters()}
    kernel = d.tangent_kernels(net, x)["model"]
    rows = jacobian(net(x), net)
    torch.testing.assert_close(kernel[0], rows @ rows.T, rtol=1e-4, atol=1e-4)
    for name, parameter in net.named_parameters():
        assert parameter is before[name][0]
        assert torch.equal(parameter, before[name][1])
    assert net.last.weight is net.first.weight


def test_an_activation_in_place_does_not_change_what_the_layer_computed():
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    in_place = nn.Sequential(plain[0], nn.ReLU(inplace=True), plain[2])
    x = random(9, 4)
    expected, found = d.diagnose(plain, x, ALL), d.diagnose(in_place, x, ALL)
    assert set(found) == set(expected)
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value)


def test_crelu_and_groupsort_count_as_redo_resets_them():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 8), CReLU(), nn.Linear(16, 2))
    with torch.no_grad():
        net[0].weight[:3], net[0].bias[:3] = 0, 0  # three silent units of eight
    report = d.diagnose(net, random(20, 4), loss=lambda out: out["model"].square())
    assert report["plasticity/model/0/dead_fraction"].item() == 3 / 8
    assert report["plasticity/model/0/dormant_fraction"].item() == 3 / 8
    assert report["plasticity/model/0/gradient_dormant_fraction"].item() == 0


def test_what_cannot_be_measured_is_refused():
    net = nn.Linear(3, 2)
    with pytest.raises(ValueError, match="give some of weights, features"):
        d.diagnose(net, random(4, 3), ["wieghts"])
    with pytest.raises(ValueError, match="is no module"):
        d.diagnose(lambda x: x, random(4, 3))
    with pytest.raises(ValueError, match="forward="):
        d.diagnose(net, random(4, 3), forward=lambda net, x: net(x).argmax(-1))


def test_branches_of_another_kind_are_no_network():
    class Forked(nn.Module):
        def __init__(self):
            super().__init__()
            self.branches = nn.ModuleList([nn.Linear(3, 4), nn.Linear(3, 4)])

        def forward(self, x):
            return sum(branch(x).tanh() for branch in self.branches)

    report = d.diagnose(Forked(), random(5, 3), ALL)
    assert {key.split("/")[2] for key in report} == {"branches.0", "branches.1", "network"}
    assert "plasticity/model/branches.1/saturated_fraction" in report


def test_layers_that_are_not_passed_are_not_reported():
    agent = Agent(False)
    report = d.diagnose(agent, random(5, 4), forward=lambda agent, x: agent.actor(x))
    assert {key.split("/")[2] for key in report} == {"actor.0", "actor.2"}


def test_observations_without_gradient_and_layers_without_activation():
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Embedding(7, 4), nn.Linear(4, 8), nn.ReLU(), nn.Flatten(), nn.Linear(24, 2)
    )
    tokens = torch.randint(0, 7, (6, 3))
    report = d.diagnose(net, tokens, ALL)
    layers = {key.split("/")[2] for key in report if "jacobian" in key}
    assert layers == {"1"}  # nothing can be derived by tokens
    assert report["plasticity/model/network/kernel_trace"].item() > 0


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_gradients_that_a_caller_has_off_change_nothing(context):
    net, x = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2)), random(6, 4)
    expected = d.diagnose(net, x, ALL)
    with context():
        report = d.diagnose(net, x, ALL)
    assert set(report) == set(expected)
    assert all(torch.equal(report[key], expected[key]) for key in expected)


def test_batches_and_models_that_cannot_be_measured_are_refused():
    net, x = nn.Linear(4, 2), random(6, 4)
    with pytest.raises(InputError, match=r"batch is a ndarray: give torch.as_tensor"):
        d.diagnose(net, x.numpy())
    with pytest.raises(InputError, match="requires gradients, which its kernel needs"):
        d.diagnose(net.requires_grad_(False), x, ["kernel"])
