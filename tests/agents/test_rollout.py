import numpy as np
import pytest
import torch
from stable_baselines3.common.buffers import RolloutBuffer

from neoteny.agents.rollout import Rollout, gae

T, N = 12, 5


@pytest.fixture
def data():
    g = torch.Generator().manual_seed(3)
    terminated = torch.rand(T, N, generator=g) < 0.15
    truncated = (torch.rand(T, N, generator=g) < 0.15) & ~terminated
    return {
        "reward": torch.randn(T, N, generator=g),
        "value": torch.randn(T, N, generator=g),
        "next_value": torch.randn(T, N, generator=g),
        "terminated": terminated,
        "truncated": truncated,
    }


def by_definition(data, gamma, lam):
    """A_t as the weighted sum of temporal-difference errors up to the episode's end, in float64."""
    d = {k: v.double().numpy() for k, v in data.items()}
    done = d["terminated"] + d["truncated"]
    delta = d["reward"] + gamma * d["next_value"] * (1 - d["terminated"]) - d["value"]
    out = np.zeros((T, N))
    for lane in range(N):
        for t in range(T):
            weight = 1.0
            for k in range(t, T):
                out[t, lane] += weight * delta[k, lane]
                if done[k, lane]:
                    break
                weight *= gamma * lam
    return out


@pytest.mark.parametrize(("gamma", "lam"), [(0.99, 0.95), (0.9, 0.0), (1.0, 1.0), (0.5, 0.7)])
def test_gae_is_the_sum_of_discounted_errors(data, gamma, lam):
    done = data["terminated"] | data["truncated"]
    got = gae(
        data["reward"], data["value"], data["next_value"], data["terminated"], done, gamma, lam
    )
    np.testing.assert_allclose(got, by_definition(data, gamma, lam), rtol=1e-4, atol=1e-5)


def test_gae_equals_sb3_which_folds_the_bootstrap_into_the_reward(data):
    gamma, lam = 0.97, 0.9
    done = data["terminated"] | data["truncated"]
    next_value = torch.where(
        done, data["next_value"], torch.cat([data["value"][1:], data["next_value"][-1:]])
    )
    ours = gae(data["reward"], data["value"], next_value, data["terminated"], done, gamma, lam)

    import gymnasium

    buffer = RolloutBuffer(
        T, gymnasium.spaces.Box(0, 1, (1,)), gymnasium.spaces.Discrete(2), "cpu", lam, gamma, N
    )
    reward = data["reward"] + gamma * next_value * data["truncated"]
    starts = torch.cat([torch.zeros(1, N, dtype=torch.bool), done[:-1]])
    buffer.rewards = reward.numpy().copy()
    buffer.values = data["value"].numpy().copy()
    buffer.episode_starts = starts.float().numpy()
    buffer.compute_returns_and_advantage(next_value[-1], done[-1].numpy().astype(np.float32))
    np.testing.assert_allclose(ours, buffer.advantages, rtol=1e-4, atol=1e-5)


def test_final_observations_are_kept_in_slots_per_lane():
    obs = torch.zeros(4, 3)
    rollout = Rollout.allocate(torch.zeros(5, 2, 2, dtype=torch.int64), obs)
    rollout.begin(slots=2)
    cuts = torch.tensor(
        [[1, 0, 0, 0], [0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 1, 0, 0]]
    ).bool()
    for t in range(5):
        rollout.keep_final(t, torch.full((4, 3), float(t)), cuts[t])
    for t, lane in cuts.nonzero().tolist():
        assert rollout.final_obs[rollout.slot[t, lane], lane].tolist() == [float(t)] * 3
