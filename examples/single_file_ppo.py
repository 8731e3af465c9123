"""PPO in one file, in the manner of CleanRL, on a CartPole whose pole changes its length.

python examples/single_file_ppo.py --steps 32768

It knows Gymnasium and torch. From neoteny it takes the optimiser, AdamO, and the diagnostics; that
the pole changes is one wrapper around Gymnasium's own environment.
"""

import argparse
from functools import partial

import gymnasium
import numpy as np
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from torch import Tensor, nn
from torch.distributions import Categorical

from neoteny.plasticity import AdamO, gram_deviation, isometry_groups
from neoteny.plasticity.diagnostics import dormant_fraction, effective_rank, singular_values
from neoteny.wrappers import Cyclic, Dynamics, NonStationary

LANES, STEPS, EPOCHS, BATCH = 8, 64, 6, 128
GAMMA, LAMBDA, CLIP = 0.99, 0.95, 0.2


class Agent(nn.Module):
    """Policy and value, two networks."""

    def __init__(self, envs: VectorEnv) -> None:
        super().__init__()
        inputs = int(np.prod(envs.single_observation_space.shape))
        self.policy = network(inputs, int(envs.single_action_space.n))
        self.value = network(inputs, 1)

    def act(self, obs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Actions, their log-probabilities and the values of observations (lanes, ...)."""
        choice = Categorical(logits=self.policy(obs))
        action = choice.sample()
        return action, choice.log_prob(action), self.value(obs).squeeze(1)


def network(inputs: int, outputs: int) -> nn.Sequential:
    """Two hidden layers of 64 units; the head is module "5"."""
    hidden = [nn.Linear(inputs, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh()]
    return nn.Sequential(nn.Flatten(), *hidden, nn.Linear(64, outputs))


def train(envs: VectorEnv, total: int, seed: int = 0, report: bool = False) -> list[float]:
    """Train on a vector environment of NumPy arrays with SAME_STEP autoreset.

    Args:
        envs: the environments.
        total: steps, all lanes together.
        seed: of weights, actions and environments.
        report: print a line of returns and diagnostics every eight iterations.

    Returns:
        The returns of the episodes, in the order in which they ended.
    """
    torch.manual_seed(seed)
    agent = Agent(envs)
    groups = isometry_groups(agent, exclude=["policy.5", "value.5"])  # heads stay free
    optimizer = AdamO(groups, lr=2.5e-3, eps=1e-5, isometry=0.1)
    lanes, returns, running = envs.num_envs, [], np.zeros(envs.num_envs)
    obs = torch.from_numpy(envs.reset(seed=seed)[0]).float()
    for iteration in range(total // (STEPS * lanes)):
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
        if report and iteration % 8 == 7:
            step, mean = (iteration + 1) * STEPS * lanes, np.mean(returns[-20:])
            print(f"step {step:>7,}  return {mean:6.1f}  {diagnostics(agent.policy, batch[0])}")
    return returns


def improve(
    agent: Agent,
    optimizer: torch.optim.Optimizer,
    obs: Tensor,
    action: Tensor,
    logprob: Tensor,
    value: Tensor,
    reward: Tensor,
    alive: Tensor,
    last_obs: Tensor,
) -> None:
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


@torch.no_grad()
def diagnostics(policy: nn.Sequential, obs: Tensor) -> str:
    """Distance of the second layer from an isometry; rank and dormant share of its features."""
    features = policy[:5](obs.flatten(0, 1))
    rank = effective_rank(singular_values(features)).item()
    deviation = gram_deviation(policy[3].weight).item()
    dormant = dormant_fraction(features).item()
    return f"Gram deviation {deviation:.2f}  feature rank {rank:.1f}  dormant {dormant:.2f}"


def changing(lane: int) -> NonStationary:
    """Gymnasium's CartPole, one of several, whose pole is long and short in turns."""
    pole = Dynamics("length", (0.5, 1.0))
    schedule = Cyclic(4_096, 2)  # a task of 4,096 steps of all lanes together
    return NonStationary(gymnasium.make("CartPole-v1"), schedule, [pole], stride=LANES, lane=lane)


def main() -> None:
    """Train and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=32_768, help="steps of all lanes together")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    lanes = [partial(changing, lane) for lane in range(LANES)]
    envs = SyncVectorEnv(lanes, autoreset_mode=AutoresetMode.SAME_STEP)
    train(envs, options.steps, options.seed, report=True)
    envs.close()


if __name__ == "__main__":
    main()
