"""The quick step against torch's Adam, bit for bit."""

import copy

import pytest
import torch
from torch.optim import Adam
from torch.optim.optimizer import register_optimizer_step_post_hook

from neoteny.plasticity.quick_adam import QuickAdam

SETTINGS = {"lr": 3e-3, "betas": (0.8, 0.95), "eps": 1e-6, "fused": True}


def parameters():
    g = torch.Generator().manual_seed(0)
    shapes = [(2, 8, 5), (2, 8), (2, 3, 8), (2, 3)]
    return [torch.nn.Parameter(torch.randn(shape, generator=g)) for shape in shapes]


def train(optimizers, steps, seed=1, skipped=()):
    """Steps with the same gradients; the first optimiser takes them the quick way."""
    g = torch.Generator().manual_seed(seed)
    for step in range(steps):
        for group in zip(*(o.param_groups[0]["params"] for o in optimizers), strict=True):
            gradient = None if step in skipped else torch.randn(group[0].shape, generator=g)
            for parameter in group:
                parameter.grad = None if gradient is None else gradient.clone()
        with torch.no_grad():
            optimizers[0].quick_step()
        optimizers[1].step()


def assert_equal(one, two):
    for ours, theirs in zip(*(o.param_groups[0]["params"] for o in (one, two)), strict=True):
        assert torch.equal(ours, theirs)
        assert set(one.state[ours]) == set(two.state[theirs])
        for name, value in one.state[ours].items():
            assert torch.equal(value, two.state[theirs][name]), name


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"weight_decay": 0.1},
        {"weight_decay": 0.1, "decoupled_weight_decay": True},
        {"amsgrad": True},
        {"fused": None},
    ],
)
def test_every_step_equals_torchs(changes):
    quick = QuickAdam(parameters(), **SETTINGS | changes)
    plain = Adam(parameters(), **SETTINGS | changes)
    start = parameters()
    train((quick, plain), 7, skipped=(3,))
    assert_equal(quick, plain)
    assert not any(map(torch.equal, start, quick.param_groups[0]["params"]))


def test_it_goes_on_from_a_saved_state_and_after_torchs_own_steps():
    quick, plain = QuickAdam(parameters(), **SETTINGS), Adam(parameters(), **SETTINGS)
    train((quick, plain), 3)
    quick.load_state_dict(copy.deepcopy(plain.state_dict()))
    for parameter in quick.param_groups[0]["params"]:
        parameter.grad = torch.ones_like(parameter)
    quick.step()
    for parameter in plain.param_groups[0]["params"]:
        parameter.grad = torch.ones_like(parameter)
    plain.step()
    train((quick, plain), 3, seed=5)
    assert_equal(quick, plain)


def test_hooks_are_called_as_by_torchs_own_step():
    quick, calls = QuickAdam(parameters(), **SETTINGS), []
    train((quick, Adam(parameters(), **SETTINGS)), 1)
    quick.register_step_pre_hook(lambda *_: calls.append("before"))
    quick.register_step_post_hook(lambda *_: calls.append("after"))
    with torch.no_grad():
        quick.quick_step()
    assert calls == ["before", "after"]
    of_all = register_optimizer_step_post_hook(lambda *_: calls.append("everyone's"))
    try:
        other = QuickAdam(parameters(), **SETTINGS)
        train((other, Adam(parameters(), **SETTINGS)), 2)
    finally:
        of_all.remove()
    assert calls[2:] == ["everyone's"] * 4


def test_a_state_that_was_cleared_or_edited_is_looked_at_again():
    quick, plain = QuickAdam(parameters(), **SETTINGS), Adam(parameters(), **SETTINGS)
    train((quick, plain), 3)
    for optimizer in (quick, plain):
        optimizer.state.clear()
    train((quick, plain), 3, seed=2)
    for optimizer in (quick, plain):
        for state in optimizer.state.values():
            state["exp_avg"].zero_()
            state["step"].zero_()
    train((quick, plain), 3, seed=3)
    assert_equal(quick, plain)
    twin = copy.deepcopy(quick)
    train((quick, plain), 2, seed=4)
    train((twin, Adam(parameters(), **SETTINGS)), 2, seed=4)
    assert_equal(quick, twin)
