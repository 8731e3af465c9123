"""The probe against training by torch's own Adam, and on networks of all kinds."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from neoteny.core.errors import InputError
from neoteny.plasticity import probe
from neoteny.plasticity.diagnostics.functional import ModelFunction
from neoteny.plasticity.layers import IsoLinear
from neoteny.plasticity.networks import HeadSpec, Network, NetworkSpec
from neoteny.plasticity.probe import Training, fresh_twin
from neoteny.plasticity.probe_tasks import make_tasks, smooth_targets

HEADS = {"policy": HeadSpec(3, 0.01), "value": HeadSpec(1)}


def random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def network(members=1, seed=100, **spec):
    generators = [torch.Generator().manual_seed(seed + m) for m in range(members)]
    return Network(NetworkSpec(**{"hidden": (16,) * 4} | spec), (6,), HEADS, generators)


def test_a_fresh_network_is_as_good_as_its_twins():
    report = probe(network(), random(1, 32, 6), steps=50, lr=3e-3, repeats=5)
    assert len(report) == 2 * 2 * 4
    for key, value in report.items():
        if key.endswith("area"):
            assert ((value - 1).abs() < 4 * report[f"{key}_noise"]).all(), key
            assert (report[f"{key}_noise"] < 0.3).all(), key
            assert ((value - 1).abs() < 0.4).all(), key


def test_a_network_with_nine_in_ten_units_dead_learns_clearly_worse():
    net = network()
    with torch.no_grad():
        for branch in net.branches.values():
            for layer in branch.body.hidden:
                layer.bias[:, :14] = -20.0  # of 16
    report = probe(net, random(1, 32, 6), steps=50, lr=3e-3, repeats=3)
    for key, value in report.items():
        if not key.endswith("noise"):
            assert value.item() > (1.2 if key.endswith("area") else 1.5), key
            assert value.item() > 1 + 3 * report[f"{key}_noise"].item(), key


def test_tasks_are_chosen_by_name_and_do_not_touch_each_other():
    net, x = network(), random(1, 32, 6)
    whole = probe(net, x, steps=3, repeats=2)
    labels = probe(net, x, steps=3, repeats=2, tasks=("labels",))
    assert set(labels) == {key for key in whole if "probe_labels" in key}
    for key, value in labels.items():
        torch.testing.assert_close(value, whole[key])
    with pytest.raises(ValueError, match="give some of labels, smooth, given"):
        probe(net, x, steps=3, repeats=2, tasks=("label",))


def plain():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 2))


def trained(net, x, target, steps, lr):
    """Losses of a copy before each step of torch's Adam, and after the last."""
    net = copy.deepcopy(net)
    optimizer = torch.optim.Adam(net.parameters(), lr)
    losses = []
    for _ in range(steps + 1):
        loss = F.mse_loss(net(x), target) if target.is_floating_point() else None
        loss = F.cross_entropy(net(x), target) if loss is None else loss
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return losses


@pytest.mark.parametrize("target", [random(20, 2, seed=1), torch.arange(20) % 2])
def test_given_targets_are_learnt_as_by_torchs_adam(target):
    net, x = plain(), random(20, 5)
    other = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 2))
    report = probe(
        net,
        x,
        targets={"model": target},
        fresh=lambda: copy.deepcopy(other),
        steps=25,
        lr=0.02,
        repeats=2,
    )
    own, twin = (trained(n, x, target, 25, 0.02) for n in (net, other))
    found = {k.rsplit("given_")[1]: v.item() for k, v in report.items() if "given" in k}
    assert found["final"] == pytest.approx(own[-1] / twin[-1], rel=1e-4)
    assert found["area"] == pytest.approx(sum(own) / sum(twin), rel=1e-4)
    assert found["final_noise"] == pytest.approx(0, abs=1e-5)


def test_random_tasks_begin_at_the_same_loss_whatever_the_network_says():
    net = plain()
    with torch.no_grad():
        net[2].bias += 1000  # must not matter
    twin = copy.deepcopy(net)
    report = probe(net, random(20, 5), fresh=lambda: twin, steps=1, lr=0.0, repeats=2)
    for key, value in report.items():
        assert value.item() == (0 if key.endswith("noise") else 1), key
    inputs = random(1, 20, 5)
    clones = Training(ModelFunction(net), inputs, [twin, twin], 0.0)
    tasks = make_tasks(clones.start, inputs, {}, 0)
    labels, smooth = (clones.learn(tasks[what], 1)["model"] for what in ("labels", "smooth"))
    torch.testing.assert_close(labels, torch.full((2, 1, 4), math.log(2)))
    torch.testing.assert_close(smooth, torch.ones(2, 1, 4))


@pytest.mark.parametrize("shared", [False, True])
def test_a_member_learns_the_same_without_the_other_and_no_weight_of_theirs_moves(shared):
    net, x, returns = network(2, shared=shared), random(2, 16, 6), random(2, 16)
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    given = {"value": returns, "policy": torch.arange(32).view(2, 16) % 3}
    found = probe(net, x, targets=given, steps=10, repeats=2)
    for name, parameter in net.named_parameters():
        assert torch.equal(parameter, before[name]), name
    alone = {branch: value[:1] for branch, value in given.items()}
    one = probe(network(1, shared=shared), x[:1], targets=alone, steps=10, repeats=2)
    assert {f"plasticity/{branch}/network/probe_given_area" for branch in given} <= set(one)
    for key, value in one.items():
        assert found[key].shape == (2,)
        torch.testing.assert_close(found[key][:1], value, rtol=1e-3, atol=1e-4)


