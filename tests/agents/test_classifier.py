"""The classifier against plain torch, member by member; what Adam loses and isometry keeps."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from neoteny.agents.classifier import Classifier, ClassifierConfig, cross_entropy
from neoteny.plasticity.interventions import make_interventions
from neoteny.plasticity.networks import NetworkSpec
from neoteny.wrappers.supervised_streams import make_supervised

SMALL = ClassifierConfig(batch_size=32, updates_per_iteration=5)
SEEDS = (5, 6, 9)


@pytest.fixture
def make():
    def make(
        name="digits-random-labels",
        seeds=SEEDS,
        config=SMALL,
        interventions=("none",),
        task_steps=480,
        **options,
    ):
        stream = make_supervised(
            name, seeds, task_steps=task_steps, steps_per_iteration=config.steps_per_iteration
        )
        spec = NetworkSpec(hidden=(16, 16), **options)
        named = make_interventions(interventions)
        agent = Classifier(stream, config, spec, named, seeds, task_steps=task_steps)
        return stream, agent

    return make


def plain(network, member):
    """The same network without a member axis, made of torch's own layers."""
    branch = network.branches["logits"]
    layers = []
    for layer in [*branch.hidden, branch.head]:
        linear = nn.Linear(layer.in_features, layer.out_features)
        with torch.no_grad():
            linear.weight.copy_(layer.weight[member])
            linear.bias.copy_(layer.bias[member])
        layers += [linear, nn.ReLU()]
    return nn.Sequential(nn.Flatten(), *layers[:-1])


def flat(network, member=None):
    """Weights and biases layer by layer, whoever holds them."""
    parameters = (
        network.parameters() if member is None else [p[member] for p in network.parameters()]
    )
    return [p.detach().clone() for p in parameters]


@pytest.mark.parametrize(
    "names",
    [
        pytest.param(("adam_rel",), marks=pytest.mark.slow),
        pytest.param(("head_reset:period=480",), marks=pytest.mark.slow),
        pytest.param(("redo:tau=0.5",), marks=pytest.mark.slow),
        ("dash:minibatches=7",),
    ],
    ids="".join,
)
def test_how_often_a_row_is_recorded_changes_nothing(make, names):
    """Ten minibatches as one row or as ten, and a switch: the same weights."""
    found = []
    for per_row in (10, 1):
        config = ClassifierConfig(batch_size=32, updates_per_iteration=per_row)
        stream, agent = make(config=config, interventions=names, task_steps=640)
        for update in range(0, 20, per_row):
            if update == 10:
                agent.learner.boundary(torch.ones(len(SEEDS)))
            agent.learn(agent.collect(stream))
        assert (agent.learner.interventions[0].activity > 0).all()
        found.append(flat(agent.network))
    assert all(torch.equal(one, two) for one, two in zip(*found, strict=True))


def test_loss_is_torchs_cross_entropy_for_each_member():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 20, 7, generator=generator, dtype=torch.float64, requires_grad=True)
    label = torch.randint(7, (3, 20), generator=generator)
    expected = torch.stack([F.cross_entropy(x, y) for x, y in zip(logits, label, strict=True)])
    found = cross_entropy(logits, label)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-14)
    one, two = (torch.autograd.grad(x.sum(), logits)[0] for x in (found, expected))
    torch.testing.assert_close(one, two, rtol=0, atol=1e-16)


