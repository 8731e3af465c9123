"""The conformance suite: what every intervention must satisfy, and one sharp fact about each."""

import pytest
import torch

from neoteny.agents.learner import Learner
from neoteny.agents.networks import HeadSpec, Network, NetworkSpec
from neoteny.plasticity.interventions import (
    INTERVENTIONS,
    OptimizerSettings,
    make_interventions,
    parse_intervention,
)
from neoteny.plasticity.isometry import gram_deviation, isometry_grad

M = 2
ALL = sorted(INTERVENTIONS)
ZERO = {
    "adamo": "adamo:isometry=0",
    "isometry_loss": "isometry_loss:weight=0",
    "l2_init": "l2_init:weight=0",
}


def make_learner(*names, activation="relu", bias=True, seeds=range(M), **options):
    heads = {"policy": HeadSpec(4, 0.01), "value": HeadSpec(1)}
    return Learner(
        lambda spec, generators: Network(spec, (6,), heads, generators),
        NetworkSpec(hidden=(16, 8), activation=activation, bias=bias),
        make_interventions(names),
        OptimizerSettings(learning_rate=1e-2),
        seeds,
        **options,
    )


def train(learner, updates, start=0):
    for step in range(start, start + updates):
        obs = torch.randn(M, 32, 6, generator=torch.Generator().manual_seed(step))
        out = learner.network(obs)
        target = obs[..., :4].sin()
        loss = (out["policy"] - target).square().mean((1, 2))
        loss = loss + (out["value"] - obs[..., :1]).square().mean((1, 2))
        learner.update(loss, obs)


def parameters(learner):
    return [p.detach().clone() for p in learner.network.parameters()]


def same(one, two):
    return all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


@pytest.mark.parametrize("activation", ["relu", "groupsort", "crelu"])
@pytest.mark.parametrize("name", ALL)
def test_every_parameter_is_in_one_optimizer_group_and_moves(name, activation):
    learner = make_learner(name, activation=activation)
    grouped = [p for group in learner.optimizer.param_groups for p in group["params"]]
    trainable = [p for p in learner.network.parameters() if p.requires_grad]
    assert len(grouped) == len(trainable)
    assert {id(p) for p in grouped} == {id(p) for p in trainable}
    before = parameters(learner)
    train(learner, 3)
    for old, new in zip(before, learner.network.parameters(), strict=True):
        assert (old != new).flatten(1).any(1).all()


@pytest.mark.parametrize("name", sorted(ZERO))
def test_strength_zero_is_bit_identical_to_plain_adam(name):
    plain, off = make_learner("none"), make_learner(ZERO[name])
    for learner in (plain, off):
        train(learner, 5)
    assert same(parameters(plain), parameters(off))


@pytest.mark.parametrize("name", ALL)
def test_state_survives_save_and_load(name, tmp_path):
    one, two = make_learner(name), make_learner(name)
    train(one, 3)
    one.boundary(torch.zeros(M))
    torch.save(one.state_dict(), tmp_path / "state.pt")
    two.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    for learner in (one, two):
        train(learner, 3, start=3)
        learner.boundary(torch.ones(M))
        train(learner, 3, start=6)
    assert same(parameters(one), parameters(two))
    for a, b in zip(one.interventions, two.interventions, strict=True):
        assert torch.equal(a.activity, b.activity)


@pytest.mark.parametrize("name", [name for name in ALL if name != "none"])
def test_activity_counter_shows_that_it_acted(name):
    learner = make_learner(name)
    train(learner, 2)
    learner.boundary(torch.zeros(M))
    assert (learner.interventions[0].activity > 0).all()


@pytest.mark.parametrize("name", ALL)
def test_members_are_independent(name):
    together, alone = make_learner(name, seeds=[3, 8]), make_learner(name, seeds=[8, 3])
    for learner in (together, alone):
        train_same(learner)
        learner.boundary(torch.zeros(M))
        train_same(learner)
    for a, b in zip(together.network.parameters(), alone.network.parameters(), strict=True):
        torch.testing.assert_close(a, b.flip(0), rtol=1e-5, atol=1e-7)


def train_same(learner):
    for step in range(3):
        obs = torch.randn(32, 6, generator=torch.Generator().manual_seed(step)).expand(M, -1, -1)
        out = learner.network(obs)
        loss = (out["policy"] - obs[..., :4]).square().mean((1, 2)) + out["value"].mean((1, 2))
        learner.update(loss, obs)


@pytest.mark.parametrize("name", [name for name in ALL if not INTERVENTIONS[name].needs_boundaries])
def test_those_that_need_no_boundaries_ignore_them(name):
    learner = make_learner(name)
    train(learner, 2)
    before = parameters(learner)
    learner.boundary(torch.ones(M))
    assert same(before, parameters(learner))


def test_two_optimizers_are_refused_and_others_compose():
    with pytest.raises(ValueError, match="given twice"):
        make_learner("adamo", "adamo:isometry=0.1")
    learner = make_learner("layer_norm", "adamo", "l2_init")
    train(learner, 2)
    assert type(learner.optimizer).__name__ == "AdamO"
    assert len(list(learner.network.branches["policy"].body.norms[0].parameters())) == 2