def test_a_module_with_members_is_probed_as_each_of_them():
    def build(members):
        generators = [torch.Generator().manual_seed(m) for m in range(members)]
        options = {"members": members, "generator": generators}
        return nn.Sequential(IsoLinear(5, 8, **options), nn.ReLU(), IsoLinear(8, 2, **options))

    x = random(2, 16, 5)
    found = probe(build(2), x, members=True, fresh=lambda: build(2), steps=20, repeats=2)
    alone = probe(build(1), x[:1], members=True, fresh=lambda: build(1), steps=20, repeats=2)
    for key, value in alone.items():
        torch.testing.assert_close(found[key][:1], value, rtol=1e-3, atol=1e-4)
    assert all(value.shape == (2,) for value in found.values())


def test_smooth_targets_are_centred_and_change_slowly():
    x = random(200, 6)
    generator = torch.Generator().manual_seed(0)
    y = smooth_targets(torch.cat([x, x + 1e-3]), 4, generator)
    torch.testing.assert_close(y.mean(0), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(y.square().mean(0), torch.ones(4))
    assert (y[:200] - y[200:]).abs().max() < 0.02
    again = smooth_targets(torch.cat([x, x + 1e-3]), 4, torch.Generator().manual_seed(0))
    assert torch.equal(y, again)
    assert (torch.corrcoef(y.T) - torch.eye(4)).abs().max() < 0.7


class Convolutional(nn.Module):
    """A residual network with batch norms."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(2, 4, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(4)
        self.conv2 = nn.Conv2d(4, 4, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(4)
        self.fc = nn.Linear(4, 3)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        return self.fc(F.relu(x + self.bn2(self.conv2(x))).mean((2, 3)))


@pytest.mark.parametrize("training", [True, False])
def test_batch_norms_keep_their_statistics(training):
    torch.manual_seed(0)
    net, x = Convolutional().eval(), random(8, 2, 4, 4)
    before, state = copy.deepcopy(net.state_dict()), torch.get_rng_state()
    report = probe(net, x, steps=10, repeats=2, training=training)
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(module.training for module in net.modules())
    assert all(value.isfinite().all() for value in report.values())
    target = torch.arange(8) % 3
    given = probe(
        net,
        x,
        targets={"model": target},
        fresh=lambda: copy.deepcopy(net),
        steps=10,
        lr=0.01,
        repeats=2,
        training=training,
    )
    assert given["plasticity/model/network/probe_given_area"].item() == pytest.approx(1, abs=1e-5)


def test_transformers_and_agents_can_be_probed():
    torch.manual_seed(0)
    encoder = nn.TransformerEncoderLayer(8, 2, 16, 0.1, batch_first=True)
    net = nn.Sequential(encoder, nn.Flatten(), nn.Linear(24, 2))
    report = probe(net, random(10, 3, 8), steps=5, repeats=2)
    assert report["plasticity/model/network/probe_labels_area"].item() == pytest.approx(1, abs=0.5)
    parts = nn.ModuleDict({"actor": nn.Linear(4, 2), "critic": nn.Linear(4, 1)})
    report = probe(
        parts,
        random(10, 4),
        forward=lambda m, x: {"policy": m["actor"](x), "value": m["critic"](x)},
        steps=5,
        repeats=2,
    )
    assert {key.split("/")[1] for key in report} == {"policy", "value"}


class Token(nn.Module):
    def __init__(self):
        super().__init__()
        self.token = nn.Parameter(torch.zeros(4))
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        return self.head(x + self.token)


def test_fresh_twins_have_weights_of_their_own_or_are_refused():
    net = network(2)
    twin = fresh_twin(net, 7)
    for own, new in zip(net.parameters(), twin.parameters(), strict=True):
        if own.dim() == 3:
            assert not torch.equal(own, new)
    with pytest.raises(ValueError, match="Token '' has token but no reset_parameters: give fresh="):
        probe(Token(), random(5, 4))
    report = probe(Token(), random(5, 4), fresh=Token, steps=3, repeats=2)
    assert len(report) == 8


def test_what_cannot_be_probed_is_refused():
    with pytest.raises(ValueError, match="use at least 2"):
        probe(plain(), random(5, 5), repeats=1)
    with pytest.raises(ValueError, match="targets are for q: branches are model"):
        probe(plain(), random(5, 5), targets={"q": random(5, 2)}, steps=2)
    net, x = nn.Linear(4, 3), random(5, 4)
    with pytest.raises(InputError, match=r"shape \(5, 2\): give \(5, 3\) numbers or \(5,\)"):
        probe(net, x, targets={"model": random(5, 2)}, steps=2)
    with pytest.raises(InputError, match="targets is a tensor: give one by branch"):
        probe(net, x, targets=random(5, 3))
    with pytest.raises(InputError, match=r"batch is a ndarray: give torch.as_tensor"):
        probe(net, x.numpy())
    with pytest.raises(InputError, match="no parameter of the model requires gradients"):
        probe(net.requires_grad_(False), x)  # it would be as good as frozen twins
