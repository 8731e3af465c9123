"""AdamO against torch's Adam: equal in everything where it does not pull, else refused unmoved."""

import copy

import pytest
import torch
from torch import nn
from torch.amp import GradScaler
from torch.optim.lr_scheduler import OneCycleLR

from neoteny.plasticity.adamo import AdamO
from neoteny.plasticity.isometry import isometry_grad, isometry_step

SHAPES = [(6, 9), (9, 6), (4, 2, 3, 3), (6,), (), (0, 5), (5, 0)]


def random(shape, seed, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def parameters(shapes=SHAPES, dtype=torch.float32):
    return [nn.Parameter(0.3 * random(shape, seed, dtype)) for seed, shape in enumerate(shapes)]


def set_gradients(params, step):
    for index, param in enumerate(params):
        missing = index == step % 5
        param.grad = None if missing else random(param.shape, 100 * step + index, param.dtype)


def equal_states(ours, theirs):
    pairs = zip(ours.param_groups, theirs.param_groups, strict=True)
    for ours_group, theirs_group in pairs:
        for a, b in zip(ours_group["params"], theirs_group["params"], strict=True):
            assert torch.equal(a, b)
            assert ours.state[a].keys() == theirs.state[b].keys()
            for key, value in theirs.state[b].items():
                assert torch.equal(ours.state[a][key], value), key


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.complex64])
@pytest.mark.parametrize(
    "implementation", [{}, {"foreach": False}, {"foreach": True}, {"fused": True}]
)
@pytest.mark.parametrize(
    "flags",
    [
        {"amsgrad": True},
        {"maximize": True},
        {"amsgrad": True, "maximize": True, "weight_decay": 0.1, "decoupled_weight_decay": True},
        {"weight_decay": 0.1, "lr": 1e-2, "eps": 1e-5},
        {"lr": torch.tensor(3e-2)},
    ],
)
def test_every_flag_acts_as_in_adam(dtype, implementation, flags):
    if dtype.is_complex and "fused" in implementation:
        pytest.skip("torch has no fused step of complex weights")
    if isinstance(flags.get("lr"), torch.Tensor) and "foreach" in implementation:
        pytest.skip("torch refuses it")
    ours, theirs = parameters(dtype=dtype), parameters(dtype=dtype)
    pair = (
        AdamO(ours, isometry=0, **flags, **implementation),
        torch.optim.Adam(theirs, **flags, **implementation),
    )
    for step in range(6):
        for params, optimizer in zip((ours, theirs), pair, strict=True):
            set_gradients(params, step)
            optimizer.step()
    equal_states(*pair)


def test_a_differentiable_step_is_that_of_adam():
    gradients = []
    for make in (lambda p, **f: AdamO(p, isometry=0, **f), torch.optim.Adam):
        start = random((3, 3), 0).requires_grad_()
        weight = start.clone()
        optimizer = make([weight], differentiable=True)
        weight.grad = random((3, 3), 1)
        optimizer.step()
        gradients.append(torch.autograd.grad(weight.square().sum(), start)[0])
    assert torch.equal(*gradients)
    optimizer = AdamO([weight], differentiable=True)
    with pytest.raises(ValueError, match="not differentiated: set isometry=0"):
        optimizer.step()


@pytest.mark.parametrize("fused", [False, True])
def test_a_grad_scaler_leaves_out_steps_that_overflow(fused):
    ours, theirs = parameters([(4, 4)]), parameters([(4, 4)])
    pair = AdamO(ours, isometry=0, fused=fused), torch.optim.Adam(theirs, fused=fused)
    pulled = parameters([(4, 4)])
    scalers = [GradScaler("cpu", init_scale=1024.0) for _ in range(3)]
    for step in range(4):
        everyone = (*zip((ours, theirs), pair, strict=True), (pulled, AdamO(pulled, fused=fused)))
        for (params, optimizer), scaler in zip(everyone, scalers, strict=True):
            size = torch.inf if step == 2 else 1.0
            before = params[0].detach().clone()
            optimizer.zero_grad()
            scaler.scale(size * (params[0] * random((4, 4), step)).sum()).backward()
            scaler.step(optimizer)
            scaler.update()
            assert torch.equal(before, params[0]) == (step == 2)
    equal_states(*pair)


