"""Hare and Tortoise, DASH and plasticity injection against independent references."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch.optim import Adam

from neoteny.plasticity.interventions import (
    OptimizerSettings,
    make_interventions,
    parse_intervention,
)
from neoteny.plasticity.learner import Learner
from neoteny.plasticity.networks import HeadSpec, Network, NetworkSpec


def batch(step):
    """The observations that the fixture `train` uses at a step."""
    obs = torch.randn(32, 6, generator=torch.Generator().manual_seed(step))
    return obs.expand(2, -1, -1)


def same(one, two):
    return all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


def moments(learner):
    return [v for state in learner.optimizer.state.values() for v in state.values()]


def test_the_tortoise_is_a_running_mean_and_the_hare_runs_free_between_swaps(
    make_learner, train, snapshot
):
    learner, plain = make_learner("hare_tortoise:half_life=3,period=6"), make_learner()
    slow = snapshot(learner)
    for step in range(5):
        for each in (learner, plain):
            train(each, 1, start=step)
        slow = [
            s + (1 - 0.5 ** (1 / 3)) * (p - s) for s, p in zip(slow, snapshot(plain), strict=True)
        ]
        assert same(snapshot(learner), snapshot(plain))
    for each in (learner, plain):
        train(each, 1, start=5)
    slow = [s + (1 - 0.5 ** (1 / 3)) * (p - s) for s, p in zip(slow, snapshot(plain), strict=True)]
    for ours, theirs in zip(snapshot(learner), slow, strict=True):
        torch.testing.assert_close(ours, theirs)
    assert same(moments(learner), moments(plain))  # which the reference keeps
    assert learner.interventions[0].activity.tolist() == [1, 1]
    forgetful = make_learner("hare_tortoise:period=6,moments=false")
    train(forgetful, 6)
    assert not any(moment.any() for moment in moments(forgetful))


def factor_by_hand(weight, descent, floor):
    """Row by row (filter by filter, biases whole): the cosine, clipped to [floor, 1]."""
    out = torch.empty_like(weight)
    for member in range(len(weight)):
        w, d = weight[member], descent[member]
        places = [()] if w.dim() == 1 else [(i,) for i in range(len(w))]
        if w.dim() == 4:
            places = [(i, j) for i in range(len(w)) for j in range(w.shape[1])]
        for place in places:
            cosine = F.cosine_similarity(w[place].flatten(), d[place].flatten(), dim=0)
            out[(member, *place)] = cosine.clamp(floor, 1.0)
    return out


@pytest.mark.parametrize("shape", [(2, 5), (2, 5, 7), (2, 5, 3, 3, 3)])
def test_dash_shrinks_rows_filters_and_biases_by_their_cosines(shape):
    dash = parse_intervention("dash:floor=0.1")
    weight, descent = torch.randn(2, *shape).unbind(0)
    factor = dash.factor(weight, descent).expand_as(weight)
    torch.testing.assert_close(factor, factor_by_hand(weight, descent, 0.1))
    assert (dash.factor(weight, -weight) == torch.tensor(0.1)).all()
    torch.testing.assert_close(dash.factor(weight, 1e-12 * weight).min(), torch.tensor(1.0))
    assert (dash.factor(torch.zeros(shape), descent) == torch.tensor(0.1)).all()


def test_dash_averages_the_first_gradients_after_a_switch_then_shrinks_once(make_learner, train):
    learner = make_learner("dash:minibatches=3,alpha=0.5,floor=0.05", max_grad_norm=None)
    plain = make_learner(max_grad_norm=None)
    means = [torch.zeros_like(p) for p in plain.network.parameters()]
    for step in range(5):
        for each in (learner, plain):
            train(each, 1, start=step)
            if step == 1:
                each.boundary(torch.ones(2))
        if step > 1:
            parameters = plain.network.parameters()
            means = [0.5 * m + 0.5 * p.grad for m, p in zip(means, parameters, strict=True)]
        pairs = zip(learner.network.parameters(), plain.network.parameters(), means, strict=True)
        for ours, theirs, mean in pairs:
            expected = theirs.detach()
            if step == 4:
                expected = expected * factor_by_hand(expected, -mean, 0.05)
            torch.testing.assert_close(ours.detach(), expected)
    assert learner.interventions[0].activity.tolist() == [1, 1]
    assert not any(moment.any() for moment in moments(learner))
    train(learner, 4, start=5)
    assert learner.interventions[0].activity.tolist() == [1, 1]


ACTIVATIONS = ["relu", "tanh", "groupsort", "crelu", "deep_fourier"]


def in_turn(names, activations, cases):
    """Every case with every activation; by default one of them each, in turn."""
    return pytest.mark.parametrize(
        ("activation", *names),
        [
            pytest.param(name, *case, marks=() if at == place % len(cases) else pytest.mark.slow)
            for place, name in enumerate(activations)
            for at, case in enumerate(cases)
        ],
    )


@in_turn(("init",), ACTIVATIONS, [("orthogonal",), ("uniform",)])
def test_before_the_injection_it_is_the_plain_network(activation, init, make_learner, train):
    learner = make_learner("plasticity_injection", activation=activation, init=init)
    plain = make_learner(activation=activation, init=init)
    for each in (learner, plain):
        train(each, 5)
    outputs, expected = learner.network(batch(9)), plain.network(batch(9))
    for name in expected:
        torch.testing.assert_close(outputs[name], expected[name], rtol=1e-4, atol=1e-5)


@in_turn(
    ("bias", "seeds", "init"),
    [*ACTIVATIONS, "groupsort4"],
    [
        (True, (0,), "orthogonal"),
        (False, (0, 1, 2), "orthogonal"),
        (True, (0, 1), "uniform"),
        (False, (0,), "orthogonal"),
        (True, (0, 1, 2), "orthogonal"),
        (False, (0, 1), "uniform"),
    ],
)
def test_injections_leave_every_bit_of_the_outputs_and_start_a_new_optimizer(
    activation, bias, seeds, init, make_learner, train
):
    """Twice, and so does the target network, whose f is another than the network's."""
    learner = make_learner(
        "plasticity_injection:injections=2",
        kind="dqn",
        activation=activation,
        bias=bias,
        seeds=seeds,
        init=init,
    )
    target = copy.deepcopy(learner.network)
    learner.targets = [target]
    for round_ in range(2):
        train(learner, 3, start=3 * round_)
        batches = [batch(9)[:1].expand(len(seeds), -1, -1)[:, :n] for n in (1, 7, 32)]
        outputs = [network(obs)["q"] for network in (learner.network, target) for obs in batches]
        learner.boundary(torch.ones(len(seeds)))
        after = [network(obs)["q"] for network in (learner.network, target) for obs in batches]
        assert same(outputs, after)
        assert not torch.equal(outputs[0], outputs[3])
        assert not any(moment.any() for moment in moments(learner))
        target.load_state_dict(learner.network.state_dict())
        assert same(after[:3], [target(obs)["q"] for obs in batches])
    assert (learner.interventions[0].activity == 2).all()
    learner.boundary(torch.ones(len(seeds)))
    assert (learner.interventions[0].activity == 2).all()


