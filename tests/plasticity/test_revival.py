"""Revival of dead ReLU units by the isometry step, and the two cases in which it cannot revive."""

import pytest
import torch

from neoteny.plasticity.adamo import AdamO
from neoteny.plasticity.isometry import isometry_step

N = 128
STRENGTH = 2e-3  # an e-fold takes 250 steps


def dead_share(weight, bias, rows, probe):
    active = (probe @ weight[:rows].T + bias > 0).any(0)
    return 1 - active.double().mean().item()


def layer_and_probe(rows, seed=0):
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(N, N, generator=generator) / N**0.5
    weight[:rows] = -weight[:rows].abs()
    probe = torch.randn(2000, N, generator=generator).relu()
    return weight, probe


def run(weight, steps, strength=STRENGTH):
    for _ in range(steps):
        isometry_step([weight], strength)


@pytest.mark.parametrize(("share", "steps"), [(0.5, 300), (0.25, 1000)])
def test_dead_weights_revive(share, steps):
    rows = int(share * N)
    weight, probe = layer_and_probe(rows)
    assert dead_share(weight, 0.0, rows, probe) == 1.0
    run(weight, steps)
    assert dead_share(weight, 0.0, rows, probe) == 0.0


def test_a_moderate_bias_delays_revival():
    weight, probe = layer_and_probe(N // 2)
    run(weight, 100)
    assert dead_share(weight, -1.0, N // 2, probe) == 1.0
    run(weight, 290, 10 * STRENGTH)
    assert dead_share(weight, -1.0, N // 2, probe) == 0.0


def test_a_large_negative_bias_holds_units_down_for_ever():
    weight, probe = layer_and_probe(N // 2)
    run(weight, 1500, 10 * STRENGTH)
    sigma = torch.linalg.svdvals(weight)
    assert sigma.max() < 1 + 1e-3
    assert sigma.min() > 1 - 1e-3
    assert dead_share(weight, -3.0, N // 2, probe) == 1.0


def test_exactly_zero_rows_stay_dead():
    weight, probe = layer_and_probe(N // 2)
    weight[: N // 2] = 0
    run(weight, 100, 10 * STRENGTH)
    assert (weight[: N // 2] == 0).all()
    assert dead_share(weight, 0.0, N // 2, probe) == 1.0


@pytest.mark.parametrize(("isometry", "expected"), [(0.0, 1.0), (0.5, 0.0)])
def test_adamo_revives_in_training_where_adam_does_not(isometry, expected):
    rows = N // 2
    weight, probe = layer_and_probe(rows)
    layer = torch.nn.Linear(N, N, bias=False)
    layer.weight.data.copy_(weight)
    targets = torch.randn(2000, N, generator=torch.Generator().manual_seed(1))
    optimizer = AdamO(layer.parameters(), lr=1e-3, isometry=isometry)
    for _ in range(300):
        optimizer.zero_grad()
        (layer(probe[:256]).relu() - targets[:256]).square().mean().backward()
        optimizer.step()
    assert dead_share(layer.weight.detach(), 0.0, rows, probe) == expected