def test_groups_that_are_added_later_follow_the_defaults():
    ours, theirs = parameters([(3, 4), (4, 3)]), parameters([(3, 4), (4, 3)])
    pair = AdamO(ours[:1], isometry=0, amsgrad=True), torch.optim.Adam(theirs[:1], amsgrad=True)
    for params, optimizer in zip((ours, theirs), pair, strict=True):
        optimizer.add_param_group({"params": params[1:], "lr": 0.1})
        set_gradients(params, 3)
        optimizer.step()
    equal_states(*pair)
    assert [group["isometry"] for group in pair[0].param_groups] == [0, 0]


@pytest.mark.parametrize(
    "flags",
    [
        {"amsgrad": True},
        {"maximize": True},
        {"weight_decay": 0.2, "decoupled_weight_decay": True},
        {"betas": (0.5, 0.9), "eps": 1e-3, "lr": 0.05},
    ],
)
def test_the_flags_of_a_loaded_adam_are_kept(flags):
    theirs = parameters()
    adam = torch.optim.Adam(theirs, **flags)
    set_gradients(theirs, 3)
    adam.step()
    ours = [nn.Parameter(p.detach().clone()) for p in theirs]
    optimizer = AdamO(ours, isometry=0)
    optimizer.load_state_dict(copy.deepcopy(adam.state_dict()))
    for step in range(3):
        for params, stepped in ((theirs, adam), (ours, optimizer)):
            set_gradients(params, step)
            stepped.step()
    equal_states(optimizer, adam)


def test_a_loaded_adam_leaves_each_group_its_own_pull():
    params = parameters([(3, 4), (2, 3, 4)])
    plain = [{"params": params[:1]}, {"params": params[1:]}]
    own = [{"isometry": 0.0}, {"isometry": 0.5, "member_dims": 1, "scale": 1.5}]
    adam = torch.optim.Adam(plain)
    groups = [group | extra for group, extra in zip(plain, own, strict=True)]
    optimizer = AdamO([dict(group) for group in groups])
    optimizer.load_state_dict(adam.state_dict())
    for group, extra in zip(optimizer.param_groups, own, strict=True):
        assert {key: group[key] for key in extra} == extra
    other = [{**group, "foreach": None} for group in adam.state_dict()["param_groups"]]
    with pytest.raises(ValueError, match="different number of parameter groups"):
        optimizer.load_state_dict({"state": {}, "param_groups": other[:1]})


def refused_unmoved(optimizer, error, message):
    params = [p for group in optimizer.param_groups for p in group["params"]]
    before = [p.detach().clone() for p in params]
    with pytest.raises(error, match=message):
        optimizer.step()
    assert all(torch.equal(p, old) for p, old in zip(params, before, strict=True))


