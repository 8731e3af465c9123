import math

import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from neoteny.wrappers import EpisodeStatistics, NonStationaryVector, Periodic, RewardFlip


def build(toy, max_steps=7):
    """Six lanes of two members; a switch after every fifth vector step."""
    env = toy.Counter(3, 2, seed=1, max_steps=max_steps, offset=0.25)
    return EpisodeStatistics(NonStationaryVector(env, Periodic(15), [RewardFlip()]))


def test_episode_statistics_equal_a_plain_loop(toy):
    env = build(toy)
    env.reset()
    running = [[0.0, 0] for _ in range(6)]
    for length in (1, 9, 30, 4):
        got = toy.record(env, length, seed=length)
        returns, lengths, cut = ([[], []] for _ in range(3))
        for step in range(length):
            for lane in range(6):
                running[lane][0] += float(got.reward[step, lane])
                running[lane][1] += 1
                if got.cut[step, lane]:
                    cut[lane // 3].append(lane)
                elif got.terminated[step, lane] or got.truncated[step, lane]:
                    returns[lane // 3].append(running[lane][0])
                    lengths[lane // 3].append(running[lane][1])
                if got.terminated[step, lane] or got.truncated[step, lane]:
                    running[lane] = [0.0, 0]
        collected = env.collect()
        for member in range(2):
            values = {key: value[member].item() for key, value in collected.items()}
            assert values["episodes"] == len(returns[member])
            assert values["episodes_cut"] == len(cut[member])
            mean = np.mean(returns[member]) if returns[member] else math.nan
            assert values["episodic_return"] == pytest.approx(mean, nan_ok=True)
            mean = np.mean(lengths[member]) if lengths[member] else math.nan
            assert values["episodic_length"] == pytest.approx(mean, nan_ok=True)
            rewards = got.reward[:, 3 * member :][:, :3]
            assert values["reward_per_step"] == pytest.approx(rewards.mean())


def test_time_limits_count_and_switches_do_not(toy):
    env = EpisodeStatistics(NonStationaryVector(toy.Counter(2, max_steps=2), Periodic(6)))
    env.reset()
    toy.record(env, 3)  # the limit ends both episodes at step 2, the switch both at step 3
    collected = env.collect()
    assert collected["episodes"].tolist() == [2]
    assert collected["episodes_cut"].tolist() == [2]
    assert collected["episodic_length"].tolist() == [2]


def test_statistics_of_no_episode_are_nan(toy):
    env = build(toy)
    env.reset()
    collected = env.collect()
    assert all(collected[key].isnan().all() for key in ("episodic_return", "reward_per_step"))
    assert collected["episodes"].tolist() == [0, 0]


def test_resume_is_exact(toy):
    straight, resumed = build(toy), build(toy)
    straight.reset()
    resumed.reset()
    toy.record(straight, 13)
    resumed.load_state_dict(straight.state_dict())
    for env in (straight, resumed):
        toy.record(env, 11, seed=1)
    expected, got = straight.collect(), resumed.collect()
    for key, value in expected.items():
        assert torch.equal(value, got[key])


def test_reset_forgets_episodes_under_way(toy):
    env = EpisodeStatistics(toy.Counter(2, max_steps=3))
    env.reset()
    toy.record(env, 2)
    env.reset(options={"reset_mask": torch.tensor([True, False])})
    toy.record(env, 1)  # the other lane ends after three steps
    assert env.collect()["episodic_length"].tolist() == [3]
    env.reset()
    toy.record(env, 3)
    assert env.collect()["episodic_length"].tolist() == [3]


def test_numpy_environments_are_refused(tracks):
    env = SyncVectorEnv([tracks.Walk], autoreset_mode=AutoresetMode.SAME_STEP)
    with pytest.raises(ValueError, match="needs a TensorEnv"):
        EpisodeStatistics(env)
