"""Steps of UPGD and TRAC, and their ingredients, against loops in NumPy."""

import math

import numpy as np
import pytest
import scipy.special
import torch

from neoteny.core.rng import gaussian, member_keys
from neoteny.plasticity.interventions.step_wrappers import erfi


def test_upgd_gates_adams_step_by_utility(make_learner, train):
    """Against a loop in NumPy over Adam's own steps, with the noise that the class draws."""
    learner = make_learner("upgd:sigma=0.1,decay=0.02,beta=0.9", max_grad_norm=None)
    shadow = make_learner("none", max_grad_norm=None)
    keys = member_keys(learner.generators("intervention/upgd", 0), "cpu")
    parameters = list(learner.network.parameters())
    utility = [np.zeros(p.shape) for p in parameters]
    sizes = [p[0].numel() for p in parameters]
    for count in range(1, 4):
        with torch.no_grad():  # the shadow takes Adam's step from the same weights
            for mine, other in zip(parameters, shadow.network.parameters(), strict=True):
                other.copy_(mine)
        before = [p.detach().numpy().copy() for p in parameters]
        train(shadow, 1)
        train(learner, 1)
        noise = gaussian(keys, count, sum(sizes)).split(sizes, 1)
        grads = [p.grad.numpy() for p in parameters]
        for u, g, old in zip(utility, grads, before, strict=True):
            u[:] = 0.9 * u - 0.1 * g * old
        for member in range(2):
            largest = max(u[member].max() for u in utility)
            assert largest > 0
            for u, p, old, moved, draw in zip(
                utility, parameters, before, shadow.network.parameters(), noise, strict=True
            ):
                w = scipy.special.expit(u[member] / largest)
                change = moved.detach().numpy()[member] - old[member]
                change = change - 1e-2 * 0.1 * draw[member].view(p[member].shape).numpy()
                expected = (1 - 1e-2 * 0.02) * old[member] + 2 * (1 - w) * change
                np.testing.assert_allclose(p.detach()[member], expected, rtol=1e-3, atol=2e-6)


@pytest.mark.parametrize(("utility", "steps"), [(0.0, 1), (-1e6, 2)])
def test_upgd_takes_adams_step_at_no_utility_and_twice_that_below(
    utility, steps, make_learner, train
):
    learner = make_learner("upgd:sigma=0,decay=0,beta=1", max_grad_norm=None)
    adam = make_learner("none", max_grad_norm=None)
    for name, value in learner.interventions[0].state.items():
        if name.startswith("utility"):
            value.fill_(utility)
    before = [p.detach().clone() for p in learner.network.parameters()]
    train(learner, 1)
    train(adam, 1)
    pairs = zip(learner.network.parameters(), adam.network.parameters(), before, strict=True)
    for ours, theirs, old in pairs:
        torch.testing.assert_close(ours, old + steps * (theirs - old), rtol=1e-5, atol=1e-6)


def trac_loop(train, learner, shadow, updates, scale0):
    """TRAC as in its paper, in float64, one member at a time, on a twin that takes Adam's steps."""
    betas = np.array([0.9, 0.99, 0.999, 0.9999, 0.99999, 0.999999])
    flat = lambda ps: torch.cat([p.detach().double().flatten(1) for p in ps], 1).numpy()  # noqa: E731
    reference = flat(learner.network.parameters())
    base = np.zeros_like(reference)
    variance, total = np.zeros((6, 2)), np.full((6, 2), 1e-8)
    unit = scipy.special.erfi(math.sqrt(0.5))
    for _ in range(updates):
        before = flat(learner.network.parameters())
        with torch.no_grad():
            pairs = zip(learner.network.parameters(), shadow.network.parameters(), strict=True)
            for mine, other in pairs:
                other.copy_(mine)
        train(shadow, 1)
        train(learner, 1)
        gradient = flat([p.grad for p in learner.network.parameters()])
        h = (gradient * base).sum(1)
        base += flat(shadow.network.parameters()) - before
        variance = betas[:, None] ** 2 * variance + h**2
        total = betas[:, None] * total - h
        terms = scipy.special.erfi(total / (math.sqrt(2) * np.sqrt(variance) + 1e-8))
        scale = np.maximum((scale0 / unit * terms).sum(0), 0)
        yield flat(learner.network.parameters()), reference + scale[:, None] * base, scale


def test_trac_scales_the_distance_from_the_start_by_its_six_tuners(make_learner, train):
    learner = make_learner("trac:initial_scale=0.01", max_grad_norm=None)
    shadow = make_learner("none", max_grad_norm=None)
    scales = []
    for ours, expected, scale in trac_loop(train, learner, shadow, 12, 0.01):
        np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5)
        scales.append(scale)
    assert (scales[-1] > 2 * scales[0]).all()  # a steady gradient raises the scale


def test_trac_takes_others_edits_into_its_reference(make_learner, train):
    learner = make_learner("trac:initial_scale=0.01")
    train(learner, 1)
    trac, parameter = learner.interventions[0], next(learner.network.parameters())
    reference = trac.state["reference0"].clone()
    with torch.no_grad():
        parameter[:, 0] += 3.0
    train(learner, 1)
    moved = trac.state["reference0"] - reference
    torch.testing.assert_close(moved[:, 0], torch.full_like(moved[:, 0], 3.0))
    assert moved[:, 1:].abs().max() < 1e-6


def test_erfi_is_scipys():
    x = torch.linspace(-9, 9, 400, dtype=torch.float64)
    np.testing.assert_allclose(erfi(x), scipy.special.erfi(x.numpy()), rtol=1e-12)