@pytest.mark.parametrize("limit", [None, 0.1])
def test_training_is_that_of_plain_torch(make, limit):
    """Losses, gradients, accuracies and weights over 25 updates and two tasks by torch's Adam."""
    config = ClassifierConfig(batch_size=32, updates_per_iteration=5, max_grad_norm=limit)
    stream, agent = make(config=config)
    nets = [plain(agent.network, member) for member in range(3)]
    optimizers = [torch.optim.Adam(n.parameters(), lr=1e-3, eps=1e-8) for n in nets]
    for _ in range(5):
        samples = agent.collect(stream)
        found = agent.learn(samples) | stream.collect()
        for member, (net, optimizer) in enumerate(zip(nets, optimizers, strict=True)):
            losses, norms, right = [], [], 0
            for obs, label in (samples[k] for k in range(5)):
                logits = net(obs[member])
                right += int((logits.argmax(-1) == label[member]).sum())
                loss = F.cross_entropy(logits, label[member])
                optimizer.zero_grad()
                loss.backward()
                top = float("inf") if limit is None else limit
                norms.append(float(nn.utils.clip_grad_norm_(net.parameters(), top)))
                optimizer.step()
                losses.append(loss.item())
            assert float(found["online_accuracy"][member]) == pytest.approx(right / 160, abs=1e-9)
            mean = {"cross_entropy": losses, "gradient_norm/network": norms}
            for name, values in mean.items():
                value = float(found[f"losses/{name}"][member])
                assert value == pytest.approx(sum(values) / 5, rel=2e-4)
    for member, net in enumerate(nets):
        for one, two in zip(flat(agent.network, member), flat(net), strict=True):
            torch.testing.assert_close(one, two, rtol=0, atol=2e-5)


def test_resume_is_bit_exact(make):
    stream, agent = make(interventions=("adamo", "l2_init"))
    for _ in range(4):
        agent.learn(agent.collect(stream))
    state = copy.deepcopy({"stream": stream.state_dict(), "agent": agent.state_dict()})
    other_stream, other = make(interventions=("adamo", "l2_init"))
    other_stream.load_state_dict(state["stream"])
    other.load_state_dict(state["agent"])
    for _ in range(4):
        one, two = (a.learn(a.collect(s)) for a, s in ((agent, stream), (other, other_stream)))
        assert all(torch.equal(one[name], two[name]) for name in one)
    pairs = zip(agent.network.parameters(), other.network.parameters(), strict=True)
    assert all(torch.equal(one, two) for one, two in pairs)
    assert torch.equal(stream.collect()["task_accuracy"], other_stream.collect()["task_accuracy"])


@pytest.mark.slow
def test_plasticity_is_lost_by_adam_and_kept_by_isometry(make):
    """Random labels, 80 tasks of 300 updates: the last tenth of tasks against the first."""
    config = ClassifierConfig()

    def ends(interventions, **options):
        stream = make_supervised(
            "digits-random-labels", (0, 1), steps_per_iteration=config.steps_per_iteration
        )
        names = make_interventions(interventions)
        agent = Classifier(stream, config, NetworkSpec(**options), names, (0, 1))
        tasks = []
        for iteration in range(480):
            agent.learn(agent.collect(stream))
            accuracy = stream.collect()["task_accuracy"]
            if iteration % 6 == 5:
                tasks.append(accuracy)
        return torch.stack(tasks[:8]).mean(0), torch.stack(tasks[-8:]).mean(0)

    first, last = ends(("none",))
    assert (last < 0.6 * first).all()
    first, last = ends(("adamo:isometry=1",), activation="groupsort", bias=False)
    assert (last > 1.3 * first).all()


def test_recent_targets_are_the_labels_of_the_recent_observations(make):
    stream, agent = make()
    agent.iterate(stream)
    targets = agent.recent_targets(64)["logits"]
    assert targets.shape == (3, 64, 10)
    images, labels = agent._samples[0]  # 32 of a minibatch; the next one follows
    torch.testing.assert_close(agent.recent(64)[:, :32], images)
    assert torch.equal(targets.argmax(-1)[:, :32], labels)
    torch.testing.assert_close(targets.mean(1), torch.zeros(3, 10), atol=1e-6, rtol=0)
    units = F.one_hot(targets.argmax(-1), 10)
    torch.testing.assert_close(targets - targets.amin(-2, keepdim=True), units.float())
