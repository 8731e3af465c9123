"""Optimisers and their step counts, against torch's own optimisers and autograd."""

import copy
import math
import pickle

import pytest
import torch
from torch.func import functional_call

from neoteny.plasticity.isometry import isometry_grad
from neoteny.plasticity.muon import Muon

OBS = torch.randn(2, 32, 6, generator=torch.Generator().manual_seed(5))


def loss_of(outputs):
    return sum((out - OBS[..., : out.shape[-1]]).square().mean((1, 2)) for out in outputs.values())


def step(learner):
    learner.update(loss_of(learner.network(OBS)), OBS)


def clone(learner):
    """Parameters by name, detached from the learner, to be trained by a reference."""
    named = learner.network.named_parameters()
    return {name: p.detach().clone().requires_grad_() for name, p in named}


def reference_step(learner, parameters, optimizers):
    """One step of other optimisers on cloned parameters."""
    loss = loss_of(functional_call(learner.network, parameters, (OBS,))).sum()
    gradients = torch.autograd.grad(loss, list(parameters.values()))
    for parameter, gradient in zip(parameters.values(), gradients, strict=True):
        parameter.grad = gradient
    for optimizer in optimizers:
        optimizer.step()


def hidden_names(learner):
    hidden = {id(la.weight) for br in learner.network.branches.values() for la in br.hidden}
    return {name for name, p in learner.network.named_parameters() if id(p) in hidden}


def assert_equal(learner, parameters, **tolerance):
    for name, parameter in learner.network.named_parameters():
        torch.testing.assert_close(parameter.detach(), parameters[name].detach(), **tolerance)


def test_tuned_adam_is_torchs_adam_with_its_own_constants(make_learner):
    learner = make_learner("adam:beta1=0.95,beta2=0.98,eps=1e-3", max_grad_norm=None)
    parameters = clone(learner)
    adam = torch.optim.Adam(parameters.values(), lr=1e-2, betas=(0.95, 0.98), eps=1e-3)
    for _ in range(5):
        reference_step(learner, parameters, [adam])
        step(learner)
    assert_equal(learner, parameters, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("heads", [False, True])
def test_adamw_decays_hidden_weights_and_nothing_else(heads, make_learner):
    text = f"adamw:weight_decay=0.3,heads={heads}"
    learner = make_learner(text, max_grad_norm=None)
    parameters, decaying = clone(learner), hidden_names(learner)
    if heads:
        decaying |= {name for name in parameters if name.endswith("head.weight")}
    options = {"lr": 1e-2, "eps": 1e-5}
    optimizers = [
        torch.optim.AdamW([parameters[name] for name in decaying], weight_decay=0.3, **options),
        torch.optim.Adam([p for n, p in parameters.items() if n not in decaying], **options),
    ]
    for _ in range(5):
        reference_step(learner, parameters, optimizers)
        step(learner)
    assert_equal(learner, parameters, rtol=1e-4, atol=1e-6)


def test_adamw_halves_weights_without_gradient_in_a_half_life(make_learner):
    learner = make_learner("adamw:half_life=150")  # one update per step here
    layer = learner.network.branches["policy"].hidden[0]
    before = layer.weight.detach().clone()
    for _ in range(150):
        learner.update(0 * loss_of(learner.network(OBS)), OBS)
    torch.testing.assert_close(layer.weight.detach(), before / 2, rtol=2e-3, atol=1e-6)


def muon_pair():
    """Our Muon on (1, out, in) weights and torch's on (out, in) ones, of three shapes."""
    shapes = [(16, 8), (8, 16), (12, 12)]
    generator = torch.Generator().manual_seed(0)
    weights = [torch.randn(shape, generator=generator) for shape in shapes]
    ours = [torch.nn.Parameter(w[None].clone()) for w in weights]
    theirs = [torch.nn.Parameter(w.clone()) for w in weights]
    group = {"params": ours, "muon": True, "member_dims": 1, "lr": 0.02, "weight_decay": 0.1}
    return ours, theirs, Muon([group])


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch has no Muon before 2.9")
def test_muon_equals_torchs_muon_for_one_member(monkeypatch):
    # Torch's rounds its products to bfloat16; without that the two agree to float32.
    monkeypatch.setattr(torch.Tensor, "bfloat16", torch.Tensor.clone)
    ours, theirs, mine = muon_pair()
    reference = torch.optim.Muon(theirs, lr=0.02)
    generator = torch.Generator().manual_seed(1)
    for _ in range(10):
        for one, other in zip(ours, theirs, strict=True):
            other.grad = torch.randn(other.shape, generator=generator)
            one.grad = other.grad[None].clone()
        mine.step()
        reference.step()
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one.detach()[0], other.detach(), rtol=1e-5, atol=1e-5)