def two_groups(**settings):
    """The second group is the one that is refused, the first could move."""
    groups = [{"params": [p]} for p in parameters([(3, 3), (4, 4)])]
    optimizer = AdamO(groups, **settings)
    for group in optimizer.param_groups:
        group["params"][0].grad = torch.ones_like(group["params"][0])
    return optimizer, optimizer.param_groups[1]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"lr": 5.0}, ValueError, "the isometry step diverges; lower isometry below 0.05"),
        ({"isometry": 300.0}, ValueError, "the isometry step diverges"),
        ({"isometry_lr": 10.0}, ValueError, "the isometry step diverges"),
        ({"scale": 1e5}, ValueError, "the isometry step diverges"),
        ({"scale": -1.0}, ValueError, "scale=-1.0"),
        ({"isometry": -1.0}, ValueError, "isometry=-1.0"),
        ({"lr": torch.tensor(5.0)}, ValueError, "the isometry step diverges"),
        ({"lr": torch.tensor(0.1), "foreach": True}, RuntimeError, "lr as a Tensor"),
        ({"isometry": 0, "isometry_lr": -1.0}, ValueError, "isometry_lr=-1.0 is not a finite"),
        ({"eps": float("nan")}, ValueError, "eps=nan is not a finite number"),
        ({"weight_decay": None}, ValueError, "weight_decay=None is not a finite number"),
        ({"betas": (0.9,)}, ValueError, "are not two numbers"),
        ({"blocks": 0}, ValueError, "blocks=0 is not a whole number >= 1"),
        ({"member_dims": -1}, ValueError, "member_dims=-1 is not a whole number >= 0"),
        ({"capturable": True}, ValueError, "capturable=True needs parameters on an accelerator"),
        ({"differentiable": True}, ValueError, "set isometry=0"),
        ({"blocks": 3}, ValueError, "does not hold blocks=3"),
        ({"member_dims": 1, "blocks": 2}, None, ""),
    ],
)
def test_settings_changed_later_are_refused_before_anything_moves(change, error, message):
    optimizer, group = two_groups(lr=0.01)
    optimizer.step()
    group.update(change)
    if error is None:
        optimizer.step()  # vectors take no isometry step
    else:
        refused_unmoved(optimizer, error, message)


def test_a_loaded_state_that_diverges_is_refused():
    optimizer, _ = two_groups()
    state = copy.deepcopy(optimizer.state_dict())
    state["param_groups"][1]["lr"] = 100.0
    optimizer.load_state_dict(state)
    refused_unmoved(optimizer, ValueError, "the isometry step diverges")


def test_a_schedule_that_rises_too_far_is_refused():
    (weight,) = parameters([(6, 6)])
    optimizer = AdamO([weight], lr=1e-3, isometry=1.0)
    schedule = OneCycleLR(optimizer, max_lr=1.0, total_steps=20)
    weight.grad = torch.zeros_like(weight)
    while optimizer.param_groups[0]["lr"] < 0.25:
        optimizer.step()
        schedule.step()
    assert schedule.last_epoch == 2
    refused_unmoved(optimizer, ValueError, "the isometry step diverges")


def test_sparse_gradients_are_refused_in_torchs_words():
    optimizer, group = two_groups()
    group["params"][0].grad = torch.eye(4).to_sparse()
    refused_unmoved(optimizer, RuntimeError, "Adam does not support sparse gradients")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_refused_where_it_is_pulled(dtype):
    optimizer = two_groups()[0]
    weight = nn.Parameter(torch.ones(3, 3, dtype=dtype))
    weight.grad = torch.ones_like(weight)
    optimizer.add_param_group({"params": [weight]})
    refused_unmoved(optimizer, ValueError, f"a weight of {dtype} loses the isometry step")
    optimizer.param_groups[2]["isometry"] = 0.0
    optimizer.step()
    with pytest.raises(ValueError, match="loses the isometry step"):
        isometry_step([weight.detach()], 0.1)


def test_complex_weights_become_unitary():
    (weight,) = parameters([(4, 6)], torch.complex128)
    other = weight.detach().clone()
    optimizer = AdamO([weight], lr=0.1, isometry=0.5)
    weight.grad = torch.zeros_like(weight)
    optimizer.step()
    expected = other - 0.1 * 0.5 * 4 * (other @ other.mH @ other - other)
    torch.testing.assert_close(weight.detach(), expected)
    torch.testing.assert_close(expected, other - 0.05 * isometry_grad(other))
    for _ in range(300):
        optimizer.step()
    singular = torch.linalg.svdvals(weight.detach())
    torch.testing.assert_close(singular, torch.ones(4, dtype=torch.float64), atol=1e-6, rtol=0)
