"""Resets of layers and networks: what each paper says, against closed forms."""

import copy
import dataclasses

import pytest
import torch

from neoteny.plasticity.interventions import OptimizerSettings, parse_intervention
from neoteny.plasticity.interventions.resets import period_in_updates


def named(learner):
    return {name: p.detach().clone() for name, p in learner.network.named_parameters()}


def same(one, two):
    return all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


def every_fifth_update(learner):
    """Make 100 environment steps last five updates."""
    learner.settings = dataclasses.replace(learner.settings, updates_per_step=0.05)
    return learner


def test_edits_wait_for_the_end_of_an_iteration():
    settings = OptimizerSettings(updates_per_step=0.5, updates_per_iteration=12)
    assert [period_in_updates(steps, settings) for steps in (1, 24, 26, 480)] == [12, 12, 24, 240]
    assert period_in_updates(100, OptimizerSettings(updates_per_step=0.1)) == 10


def test_target_networks_follow_every_reset(make_learner, train):
    """The target gets the draws of each reset; shrinkage keeps a share of its own weights."""
    for text in (
        "fresh",
        "head_reset:period=2",
        "layer_reset:period=2",
        "shrink_perturb:shrink=0.5",
        "dash:minibatches=2",
    ):
        name, _, _ = text.partition(":")
        learner = make_learner(text, kind="dqn")
        target = copy.deepcopy(learner.network)
        learner.targets = [target]
        train(learner, 6)
        old = [p.detach().clone() for p in target.parameters()]
        learner.boundary(torch.ones(2))
        train(learner, 2, start=6)
        head, follower = learner.network.branches["q"].head, target.branches["q"].head
        if name == "shrink_perturb":
            drawn = follower.weight - 0.5 * old[-2]
            sigma = torch.linalg.svdvals(2 * drawn.detach())
            torch.testing.assert_close(sigma, torch.full_like(sigma, head.gain))
        elif name == "dash":
            ratio = follower.weight / old[-2]
            torch.testing.assert_close(ratio, ratio[..., :1].expand_as(ratio))
            assert ratio.max() < 1
        elif name == "fresh":
            learner.network.reset_parameters(learner.generators("intervention", 1))
            assert same(learner.network.parameters(), target.parameters())
        else:  # the last edit was after this very update
            assert torch.equal(head.weight, follower.weight)
            first = target.branches["q"].hidden[0].weight
            assert torch.equal(first, old[0])


def test_a_period_in_environment_steps_decides_when_and_boundaries_do_not(make_learner, train):
    learner = every_fifth_update(make_learner("head_reset:period=100"))
    learner.boundary(torch.ones(2))
    counts = []
    for step in range(12):
        train(learner, 1, start=step)
        counts.append(int(learner.interventions[0].activity[0]))
    assert counts == [0, 0, 0, 0, 1, 1, 1, 1, 1, 2, 2, 2]


@pytest.mark.parametrize(("name", "redrawn"), [("head_reset", 0), ("layer_reset", 1)])
def test_last_layers_are_redrawn_with_their_moments_and_the_rest_is_kept(
    name, redrawn, make_learner, train
):
    learner = make_learner(f"{name}:period=none", "layer_norm")
    train(learner, 5)
    before = named(learner)
    learner.boundary(torch.ones(2))
    new = (".head.",) if redrawn == 0 else (".head.", "layers.1.", "norms.1.")
    for key, parameter in learner.network.named_parameters():
        changed = any(part in key for part in new)
        assert torch.equal(parameter, before[key]) != changed, key
        state = learner.optimizer.state[parameter]
        assert any(value.any() for value in state.values()) != changed, key
    for branch in learner.network.branches.values():
        rows = branch.head.weight
        sigma = torch.linalg.svdvals(rows.detach())  # orthogonal with the head's gain
        torch.testing.assert_close(sigma, torch.full_like(sigma, branch.head.gain))
    first = learner.network.branches["policy"].head.weight.clone()
    learner.boundary(torch.ones(2))
    assert not torch.equal(first, learner.network.branches["policy"].head.weight)


def test_shrink_and_perturb_is_a_weighted_sum_with_a_new_network(make_learner, train):
    learner = make_learner("shrink_perturb:shrink=0.7,perturb=0.2", "layer_norm")
    train(learner, 5)
    old = named(learner)
    learner.boundary(torch.ones(2))
    draws = {}
    for name, parameter in learner.network.named_parameters():
        draws[name] = (parameter - 0.7 * old[name]) / (0.3 if "norms" in name else 0.2)
    for name, branch in learner.network.branches.items():
        for index, layer in enumerate([*branch.hidden, branch.head]):
            key = f"{name}.head" if layer is branch.head else f"{name}.body.layers.{index}"
            sigma = torch.linalg.svdvals(draws[f"{key}.weight"].detach())
            torch.testing.assert_close(
                sigma, torch.full_like(sigma, layer.gain), rtol=1e-4, atol=1e-5
            )
            assert draws[f"{key}.bias"].abs().max() < 1e-6
        torch.testing.assert_close(draws[f"{name}.body.norms.0.weight"], torch.ones(2, 16))
    assert not any(v.any() for s in learner.optimizer.state.values() for v in s.values())


def test_soft_steps_of_a_period_are_those_of_all_its_updates():
    """Shrinkage and noise of n updates at once; neither depends on the other's strength."""
    settings = OptimizerSettings(updates_per_step=0.5, task_steps=1000)
    soft = parse_intervention("soft_shrink_perturb:half_life=400,period=100,noise=0.2")
    shrink, perturb = soft.factors(settings)
    assert shrink == pytest.approx(0.5 ** (50 / 200))
    assert shrink**4 == pytest.approx(0.5)  # 400 steps are four periods
    assert 10 * perturb**2 == pytest.approx(0.2**2)  # a task is ten periods, whose variances add
    slow = parse_intervention("soft_shrink_perturb:half_life=1tasks,period=0.1tasks,noise=0.2")
    assert slow.factors(settings) == pytest.approx((0.5**0.1, perturb))


def test_soft_noise_adds_its_size_in_a_task(make_learner):
    learner = make_learner("soft_shrink_perturb:half_life=1e9,period=4,noise=0.5", seeds=range(8))
    learner.settings = dataclasses.replace(learner.settings, task_steps=100.0)
    soft = learner.interventions[0]
    before = named(learner)
    for learner.updates in range(4, 104, 4):
        with torch.no_grad():
            soft.edit(learner, None)
    for name, branch in learner.network.branches.items():
        for index, layer in enumerate(branch.hidden):
            added = layer.weight.detach() - before[f"{name}.body.layers.{index}.weight"]
            initial = layer.gain / max(layer.weight.shape[1:]) ** 0.5
            assert added.square().mean().sqrt() == pytest.approx(0.5 * initial, rel=0.1)


@pytest.mark.parametrize("text", ["head_reset", "shrink_perturb", "layer_reset"])
def test_a_period_makes_boundaries_unnecessary(text):
    assert not parse_intervention(f"{text}:period=100").needs_boundaries
    assert parse_intervention(f"{text}:period=none").needs_boundaries