def test_binary_observations_that_reach_the_blocks_at_once_leave_every_bit_too():
    """Lists of ones are summed past the last hidden layer's own way of computing g."""
    learner = Learner(
        lambda spec, generators: Network(spec, (37,), {"q": HeadSpec(3)}, generators),
        NetworkSpec(hidden=(16,)),
        make_interventions(["plasticity_injection"]),
        OptimizerSettings(learning_rate=1e-2),
        [0, 1],
    )
    obs = torch.rand(2, 64, 37, generator=torch.Generator().manual_seed(0)) < 0.5
    for _ in range(3):
        learner.update(learner.network(obs)["q"].square().mean((1, 2)), obs)
    before = learner.network(obs)["q"]
    learner.boundary(torch.ones(2))
    assert torch.equal(before, learner.network(obs)["q"])
    learner.update(before.detach().mean((1, 2)) * learner.network(obs)["q"].mean((1, 2)), obs)
    assert not torch.equal(before, learner.network(obs)["q"])


def test_a_second_injection_freezes_the_first_and_trains_its_own(make_learner, train):
    learner = make_learner("plasticity_injection:injections=2,at=3", kind="dqn")
    branch, blocks = learner.network.branches["q"], range(5)
    trained = {0: 0, 1: 1, 2: 3}  # after so many injections
    for injections, own in trained.items():
        before = [head_of(branch, block, 5) for block in blocks]
        train(learner, 2, start=3 * injections)
        changed = [not same(head_of(branch, block, 5), before[block]) for block in blocks]
        assert changed == [block == own for block in blocks]
        train(learner, 1, start=3 * injections + 2)  # the next injection comes after this update
    assert (learner.interventions[0].activity == 2).all()


