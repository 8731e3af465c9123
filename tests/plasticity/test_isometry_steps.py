"""Isometry steps beside any optimiser: what each does to singular values, from closed forms."""

import math

import pytest
import torch

from neoteny.core.errors import InputError
from neoteny.plasticity import gram
from neoteny.plasticity.interventions import OptimizerSettings, parse_intervention
from neoteny.plasticity.interventions.isometry_steps import within_budget
from neoteny.plasticity.isometry import gram_deviation

NAMES = ["isometry_band", "isometry_control", "isometry_budget", "isometry_gate"]
OBS = torch.randn(2, 16, 6, generator=torch.Generator().manual_seed(5))


def rest(learner, updates):
    """Updates without a gradient, in which Adam moves nothing."""
    for _ in range(updates):
        outputs = learner.network(OBS).values()
        learner.update(sum(0 * output.sum((1, 2)) for output in outputs), OBS)


def policy_weight(learner):
    return learner.network.branches["policy"].hidden[1].weight


def give_singular_values(weight, sigma):
    """Set the singular values of (M, out, in); sigma is (M, n) or (n,)."""
    with torch.no_grad():
        left, _, right = torch.linalg.svd(weight.double(), full_matrices=False)
        weight.copy_(left * sigma.double().unsqueeze(-2) @ right)


def singular_values(weight):
    return torch.linalg.svdvals(weight.detach().double())


def test_a_dead_band_bends_eigenvalues():
    matrix = torch.randn(3, 5, 5, dtype=torch.float64)
    matrix = matrix + matrix.mT
    values, vectors = torch.linalg.eigh(matrix)
    bent = values**3 / (values**2 + 0.7**2)
    expected = vectors * bent.unsqueeze(-2) @ vectors.mT
    torch.testing.assert_close(gram.dead_band(matrix, 0.7), expected)


def test_a_band_of_no_width_is_adamo(make_learner, train):
    for scale in ("free", "1", "2"):
        text = f"scale={scale},half_life=40"
        one = make_learner(f"isometry_band:band=1e-4,{text}")
        other = make_learner(f"adamo:{text}")
        for learner in (one, other):
            train(learner, 10)
        pairs = zip(one.network.parameters(), other.network.parameters(), strict=True)
        for ours, theirs in pairs:
            torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)


def test_a_band_leaves_small_deviations_and_pulls_large_ones(make_learner):
    learner = make_learner("isometry_band:scale=1,band=0.5,half_life=50")
    weight = policy_weight(learner)
    sigma = torch.tensor([3.0, 1.5, 1.2, 1.05, 1.0, 0.95, 0.7, 0.1], dtype=torch.float64)
    give_singular_values(weight, sigma)
    rest(learner, 100)
    a = math.log(2) / 100
    for _ in range(100):
        d = sigma.square() - 1
        sigma = sigma * (1 - a * d**3 / (d**2 + 0.25))
    found = singular_values(weight)
    torch.testing.assert_close(
        found, sigma.sort(descending=True).values.expand(2, 8), rtol=1e-3, atol=0
    )
    assert (
        found[:, 3:6] - torch.tensor([1.05, 1.0, 0.95])
    ).abs().max() < 0.01  # after 2 half-lives


def test_strength_doubles_where_the_deviation_is_large_and_halves_where_it_is_small(make_learner):
    learner = make_learner("isometry_control:deviation=0.4,half_life=1000,response=50")
    weight = policy_weight(learner)
    near, far = torch.full((8,), 1.5), torch.tensor([4.0, 1, 1, 1, 1, 1, 1, 1])
    give_singular_values(weight, torch.stack([near, far]))
    rest(learner, 25)
    strengths = [
        value for name, value in learner.interventions[0].state.items() if "strength" in name
    ]
    start = math.log(2) / 2000
    torch.testing.assert_close(
        strengths[1][0], start * torch.tensor([0.5**0.5, 2.0**0.5]), rtol=1e-4, atol=0
    )
    mean = learner.interventions[0].measured()["strength"]
    torch.testing.assert_close(mean, torch.cat(strengths).mean(0))


@pytest.mark.slow
def test_a_controlled_strength_brings_the_deviation_to_its_target(make_learner, train):
    learner = make_learner("isometry_control:deviation=0.3,response=10,half_life=50", lr=3e-2)
    free = make_learner("none", lr=3e-2)
    for each in (learner, free):
        train(each, 160)

    def found(learner):
        return (gram_deviation(policy_weight(learner).detach(), "free", 1) / 8).sqrt()

    assert (found(free) > 0.45).all()
    assert ((found(learner) / 0.3 - 1).abs() < 0.25).all()


def test_strengths_stay_between_a_half_life_of_forty_tasks_and_one_of_ten_updates(make_learner):
    learner = make_learner("isometry_control:deviation=0.1,response=1,half_life=1000")
    weight = policy_weight(learner)
    near, far = torch.ones(8), torch.tensor([9.0, 1, 1, 1, 1, 1, 1, 0])  # no rank, no isometry
    give_singular_values(weight, torch.stack([near, far]))
    rest(learner, 40)
    strength = learner.interventions[0].state["strength1"][0]
    weakest = math.log(2) / (2 * 40 * learner.settings.updates_per_task)
    torch.testing.assert_close(strength, torch.tensor([weakest, math.log(2) / 20]))


