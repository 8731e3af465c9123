"""Features, changes, churn, gradients and curvature against closed forms in float64."""

import math

import pytest
import torch
from torch import nn
from torch.func import functional_call

from neoteny.plasticity import diagnostics as d

F64 = torch.float64


def random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def test_feature_norm_variance_and_sparsity_by_hand():
    h = torch.tensor([[3.0, 4.0], [0.0, 0.0], [6.0, 8.0]], dtype=F64)
    assert d.feature_norm(h).item() == 5.0
    # Variances of 3, 0, 6 and 4, 0, 8 are 6 and 32 / 3.
    assert d.feature_variance(h).item() == pytest.approx((6 + 32 / 3) / 2)
    assert d.sparsity(h).item() == pytest.approx(1 / 3)


def test_saturation_counts_activations_beyond_the_bound():
    h = torch.tensor([[0.0, 3.0], [-3.0, 2.0], [0.1, 0.2], [1.0, 5.0]]).tanh()
    assert d.saturated_fraction(h).item() == 3 / 8  # tanh(2) is 0.964
    assert d.saturated_fraction(h, 0.9).item() == 4 / 8


def test_participation_ratio_is_that_of_the_covariance():
    # Independent unit variances in 3 directions of 5, and one direction 2 times as long.
    signs = torch.tensor([[a, b, c] for a in (-1, 1) for b in (-1, 1) for c in (-1, 1)], dtype=F64)
    basis = torch.linalg.qr(random(5, 5))[0][:3]
    assert d.participation_ratio(signs @ basis + 7).item() == pytest.approx(3)
    scaled = signs * torch.tensor([2.0, 1.0, 1.0])
    assert d.participation_ratio(scaled @ basis).item() == pytest.approx(36 / 18)
    assert d.participation_ratio(torch.ones(4, 3)).item() == 0
    wide = random(2, 6, 20)
    eigenvalues = torch.stack([torch.linalg.eigvalsh(torch.cov(x.T)) for x in wide])
    expected = eigenvalues.sum(1).square() / eigenvalues.square().sum(1)
    torch.testing.assert_close(d.participation_ratio(wide), expected)


def test_srank_by_hand():
    sigma = torch.tensor([[5.0, 3.0, 1.5, 0.5], [1.0, 1.0, 1.0, 1.0], [0.0, 0, 0, 0]], dtype=F64)
    assert d.srank(sigma, 0.2).tolist() == [2, 4, 0]  # 8 of 10 is enough for 0.8
    assert d.srank(sigma, 0.1).tolist() == [3, 4, 0]
    assert d.srank(sigma).tolist() == [4, 4, 0]


def test_numerical_rank_is_torchs():
    thin = random(6, 3) @ random(3, 9, seed=1)
    for matrix in (thin, thin.float(), random(6, 9)):
        sigma = torch.linalg.svdvals(matrix)
        found = d.numerical_rank(sigma, (6, 9), matrix.dtype)
        assert found.item() == torch.linalg.matrix_rank(matrix).item()


def test_round_off_of_float64_is_that_of_gram_matrices():
    thin = random(6, 3) @ random(3, 9, seed=1)
    for matrix in (thin, thin.float()):
        found = d.singular_values(matrix)
        assert d.numerical_rank(found, (6, 9), matrix.dtype).item() == 3
        logs = torch.linalg.svdvals(matrix.double())[:3].log()
        (summary,) = d.jacobian_summary([matrix[None, None]])
        spread = summary["jacobian_log_spread"].item()
        assert spread == pytest.approx(logs.std(correction=0).item(), rel=1e-5)


def test_changes_by_hand():
    before = [torch.tensor([[3.0, 0.0], [1.0, 0.0]]), torch.tensor([[4.0], [0.0]])]
    after = [torch.tensor([[3.0, 3.0], [1.0, 0.0]]), torch.tensor([[0.0], [2.0]])]
    torch.testing.assert_close(d.relative_change(before, after), torch.tensor([1.0, 2.0]))
    torch.testing.assert_close(d.distance_to_init(before, after), torch.tensor([5.0, 2.0]))
    update = [new - old for new, old in zip(after, before, strict=True)]
    torch.testing.assert_close(d.update_to_weight_ratio(update, before), torch.tensor([1.0, 2.0]))


def test_policy_churn_is_the_divergence_of_torchs_distributions():
    old, new = random(2, 7, 4), random(2, 7, 4, seed=1)
    p, q = torch.distributions.Categorical(logits=old), torch.distributions.Categorical(logits=new)
    expected = torch.distributions.kl_divergence(p, q).mean(1)
    torch.testing.assert_close(d.policy_churn(old, new), expected)
    relative = expected / p.entropy().mean(1)
    torch.testing.assert_close(d.policy_churn(old, new, normalised=True), relative)
    assert d.policy_churn(old, old + 3).abs().max() < 1e-12
    masked = old.clone()
    masked[..., 0] = -math.inf
    assert d.policy_churn(masked, masked).tolist() == [0, 0]


def test_flips_and_value_churn_by_hand():
    before = torch.tensor([[1.0, 2.0], [3.0, 0.0], [0.0, 1.0], [5.0, 4.0]])
    after = torch.tensor([[2.0, 1.0], [3.0, 0.0], [0.0, 1.0], [5.0, 4.0]])
    assert d.greedy_flips(before, after).item() == 0.25
    values = torch.tensor([[0.0, 2.0], [1.0, 1.0]])
    churn = d.value_churn(values, values + torch.tensor([3.0, 1.0]))
    assert churn[0].item() == 5  # (9 + 1) / 2 over a variance of 1
    assert churn[1].item() == math.inf


