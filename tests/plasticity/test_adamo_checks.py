"""Weights so large that the isometry step would make them larger without bound."""

import copy
import math

import pytest
import torch
from torch import nn

from neoteny.core.errors import InputError
from neoteny.plasticity import adamo
from neoteny.plasticity.adamo import AdamO
from neoteny.plasticity.adamo_checks import safe_strength

REFUSAL = "without bound; lower isometry by a factor of 2 or more"


def singular(*values, members=None):
    """A weight (6, 4) with these singular values, and zeros."""
    torch.manual_seed(0)
    left, right = (torch.linalg.qr(torch.randn(n, n, dtype=torch.float64))[0] for n in (6, 4))
    middle = torch.zeros(6, 4, dtype=torch.float64)
    middle.diagonal()[: len(values)] = torch.tensor(values, dtype=torch.float64)
    weight = left @ middle @ right
    return nn.Parameter(weight if members is None else weight.expand(members, 6, 4).clone())


def pulled(weight, steps=1, **settings):
    """An AdamO with strength a = 0.01 that has taken steps without a gradient."""
    optimizer = AdamO([weight], **({"lr": 0.01, "isometry": 0.25} | settings))
    for _ in range(steps):
        weight.grad = torch.zeros_like(weight)
        optimizer.step()
    return optimizer


def test_the_limit_is_where_the_step_begins_to_diverge():
    """The step takes sigma to sigma (1 - a (sigma^2 - 1)): it grows beyond sigma^2 = 1 + 2 / a."""
    edge = math.sqrt(1 + 2 / 0.01)
    below, beyond = (singular(times * edge, 3.0, 1.0, 0.5) for times in (0.999, 1.001))
    pulled(below, steps=1200)
    torch.testing.assert_close(
        torch.linalg.svdvals(below.detach()), torch.ones(4, dtype=torch.float64)
    )
    before = beyond.detach().clone()
    with pytest.raises(ValueError, match=REFUSAL):
        pulled(beyond)
    assert torch.equal(beyond, before)


def test_the_target_moves_the_limit():
    edge = math.sqrt(10 + 2 / 0.01)
    pulled(singular(0.999 * edge), scale=10.0)
    with pytest.raises(ValueError, match=REFUSAL):
        pulled(singular(1.001 * edge), scale=10.0)


@pytest.mark.parametrize("change", ["strength", "state", "scale"])
def test_weights_are_looked_at_again(change):
    weight = singular(10.0)
    optimizer = pulled(weight)
    with torch.no_grad():
        weight.copy_(singular(20.0))
    optimizer.step()  # nothing says that they are others
    with torch.no_grad():
        weight.copy_(singular(20.0))
    if change == "strength":
        optimizer.param_groups[0]["lr"] = 0.05
    elif change == "scale":
        optimizer.param_groups[0]["scale"] = 1.5
    else:
        optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    with pytest.raises(ValueError, match="without bound"):
        optimizer.step()


def test_usual_weights_are_looked_at_once(monkeypatch):
    looks = []

    def counted(*args):
        looks.append(safe_strength(*args))
        return looks[-1]

    monkeypatch.setattr(adamo, "safe_strength", counted)
    optimizer = pulled(singular(1.4, 1.4, 1.4, 1.4), steps=3, isometry=0.025)
    for step in range(20):  # a schedule that rises to a hundred times the strength
        optimizer.param_groups[0]["lr"] = 0.01 * 100 ** (step / 20)
        optimizer.step()
    assert len(looks) == 1
    assert looks[0] == pytest.approx(1 / (4 * 1.4**2 - 1))  # the Frobenius norm's bound


def test_a_member_is_refused_where_no_other_is_left():
    """As one that is frozen: it touches no other, whether its weights are finite or not."""
    weight = singular(1.0, members=3)
    with torch.no_grad():
        weight[0] *= 1e3
        weight[1] = torch.nan
    pulled(weight, member_dims=1)
    torch.testing.assert_close(weight[2].detach(), singular(1.0).detach())
    with pytest.raises(ValueError, match="without bound"):
        pulled(singular(1e3, members=3), member_dims=1)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_are_not_finite_are_not_refused(value):
    weight = singular(1.0)
    with torch.no_grad():
        weight[0, 0] = value
    pulled(weight)


def test_a_block_that_is_too_large():
    weight = nn.Parameter(torch.cat([torch.eye(4), 30 * torch.eye(4)]))
    with pytest.raises(ValueError, match="has the squared singular value 900:"):
        pulled(weight, blocks=2)


def test_what_takes_no_step_may_be_large():
    vector = nn.Parameter(torch.full((5,), 1e6))
    pulled(vector)
    pulled(singular(1e6), isometry=0.0)


def test_weights_can_be_checked_before_the_first_step():
    optimizer = AdamO([singular(30.0)], lr=0.01, isometry=0.25)
    with pytest.raises(ValueError, match="without bound"):
        optimizer.require_stable()
    AdamO([singular(10.0)], lr=0.01, isometry=0.25).require_stable()


@pytest.mark.parametrize("settings", [{}, {"scale": 2.0}, {"isometry_lr": 0.02}])
def test_a_half_life_is_that_of_a_small_deviation_however_the_rate_is_scheduled(settings):
    weight = torch.nn.Parameter(1.001 * settings.get("scale", 1.0) ** 0.5 * torch.eye(3))
    optimizer = AdamO([weight], lr=0.01, half_life=50, **settings)
    target = settings.get("scale", 1.0) ** 0.5
    before = weight[0, 0].item() - target
    for _ in range(50):
        weight.grad = torch.zeros_like(weight)
        optimizer.param_groups[0]["lr"] *= 0.9
        optimizer.step()
    assert weight[0, 0].item() - target == pytest.approx(before / 2, rel=0.02)


@pytest.mark.parametrize("half_life", [0, -1, float("nan"), float("inf"), "1", True])
def test_a_half_life_that_is_none_is_refused(half_life):
    with pytest.raises(InputError, match=r"half_life=.* is not a finite number of updates > 0"):
        AdamO([torch.nn.Parameter(torch.eye(2))], half_life=half_life)


def test_a_half_life_too_short_for_the_step_says_what_would_do():
    weight = torch.nn.Parameter(torch.eye(2))
    with pytest.raises(InputError, match=r"half_life=0\.1 is too short.* more than 0\.347$"):
        AdamO([weight], half_life=0.1)  # a * scale = log(2) / (2 * 0.347) is 1
    AdamO([weight], half_life=0.35)


def test_a_half_life_is_refused_where_it_would_decide_nothing():
    weight = torch.nn.Parameter(torch.eye(2))
    with pytest.raises(InputError, match=r"half_life=9 decides and isometry=0\.1 would be unused"):
        AdamO([weight], isometry=0.1, half_life=9)
    with pytest.raises(InputError, match="half_life is no setting of a group"):
        AdamO([{"params": [weight], "half_life": 9}])
    assert AdamO([weight]).param_groups[0]["isometry"] == 0.05


def test_a_half_life_needs_a_step_size():
    with pytest.raises(InputError, match="give isometry_lr"):
        AdamO([torch.nn.Parameter(torch.eye(2))], lr=0.0, half_life=10)
