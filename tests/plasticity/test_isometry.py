import math

import pytest
import torch

from neoteny.plasticity.isometry import (
    effective_strength,
    gram_deviation,
    half_life,
    isometry_grad,
    isometry_loss,
    isometry_step,
)

SHAPES = [
    pytest.param((4, 7), 0, id="wide"),
    pytest.param((7, 4), 0, id="tall"),
    pytest.param((5, 5), 0, id="square"),
    pytest.param((4, 2, 3, 3), 0, id="wide-conv"),
    pytest.param((20, 1, 3, 3), 0, id="tall-conv"),
    pytest.param((3, 4, 7), 1, id="members"),
    pytest.param((3, 4, 2, 3, 3), 1, id="member-conv"),
    pytest.param((2, 3, 7, 4), 2, id="two-member-axes"),
]


def random(shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def with_singular_values(sigma, rows, columns, seed=0):
    u = torch.linalg.qr(random((rows, len(sigma)), seed)).Q
    v = torch.linalg.qr(random((columns, len(sigma)), seed + 1)).Q
    return u @ torch.diag(torch.tensor(sigma, dtype=torch.float64)) @ v.T


@pytest.mark.parametrize(("shape", "member_dims"), SHAPES)
@pytest.mark.parametrize("scale", [1.0, 2.5, "free"])
def test_autograd_equals_closed_form(shape, member_dims, scale):
    weight = random(shape).requires_grad_()
    (gradient,) = torch.autograd.grad(gram_deviation(weight, scale, member_dims).sum(), weight)
    closed = isometry_grad(weight.detach(), scale, member_dims)
    torch.testing.assert_close(closed, gradient, rtol=1e-12, atol=1e-12)


BLOCKS = [((6, 4), 0, 2), ((6, 4), 0, 6), ((4, 2, 3, 3), 0, 2), ((3, 8, 2, 2), 1, 4)]


@pytest.mark.parametrize(("shape", "member_dims", "blocks"), BLOCKS)
def test_blocks_are_maps_of_their_own(shape, member_dims, blocks):
    weight = random(shape).requires_grad_()
    parts = weight.chunk(blocks, member_dims)
    penalty = gram_deviation(weight, 1.5, member_dims, blocks)
    alone = sum(gram_deviation(part, 1.5, member_dims) for part in parts)
    torch.testing.assert_close(penalty, alone)
    torch.testing.assert_close(isometry_loss(weight, 1.5, member_dims, blocks), alone)
    (gradient,) = torch.autograd.grad(penalty.sum(), weight)
    closed = isometry_grad(weight.detach(), 1.5, member_dims, blocks)
    torch.testing.assert_close(closed, gradient, rtol=1e-12, atol=1e-12)
    expected = weight.detach() - 0.1 / 4 * gradient
    moved = [weight.detach().clone() for _ in range(2)]
    isometry_step(moved, 0.1, 1.5, member_dims, blocks)
    for one in moved:
        torch.testing.assert_close(one, expected)
    with pytest.raises(ValueError, match=f"does not hold blocks={blocks + 5} maps of one size"):
        gram_deviation(weight, 1.5, member_dims, blocks + 5)


@pytest.mark.parametrize("shape", [(4, 7), (7, 4), (4, 2, 3, 3)])
def test_complex_weights_by_autograd_and_singular_values(shape):
    weight = random(shape, dtype=torch.complex128).requires_grad_()
    penalty = gram_deviation(weight, 1.5)
    singular = torch.linalg.svdvals(weight.detach().flatten(1))
    torch.testing.assert_close(penalty.detach(), (singular.square() - 1.5).square().sum())
    (gradient,) = torch.autograd.grad(penalty, weight)
    torch.testing.assert_close(isometry_grad(weight.detach(), 1.5), gradient)
    moved = weight.detach().clone()
    isometry_step([moved], torch.tensor(0.1), 1.5)
    torch.testing.assert_close(moved, weight.detach() - 0.1 / 4 * gradient)


def test_penalty_is_that_of_the_smaller_gram_without_factors():
    weight = with_singular_values([2.0, 0.5], 2, 5)
    expected = torch.tensor((4 - 1) ** 2 + (0.25 - 1) ** 2, dtype=torch.float64)
    torch.testing.assert_close(gram_deviation(weight), expected)
    torch.testing.assert_close(gram_deviation(weight.T), expected)


def test_penalty_keeps_members_apart_and_sums_weights():
    first, second = random((3, 4, 7)), random((3, 5, 2), 1)
    penalty = isometry_loss([first, second], 1.5, member_dims=1)
    alone = [isometry_loss([a, b], 1.5) for a, b in zip(first, second, strict=True)]
    torch.testing.assert_close(penalty, torch.stack(alone))
    torch.testing.assert_close(isometry_loss(first, member_dims=1), gram_deviation(first, 1.0, 1))
    first[1] = math.nan
    assert gram_deviation(first, 1.0, 1).isnan().tolist() == [False, True, False]


@pytest.mark.parametrize(("shape", "member_dims"), SHAPES)
@pytest.mark.parametrize("strength", [0.01, torch.tensor(0.01, dtype=torch.float64)])
def test_step_moves_each_weight_down_its_gradient(shape, member_dims, strength):
    weights = [0.3 * random(shape, seed) for seed in range(3)]
    expected = [w - 0.01 / 4 * isometry_grad(w, 1.3, member_dims) for w in weights]
    penalties = [gram_deviation(w, 1.3, member_dims) for w in weights]
    isometry_step(weights, strength, 1.3, member_dims)
    for weight, target, penalty in zip(weights, expected, penalties, strict=True):
        torch.testing.assert_close(weight, target, rtol=1e-12, atol=1e-12)
        assert (gram_deviation(weight, 1.3, member_dims) < penalty).all()


def test_step_maps_each_singular_value_by_itself():
    sigma, a, s = [1.7, 1.0, 0.4, 0.0], 0.05, 1.2
    weight = with_singular_values(sigma, 6, 9)
    isometry_step([weight], a, s)
    expected = sorted((x * (1 - a * (x * x - s)) for x in sigma), reverse=True)
    found = torch.linalg.svdvals(weight)[:4]
    torch.testing.assert_close(
        found, torch.tensor(expected, dtype=torch.float64), atol=1e-7, rtol=0
    )


def test_half_life_is_the_time_in_which_the_error_halves():
    a = effective_strength(2.5e-4, 0.05)
    assert a == pytest.approx(5e-5)
    assert half_life(a, 2.0) == pytest.approx(math.log(2) / (2 * 5e-5 * 2.0))
    assert half_life(0.0) == math.inf
    weight = (1 + 1e-4) * torch.eye(2, dtype=torch.float64)
    for _ in range(round(half_life(1e-3))):
        isometry_step([weight], 1e-3)
    assert (weight[0, 0].item() - 1) / 1e-4 == pytest.approx(0.5, rel=2e-3)


def test_half_precision_and_autocast_use_float32_products():
    weight = random((8, 8), dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(gram_deviation(weight), gram_deviation(weight.clone()))
        inside = gram_deviation(weight)
        gradient, moved = isometry_grad(weight), weight.clone()
        isometry_step([moved], 0.1)
    assert torch.equal(inside, gram_deviation(weight))
    assert torch.equal(gradient, isometry_grad(weight))
    isometry_step([weight], 0.1)
    assert torch.equal(moved, weight)
    half = weight.bfloat16()
    assert torch.equal(gram_deviation(half), gram_deviation(half.float()))
    assert isometry_grad(half).dtype == torch.bfloat16


@pytest.mark.parametrize("channels_last", [False, True])
def test_step_edits_the_weight_itself_in_any_memory_format(channels_last):
    weight = random((4, 2, 3, 3))
    expected = weight - 0.01 / 4 * isometry_grad(weight)
    if channels_last:
        weight = weight.contiguous(memory_format=torch.channels_last)
    isometry_step([weight], 0.01)
    torch.testing.assert_close(weight, expected)


def test_bad_input():
    with pytest.raises(ValueError, match=r"fewer than 2 dimensions beyond member_dims=1"):
        gram_deviation(torch.zeros(3, 4), member_dims=1)
    with pytest.raises(ValueError, match="no weights"):
        isometry_loss([])


@pytest.mark.gpu
def test_tf32_does_not_touch_the_gram():
    weight = random((256, 256), dtype=torch.float32).cuda() / 16
    precise = gram_deviation(weight)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        found = gram_deviation(weight)
    finally:
        torch.set_float32_matmul_precision(before)
    torch.testing.assert_close(found.float(), precise, rtol=1e-5, atol=0)