def test_adamo_pulls_hidden_layers_to_isometry_and_leaves_heads_to_adam():
    plain, pulled = make_learner("none"), make_learner("adamo:isometry=1")
    for learner in (plain, pulled):
        train(learner, 60)
    for name, branch in pulled.network.branches.items():
        for layer, free in zip(branch.hidden, plain.network.branches[name].hidden, strict=True):
            deviation = gram_deviation(layer.weight, member_dims=1)
            assert (deviation < 0.2 * gram_deviation(free.weight, member_dims=1)).all()
    heads = {id(b.head.weight) for b in pulled.network.branches.values()}
    for group in pulled.optimizer.param_groups:
        if group["isometry"] > 0:
            assert not heads & {id(p) for p in group["params"]}


def test_isometry_loss_adds_the_closed_form_gradient_to_hidden_weights_only():
    learner = make_learner("isometry_loss:weight=0.3", max_grad_norm=None)
    obs = torch.randn(M, 4, 6)
    (learner.interventions[0].loss(learner, obs)).sum().backward()
    for branch in learner.network.branches.values():
        for layer in branch.hidden:
            expected = 0.3 * isometry_grad(layer.weight.detach(), member_dims=1)
            torch.testing.assert_close(layer.weight.grad, expected)
        assert branch.head.weight.grad is None


def test_l2_init_pulls_with_twice_the_distance_to_the_first_weights():
    learner = make_learner("l2_init:weight=0.1")
    first = parameters(learner)
    train(learner, 5)
    learner.optimizer.zero_grad()
    learner.interventions[0].loss(learner, torch.zeros(0)).sum().backward()
    for parameter, start in zip(learner.network.parameters(), first, strict=True):
        torch.testing.assert_close(parameter.grad, 0.2 * (parameter.detach() - start))


def test_l2_init_can_leave_heads_and_biases_out():
    learner = make_learner("l2_init:hidden_kernels_only=true")
    train(learner, 2)
    learner.optimizer.zero_grad()
    learner.interventions[0].loss(learner, torch.zeros(0)).sum().backward()
    touched = {id(p) for p in learner.network.parameters() if p.grad is not None}
    hidden = {id(la.weight) for b in learner.network.branches.values() for la in b.hidden}
    assert touched == hidden


def test_layer_norm_makes_hidden_features_blind_to_the_scale_of_weights():
    learner = make_learner("layer_norm", bias=False)
    obs = torch.randn(M, 32, 6)
    before = learner.network.features(obs)
    with torch.no_grad():
        for branch in learner.network.branches.values():
            branch.hidden[0].weight.mul_(50.0)
    after = learner.network.features(obs)
    for name in before:
        torch.testing.assert_close(before[name][-1], after[name][-1], rtol=1e-3, atol=1e-3)


def test_fresh_draws_new_initial_weights_and_forgets_the_moments():
    learner = make_learner("fresh")
    tensors = [id(p) for p in learner.network.parameters()]
    initial = parameters(learner)
    train(learner, 5)
    learner.boundary(torch.zeros(M))
    redrawn = parameters(learner)
    assert [id(p) for p in learner.network.parameters()] == tensors
    for state in learner.optimizer.state.values():
        assert all(not value.any() for value in state.values())
    for branch in learner.network.branches.values():
        for layer in branch.hidden:  # orthogonal with gain sqrt 2, as at the start
            assert gram_deviation(layer.weight, scale=2.0, member_dims=1).max() < 1e-6
    assert not any(torch.equal(a, b) for a, b in zip(initial, redrawn, strict=True) if a.any())
    learner.boundary(torch.ones(M))
    assert not torch.equal(redrawn[0], parameters(learner)[0])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("adam0", "did you mean 'adamo'"),
        ("adamo:lambda=1", "has no field 'lambda'"),
        ("adamo:isometry=much", "give a float"),
        ("adamo:isometry", "give a float"),
    ],
)
def test_bad_names_and_fields_are_named(text, message):
    with pytest.raises(ValueError, match=message):
        parse_intervention(text)


@pytest.mark.parametrize("text", ["adamo:isometry=-1", "adamo:isometry=30"])
def test_strengths_that_cannot_work_are_refused_when_the_optimizer_is_made(text):
    with pytest.raises(ValueError, match="isometry"):
        make_learner(text)


def test_fields_are_read_from_text():
    adamo = parse_intervention("adamo:isometry=0.1,isometry_lr=none,scale=2")
    assert (adamo.isometry, adamo.isometry_lr, adamo.scale) == (0.1, None, 2.0)


def test_a_half_life_in_environment_steps_sets_the_strength():
    """Deviations of the squared singular values from 1 halve in 1,000 steps of 1/50 update each."""
    settings = OptimizerSettings(learning_rate=1e-3, updates_per_step=0.02)
    layer = torch.nn.Linear(8, 8, bias=False)
    torch.nn.init.orthogonal_(layer.weight, gain=1.01)
    intervention = parse_intervention("adamo:half_life=1000")
    strength = intervention.strength(settings)["effective_strength"]
    deviation = gram_deviation(layer.weight.detach()).sqrt()
    for _ in range(20):  # 20 updates are 1,000 environment steps
        with torch.no_grad():
            layer.weight -= strength / 4 * isometry_grad(layer.weight)
    assert gram_deviation(layer.weight.detach()).sqrt() / deviation == pytest.approx(0.5, rel=0.05)
