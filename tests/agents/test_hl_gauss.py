"""Histograms of values: targets, losses and gradients in closed form, and agents that use them."""

import dataclasses

import numpy as np
import pytest
import torch
from scipy import stats

from neoteny.agents import DQN, DQNConfig, NetworkSpec
from neoteny.agents.distributions import Categorical
from neoteny.agents.dqn_loss import dueling_outputs, histogram_loss
from neoteny.agents.hl_gauss import HLGauss
from neoteny.agents.ppo_loss import PPOConfig, fused_ppo_loss, ppo_loss
from neoteny.core.errors import InputError
from neoteny.plasticity.diagnostics import tangent_kernels
from neoteny.plasticity.interventions import make_interventions

LOW, HIGH, BINS = -3.0, 7.0, 20
WIDTH = (HIGH - LOW) / BINS


@pytest.fixture
def double():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def normals(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("target", [-3.0, -2.9, 0.0, 0.123, 2.25, 6.6, 7.0])
def test_masses_are_those_of_the_truncated_normal_distribution(double, target):
    found = HLGauss(LOW, HIGH, BINS).probabilities(torch.tensor(target))
    sigma = 0.75 * WIDTH
    normal = stats.truncnorm((LOW - target) / sigma, (HIGH - target) / sigma, target, sigma)
    expected = np.diff(normal.cdf(np.linspace(LOW, HIGH, BINS + 1)))
    np.testing.assert_allclose(found, expected, 1e-9, 1e-15)
    assert found.sum() == pytest.approx(1.0, abs=1e-12)


def test_the_mean_of_the_masses_is_the_target_away_from_the_edges():
    histogram = HLGauss(LOW, HIGH, BINS)
    target = torch.linspace(LOW + 3 * WIDTH, HIGH - 3 * WIDTH, 101)
    masses = histogram.probabilities(target)
    torch.testing.assert_close(histogram.read(masses.log()), target.unsqueeze(1), rtol=0, atol=2e-3)
    edges = torch.tensor([LOW, HIGH])
    bias = histogram.read(histogram.probabilities(edges).log()).squeeze(1) - edges
    torch.testing.assert_close(bias / WIDTH, torch.tensor([0.69, -0.69]), rtol=0, atol=0.005)


def test_targets_outside_count_as_the_edge_and_are_counted():
    histogram = HLGauss(LOW, HIGH, BINS)
    target = torch.tensor([-1e6, LOW, 0.0, HIGH, 1e6])
    masses = histogram.probabilities(target)
    assert torch.equal(masses[0], masses[1])
    assert torch.equal(masses[3], masses[4])
    assert histogram.outside(target).tolist() == [1, 0, 0, 0, 1]


def test_the_gradient_is_the_softmax_less_the_target_and_autograds(double):
    histogram = HLGauss(LOW, HIGH, BINS)
    logits, target = (3 * normals(5, BINS)).requires_grad_(), 4 * normals(5, seed=1)
    loss = histogram.loss(logits, target)
    loss.sum().backward()
    expected = logits.detach().softmax(-1) - histogram.probabilities(target)
    torch.testing.assert_close(logits.grad, expected)
    losses, gradient = histogram.closed_form(logits.detach(), target)
    torch.testing.assert_close(losses, loss.detach())
    torch.testing.assert_close(gradient, expected)


def test_several_values_are_read_and_compared_each_by_itself():
    one, three = HLGauss(LOW, HIGH, BINS), HLGauss(LOW, HIGH, BINS, values=3)
    old, new = normals(2, 4, 3, BINS), normals(2, 4, 3, BINS, seed=1)
    apart = [one.read(old[..., k, :]) for k in range(3)]
    torch.testing.assert_close(three.read(old.flatten(2)), torch.cat(apart, -1))
    p, q = (torch.distributions.Categorical(logits=x) for x in (old, new))
    expected = torch.distributions.kl_divergence(p, q).mean(-1)
    torch.testing.assert_close(three.kl(old.flatten(2), new.flatten(2)), expected)
    torch.testing.assert_close(three.entropy(old.flatten(2)), p.entropy().mean(-1))


def test_the_fused_loss_of_ppo_has_autograds_gradient(double):
    members, size, actions = 3, 32, 5
    histogram = HLGauss(LOW, HIGH, BINS)
    action = torch.randint(actions, (members, size))
    outputs, logits = normals(members, size, actions), normals(members, size, BINS, seed=1)
    old = Categorical(actions).log_prob(outputs + 0.3 * normals(*outputs.shape, seed=2), action)[0]
    rest = action, old, *(3 * normals(members, size, seed=seed) for seed in (3, 4, 5))
    found = []
    for function in (ppo_loss, fused_ppo_loss):
        leaves = [outputs.clone().requires_grad_(), logits.clone().requires_grad_()]
        loss, statistics = function(Categorical(actions), *leaves, *rest, PPOConfig(), histogram)
        (loss * torch.arange(1.0, members + 1)).sum().backward()
        found.append([loss.detach(), statistics.detach(), *(leaf.grad for leaf in leaves)])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-12)
    torch.testing.assert_close(found[0][1][1], histogram.loss(logits, rest[-1]).mean(1))