def test_muon_steps_kernels_as_matrices_and_members_apart():
    kernel = torch.randn(2, 6, 4, 3, 3, generator=torch.Generator().manual_seed(4))
    gradient = torch.randn(2, 6, 4, 3, 3, generator=torch.Generator().manual_seed(5))
    weights = [kernel, *kernel.flatten(3).flatten(2).split(1)]
    gradients = [gradient, *gradient.flatten(3).flatten(2).split(1)]
    weights = [torch.nn.Parameter(weight.clone()) for weight in weights]
    for weight, value in zip(weights, gradients, strict=True):
        weight.grad = value.clone()
        Muon([{"params": [weight], "muon": True, "member_dims": 1, "lr": 0.1}]).step()
    whole, first, second = (weight.detach() for weight in weights)
    torch.testing.assert_close(whole.flatten(2), torch.cat([first, second]))


def test_muon_steps_the_groups_of_a_convolution_apart():
    kernel = torch.randn(6, 4, 3, 3, generator=torch.Generator().manual_seed(4))
    gradient = torch.randn(6, 4, 3, 3, generator=torch.Generator().manual_seed(5))
    together = torch.nn.Parameter(kernel.clone())
    apart = [torch.nn.Parameter(part.clone()) for part in kernel.split(2)]
    together.grad = gradient
    for part, own in zip(apart, gradient.split(2), strict=True):
        part.grad = own
    shared = {"muon": True, "lr": 0.1}
    Muon([{"params": [together], "blocks": 3, **shared}], isometry=0.1).step()
    Muon([{"params": apart, **shared}], isometry=0.1).step()
    torch.testing.assert_close(together.detach(), torch.cat([part.detach() for part in apart]))


