"""Resetting units: exactly what changes, and that nothing else does, against loops over units."""

import pytest
import torch

from neoteny.plasticity.activations import ACTIVATIONS
from neoteny.plasticity.adamo import AdamO
from neoteny.plasticity.groups import isometry_groups
from neoteny.plasticity.interventions import OptimizerSettings, make_interventions
from neoteny.plasticity.layers import IsoLinear
from neoteny.plasticity.learner import Learner
from neoteny.plasticity.networks import HeadSpec, Network, NetworkSpec
from neoteny.plasticity.surgery import (
    expand_to_group,
    fresh_weight,
    redraw,
    reset_units,
    unit_activity,
    with_targets,
)

M, WIDTH = 3, 8


def make_learner(activation="relu", norm="none", bias=True, names=("none",)):
    heads = {"policy": HeadSpec(4, 1.0), "value": HeadSpec(1)}
    learner = Learner(
        lambda spec, generators: Network(spec, (6,), heads, generators),
        NetworkSpec(hidden=(WIDTH, WIDTH), activation=activation, norm=norm, bias=bias),
        make_interventions(names),
        OptimizerSettings(learning_rate=1e-2),
        range(M),
    )
    train(learner, 3)
    return learner


def train(learner, updates):
    for step in range(updates):
        obs = torch.randn(M, 32, 6, generator=torch.Generator().manual_seed(step))
        out = learner.network(obs)
        loss = (out["policy"] - obs[..., :4].sin()).square().mean((1, 2)) + out["value"].mean(
            (1, 2)
        )
        learner.update(loss, obs)


def generators(seed=7):
    return [torch.Generator().manual_seed(seed + member) for member in range(M)]


def some_units(units, activation="relu", seed=0):
    draw = torch.rand(M, units, generator=torch.Generator().manual_seed(seed))
    return expand_to_group(draw < 0.3 / ACTIVATIONS[activation].group, ACTIVATIONS[activation])


def snapshot(learner):
    return {name: p.detach().clone() for name, p in learner.network.named_parameters()}


def reset(learner, mask, layer=0, branch="policy", **options):
    fresh = fresh_weight(learner.network.branches[branch].hidden[layer], generators())
    reset_units(learner, branch, layer, mask, fresh, **options)
    return fresh


