import copy
import pickle

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.optimizer import register_optimizer_step_post_hook

from neoteny.plasticity.adamo import AdamO
from neoteny.plasticity.isometry import isometry_grad

SHAPES = {"linear": (6, 9), "tall": (9, 6), "conv": (4, 2, 3, 3), "bias": (6,)}
FLAGS = [
    pytest.param({"foreach": False}, id="single"),
    pytest.param({"foreach": True}, id="foreach"),
    pytest.param({"fused": True}, id="fused"),
    pytest.param({}, id="default"),
]
TENSOR_LR = torch.tensor([1e-2], dtype=torch.float64)


def random(shape, seed=0, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def parameters(shapes, dtype=torch.float32, members=None):
    lead = () if members is None else (members,)
    return [
        nn.Parameter(0.5 * random((*lead, *shape), seed, dtype))
        for seed, shape in enumerate(shapes)
    ]


def set_gradients(params, step):
    for index, param in enumerate(params):
        param.grad = random(param.shape, 1000 * step + index + 7, param.dtype)


def train(steps, *pairs):
    """Step optimisers, each given behind its parameters, by the same gradients."""
    for step in steps:
        for params, optimizer in pairs:
            set_gradients(params, step)
            optimizer.step()


def reference(theta, gradients, lr, isometry, scale, weight_decay, eps=1e-8, beta=(0.9, 0.999)):
    """AdamO on one matrix without member axis, written out; only matrices are regularised."""
    m, v = torch.zeros_like(theta), torch.zeros_like(theta)
    for t, gradient in enumerate(gradients, start=1):
        if theta.dim() >= 2:
            w = theta.reshape(len(theta), -1)
            penalty_gradient = 4 * (w @ w.T @ w - scale * w)
            theta = theta - lr * isometry * penalty_gradient.reshape(theta.shape)
        gradient = gradient + weight_decay * theta
        m = beta[0] * m + (1 - beta[0]) * gradient
        v = beta[1] * v + (1 - beta[1]) * gradient**2
        m_hat, v_hat = m / (1 - beta[0] ** t), v / (1 - beta[1] ** t)
        theta = theta - lr * m_hat / (v_hat.sqrt() + eps)
    return theta


@pytest.mark.parametrize("flags", [*FLAGS, {"lr": TENSOR_LR, "fused": True}])
@pytest.mark.parametrize(("members", "weight_decay"), [(None, 0.01), (3, 0.0)])
def test_equals_the_float64_reference_over_12_steps(flags, members, weight_decay):
    shapes = [*SHAPES.values(), SHAPES["linear"]]
    params = parameters(shapes, torch.float64, members)
    start = [p.detach().clone() for p in params]
    settings = {"lr": 1e-2, "isometry": 0.5, "scale": 1.3, "weight_decay": weight_decay}
    optimizer = AdamO(params, member_dims=0 if members is None else 1, **{**settings, **flags})
    gradients = []
    for step in range(12):
        set_gradients(params, step)
        gradients.append([p.grad for p in params])
        optimizer.step()
    for index, (param, theta) in enumerate(zip(params, start, strict=True)):
        of_param = [step[index] for step in gradients]
        if members is None:
            expected = reference(theta, of_param, **settings)
        else:
            expected = torch.stack(
                [reference(theta[m], [g[m] for g in of_param], **settings) for m in range(members)]
            )
        torch.testing.assert_close(param.detach(), expected, rtol=1e-9, atol=1e-11)


def test_float32_follows_the_float64_reference():
    (param,) = parameters([SHAPES["linear"]])
    start = param.detach().double()
    optimizer = AdamO([param], lr=1e-3, isometry=0.5)
    gradients = []
    for step in range(200):
        set_gradients([param], step)
        gradients.append(param.grad.double())
        optimizer.step()
    expected = reference(start, gradients, 1e-3, 0.5, 1.0, 0.0)
    torch.testing.assert_close(param.detach().double(), expected, rtol=0, atol=2e-6)


def test_isometry_follows_the_schedule_unless_it_has_its_own_rate():
    for isometry_lr, expected_rate in ((None, 5e-3), (2e-2, 2e-2)):
        params = parameters([SHAPES["linear"]], torch.float64)
        optimizer = AdamO(params, lr=1e-2, isometry=0.5, isometry_lr=isometry_lr)
        scheduler = LambdaLR(optimizer, lambda epoch: 0.5**epoch)
        params[0].grad = torch.zeros_like(params[0])
        optimizer.step()
        scheduler.step()
        before = params[0].detach().clone()
        optimizer.step()
        expected = before - expected_rate * 0.5 * isometry_grad(before)
        torch.testing.assert_close(params[0].detach(), expected)


def test_closure_is_evaluated_at_the_weights_before_the_step():
    (param,) = parameters([SHAPES["linear"]])
    other = nn.Parameter(param.detach().clone())
    optimizer, plain = (AdamO([p], isometry=0.5) for p in (param, other))

    def closure():
        optimizer.zero_grad()
        loss = param.pow(4).sum()
        loss.backward()
        return loss

    expected = other.pow(4).sum()
    expected.backward()
    plain.step()
    assert torch.equal(optimizer.step(closure), expected)
    assert torch.equal(param, other)


def test_step_hooks_fire_once_even_beside_an_adam():
    torch.optim.Adam(parameters([(2, 2)]))
    params = parameters([(3, 3)])
    optimizer = AdamO(params)
    calls = []
    optimizer.register_step_pre_hook(lambda *_: calls.append("pre"))
    optimizer.register_step_post_hook(lambda *_: calls.append("post"))
    handle = register_optimizer_step_post_hook(lambda *_: calls.append("global"))
    try:
        set_gradients(params, 0)
        optimizer.step()
    finally:
        handle.remove()
    assert sorted(calls) == ["global", "post", "pre"]


def of_its_state(optimizer):
    groups = [
        {"params": [nn.Parameter(p.detach().clone()) for p in group["params"]]}
        for group in optimizer.param_groups
    ]
    other = AdamO(groups, lr=1e-2, isometry=0.5)
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    return other


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize(
    "copied", [of_its_state, copy.deepcopy, lambda optimizer: pickle.loads(pickle.dumps(optimizer))]
)
def test_a_copy_goes_on_exactly_and_can_grow(copied, fused):
    params = parameters(SHAPES.values())
    optimizer = AdamO(params, lr=1e-2, isometry=0.5, scale=1.2, fused=fused)
    train(range(5), (params, optimizer))
    other = copied(optimizer)
    for one in (optimizer, other):
        one.add_param_group({"params": parameters([(4, 4)]), "scale": 1.2})
        train(range(5, 10), ([p for group in one.param_groups for p in group["params"]], one))
    for group, own in zip(other.param_groups, optimizer.param_groups, strict=True):
        assert group["scale"] == 1.2
        assert all(torch.equal(a, b) for a, b in zip(group["params"], own["params"], strict=True))


def test_a_parameter_without_gradient_is_left_alone():
    params = parameters([(3, 4), (3, 4), (3, 4)])
    optimizer = AdamO(params, isometry=0.5)
    for missing in (1, 2, 1):
        set_gradients(params, 0)
        params[missing].grad = None
        before = [p.detach().clone() for p in params]
        optimizer.step()
        moved = [not torch.equal(p, b) for p, b in zip(params, before, strict=True)]
        assert moved == [index != missing for index in range(3)]


def test_isometry_switched_off_in_mid_run_leaves_adam():
    params = parameters(SHAPES.values())
    optimizer = AdamO(params, isometry=0.5)
    train([0], (params, optimizer))
    optimizer.param_groups[0]["isometry"] = 0.0
    copies = [nn.Parameter(p.detach().clone()) for p in params]
    adam = torch.optim.Adam(copies)
    adam.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    train([1], (params, optimizer), (copies, adam))
    assert all(torch.equal(a, b) for a, b in zip(params, copies, strict=True))


@pytest.mark.parametrize("flags", FLAGS)
def test_members_are_independent(flags):
    shapes = [(6, 9), (6, 9), (4, 2, 3, 3), (6,)]
    together = parameters(shapes, members=3)
    alone = [[nn.Parameter(p[m : m + 1].detach().clone()) for p in together] for m in range(3)]
    settings = {"lr": 1e-2, "isometry": 0.5, "member_dims": 1, **flags}
    joint = AdamO(together, **settings)
    singles = [AdamO(params, **settings) for params in alone]
    for step in range(20):
        set_gradients(together, step)
        together[0].grad[2] = torch.nan
        joint.step()
        for m, (params, single) in enumerate(zip(alone, singles, strict=True)):
            for param, shared in zip(params, together, strict=True):
                param.grad = shared.grad[m : m + 1].clone()
            single.step()
    for index, param in enumerate(together):
        stacked = torch.cat([params[index] for params in alone])
        torch.testing.assert_close(param, stacked, equal_nan=True, rtol=1e-5, atol=1e-6)
    assert not together[0][:2].isnan().any()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lr": -1e-3}, "lr=-0.001 is not a finite number >= 0"),
        ({"lr": float("nan")}, "lr=nan"),
        ({"isometry": -1.0}, "isometry=-1.0 is not a finite number >= 0"),
        ({"isometry_lr": -1.0}, "isometry_lr=-1.0"),
        ({"isometry": -1.0, "isometry_lr": -1.0}, "isometry=-1.0 is not a finite"),
        ({"scale": 0.0}, "scale=0.0 is not a finite number > 0"),
        ({"scale": "fixed"}, "scale='fixed' is not a finite number > 0, or 'free'"),
        ({"lr": 0.25, "isometry": 1.0, "scale": "free"}, "= 1 >= 1: the isometry step diverges"),
        ({"betas": (0.9, 1.0)}, "betas="),
        ({"eps": -1.0}, "eps=-1.0"),
        ({"weight_decay": -1.0}, "weight_decay=-1.0"),
        ({"member_dims": -1}, "member_dims=-1"),
        ({"member_dims": 0.5}, "member_dims=0.5 is not a whole number >= 0"),
        ({"blocks": 0}, "blocks=0 is not a whole number >= 1"),
        ({"lr": "0.01"}, "lr='0.01' is not a finite number >= 0"),
        ({"lr": torch.tensor([0.1, 0.2])}, "lr has shape"),
        ({"isometry": True}, "isometry=True is not a finite number >= 0"),
        ({"isometry": float("inf")}, "isometry=inf"),
        ({"betas": (0.9,)}, "betas=.* are not two numbers"),
        ({"betas": "ab"}, "betas=.* are not two numbers"),
        ({"lr": torch.tensor(0.1), "foreach": True}, "lr as a Tensor is not supported"),
        ({"lr": 0.5, "isometry": 1.0}, "= 2 >= 1: the isometry step diverges; .* below 0.5"),
        ({"isometry": 1.0, "isometry_lr": 0.25}, "= 1 >= 1: .* below 1"),
        ({"lr": 0.1, "isometry": 1.0, "scale": 2.5}, "diverges"),
        ({"foreach": True, "fused": True}, "choose one"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        AdamO(parameters([(2, 2)]), **settings)


def test_a_group_is_checked_with_its_own_settings():
    optimizer = AdamO(parameters([(2, 2)]), lr=0.1)
    with pytest.raises(ValueError, match="diverges"):
        optimizer.add_param_group({"params": parameters([(2, 2)]), "isometry": 2.5})
    AdamO(parameters([(2, 2)]), lr=10.0, isometry=0.0)


@pytest.mark.gpu
@pytest.mark.parametrize("flags", [{}, {"fused": True}, {"scale": "free"}])
def test_a_captured_step_equals_an_eager_one(flags):
    captured, eager = (
        [nn.Parameter(p.detach().cuda()) for p in parameters(SHAPES.values())] for _ in range(2)
    )
    lr = torch.tensor(1e-2, device="cuda")
    pair = [
        AdamO(params, lr=lr, isometry=0.5, capturable=True, **flags) for params in (captured, eager)
    ]
    for params, optimizer in zip((captured, eager), pair, strict=True):
        for index, param in enumerate(params):
            param.grad = random(param.shape, index).cuda()
        optimizer.step()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        pair[0].step()
    for _ in range(3):
        graph.replay()
        pair[1].step()
    for a, b in zip(captured, eager, strict=True):
        torch.testing.assert_close(a, b)