def test_a_budget_takes_out_what_opposes_the_task_and_bounds_the_rest():
    torch.manual_seed(0)
    task = torch.randn(2, 4, 6)
    across = torch.randn(2, 4, 6)
    inner = (across * task).sum((1, 2), keepdim=True)
    across = across - inner / task.square().sum((1, 2), keepdim=True) * task
    length = task.norm(dim=(1, 2), keepdim=True)
    across = across / across.norm(dim=(1, 2), keepdim=True) * length
    # it is subtracted: along the task's step it undoes that, against it it helps
    torch.testing.assert_close(within_budget(0.3 * across + 0.8 * task, task, 0.5), 0.3 * across)
    torch.testing.assert_close(within_budget(3 * across + 0.8 * task, task, 0.5), 0.5 * across)
    helping = 0.3 * across - 0.2 * task
    torch.testing.assert_close(within_budget(helping, task, 0.5), helping)
    assert not within_budget(across, torch.zeros_like(task), 0.5).any()
    assert not within_budget(torch.zeros_like(task), task, 0.5).any()


def test_the_isometry_step_of_a_budget_is_no_longer_than_its_share(make_learner, train):
    arms = [make_learner("isometry_budget:half_life=2,budget=0.2"), make_learner("none")]
    before = [policy_weight(arm).detach().clone() for arm in arms]
    for weight in map(policy_weight, arms):
        give_singular_values(weight, torch.linspace(0.2, 2, 8))
    before = [policy_weight(arm).detach().clone() for arm in arms]
    for arm in arms:
        train(arm, 1)
    moved, task = (policy_weight(arm).detach() - old for arm, old in zip(arms, before, strict=True))
    ratio = (moved - task).norm(dim=(1, 2)) / task.norm(dim=(1, 2))
    torch.testing.assert_close(ratio, torch.full((2,), 0.2), rtol=1e-3, atol=0)


def test_a_gate_opens_where_the_rank_has_fallen_and_for_that_member_alone(make_learner):
    learner = make_learner("isometry_gate:share=0.9,period=5,half_life=50")
    weight = policy_weight(learner)
    give_singular_values(weight, torch.linspace(0.5, 1.5, 8))
    rest(learner, 5)  # measures the highest rank
    gate = learner.interventions[0]
    assert not gate.activity.any()
    before = singular_values(weight)
    gate.state["highest1"][0, 1] *= 2  # the rank of the second member is now half of that
    rest(learner, 5)
    assert gate.state["open1"][0].tolist() == [0, 1]
    rest(learner, 40)
    assert gate.activity.tolist() == [0, 40]
    torch.testing.assert_close(gate.measured()["open"], torch.tensor([0.0, 0.25]))  # of 4 layers
    after = singular_values(weight)
    torch.testing.assert_close(after[0], before[0])
    assert after[1].std() < 0.75 * before[1].std()


@pytest.mark.parametrize("name", NAMES)
def test_a_half_life_is_that_of_small_deviations_and_is_refused_if_too_short(name, make_learner):
    settings = OptimizerSettings(updates_per_step=0.5)
    rates = parse_intervention(f"{name}:half_life=500").strength(settings)
    assert rates["decay_rate"] == pytest.approx(math.log(2) / 250)
    learner = make_learner("none")
    learner.settings = OptimizerSettings(updates_per_step=0.25)
    with pytest.raises(
        InputError, match=r"half_life=1 is too short.* more than 1.39 steps"
    ) as caught:
        parse_intervention(f"{name}:half_life=1").start(learner)
    assert str(caught.value).startswith(f"{name}:half_life=1 ")
    assert "\n" not in str(caught.value)


RESETS = ["redo:period=2,tau=0.5", "snr:period=2,longest=1",
          "continual_backprop:lifetime=4,maturity=2"]  # fmt: skip
PULLS = [("adamo:scale=free,half_life=20",), ("muono:scale=free,half_life=20",),
         ("muon", "isometry_band:half_life=20"), ("isometry_control:response=5",)]  # fmt: skip


@pytest.mark.parametrize(
    ("resets", "pull"),
    [
        pytest.param(resets, pull, marks=() if place == number % 3 else pytest.mark.slow)
        for number, pull in enumerate(PULLS)
        for place, resets in enumerate(RESETS)
    ],
)
def test_pulls_go_with_resets_of_units_and_with_muon(resets, pull, make_learner, train):
    learner = make_learner(resets, *pull)
    for branch in learner.network.branches.values():
        with torch.no_grad():
            branch.hidden[0].weight[:, 3] = 0.0  # something to revive
    train(learner, 8)
    assert all(parameter.isfinite().all() for parameter in learner.network.parameters())
    assert all((each.activity > 0).all() for each in learner.interventions)
    assert not (policy_weight(learner) == 0).all(-1).any()
