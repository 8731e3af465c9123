"""The isometry step of free scale: singular values are pulled towards their own mean."""

import math

import pytest
import torch
from torch import nn

from neoteny.plasticity.adamo import AdamO
from neoteny.plasticity.gram import LARGEST_CHANGE, as_maps
from neoteny.plasticity.interventions import OptimizerSettings, parse_intervention
from neoteny.plasticity.isometry import gram_deviation, half_life, isometry_step

SHAPES = [
    pytest.param((4, 7), 0, 1, id="wide"),
    pytest.param((7, 4), 0, 1, id="tall"),
    pytest.param((3, 4, 2, 3, 3), 1, 1, id="member-conv"),
    pytest.param((2, 8, 3), 1, 2, id="blocks"),
]


def random(shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def near_isometry(shape, member_dims, blocks, size, spread=1e-3):
    """A weight whose maps have singular values size * (1 + spread * normal numbers)."""
    maps = as_maps(random(shape), member_dims, blocks)
    left, sigma, right = torch.linalg.svd(maps, full_matrices=False)
    sigma = size * (1 + spread * random(sigma.shape, 1))
    return (left * sigma.unsqueeze(-2) @ right).reshape(shape)


def mean_square(weight, member_dims, blocks):
    """Mean squared singular value of each map: the mean of its Gram matrix's diagonal."""
    return torch.linalg.svdvals(as_maps(weight, member_dims, blocks)).square().mean(-1)


@pytest.mark.parametrize(("shape", "member_dims", "blocks"), SHAPES)
@pytest.mark.parametrize("size", [0.1, 1.0, 30.0])
def test_the_spread_halves_in_a_half_life_and_the_mean_stays(shape, member_dims, blocks, size):
    weight = near_isometry(shape, member_dims, blocks, size)
    before = gram_deviation(weight, "free", member_dims, blocks)
    mean = mean_square(weight, member_dims, blocks)
    for _ in range(round(half_life(2e-3, "free"))):
        isometry_step([weight], 2e-3, "free", member_dims, blocks)
    after = gram_deviation(weight, "free", member_dims, blocks)  # the square of the spread
    torch.testing.assert_close(after, before / 4, rtol=1e-2, atol=0)
    # to first order it is kept to the last digit
    torch.testing.assert_close(mean_square(weight, member_dims, blocks), mean, rtol=1e-6, atol=0)


@pytest.mark.parametrize(("shape", "member_dims", "blocks"), SHAPES)
def test_weights_of_any_size_take_the_same_step(shape, member_dims, blocks):
    small, large = random(shape), 1e4 * random(shape)
    for weight in (small, large):
        isometry_step([weight], 0.02, "free", member_dims, blocks)
    torch.testing.assert_close(small * 1e4, large, rtol=1e-10, atol=1e-8)


def test_the_step_is_that_of_the_mean_squared_singular_value():
    sigma = torch.tensor([1.1, 1.0, 0.9], dtype=torch.float64)
    weight, a = 5 * torch.diag(sigma), 0.05
    share = sigma.square() / sigma.square().mean()
    excess = (share - 1).square().mean()
    isometry_step([weight], a, "free")
    expected = 5 * sigma * (1 - a * (share - 1 - excess))
    torch.testing.assert_close(weight.diagonal(), expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("strength", [0.9, torch.tensor(0.9, dtype=torch.float64)])
def test_the_strongest_step_on_the_worst_weights_stays_within_its_bound_and_ends_at_isometry(
    strength,
):
    torch.manual_seed(0)
    weight = torch.diag(torch.tensor([1e6, 1.0, 1e-2, 1e-3], dtype=torch.float64))
    for _ in range(400):
        before = weight.diagonal().clone()
        isometry_step([weight], strength, "free")
        assert ((weight.diagonal() / before - 1).abs() <= LARGEST_CHANGE + 1e-9).all()
    sigma = weight.diagonal()
    torch.testing.assert_close(sigma, sigma.mean().expand(4), rtol=1e-6, atol=0)


def test_maps_of_zeros_and_of_numbers_that_are_none_touch_no_other():
    weight = random((3, 4, 6))
    alone = weight[1:2].clone()
    weight[0], weight[2] = 0.0, math.nan
    isometry_step([weight], 0.1, "free", 1)
    isometry_step([alone], 0.1, "free", 1)
    assert not weight[0].any()
    torch.testing.assert_close(weight[1:2], alone)
    assert weight[2].isnan().all()


def test_adamo_takes_any_weights_that_are_not_in_half_precision():
    weight = nn.Parameter(1e3 * torch.eye(4))
    optimizer = AdamO([weight], lr=1e-2, half_life=20.0, scale="free")
    assert optimizer.param_groups[0]["isometry"] == pytest.approx(math.log(2) / 40 / 4e-2)
    weight.grad = torch.zeros_like(weight)
    optimizer.step()  # with scale=1 it is refused as too large
    torch.testing.assert_close(weight.detach(), 1e3 * torch.eye(4))
    half = nn.Parameter(torch.eye(4, dtype=torch.bfloat16))
    half.grad = torch.zeros_like(half)
    with pytest.raises(ValueError, match="loses the isometry step"):
        AdamO([half], scale="free").step()


@pytest.mark.parametrize("name", ["adamo", "muono"])
def test_interventions_translate_a_half_life_to_a_rate_of_the_spread(name, make_learner):
    settings = OptimizerSettings(learning_rate=1e-3)
    free = parse_intervention(f"{name}:scale=free,half_life=500")
    assert free.strength(settings)["decay_rate"] == pytest.approx(math.log(2) / 500)
    learner = make_learner(f"{name}:scale=free,half_life=50", lr=1e-9)
    weight = learner.network.branches["policy"].hidden[1].weight
    with torch.no_grad():
        weight.copy_(near_isometry(weight.shape, 1, 1, 3.0, 1e-2))
    before = gram_deviation(weight.detach(), "free", 1)
    obs = torch.randn(2, 16, 6)
    for _ in range(50):
        learner.update(0 * learner.network(obs)["policy"].sum((1, 2)), obs)
    torch.testing.assert_close(
        gram_deviation(weight, "free", 1).detach(), before / 4, rtol=0.05, atol=0
    )
