"""The families of distributions, against torch.distributions and SciPy."""

import math

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete, MultiDiscrete
from scipy import stats
from torch.distributions import Categorical as Choice
from torch.distributions import Independent, Normal, kl_divergence

from neoteny.agents.distributions import Categorical, Gaussian, action_distribution
from neoteny.agents.ppo_loss import PPOConfig, fused_ppo_loss, ppo_loss
from neoteny.core import rng

M, B = 3, 50
BOUND = torch.full((2,), math.inf)
DISTRIBUTIONS = {
    "categorical": (Categorical(5), 5),
    "gaussian": (Gaussian((2,), -BOUND, BOUND), 4),
    "one number": (Gaussian((1,), -BOUND[:1], BOUND[:1]), 2),
}
each_distribution = pytest.mark.parametrize("kind", DISTRIBUTIONS)


def distribution(kind, outputs):
    """The same distribution by torch."""
    if kind == "categorical":
        return Choice(logits=outputs)
    mean, log_std = outputs.chunk(2, -1)
    return Independent(Normal(mean, log_std.exp()), 1)


def draws(*shape, seed=0):
    """Uniform numbers as the generator makes them: multiples of 2**-24 in [0, 1)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(2**24, shape, generator=generator) * 2.0**-24


def normals(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@each_distribution
def test_log_probabilities_entropies_and_divergences_are_torchs(kind):
    policy, size = DISTRIBUTIONS[kind]
    old, new = normals(M, B, size), normals(M, B, size, seed=1)
    action = distribution(kind, old).sample()
    log_prob, entropy = policy.log_prob(new, action)
    torch.testing.assert_close(log_prob, distribution(kind, new).log_prob(action))
    torch.testing.assert_close(entropy, distribution(kind, new).entropy())
    expected = kl_divergence(distribution(kind, old), distribution(kind, new))
    torch.testing.assert_close(policy.kl(old, new), expected)
    torch.testing.assert_close(policy.kl(old, old), torch.zeros(M, B, dtype=old.dtype))


@each_distribution
def test_the_closed_form_is_what_autograd_finds(kind):
    policy, size = DISTRIBUTIONS[kind]
    outputs = normals(M, B, size).requires_grad_()
    action = distribution(kind, normals(M, B, size, seed=1)).sample()
    slope, ent_coef = normals(M, B, seed=2), 0.3
    log_prob, entropy = policy.log_prob(outputs, action)
    (-slope * log_prob - ent_coef * entropy).sum().backward()
    with torch.no_grad():
        again = policy.closed_form(outputs, action)
    torch.testing.assert_close(again[0], log_prob.detach())
    torch.testing.assert_close(again[1], entropy.detach())
    torch.testing.assert_close(again[2](slope, ent_coef), outputs.grad)


@pytest.mark.parametrize(
    "config",
    [
        PPOConfig(),
        PPOConfig(clip_range_vf=None, ent_coef=0.0),
        PPOConfig(normalize_advantage=False, ent_coef=0.5, vf_coef=2.0, clip_range=0.1),
    ],
    ids=["default", "no value clipping", "other coefficients"],
)
@each_distribution
def test_the_fused_loss_has_autograds_gradient(kind, config):
    policy, size = DISTRIBUTIONS[kind]
    outputs, value = normals(M, B, size), normals(M, B, seed=1)
    torch.manual_seed(0)
    action = distribution(kind, outputs).sample()
    old = policy.log_prob(outputs + 0.3 * normals(M, B, size, seed=2), action)[0]
    rest = (action, old, value + 0.3 * normals(M, B, seed=3), normals(M, B, seed=4), value * 2)
    found = []
    for function in (ppo_loss, fused_ppo_loss):
        leaves = [outputs.clone().requires_grad_(), value.clone().requires_grad_()]
        loss, statistics = function(policy, *leaves, *rest, config)
        (loss * torch.arange(1.0, M + 1)).sum().backward()
        found.append([loss.detach(), statistics, *(leaf.grad for leaf in leaves)])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-12)
    assert 0.2 < found[0][1][4].mean() < 1  # some ratios are clipped, some are not


def test_sampled_choices_follow_the_softmax():
    outputs = torch.tensor([0.3, -1.0, 2.0, 0.0]).expand(40_000, 4)
    action, log_prob = Categorical(4).sample(outputs, draws(40_000, 1))
    expected = outputs[0].softmax(0)
    counts = torch.bincount(action, minlength=4)
    frequencies = expected.double() / expected.double().sum() * 40_000
    assert stats.chisquare(counts, frequencies).pvalue > 1e-3
    torch.testing.assert_close(log_prob, expected.log()[action])


def test_sampling_stays_in_range_at_the_ends_of_the_unit_interval():
    ends = torch.tensor([[0.0], [1.0 - 2**-24]])
    outputs = torch.tensor([[10.0, -10.0, -10.0]]).repeat(2, 1)
    action, _ = Categorical(3).sample(outputs, ends)
    assert action.min() >= 0
    assert action.max() <= 2
    action, log_prob = DISTRIBUTIONS["one number"][0].sample(torch.zeros(2, 2), ends)
    low, high = action.flatten().tolist()
    assert low == -high
    assert high == pytest.approx(stats.norm.isf(2.0**-25), abs=1e-5)
    assert log_prob.isfinite().all()


def test_every_uniform_number_gives_its_quantile():
    uniform = torch.arange(0, 2**24, 97) * 2.0**-24
    action, _ = DISTRIBUTIONS["one number"][0].sample(
        torch.zeros(len(uniform), 2), uniform.unsqueeze(1)
    )
    middle = uniform.double().numpy() + 2.0**-25
    np.testing.assert_allclose(action[:, 0].double().numpy(), stats.norm.ppf(middle), atol=2e-6)


def test_sampled_vectors_are_normal_with_their_means_and_deviations():
    """From the hash that acting uses: moments, distribution and independence."""
    policy, _ = DISTRIBUTIONS["gaussian"]
    mean, log_std = torch.tensor([1.0, -2.0]), torch.tensor([-0.7, 0.4])
    keys = rng.lane_keys([3, 4], 20_000, "policy")
    outputs = torch.cat([mean, log_std]).expand(2, 20_000, 4)
    action, log_prob = policy.sample(outputs, policy.draw(keys, 5, 2))
    assert action.shape == (2, 20_000, 2)
    torch.testing.assert_close(log_prob, distribution("gaussian", outputs).log_prob(action))
    z = ((action - mean) / log_std.exp()).double()
    for column in z.flatten(0, 1).T:
        assert stats.kstest(column.numpy(), "norm").pvalue > 1e-3
        assert abs(column.mean()) < 4 / math.sqrt(40_000)
        assert abs(column.var() - 1) < 4 * math.sqrt(2 / 40_000)
    for one, other in ((z[0, :, 0], z[0, :, 1]), (z[0, :, 0], z[1, :, 0])):
        assert abs(np.corrcoef(one, other)[0, 1]) < 4 / math.sqrt(20_000)
    later = policy.sample(outputs, policy.draw(keys, 6, 2))[0].double()
    assert abs(np.corrcoef(z[0, :, 0], later[0, :, 0])[0, 1]) < 4 / math.sqrt(20_000)


def test_a_lanes_numbers_depend_on_its_key_and_the_step_alone():
    policy, _ = DISTRIBUTIONS["gaussian"]
    keys = rng.lane_keys([3, 4], 6, "policy")
    both, alone = policy.draw(keys, 7, 2), policy.draw(keys[6:9], 7, 1)
    assert torch.equal(both[1, :3], alone[0])
    first = rng.uniform(rng.bits(keys, 7, 0))  # what a policy with one number a lane draws
    assert torch.equal(both[..., 0].flatten(), first)


@each_distribution
def test_actions_survive_their_way_through_a_minibatch(kind):
    policy, size = DISTRIBUTIONS[kind]
    outputs = normals(M, B, size, dtype=torch.float32)
    action, _ = policy.sample(outputs, draws(M, B, policy.action_dim))
    stored = policy.allocate(M, B, device=torch.device("cpu"))
    assert stored.shape == action.shape
    assert stored.dtype == action.dtype
    columns = torch.stack([*policy.split(action)], -1)
    assert columns.shape == (M, B, policy.action_dim)
    assert torch.equal(policy.join(columns), action)


def test_actions_are_clipped_and_shaped_only_to_be_played():
    low = np.array([[-1.0, -np.inf], [0.0, -2.0]], np.float32)
    high = np.array([[1.0, np.inf], [0.5, 2.0]], np.float32)
    policy = action_distribution(Box(low, high))
    assert (policy.size, policy.action_dim, policy.shape) == (4, 4, (2, 2))
    action = torch.full((2, 3, 4), 7.0)
    played = policy.to_env(action)
    assert played.shape == (6, 2, 2)
    assert played[0].tolist() == [[1.0, 7.0], [0.5, 2.0]]
    assert policy.to_env(-action)[5].tolist() == [[-1.0, -7.0], [0.0, -2.0]]
    assert (action == 7).all()


def test_bounds_in_double_precision_are_never_exceeded():
    space = Box(np.array([-0.1, 1 / 3]), np.array([0.1, 0.7]), dtype=np.float64)
    policy = action_distribution(space)
    for action in (-torch.ones(1, 1, 2), torch.ones(1, 1, 2)):
        played = policy.to_env(action)[0].double().numpy()
        assert space.contains(played)
        np.testing.assert_allclose(played, space.low if action[0, 0, 0] < 0 else space.high)


def test_the_action_space_gives_the_distribution():
    assert action_distribution(Discrete(3)) == Categorical(3)
    policy = action_distribution(gymnasium.make("Pendulum-v1").action_space, log_std_init=-0.5)
    assert isinstance(policy, Gaussian)
    assert (policy.low.tolist(), policy.high.tolist(), policy.log_std) == ([-2.0], [2.0], -0.5)
    for space in (MultiDiscrete([2, 3]), Box(0, 255, (2,), np.uint8)):
        with pytest.raises(ValueError, match="discrete actions or a Box of floats"):
            action_distribution(space)
    with pytest.raises(ValueError, match="log_std_init is nan"):
        action_distribution(Box(-1, 1, (2,)), math.nan)
