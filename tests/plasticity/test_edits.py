"""Edits and those that keep something of the weights: what is known of old ones is forgotten."""

import pytest
import torch

EDITS = {
    "fresh": "fresh",
    "head_reset": "head_reset",
    "layer_reset": "layer_reset",
    "shrink_perturb": "shrink_perturb",
    "fire": "fire",
    "newton_schulz": "newton_schulz:period=none",
    "dash": "dash:minibatches=1",
    "soft_shrink_perturb": "soft_shrink_perturb:period=5",
    "hare_tortoise": "hare_tortoise:period=5",
    "redo": "redo:period=5,tau=0.9",
    "regrama": "regrama:period=5,tau=0.9",
    "continual_backprop": "continual_backprop:lifetime=2,maturity=1",
    "snr": "snr:period=5,longest=1",
    "swr": "swr:period=5,lifetime=50",
}


@pytest.mark.parametrize("name", EDITS)
def test_c_chain_compares_no_outputs_across_an_edit(name, make_learner, train):
    """The penalty stays at what updates alone cause; by old outputs it would jump with the edit."""
    learner = make_learner("c_chain", EDITS[name], lr=1e-4)
    chain = learner.interventions[0]
    with torch.no_grad():  # a unit that does nothing, for those who look for one
        learner.network.branches["value"].hidden[0].bias[:, 3] = -1e3
    penalties = []
    for step in range(12):
        before = chain.activity.clone()
        train(learner, 1, start=step)
        penalties.append(float((chain.activity - before).max()))
        if step == 5:
            learner.boundary(torch.ones(2))
    assert (learner.interventions[1].activity > 0).all()
    assert max(penalties) < 1e-3
    assert max(penalties) > 0 or name == "continual_backprop"  # which edits after every update


def kept(intervention, branch, layer, *parts):
    return [intervention.state[f"{branch}/{layer}/{part}"] for part in parts]


@pytest.mark.parametrize("name", ["continual_backprop:lifetime=1000000", "snr:period=100000"])
@pytest.mark.parametrize("reset", ["fresh", "layer_reset", "redo:period=5,tau=0.9"])
def test_units_that_another_has_drawn_have_no_past(name, reset, make_learner, train):
    learner = make_learner(name, reset)
    keeper = learner.interventions[0]
    parts = ("age", "utility", "mean") if "backprop" in name else ("gaps",)
    drawn = {}
    edited = keeper.edited

    def watched(owner, layer=None, units=None):
        drawn[id(layer)] = units
        edited(owner, layer, units)
        for branch, network in owner.network.branches.items():
            for index, own in enumerate(network.hidden):
                if own is layer:
                    new = torch.ones(own.weight.shape[:2], dtype=bool) if units is None else units
                    assert all(not part[new].any() for part in kept(keeper, branch, index, *parts))
                    old = kept(keeper, branch, index, parts[0])[0]
                    assert old[~new].any() or new.all()

    keeper.edited = watched
    train(learner, 5)
    learner.boundary(torch.ones(2))
    branches = learner.network.branches.values()
    layers = {id(layer) for branch in branches for layer in branch.hidden}
    last = {id(branch.hidden[-1]) for branch in branches}
    assert drawn.keys() & layers == (last if reset == "layer_reset" else layers)


def test_upgd_knows_no_utility_of_new_layers(make_learner, train):
    learner = make_learner("upgd", "head_reset")
    train(learner, 3)
    upgd = learner.interventions[0]
    learner.boundary(torch.ones(2))
    heads = {id(branch.head.weight) for branch in learner.network.branches.values()}
    for index, parameter in enumerate(upgd.parameters(learner)):
        utility = upgd.state[f"utility{index}"]
        if id(parameter) in heads:
            assert not utility.any()
        elif parameter.dim() == 3:
            assert utility.any()