@pytest.mark.parametrize(
    ("norm", "bias"),
    [
        ("none", True),
        ("layer", False),
        pytest.param("none", False, marks=pytest.mark.slow),
        pytest.param("layer", True, marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("activation", ["relu", "tanh", "crelu", "groupsort", "groupsort4"])
@pytest.mark.parametrize("layer", [0, 1])
def test_exactly_the_units_rows_columns_and_moments_change(activation, norm, bias, layer):
    learner = make_learner(activation, norm, bias)
    branch = learner.network.branches["policy"]
    fan = ACTIVATIONS[activation].fan
    units = WIDTH // fan
    mask = some_units(units, activation)
    assert mask.any()
    assert not mask.all()
    expected = snapshot(learner)
    fresh = reset(learner, mask, layer)
    touched = {name: torch.zeros_like(p, dtype=torch.bool) for name, p in expected.items()}
    reader = "policy.head" if layer == 1 else "policy.body.layers.1"
    here = f"policy.body.layers.{layer}"
    for member, unit in mask.nonzero().tolist():
        edits = [(f"{here}.weight", unit, fresh[member, unit])]
        edits += [(f"{reader}.weight", (slice(None), unit + k * units), 0.0) for k in range(fan)]
        if bias:
            edits.append((f"{here}.bias", unit, 0.0))
        if norm == "layer":
            edits.append((f"policy.body.norms.{layer}.weight", unit, 1.0))
            edits.append((f"policy.body.norms.{layer}.bias", unit, 0.0))
        for name, where, value in edits:
            expected[name][member][where] = value
            touched[name][member][where] = True
    for name, parameter in learner.network.named_parameters():
        assert torch.equal(parameter, expected[name]), name
        state = learner.optimizer.state[parameter]
        assert state["step"] == 3
        for moment in (state["exp_avg"], state["exp_avg_sq"]):
            assert not moment[touched[name]].any()
        # Everything else keeps its moments; those of a dead unit may be 0 by themselves.
        assert (state["exp_avg_sq"][~touched[name]] > 0).float().mean() > 0.5
    assert len(branch.hidden) == 2


def test_a_folded_mean_keeps_the_mean_of_the_next_layer():
    learner = make_learner()
    obs = torch.randn(M, 200, 6)
    mask = some_units(WIDTH)
    before = learner.network.preactivations(obs)["policy"][1].mean(1)
    mean = learner.network.features(obs)["policy"][0].mean(1)
    reset(learner, mask, mean=mean)
    after = learner.network.preactivations(obs)["policy"][1].mean(1)
    torch.testing.assert_close(after, before)


def test_new_rows_are_those_of_a_new_layer_and_each_member_draws_its_own():
    layer = make_learner().network.branches["policy"].hidden[1]
    fresh = fresh_weight(layer, generators())
    twin = IsoLinear(WIDTH, WIDTH, members=M, gain=layer.gain, generator=generators())
    assert torch.equal(fresh, twin.weight)
    alone = IsoLinear(WIDTH, WIDTH, members=1, gain=layer.gain)
    torch.testing.assert_close(fresh_weight(alone, generators()[2:]), fresh[2:], rtol=0, atol=0)


@pytest.mark.parametrize("kind", ["target", "adamo"])
def test_targets_follow_and_other_optimizers_are_understood(kind):
    learner = make_learner()
    heads = {"policy": HeadSpec(4, 1.0), "value": HeadSpec(1)}
    target = Network(learner.network.spec, (6,), heads, generators(1))
    learner.targets = [target]
    if kind == "adamo":
        learner.optimizer = AdamO(isometry_groups(learner.network), member_dims=1, fused=True)
        train(learner, 2)
    mask, old = some_units(WIDTH), [p.clone() for p in target.parameters()]
    fresh = reset(learner, mask)
    policy, copied = learner.network.branches["policy"], target.branches["policy"]
    assert torch.equal(copied.hidden[0].weight[mask], fresh[mask])
    assert torch.equal(policy.hidden[0].weight[mask], fresh[mask])
    columns = mask.unsqueeze(1).expand_as(copied.hidden[1].weight)
    assert not copied.hidden[1].weight[columns].any()
    for new, before in zip(target.parameters(), old, strict=True):
        kept = ~mask if new is copied.hidden[0].bias else torch.ones(1, dtype=torch.bool)
        if new is copied.hidden[0].weight:
            kept = ~mask.unsqueeze(2)
        if new is copied.hidden[1].weight:
            kept = ~columns
        assert torch.equal(new * kept, before * kept)
    assert with_targets(learner, policy.head.weight)[1] is copied.head.weight
    moment = learner.optimizer.state[policy.hidden[0].weight]["exp_avg"]
    assert not moment[mask].any()
    assert moment[~mask].any()


def test_first_steps_of_reset_entries_are_longer_as_the_step_count_is_kept():
    learner = make_learner()
    train(learner, 80)
    reset(learner, torch.ones(M, WIDTH, dtype=torch.bool), layer=1)
    head = learner.network.branches["policy"].head.weight
    before = head.detach().clone()
    train(learner, 1)
    ratio = (head.detach() - before).abs() / 1e-2
    longest = 0.1 / (1 - 0.9**84) / ((1 - 0.999) / (1 - 0.999**84)) ** 0.5
    assert ratio.max() <= longest * 1.001
    assert ratio.median() == pytest.approx(longest, rel=0.05)


def test_activity_judges_pairs_and_groups_as_one_and_positions_as_samples():
    x = torch.randn(M, 7, 12)
    crelu, sort4 = ACTIVATIONS["crelu"], ACTIVATIONS["groupsort4"]
    torch.testing.assert_close(unit_activity(x, crelu), (x[..., :6].abs() + x[..., 6:].abs()) / 2)
    groups = unit_activity(x, sort4)
    for unit in range(12):
        expected = x.abs()[..., unit % 3 :: 3].mean(-1)
        torch.testing.assert_close(groups[..., unit], expected)
    image = torch.randn(M, 7, 4, 2, 2)
    flat = unit_activity(image, ACTIVATIONS["relu"])
    torch.testing.assert_close(flat.mean(1), image.abs().mean((1, 3, 4)))


def test_redraw_is_a_new_layer_with_a_new_optimizer():
    learner = make_learner(norm="layer")
    branch = learner.network.branches["policy"]
    redraw(learner, branch.hidden[1], generators(), branch.body.norms[1])
    assert torch.equal(branch.hidden[1].weight, fresh_weight(branch.hidden[1], generators()))
    assert not branch.hidden[1].bias.any()
    assert (branch.body.norms[1].weight == 1).all()
    for parameter in (branch.hidden[1].weight, branch.body.norms[1].weight):
        assert not any(value.any() for value in learner.optimizer.state[parameter].values())
    assert learner.optimizer.state[branch.head.weight]["step"] == 3


@pytest.mark.parametrize("activation", ["relu", "groupsort", "crelu"])
def test_no_edit_asks_the_host(host_calls, activation):
    learner = make_learner(activation, norm="layer")
    layer = learner.network.branches["policy"].hidden[0]
    mask, fresh = some_units(layer.weight.shape[1]), fresh_weight(layer, generators())
    mean = torch.ones(M, WIDTH)
    with host_calls() as calls:
        reset_units(learner, "policy", 0, mask, fresh, mean=mean)
    assert not calls.host
