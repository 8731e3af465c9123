"""Agents of others on our environments and through our wrappers, from which they really learn.

`train` below is a whole PPO in the manner of CleanRL: one function that knows Gymnasium and torch
and nothing of neoteny, to show what a loop of one's own looks like. The other agents are
Stable-Baselines3's. Each learns CartPole in two worlds: ours on the device, and Gymnasium's on the
host under `NonStationary`, where every 4,096 steps the pole's length changes between 0.5 and 1.
"""

from functools import partial

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor
from torch import nn
from torch.distributions import Categorical

from neoteny.envs import make
from neoteny.sb3.vec_env import SB3VecEnv
from neoteny.wrappers import Cyclic, Dynamics, NonStationary

LANES = 8
STEPS, EPOCHS, BATCH = 64, 6, 128
GAMMA, LAMBDA, CLIP = 0.99, 0.95, 0.2


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class Agent(nn.Module):
    """Policy and value, two networks."""

    def __init__(self, envs: gymnasium.vector.VectorEnv) -> None:
        super().__init__()
        inputs = int(np.prod(envs.single_observation_space.shape))

        def network(outputs: int) -> nn.Module:
            hidden = [nn.Linear(inputs, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh()]
            return nn.Sequential(nn.Flatten(), *hidden, nn.Linear(64, outputs))

        self.policy = network(int(envs.single_action_space.n))
        self.value = network(1)

    def act(self, obs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        choice = Categorical(logits=self.policy(obs))
        action = choice.sample()
        return action, choice.log_prob(action), self.value(obs).squeeze(1)


def train(envs: gymnasium.vector.VectorEnv, total: int, seed: int = 0) -> list[float]:
    """PPO on NumPy arrays from a vector environment with SAME_STEP autoreset.

    Returns:
        The returns of the episodes, in the order in which they ended.
    """
    torch.manual_seed(seed)
    agent = Agent(envs)
    optimizer = torch.optim.Adam(agent.parameters(), lr=2.5e-3, eps=1e-5)
    lanes, returns, running = envs.num_envs, [], np.zeros(envs.num_envs)
    obs = torch.from_numpy(envs.reset(seed=seed)[0]).float()
    for _ in range(total // (STEPS * lanes)):
        rows = []
        for _ in range(STEPS):
            with torch.no_grad():
                action, logprob, value = agent.act(obs)
            following, reward, terminated, truncated, info = envs.step(action.numpy())
            running += reward
            done = terminated | truncated
            returns += running[done].tolist()
            running[done] = 0
            reward = torch.from_numpy(np.asarray(reward, np.float32)).clone()
            if (cut := truncated & ~terminated).any():  # the episode would have gone on
                final = torch.from_numpy(np.stack(info["final_obs"][cut])).float()
                with torch.no_grad():
                    reward[torch.from_numpy(cut)] += GAMMA * agent.value(final).squeeze(1)
            alive = torch.from_numpy(1.0 - done).float()
            rows.append((obs, action, logprob, value, reward, alive))
            obs = torch.from_numpy(following).float()
        batch = [torch.stack(column) for column in zip(*rows, strict=True)]
        improve(agent, optimizer, *batch, obs)
    return returns


def improve(agent, optimizer, obs, action, logprob, value, reward, alive, last_obs) -> None:
    """Advantages by GAE, then epochs of clipped updates; all (STEPS, lanes, ...)."""
    advantage = torch.zeros_like(reward)
    with torch.no_grad():
        following, carried = agent.value(last_obs).squeeze(1), 0.0
    for t in reversed(range(STEPS)):
        delta = reward[t] + GAMMA * following * alive[t] - value[t]
        carried = delta + GAMMA * LAMBDA * alive[t] * carried
        advantage[t], following = carried, value[t]
    target = advantage + value
    flat = [x.flatten(0, 1) for x in (obs, action, logprob, advantage, target)]
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(flat[0])).split(BATCH):
            some, taken, before, gain, goal = (x[rows] for x in flat)
            choice = Categorical(logits=agent.policy(some))
            gain = (gain - gain.mean()) / (gain.std() + 1e-8)
            ratio = (choice.log_prob(taken) - before).exp()
            clipped = ratio.clamp(1 - CLIP, 1 + CLIP)
            loss = -torch.min(ratio * gain, clipped * gain).mean()
            loss += 0.5 * (agent.value(some).squeeze(1) - goal).square().mean()
            loss -= 0.01 * choice.entropy().mean()
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(agent.parameters(), 0.5)
            optimizer.step()


def changing(lane: int) -> NonStationary:
    """Gymnasium's CartPole, one of several, whose pole grows and shrinks."""
    return NonStationary(
        gymnasium.make("CartPole-v1"),
        Cyclic(4_096, 2),
        [Dynamics("length", (0.5, 1.0))],
        stride=LANES,
        lane=lane,
    )


def vector_world(kind: str) -> gymnasium.vector.VectorEnv:
    if kind == "device":
        return gymnasium.make_vec("neoteny/CartPole-v1", LANES, numpy=True)
    lanes = [partial(changing, lane) for lane in range(LANES)]
    return SyncVectorEnv(lanes, autoreset_mode=AutoresetMode.SAME_STEP)


def sb3_world(kind: str):
    if kind == "device":
        return VecMonitor(SB3VecEnv(make("CartPole-v1", LANES)))
    return DummyVecEnv([lambda lane=lane: Monitor(changing(lane)) for lane in range(LANES)])


WORLDS = ["device", "host"]


@pytest.mark.parametrize("kind", WORLDS)
def test_a_loop_of_ones_own_runs(kind):
    envs = vector_world(kind)
    returns = train(envs, 3 * STEPS * LANES)
    assert len(returns) > 20
    assert min(returns) >= 8  # no shorter episode is possible
    assert np.mean(returns[:20]) < 40
    envs.close()


@pytest.mark.slow
@pytest.mark.parametrize("kind", WORLDS)
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
@pytest.mark.parametrize("kind", WORLDS)
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
@pytest.mark.parametrize("kind", WORLDS)
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
