"""Worked numbers that papers, or those who checked their code, report: from our classes."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from neoteny.agents.distributions import Categorical
from neoteny.plasticity.interventions import (
    OptimizerSettings,
    make_interventions,
    parse_intervention,
)
from neoteny.plasticity.interventions.outputs import effective_rank
from neoteny.plasticity.isometry import isometry_grad
from neoteny.plasticity.learner import Learner
from neoteny.plasticity.networks import HeadSpec, Network, NetworkSpec
from neoteny.plasticity.polar import newton_schulz, polar


def learner_of(text, inputs, hidden, outputs=1, **spec):
    return Learner(
        lambda spec, generators: Network(spec, (inputs,), {"q": HeadSpec(outputs)}, generators),
        NetworkSpec(hidden=hidden, **spec),
        make_interventions([text]),
        OptimizerSettings(learning_rate=1e-3),
        [0],
    )


def gaussian(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_ten_newton_schulz_steps_do_not_orthogonalise_and_forty_or_the_decomposition_do():
    """67 % of the singular values of a Gaussian matrix above 0.9, 27 % of a collapsed spectrum."""
    square = gaussian(512, 512)
    sigma = torch.linalg.svdvals(newton_schulz(square, 10))
    assert sigma.min() < 0.1
    assert (sigma > 0.9).double().mean().item() == pytest.approx(0.67, abs=0.03)
    left, right = (torch.linalg.qr(gaussian(256, 256, seed=s).double())[0] for s in (1, 2))
    collapsed = left @ torch.diag(torch.logspace(0, -4, 256).double()) @ right
    sigma = torch.linalg.svdvals(newton_schulz(collapsed, 10))
    assert (sigma > 0.9).double().mean().item() == pytest.approx(0.27, abs=0.03)
    for exact in (newton_schulz(collapsed, 40), polar(collapsed)):
        torch.testing.assert_close(torch.linalg.svdvals(exact), torch.ones(256).double())


def test_fire_on_heads_would_shrink_values_to_0_044_and_inflate_actors_10_8_times(make_learner):
    """So it leaves them alone: the values are sqrt(out / in) of rows of 512 features."""
    for outputs, gain, factor in ((1, 1.0, 0.044), (6, 0.01, 10.8)):
        head = torch.empty(outputs, 512)
        torch.nn.init.orthogonal_(head, gain, generator=torch.Generator().manual_seed(0))
        fired = math.sqrt(outputs / 512) * polar(head)
        assert (fired.norm() / head.norm()).item() == pytest.approx(factor, rel=0.01)
    learner = learner_of("fire", 16, (512,), 6)
    before = learner.network.branches["q"].head.weight.clone()
    learner.boundary(torch.zeros(1))
    assert torch.equal(learner.network.branches["q"].head.weight, before)


@pytest.mark.parametrize(("kappa", "share"), [(1, 0.48), (2, 0.16), (3, 0.03), (5, 0.0)])
def test_weight_clipping_cuts_into_an_orthogonal_initialisation(kappa, share):
    learner = learner_of(f"weight_clipping:kappa={kappa},heads=false", 256, (256,))
    layer = learner.network.branches["q"].hidden[0]
    with torch.no_grad():
        learner.interventions[0].after_step(learner, torch.zeros(0))
    assert learner.interventions[0].activity.item() / 256**2 == pytest.approx(share, abs=0.01)
    if kappa == 1:
        sigma = torch.linalg.svdvals(layer.weight.detach())
        assert sigma.min().item() == pytest.approx(0.35, abs=0.1)
        assert sigma.max().item() == pytest.approx(1.21, abs=0.05)


def test_one_power_iteration_from_a_random_vector_reads_0_8_and_carried_vectors_do_not():
    learner = learner_of("spectral:iterations=1", 256, (256,) * 4)
    spectral = learner.interventions[0]
    exact, fresh, carried = [], [], []
    for index, layer in enumerate(learner.network.branches["q"].hidden):
        with torch.no_grad():
            layer.weight.normal_(generator=torch.Generator().manual_seed(index))
        weight = layer.weight.detach()
        exact.append(torch.linalg.matrix_norm(weight, ord=2).item())
        start = gaussian(1, 256, 1, seed=9)  # an input, as in the isometry paper's code
        spectral.state[f"left{index}"].copy_(F.normalize((weight @ start).squeeze(2), dim=1))
        for readings, updates in ((fresh, 1), (carried, 40)):
            for _ in range(updates):
                left, right = spectral.power_iterate(index, weight, 1)
            readings.append(torch.einsum("mo,moi,mi->m", left, weight, right).item())
    assert np.mean(np.divide(fresh, exact)) == pytest.approx(0.80, abs=0.04)
    assert np.divide(carried, exact).min() > 0.97


def test_soft_shrink_and_perturb_at_one_millionth_an_update_halves_in_693000_updates():
    soft = parse_intervention("soft_shrink_perturb:half_life=693147.2,period=1")
    shrink, _ = soft.factors(OptimizerSettings(updates_per_step=1.0))
    assert 1 - shrink == pytest.approx(1e-6, rel=1e-3)
    assert shrink**20_000 > 0.98  # so that nothing happens in 20,000 updates


@pytest.mark.parametrize(
    ("rate", "isometry", "updates"), [(2.5e-4, 0.05, 33e3), (1e-3, 5e-4, 831e3)]
)
def test_adamo_closes_nine_tenths_of_the_gap_from_one_half_in_so_many_updates(
    rate, isometry, updates
):
    """Their strengths are twice ours; the recurrence of a singular value, in floats."""
    strength = parse_intervention(f"adamo:isometry={isometry}").strength(
        OptimizerSettings(learning_rate=rate)
    )
    sigma, count = 0.5, 0
    while sigma < 0.95:
        sigma *= 1 - strength["effective_strength"] * (sigma**2 - 1)
        count += 1
    assert count == pytest.approx(updates, rel=0.02)
    assert 1 / strength["decay_rate"] == pytest.approx({33e3: 1e4, 831e3: 2.5e5}[updates])


def test_an_isometry_loss_of_target_1_outweighs_a_clipped_gradient_at_the_initialisation():
    """A gradient of norm 45 for a layer of 64 units, 9 at weight 0.2, where 0.5 is kept.

    The default's target is the squared gain, at which the gradient is 0.
    """
    weight = torch.empty(64, 64)
    torch.nn.init.orthogonal_(weight, math.sqrt(2), generator=torch.Generator().manual_seed(0))
    assert isometry_grad(weight).norm().item() == pytest.approx(4 * math.sqrt(2) * 8, rel=1e-4)
    resting = learner_of("isometry_loss", 64, (64,), bias=False)
    loss = resting.network(gaussian(1, 8, 64))["q"].sum((1, 2))
    assert resting.update(0 * loss, gaussian(1, 8, 64)).item() < 1e-4
    learner = learner_of("isometry_loss:scale=1", 64, (64,), bias=False)
    loss = learner.network(gaussian(1, 8, 64))["q"].sum((1, 2))
    norm = learner.update(0 * loss, gaussian(1, 8, 64))
    assert norm.item() == pytest.approx(0.2 * 4 * math.sqrt(2) * 8, rel=1e-3)
    clipped = learner.network.branches["q"].hidden[0].weight.grad.norm()
    assert clipped.item() == pytest.approx(0.5, rel=1e-3)


def test_cross_entropy_has_a_floor_where_the_policy_does_not_change_and_the_divergence_none():
    """1.46 nats for random policies over six actions."""
    logits = gaussian(20_000, 6)
    floor = F.cross_entropy(logits, logits.softmax(-1))
    assert floor.item() == pytest.approx(1.46, abs=0.02)
    assert Categorical(6).kl(logits, logits).abs().max() < 1e-6


def test_effective_ranks_are_capped_by_the_minibatch():
    """And reach it for orthogonal samples, however many features there are."""
    assert effective_rank(torch.eye(16, 64)[None]).item() == pytest.approx(16, rel=1e-3)
    wide, tall = (effective_rank(gaussian(1, n, 64)).item() for n in (16, 4096))
    assert wide < 16
    assert tall > 60


@pytest.mark.parametrize("kind", ["ppo", "dqn"])
def test_a_fresh_network_learns_as_one_that_has_never_learnt(kind, make_learner, train):
    """From the switch on it is, bit for bit, a run that begins with the same draw."""
    used, new = make_learner("fresh", kind=kind), make_learner(kind=kind)
    train(used, 7)
    used.boundary(torch.ones(2))
    with torch.no_grad():
        for ours, theirs in zip(new.network.parameters(), used.network.parameters(), strict=True):
            assert not torch.equal(ours, theirs) or not theirs.any()
            ours.copy_(theirs)
    for branch in used.network.branches.values():
        for layer in (*branch.hidden, branch.head):
            sigma = torch.linalg.svdvals(layer.weight.detach())
            torch.testing.assert_close(sigma, torch.full_like(sigma, layer.gain))
    for learner in (used, new):
        train(learner, 5, start=7)
    for ours, theirs in zip(new.network.parameters(), used.network.parameters(), strict=True):
        assert torch.equal(ours, theirs)