def test_gradient_dormancy_sees_units_that_nothing_reads():
    gradients = torch.tensor([[1.0, 0.0, -4.0, 0.05], [-1.0, 0.0, 4.0, -0.05]])
    assert d.dormant_mask(gradients, 0.1).tolist() == [False, True, False, True]
    assert d.dormant_fraction(gradients).item() == 0.25


def test_per_sample_gradients_are_autograds():
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    x, y = random(5, 3), random(5, 2, seed=1)

    def loss(parameters, x, y):
        return (functional_call(net, parameters, x) - y).square().sum()

    parameters = {name: p.detach() for name, p in net.named_parameters()}
    found = d.per_sample_gradients(loss, parameters, x, y)
    for index in range(5):
        own = torch.autograd.grad((net(x[index]) - y[index]).square().sum(), net.parameters())
        torch.testing.assert_close(found[index], torch.cat([g.flatten() for g in own]))


def test_agreement_of_gradients_by_hand():
    same = torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.5, 0.0]], dtype=F64)
    found = d.gradient_covariance(d.gradient_cosines(same))
    assert found["gradient_cosine"].item() == pytest.approx(1)
    assert found["gradient_effective_rank"].item() == pytest.approx(1, abs=1e-6)
    apart = 3 * torch.eye(4, dtype=F64)
    found = d.gradient_covariance(d.gradient_cosines(apart))
    assert found["gradient_cosine"].item() == 0
    assert found["gradient_effective_rank"].item() == pytest.approx(4)
    against = torch.tensor([[1.0, 1.0], [-2.0, -2.0]], dtype=F64)
    assert d.gradient_covariance(d.gradient_cosines(against))["gradient_cosine"].item() == (
        pytest.approx(-1)
    )
    three = random(3, 6, 4)
    three[1, 0, 0] = math.nan
    for value in d.gradient_covariance(d.gradient_cosines(three)).values():
        assert value.isnan().tolist() == [False, True, False]


def test_gain_of_a_step_is_strength_times_reliability():
    # All samples agree: |g|^2 / (2 L). Of opposite samples nothing can be gained.
    same = torch.tensor([[3.0, 4.0]], dtype=F64).expand(5, 2)
    assert d.one_step_gain(same, smoothness=2.0).item() == pytest.approx(25 / 4)
    assert d.one_step_gain(torch.tensor([[1.0, 0.0], [-1.0, 0.0]])).item() == 0
    assert d.one_step_gain(torch.zeros(3, 2)).item() == 0
    # A mean of (2, 0) with the variance 4 / 3 * 1 in the other direction, from 4 samples.
    noisy = torch.tensor([[2.0, 1.0], [2.0, -1.0], [2.0, 1.0], [2.0, -1.0]], dtype=F64)
    strength, trace = 4 - (4 / 3) / 4, 4 / 3
    expected = strength**2 / (2 * (strength + trace / 8))
    assert d.one_step_gain(noisy, batch=8).item() == pytest.approx(expected)


@pytest.fixture
def quadratic():
    """A loss with a known Hessian, and that Hessian."""
    hessian = random(9, 9)
    hessian = hessian + hessian.T

    def loss(parameters):
        x = torch.cat([parameters["a"].flatten(), parameters["b"]])
        return x @ hessian @ x / 2

    return loss, {"a": random(2, 3, seed=1), "b": random(3, seed=2)}, hessian


def test_products_with_the_hessian(quadratic):
    loss, parameters, hessian = quadratic
    vector = random(9, seed=3)
    product = d.hessian_vector_product(loss, parameters)
    torch.testing.assert_close(product(vector), hessian @ vector)


def test_lanczos_finds_both_ends_of_the_spectrum(quadratic):
    loss, parameters, hessian = quadratic
    product = d.hessian_vector_product(loss, parameters)
    largest, smallest = d.hessian_extremes(product, random(9), 9, torch.Generator().manual_seed(0))
    exact = torch.linalg.eigvalsh(hessian)
    torch.testing.assert_close(largest, exact[-1])
    torch.testing.assert_close(smallest, exact[0])


def test_lanczos_of_few_steps_and_of_few_eigenvalues():
    spectrum = torch.cat([torch.linspace(0, 1, 99, dtype=F64), torch.tensor([10.0], dtype=F64)])
    generator = torch.Generator().manual_seed(0)
    largest, _ = d.hessian_extremes(lambda v: spectrum * v, spectrum, 12, generator)
    assert largest.item() == pytest.approx(10, rel=1e-6)
    largest, smallest = d.hessian_extremes(lambda v: 3 * v, spectrum, 12, generator)
    assert largest.item() == pytest.approx(3)
    assert smallest.item() == pytest.approx(3)


def test_hutchinson_estimates_the_trace(quadratic):
    loss, parameters, hessian = quadratic
    generator = torch.Generator().manual_seed(0)
    product = d.hessian_vector_product(loss, parameters)
    estimate, error = d.hessian_trace(product, random(9), 400, generator)
    assert abs(estimate - hessian.trace()) < 4 * error
    assert error < 0.5 * hessian.norm()
    diagonal = random(9, seed=4)
    exact, none = d.hessian_trace(lambda v: diagonal * v, diagonal, 5, generator)
    torch.testing.assert_close(exact, diagonal.sum())
    assert none.item() < 1e-12
