"""Selective reinitialisation of single weights: which are drawn anew, and when, entry by entry."""

import pytest
import torch

from neoteny.plasticity.surgery import fresh_parameters


def entries(learner):
    """The parameters that are judged, in order."""
    for body in learner.network.bodies:
        for layer, norm in zip(body.hidden, body.norms, strict=True):
            yield from (layer.weight, layer.bias, *norm.parameters())


def watch(learner):
    """Gradients of every update, and the weights and draws at the last edit."""
    swr = learner.interventions[0]
    seen = {"products": []}
    backward, edit = swr.after_backward, swr.edit

    def after_backward(*arguments):
        seen["products"].append([(p * p.grad).detach().abs() for p in entries(learner)])
        backward(*arguments)

    def watched(*arguments):
        seen["before"] = [p.detach().clone() for p in entries(learner)]
        generators = swr.draws(learner)
        seen["fresh"] = [
            torch.as_tensor(value).expand_as(parameter)
            for body in learner.network.bodies
            for layer, norm in zip(body.hidden, body.norms, strict=True)
            for parameter, value in fresh_parameters(layer, generators, norm)
        ]
        edit(*arguments)

    swr.after_backward, swr.edit = after_backward, watched
    return seen


@pytest.mark.parametrize("options", [{}, {"activation": "groupsort"}, {"residual": True}])
def test_the_weights_whose_removal_changes_the_loss_least_are_drawn_anew(
    options, make_learner, train
):
    learner = make_learner("swr:period=4,lifetime=16", "layer_norm", **options)
    seen = watch(learner)
    train(learner, 4)
    drawn = 0
    for index, parameter in enumerate(entries(learner)):
        utility = sum(products[index] for products in seen["products"])
        for member in range(2):
            flat = utility[member].flatten()
            due = len(flat) // 4
            limit = flat.sort().values[due - 1]
            least = flat <= limit
            assert least.sum() == due or (flat == limit).sum() > 1
            new, old, fresh = (
                values[member].detach().flatten()
                for values in (parameter, seen["before"][index], seen["fresh"][index])
            )
            taken = new != old
            assert not taken[~least].any()
            torch.testing.assert_close(new[flat < limit], fresh[flat < limit], rtol=0, atol=0)
            moments = learner.optimizer.state[parameter]["exp_avg_sq"][member].flatten()
            assert not moments[taken].any()
            drawn += due if member == 0 else 0
    assert learner.interventions[0].activity.tolist() == [drawn, drawn]
    assert not any(v.any() for k, v in learner.interventions[0].state.items() if "utility" in k)


def test_fractions_add_up_to_the_lifetime(make_learner):
    learner = make_learner("swr:period=3,lifetime=300")
    swr = learner.interventions[0]
    for size in (7, 16, 128):
        total = 0
        for update in range(3, 301, 3):
            learner.updates = update
            total += swr.due(learner, size)
        assert total == size
    learner.updates = 3
    assert make_learner("swr:period=9,lifetime=3").interventions[0].due(learner, 16) == 16


def test_units_without_gradient_are_drawn_at_random_and_not_the_same_ones_again(
    make_learner, train
):
    learner = make_learner("swr:period=1,lifetime=8")
    layer = learner.network.branches["value"].hidden[0]
    with torch.no_grad():
        layer.bias[:, 5] = -1e3  # dead: no gradient reaches its weights
    before = layer.weight.detach().clone()
    train(learner, 12)
    assert (layer.weight[:, 5] != before[:, 5]).all()
    assert (layer.bias[:, 5] == 0).all()  # and it lives again
    assert (learner.network.features(torch.randn(2, 64, 6))["value"][0][..., 5] > 0).any()


def test_targets_follow_and_heads_only_if_asked(make_learner, train):
    for heads in ("false", "true"):
        learner = make_learner(f"swr:period=1,lifetime=1,heads={heads}", kind="dqn")
        target = make_learner("none", kind="dqn", seeds=(5, 6)).network
        head = target.branches["q"].head.weight.detach().clone()
        learner.targets = [target]
        train(learner, 1)
        q = learner.network.branches["q"]
        assert torch.equal(q.hidden[0].weight, target.branches["q"].hidden[0].weight)
        assert torch.equal(q.head.weight, target.branches["q"].head.weight) == (heads == "true")
        assert torch.equal(head, target.branches["q"].head.weight) == (heads == "false")


def test_what_another_has_drawn_is_measured_from_zero(make_learner, train):
    learner = make_learner("swr:period=1000", "layer_reset")
    train(learner, 3)
    state = learner.interventions[0].state
    first, last = state["utility0"].clone(), state["utility2"].clone()
    assert first.any()
    assert last.any()
    learner.boundary(torch.ones(2))
    assert torch.equal(state["utility0"], first)
    assert not state["utility2"].any()


@pytest.mark.parametrize("name", ["swr", "redo", "regrama", "snr"])
def test_targets_that_change_with_the_task_alone_are_no_period(name, make_learner):
    with pytest.raises(ValueError, match=f"(?s)^(?!.*\n){name}:period=1targets means task switch"):
        make_learner(f"{name}:period=1targets")
