"""Agents of others on our environments and through our wrappers, from which they really learn.

One is examples/single_file_ppo.py, a whole PPO in the manner of CleanRL; the others are
Stable-Baselines3's. Each learns CartPole in two environments: ours on the device, and Gymnasium's
on the host under `NonStationary`, where the pole's length changes between 0.5 and 1 every 4,096
steps.
"""

from functools import partial

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from single_file_ppo import LANES, STEPS, changing, train
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor

from neoteny.envs import make
from neoteny.sb3.vec_env import SB3VecEnv


def vector_world(kind: str) -> gymnasium.vector.VectorEnv:
    if kind == "device":
        return gymnasium.make_vec("neoteny/CartPole-v1", LANES, autoreset_mode="SameStep")
    lanes = [partial(changing, lane) for lane in range(LANES)]
    return SyncVectorEnv(lanes, autoreset_mode=AutoresetMode.SAME_STEP)


def sb3_world(kind: str):
    if kind == "device":
        return VecMonitor(SB3VecEnv(make("CartPole-v1", LANES)))
    return DummyVecEnv([lambda lane=lane: Monitor(changing(lane)) for lane in range(LANES)])


KINDS = ["device", "host"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_loop_of_ones_own_runs(kind):
    envs = vector_world(kind)
    returns = train(envs, 2 * STEPS * LANES)
    assert len(returns) > 20
    assert min(returns) >= 8  # no shorter episode is possible
    assert np.mean(returns[:20]) < 40
    envs.close()


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_loop_of_ones_own_learns(kind):
    envs = vector_world(kind)
    returns = train(envs, 32_768)
    first, last = np.mean(returns[:30]), np.mean(returns[-30:])
    print(f"CleanRL-style PPO, {kind}: first 30 episodes {first:.1f}, last 30 {last:.1f}")
    assert first < 40
    assert last > 100
    envs.close()


def learns(agent, env, steps) -> tuple[float, float]:
    """Mean return of 24 episodes before and after."""
    before = evaluate_policy(agent, env, 24, deterministic=False)[0]
    agent.learn(steps)
    after = evaluate_policy(agent, env, 24, deterministic=True)[0]
    return before, after


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_sb3_ppo_learns(kind):
    env = sb3_world(kind)
    agent = PPO(
        "MlpPolicy", env, n_steps=64, batch_size=128, n_epochs=6, learning_rate=2.5e-3, seed=0,
        device="cpu",
    )  # fmt: skip
    before, after = learns(agent, env, 24_576)
    print(f"SB3 PPO, {kind}: {before:.1f} before, {after:.1f} after")
    assert before < 40
    assert after > 100
    env.close()


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_sb3_dqn_learns(kind):
    env = sb3_world(kind)
    agent = DQN(
        "MlpPolicy", env, learning_rate=1e-3, buffer_size=50_000, learning_starts=1_000,
        batch_size=64, train_freq=4, gradient_steps=8, target_update_interval=400,
        exploration_fraction=0.3, exploration_final_eps=0.04, seed=0, device="cpu",
    )  # fmt: skip
    agent.exploration_rate = 1.0  # for the returns before, which are those of random play
    before, after = learns(agent, env, 32_768)
    print(f"SB3 DQN, {kind}: {before:.1f} before, {after:.1f} after")
    assert before < 40
    assert after > 100
    env.close()