def head_of(branch, block, blocks=3):
    """Copies of one block's rows, biases and columns (ReLU: blocks are contiguous)."""
    n = branch.hidden[-1].weight.shape[1] // blocks
    own = slice(block * n, (block + 1) * n)
    rows, columns = branch.hidden[-1].weight[:, own], branch.head.weight[:, :, own]
    return [x.detach().clone() for x in (rows, branch.hidden[-1].bias[:, own], columns)]


def through(block, h):
    rows, biases, columns = block
    return (h @ rows.mT + biases.unsqueeze(1)).relu() @ columns.mT


def test_training_after_the_injection_is_that_of_f_plus_g_minus_its_frozen_copy(
    make_learner, train
):
    """Against a network written out with three heads, of which Adam sees one, and the trunk."""
    learner = make_learner("plasticity_injection", kind="dqn", max_grad_norm=None)
    train(learner, 4)
    learner.boundary(torch.ones(2))
    branch = learner.network.branches["q"]
    old, new, anchor = (head_of(branch, block) for block in range(3))
    anchor[2] = -anchor[2]
    assert all(torch.equal(a, b) for a, b in zip(new, anchor, strict=True))
    trunk = [branch.hidden[0].weight, branch.hidden[0].bias, branch.head.bias]
    trunk = [parameter.detach().clone() for parameter in trunk]
    trained = [parameter.requires_grad_() for parameter in (*trunk, *new)]
    adam = Adam(trained, lr=1e-2, betas=(0.9, 0.999), eps=1e-5)
    for step in range(6):
        train(learner, 1, start=step)
        h = (batch(step) @ trunk[0].mT + trunk[1].unsqueeze(1)).relu()
        q = through(old, h) + through(new, h) - through(anchor, h) + trunk[2].unsqueeze(1)
        adam.zero_grad()
        (q - batch(step)[..., :4].sin()).square().mean((1, 2)).sum().backward()
        adam.step()
    for ours, theirs in zip(head_of(branch, 1), new, strict=True):
        torch.testing.assert_close(ours, theirs.detach(), rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(branch.hidden[0].weight, trunk[0], rtol=1e-3, atol=1e-5)
    for block, frozen in ((0, old), (2, anchor)):
        rows, biases, columns = head_of(branch, block)
        sign = -1 if block == 2 else 1
        assert torch.equal(rows, frozen[0])
        assert torch.equal(biases, frozen[1])
        assert torch.equal(sign * columns, frozen[2])


def test_decay_does_not_reach_what_is_frozen_and_the_injection_happens_once(make_learner, train):
    learner = make_learner("adamw:weight_decay=0.1", "plasticity_injection:at=4")
    train(learner, 4)
    frozen = [head_of(learner.network.branches["value"], block) for block in range(3)]
    learner.boundary(torch.ones(2))
    train(learner, 8, start=4)
    later = [head_of(learner.network.branches["value"], block) for block in range(3)]
    assert learner.interventions[1].activity.tolist() == [1, 1]
    assert same(frozen[0], later[0])
    assert same(frozen[2], later[2])
    assert not any(torch.equal(a, b) for a, b in zip(frozen[1], later[1], strict=True))


def test_injected_units_of_a_sorted_group_stay_within_one_block(make_learner):
    """GroupSort pairs unit i of 24 with i + 12: both must be of one block."""
    learner = make_learner("plasticity_injection", activation="groupsort")
    units, features = learner.interventions[0].owners(learner)
    assert torch.equal(units[:12], units[12:])
    assert torch.equal(units, features)
    assert units.bincount().tolist() == [8, 8, 8]