CONFIG = PPOConfig(
    num_envs=16,
    num_steps=16,
    num_epochs=4,
    num_minibatches=4,
    learning_rate=5e-3,
    value_loss="hl_gauss",
    value_min=-2.0,
    value_max=4.0,
    value_bins=21,
)


@pytest.mark.parametrize("fast", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_ppo_learns_a_constant_value(ladder, make_agent, fast):
    """A reward of 1 that ends the episode: every state is worth 1, not a multiple of the bins."""
    env = ladder("constant", 16)
    agent = make_agent(env, dataclasses.replace(CONFIG, learning_rate=1e-2), fast=fast)
    for _ in range(7):
        metrics = agent.iterate(env)
    obs = torch.tensor([[-1.0, 0.0], [1.0, 0.0]])
    torch.testing.assert_close(agent._value(obs), torch.ones(1, 2), rtol=0, atol=0.02)
    assert metrics["losses/outside_support"].tolist() == [0.0]


def test_returns_above_the_support_are_reported(ladder, make_agent):
    config = dataclasses.replace(CONFIG, value_max=0.5)
    env = ladder("constant", 16)
    assert make_agent(env, config).iterate(env)["losses/outside_support"].item() > 0.4


def histories(agent, env, count):
    metrics = [agent.iterate(env) for _ in range(count)]
    return [{name: value.clone() for name, value in row.items()} for row in metrics]


EDITS = {
    "fresh": "fresh",
    "head_reset": "head_reset:period=1",
    "layer_reset": "layer_reset:period=1",
    "plasticity_injection": "plasticity_injection",
    "redo": "redo:period=1,tau=0.9",
    "shrink_perturb": "shrink_perturb:period=1",
}
CASES = [
    pytest.param(text, id=name, marks=() if name == "head_reset" else pytest.mark.slow)
    for name, text in EDITS.items()
]


@pytest.mark.parametrize("edit", CASES)
def test_surgery_edits_the_wider_head(ladder, make_agent, edit):
    env = ladder("both", 16, members=2)
    agent = make_agent(env, CONFIG, interventions=(edit,), seeds=(0, 1))
    histories(agent, env, 2)
    agent.learner.boundary(torch.ones(2, dtype=torch.int64))
    (row,) = histories(agent, env, 1)
    assert all(value.isfinite().all() for value in row.values())
    assert agent.learner.alive.all()
    assert all(found.state["activity"].min() > 0 for found in agent.learner.interventions)


def test_diagnostics_of_functions_are_of_the_value(ladder, make_agent):
    """A kernel of one output a sample, which is that of the value's gradients."""
    env = ladder("both", 16)
    agent = make_agent(env, CONFIG)
    agent.iterate(env)
    obs = agent.recent(8)
    kernel = tangent_kernels(agent.network, obs)["value"]
    assert kernel.shape == (1, 8, 8)
    parameters = list(agent.network.branches["value"].parameters())
    rows = [torch.autograd.grad(value, parameters, retain_graph=True)
            for value in agent._value(obs.flatten(0, 1)).flatten()]  # fmt: skip
    jacobian = torch.stack([torch.cat([part.flatten() for part in row]) for row in rows])
    torch.testing.assert_close(kernel[0], jacobian @ jacobian.T, rtol=1e-4, atol=1e-5)
    assert agent.recent_targets(8)["value"].shape == (1, 8, 1)


@pytest.mark.parametrize("config", [PPOConfig, DQNConfig])
def test_an_empty_support_is_refused_in_one_line(config):
    with pytest.raises(InputError, match="value_min 5 is not below value_max 5: give") as found:
        config(value_min=5.0, value_max=5.0)
    assert "\n" not in str(found.value)


def test_the_loss_of_dqn_is_that_of_the_action_taken():
    histogram = HLGauss(LOW, HIGH, BINS, values=3)
    outputs = normals(2, 4, 3 * BINS).requires_grad_()
    action = torch.randint(3, (2, 4, 1), generator=torch.Generator().manual_seed(1))
    target = 6 * normals(2, 4, 1, seed=2)
    loss, statistics = histogram_loss(histogram, outputs, action, target)
    (grad,) = torch.autograd.grad(loss.sum(), outputs)
    for m in range(2):
        losses, errors = [], []
        for b in range(4):
            taken = outputs[m, b].view(3, BINS)[action[m, b, 0]]
            masses = histogram.probabilities(target[m, b, 0])
            losses.append(-(masses * taken.log_softmax(-1)).sum())
            errors.append((histogram.mean(taken) - target[m, b, 0]).abs())
            expected = torch.zeros(3, BINS)
            expected[action[m, b, 0]] = (taken.softmax(-1) - masses) / 4
            torch.testing.assert_close(grad[m, b].view(3, BINS), expected)
        torch.testing.assert_close(loss[m], torch.stack(losses).mean())
        torch.testing.assert_close(statistics[1, m], torch.stack(errors).mean())
    outside = ((target < LOW) | (target > HIGH)).float().mean((1, 2))
    assert outside.max() > 0
    torch.testing.assert_close(statistics[4], outside)


DQN_CONFIG = DQNConfig(
    num_envs=16,
    num_steps=16,
    learning_rate=5e-3,
    batch_size=64,
    train_frequency=8,
    learning_starts=64,
    target_frequency=64,
    replay_size=1024,
    epsilon_start=1.0,
    epsilon_end=1.0,
    loss="hl_gauss",
    value_min=-2.0,
    value_max=4.0,
    value_bins=21,
)


def make_dqn(env, interventions=("none",), config=DQN_CONFIG, **options):
    made = make_interventions(interventions, "dqn")
    return DQN(env, config, NetworkSpec((16, 16)), made, (0,), **options)


@pytest.mark.parametrize("edit", [*CASES, pytest.param("c_chain:after=0", marks=pytest.mark.slow)])
def test_surgery_edits_the_wider_head_of_dqn_and_its_target(ladder, edit):
    env = ladder("both", 16)
    agent = make_dqn(env, (edit,))
    for _ in range(3):
        agent.iterate(env)
    agent.learner.boundary(torch.ones(1, dtype=torch.int64))
    row = agent.iterate(env)
    if edit != "fresh":  # which forgets its replay
        assert row["losses/td_loss"].isfinite().all()
    assert agent.learner.alive.all()
    assert all(found.state["activity"].min() > 0 for found in agent.learner.interventions)


def test_dueling_histograms_add_logits_bin_by_bin(ladder):
    """As in Rainbow: value plus advantage less its mean over actions, then a softmax."""
    histogram = HLGauss(LOW, HIGH, BINS, values=3)
    value, advantage = normals(2, 4, BINS), normals(2, 4, 3 * BINS, seed=1)
    logits = histogram.logits(dueling_outputs(value, advantage))
    parts = advantage.view(2, 4, 3, BINS)
    mean = (parts[:, :, 0] + parts[:, :, 1] + parts[:, :, 2]) / 3
    for a in range(3):
        torch.testing.assert_close(logits[:, :, a], value + parts[:, :, a] - mean)
    moved = dueling_outputs(value, advantage + normals(2, 4, BINS, seed=2).repeat(1, 1, 3))
    torch.testing.assert_close(histogram.logits(moved), logits)  # advantages have no level


@pytest.mark.parametrize(
    ("fast", "dueling"),
    [
        pytest.param(fast, dueling, marks=() if fast and dueling else pytest.mark.slow)
        for fast in (True, False)
        for dueling in (True, False)
    ],
)
def test_dqn_learns_the_values_of_actions(ladder, fast, dueling):
    """Action 1 pays 1 and the other nothing, whatever the observation."""
    env = ladder("action", 16)
    config = dataclasses.replace(
        DQN_CONFIG, learning_rate=1e-2, train_frequency=16, dueling=dueling
    )
    agent = make_dqn(env, config=config, fast=fast)
    for _ in range(6):
        metrics = agent.iterate(env)
    values = agent.values(agent.network, torch.tensor([[[-1.0, 0.0], [1.0, 0.0]]]))
    expected = torch.tensor([0.0, 1.0]).expand(1, 2, 2)
    torch.testing.assert_close(values, expected, rtol=0, atol=0.03)
    assert metrics["losses/outside_support"].tolist() == [0.0]