@pytest.mark.parametrize("how", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_a_copy_of_muon_keeps_its_settings(how):
    weight = torch.nn.Parameter(torch.randn(4, 6, generator=torch.Generator().manual_seed(0)))
    group = {"params": [weight], "muon": True, "lr": 0.1}
    optimizer = Muon([group], momentum=0.5, steps=3, dtype=torch.bfloat16, isometry=0.1)
    other = how(optimizer)
    twin = other.param_groups[0]["params"][0]
    for step in range(3):
        value = torch.randn(4, 6, generator=torch.Generator().manual_seed(step + 1))
        for one, parameter in ((optimizer, weight), (other, twin)):
            parameter.grad = value.clone()
            one.step()
    assert torch.equal(weight, twin)


def test_muon_refuses_sparse_gradients_before_anything_moves():
    weights = [torch.nn.Parameter(torch.ones(3, 3)) for _ in range(2)]
    optimizer = Muon([{"params": [w], "muon": True} for w in weights], isometry=0.1)
    weights[0].grad, weights[1].grad = torch.ones(3, 3), torch.eye(3).to_sparse()
    with pytest.raises(ValueError, match="does not support sparse gradients"):
        optimizer.step()
    assert torch.equal(weights[0], torch.ones(3, 3))


def test_muon_leaves_first_layers_heads_and_biases_to_adam(make_learner):
    learner = make_learner("muon")
    muon = {id(p) for g in learner.optimizer.param_groups if g.get("muon") for p in g["params"]}
    assert muon == {id(br.hidden[1].weight) for br in learner.network.branches.values()}
    assert len(make_learner("muon:first_layer=true").optimizer.param_groups[0]["params"]) == 4


@pytest.mark.parametrize("text", ["muon:heads=true", "muono:heads=true"])
def test_muon_steps_heads_where_it_is_asked_to(text, make_learner):
    learner = make_learner(text)
    heads = {id(br.head.weight) for br in learner.network.branches.values()}
    (group,) = [
        group
        for group in learner.optimizer.param_groups
        if heads & {id(parameter) for parameter in group["params"]}
    ]
    assert {id(parameter) for parameter in group["params"]} == heads
    assert group["muon"]
    assert not group.get("isometry")


def test_muono_is_muon_after_a_step_down_the_isometry_penalty(make_learner):
    plain, isometric = make_learner("muon"), make_learner("muono:isometry=0.05")
    weights = [br.hidden[1].weight for br in isometric.network.branches.values()]
    firsts = [br.hidden[0].weight for br in isometric.network.branches.values()]
    pulls = [-5e-2 * 0.05 * isometry_grad(w.detach(), member_dims=1) for w in weights + firsts]
    for learner in (plain, isometric):
        step(learner)
    others = [br.hidden[1].weight for br in plain.network.branches.values()]
    others += [br.hidden[0].weight for br in plain.network.branches.values()]
    for weight, other, pull in zip(weights + firsts, others, pulls, strict=True):
        torch.testing.assert_close(weight.detach(), other.detach() + pull, rtol=1e-4, atol=1e-5)


def test_scale_adamo_trains_explicit_scales_in_front_of_isometric_weights(make_learner):
    """The reference holds V, c and alpha apart and differentiates alpha (V x + c) by autograd."""
    learner = make_learner("scale_adamo:isometry=0.3,weight=0.05", max_grad_norm=None)
    raw = clone(learner)
    alpha = raw.pop("hidden_scales")
    hidden = {id(p) for br in learner.network.branches.values() for la in br.hidden
              for p in (la.weight, la.bias)}  # fmt: skip
    order = [name for name, p in learner.network.named_parameters() if id(p) in hidden]
    index = {name: i // 2 for i, name in enumerate(order)}  # weight and bias of each layer in turn
    adam = torch.optim.Adam([*raw.values(), alpha], lr=1e-2, eps=1e-5)

    def effective():
        views = {n: alpha[:, i].view(-1, *[1] * (raw[n].dim() - 1)) for n, i in index.items()}
        scaled = {n: views[n] * p if n in index else p for n, p in raw.items()}
        return scaled | {"hidden_scales": alpha}

    for _ in range(5):
        loss = loss_of(functional_call(learner.network, effective(), (OBS,))).sum()
        loss = loss + 0.05 * alpha.abs().log().square().sum()
        adam.zero_grad()
        loss.backward()
        with torch.no_grad():
            for name in hidden_names(learner):
                raw[name] -= 1e-2 * 0.3 * isometry_grad(raw[name], member_dims=1)
        adam.step()
        step(learner)
    assert (alpha - 1).abs().max() > 1e-2
    assert_equal(learner, effective(), rtol=1e-3, atol=1e-5)


def test_optimizer_reset_forgets_moments_and_keeps_weights(make_learner, train, snapshot):
    learner = make_learner("optimizer_reset")
    train(learner, 3)
    before = snapshot(learner)
    learner.boundary(torch.ones(2))
    assert all(not v.any() for state in learner.optimizer.state.values() for v in state.values())
    assert all(map(torch.equal, before, snapshot(learner)))


def test_adam_rel_restarts_the_clock_alone(make_learner):
    """Moments of a steady gradient g give, at t = 1, 0.316 of the step that Adam would take."""
    learner = make_learner("adam_rel:period=20000", lr=1e-4)
    for state_steps in (1.0, 20_000.0):
        gradient = 0.01
        for parameter in learner.network.parameters():
            state = learner.optimizer.state[parameter]
            state["exp_avg"] = torch.full_like(parameter, gradient)
            state["exp_avg_sq"] = torch.full_like(parameter, gradient**2)
            state["step"] = torch.tensor(state_steps - 1)
        parameter = next(learner.network.parameters())
        before = parameter.detach().clone()
        for p in learner.network.parameters():
            p.grad = torch.full_like(p, gradient)
        learner.optimizer.step()
        ratio = (before - parameter.detach()).mean() / 1e-4
        expected = 10 / math.sqrt(1000) if state_steps == 1.0 else 1.0
        assert ratio == pytest.approx(expected, rel=5e-3)
    moments = [s["exp_avg"].clone() for s in learner.optimizer.state.values()]
    learner.interventions[0].edit(learner, None)
    states = learner.optimizer.state.values()
    assert all(not s["step"].any() for s in states)
    assert all(torch.equal(s["exp_avg"], m) for s, m in zip(states, moments, strict=True))


@pytest.mark.parametrize("change", [
    {"momentum": float("nan")}, {"momentum": "fast"}, {"newton_schulz_steps": 0},
    {"newton_schulz_steps": 2.5}, {"precision": "float33"}, {"lr": "fast"},
])  # fmt: skip
def test_muons_settings_changed_later_are_refused_before_anything_moves(change):
    weight = torch.nn.Parameter(torch.eye(3))
    optimizer = Muon([{"params": [weight], "muon": True}])
    weight.grad = torch.ones(3, 3)
    optimizer.param_groups[0].update(change)
    with pytest.raises(ValueError, match=f"^{next(iter(change))}="):
        optimizer.step()
    assert torch.equal(weight.detach(), torch.eye(3))
