"""Proximal policy optimisation, wholly on the device, for M members at once.

An iteration is collect then learn: T steps in every lane, then epochs of minibatches drawn anew
each epoch. Random numbers come from the stateless hash in :mod:`neoteny.envs.rng`, keyed by each
member's own seed, so that a member's result depends neither on the other members nor on the
device's generator, and a resume needs only two counters.

Source: Schulman et al., arXiv:1707.06347; details as in Huang et al., "The 37 implementation
    details of PPO".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium
import torch
import torch.nn.functional as F
from torch import Tensor

from neoteny.agents.learner import Learner
from neoteny.agents.networks import HeadSpec, Network, NetworkSpec, Observations
from neoteny.agents.rollout import Rollout, gae
from neoteny.agents.sparse import SparseBatch
from neoteny.envs import rng
from neoteny.plasticity.interventions import Intervention, OptimizerSettings

__all__ = ["PPO", "PPOConfig", "ppo_loss", "sample_actions"]


@dataclass(frozen=True)
class PPOConfig:
    """Hyper-parameters of PPO. The defaults are the paper's for MinAtar (preset `paper`)."""

    num_envs: int = 2048
    """Parallel environments (lanes) of one member."""
    num_steps: int = 128
    """Steps in each lane between two learning phases."""
    num_epochs: int = 4
    """Passes over a rollout."""
    num_minibatches: int = 128
    """Minibatches a pass; must divide num_envs x num_steps."""
    learning_rate: float = 2.5e-4
    """Adam's step size, constant."""
    adam_eps: float = 1e-5
    """Adam's epsilon."""
    gamma: float = 0.99
    """Discount per step."""
    gae_lambda: float = 0.95
    """Decay of the advantage estimator's trace."""
    clip_range: float = 0.2
    """Largest relative change of an action's probability that is still rewarded."""
    clip_range_vf: float | None = 0.2
    """Largest change of a value prediction in an iteration, in units of return; none disables."""
    ent_coef: float = 0.01
    """Weight of the entropy bonus, in nats."""
    vf_coef: float = 0.5
    """Weight of the value loss (half the squared error)."""
    max_grad_norm: float | None = 0.5
    """Largest gradient norm of a branch; none disables clipping."""
    normalize_advantage: bool = True
    """Normalise advantages within each member's minibatch."""

    def __post_init__(self) -> None:
        for name in ("num_envs", "num_steps", "num_epochs", "num_minibatches"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} is {getattr(self, name)}: it must be at least 1")
        if self.steps_per_iteration % self.num_minibatches:
            raise ValueError(
                f"num_minibatches {self.num_minibatches} does not divide the batch of num_envs "
                f"{self.num_envs} x num_steps {self.num_steps} = {self.steps_per_iteration}: "
                "choose a divisor"
            )
        for name in ("gamma", "gae_lambda"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}: it must lie in [0, 1]")

    @property
    def steps_per_iteration(self) -> int:
        """Environment steps of one member in an iteration."""
        return self.num_envs * self.num_steps

    @property
    def minibatch_size(self) -> int:
        """Samples of one member in a minibatch."""
        return self.steps_per_iteration // self.num_minibatches

    @property
    def updates_per_step(self) -> float:
        """Gradient steps per environment step."""
        return self.num_epochs * self.num_minibatches / self.steps_per_iteration


def sample_actions(logits: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
    """Sample categorical actions by inverting the distribution function.

    Args:
        logits: (..., A).
        uniform: (...) in [0, 1).

    Returns:
        Actions (...) int64 and their log-probabilities (...).
    """
    log_probs = F.log_softmax(logits, dim=-1)
    below = log_probs.exp().cumsum(-1) <= uniform.unsqueeze(-1)
    action = below[..., :-1].sum(-1)  # round-off in the last entry must not reach past it
    return action, log_probs.gather(-1, action.unsqueeze(-1)).squeeze(-1)


def ppo_loss(
    logits: Tensor,
    value: Tensor,
    action: Tensor,
    old_log_prob: Tensor,
    old_value: Tensor,
    advantage: Tensor,
    returns: Tensor,
    config: PPOConfig,
) -> tuple[Tensor, Tensor]:
    """The clipped surrogate, value and entropy losses of each member.

    Args:
        logits: (M, B, A).
        value: (M, B) new predictions.
        action: (M, B) int64.
        old_log_prob: (M, B) when the action was taken.
        old_value: (M, B) when the action was taken.
        advantage: (M, B).
        returns: (M, B) value targets.
        config: Clip ranges and coefficients.

    Returns:
        Loss (M,) and statistics (5, M) without gradient: policy loss, value loss, entropy,
        approximate KL (E[(r - 1) - ln r]) and the fraction of clipped ratios.
    """
    log_probs = F.log_softmax(logits, dim=-1)
    log_ratio = log_probs.gather(-1, action.unsqueeze(-1)).squeeze(-1) - old_log_prob
    ratio = log_ratio.exp()
    if config.normalize_advantage:
        std, mean = torch.std_mean(advantage, dim=1, keepdim=True)
        advantage = (advantage - mean) / (std + 1e-8)
    clipped = ratio.clamp(1 - config.clip_range, 1 + config.clip_range)
    policy_loss = -torch.minimum(advantage * ratio, advantage * clipped).mean(1)
    error = (value - returns).square()
    if config.clip_range_vf is not None:
        change = (value - old_value).clamp(-config.clip_range_vf, config.clip_range_vf)
        error = torch.maximum(error, (old_value + change - returns).square())
    value_loss = 0.5 * error.mean(1)
    entropy = -(log_probs.exp() * log_probs).sum(-1).mean(1)
    loss = policy_loss + config.vf_coef * value_loss - config.ent_coef * entropy
    with torch.no_grad():
        kl = (ratio - 1 - log_ratio).mean(1)
        clip_fraction = ((ratio - 1).abs() > config.clip_range).float().mean(1)
        statistics = torch.stack([policy_loss, value_loss, entropy, kl, clip_fraction])
    return loss, statistics


class PPO:
    """A PPO agent of M members, one per seed.

    Args:
        envs: A tensor environment with M times `config.num_envs` lanes and discrete actions.
        config: Hyper-parameters.
        spec: Shape of the policy's and the value function's bodies.
        interventions: Applied by the learner, left to right.
        seeds: One seed per member.
        dense: Take no advantage of binary observations; the plain path that the fast one equals.
    """

    statistics = ("policy_loss", "value_loss", "entropy", "approx_kl", "clip_fraction")

    def __init__(
        self,
        envs: Any,
        config: PPOConfig,
        spec: NetworkSpec,
        interventions: Sequence[Intervention],
        seeds: Sequence[int],
        dense: bool = False,
    ) -> None:
        if not isinstance(envs.single_action_space, gymnasium.spaces.Discrete):
            raise ValueError(f"PPO needs discrete actions, the environment has {envs.action_space}")
        self.config = config
        self.members = len(seeds)
        self.device = torch.device(envs.device)
        self.observation_shape = tuple(envs.single_observation_space.shape)
        heads = {
            "policy": HeadSpec(int(envs.single_action_space.n), gain=0.01),
            "value": HeadSpec(1, gain=1.0),
        }
        self.learner = Learner(
            lambda final_spec, generators: Network(
                final_spec, self.observation_shape, heads, generators, dense
            ),
            spec,
            interventions,
            OptimizerSettings(
                config.learning_rate, config.adam_eps, updates_per_step=config.updates_per_step
            ),
            seeds,
            max_grad_norm=config.max_grad_norm,
            device=self.device,
        )
        batch = config.steps_per_iteration
        self._policy_keys = rng.lane_keys(seeds, config.num_envs, "policy", self.device)
        self._batch_keys = rng.lane_keys(seeds, batch, "minibatch", self.device).view(-1, batch)
        self._clock = torch.zeros((), dtype=torch.int64, device=self.device)
        self._epochs = torch.zeros((), dtype=torch.int64, device=self.device)
        self._obs: Tensor | None = None
        self._rollout: Rollout | None = None

    @property
    def network(self) -> Network:
        """The policy and value networks."""
        return self.learner.network

    def _by_member(self, lanes: Tensor) -> Tensor:
        """View (L, ...) as (M, N, ...)."""
        return lanes.view(self.members, -1, *lanes.shape[1:])

    @torch.no_grad()
    def act(self, obs: Observations) -> tuple[Tensor, Tensor, Tensor]:
        """Sample actions (M, N) with log-probabilities and values for observations (M, N, ...)."""
        outputs = self.network(obs)
        uniform = rng.uniform(rng.bits(self._policy_keys, self._clock, 0)).view(self.members, -1)
        self._clock += 1
        action, log_prob = sample_actions(outputs["policy"], uniform)
        return action, log_prob, outputs["value"].squeeze(-1)

    def _prepare(self, envs: Any) -> Rollout:
        """The rollout's memory, reused; with room for as many final observations as can occur."""
        if self._obs is None:
            self._obs = envs.reset()[0]
        slots = envs.max_truncations(self.config.num_steps)
        envs.final_observations = slots > 0
        if self._rollout is None:
            self._rollout = Rollout.allocate(
                self.config.num_steps, self.members, self.config.num_envs, self._obs
            )
        self._rollout.begin(slots)
        return self._rollout

    @torch.no_grad()
    def collect(self, envs: Any) -> Rollout:
        """Play `num_steps` steps in every lane.

        Args:
            envs: The environment, in SAME_STEP autoreset mode.

        Returns:
            The rollout; its memory is overwritten by the next call.
        """
        rollout = self._prepare(envs)
        obs = self._obs
        assert obs is not None
        for t in range(self.config.num_steps):
            inputs = self.network.inputs(self._by_member(obs))
            if isinstance(inputs, SparseBatch):
                rollout.sparse.append(inputs)  # listed once, read in every epoch
            action, log_prob, value = self.act(inputs)
            rollout.obs[t] = obs
            rollout.action[t] = action
            rollout.log_prob[t] = log_prob
            rollout.value[t] = value
            obs, reward, terminated, truncated, info = envs.step(action.flatten())
            truncated = truncated & ~terminated
            rollout.reward[t] = self._by_member(reward)
            rollout.terminated[t] = self._by_member(terminated)
            rollout.truncated[t] = self._by_member(truncated)
            if len(rollout.final_obs):
                rollout.keep_final(t, info["final_obs"], truncated)
        rollout.last_obs.copy_(obs)
        self._obs = rollout.last_obs
        return rollout

    @torch.no_grad()
    def advantages(self, rollout: Rollout) -> Tensor:
        """Advantages (T, M, N), bootstrapped through truncation from the final observations."""
        last_value = self.network.branch("value", self._by_member(rollout.last_obs)).squeeze(-1)
        next_value = torch.cat([rollout.value[1:], last_value.unsqueeze(0)])
        if len(rollout.final_obs):
            final_value = torch.stack(
                [
                    self.network.branch("value", self._by_member(obs)).squeeze(-1)
                    for obs in rollout.final_obs
                ]
            )  # (S, M, N)
            slot = rollout.slot.view_as(rollout.action).clamp(max=len(final_value) - 1)
            next_value = torch.where(rollout.truncated, final_value.gather(0, slot), next_value)
        return gae(
            rollout.reward,
            rollout.value,
            next_value,
            rollout.terminated,
            rollout.terminated | rollout.truncated,
            self.config.gamma,
            self.config.gae_lambda,
        )

    def learn(self, rollout: Rollout) -> dict[str, Tensor]:
        """Run the epochs of minibatch updates.

        Returns:
            Name to (M,): the losses' statistics and gradient norms averaged over all updates, and
            the explained variance of the values that the rollout was collected with.
        """
        config = self.config
        advantage = self.advantages(rollout)
        returns = advantage + rollout.value
        obs: Observations = rollout.obs.flatten(0, 1)  # (T L, *shape)
        if rollout.sparse:
            obs = SparseBatch.join(rollout.sparse)
        fields = torch.stack(
            [rollout.log_prob, rollout.value, advantage, returns, rollout.action.float()], dim=-1
        ).flatten(0, 2)  # (T L, 5): one gather a minibatch instead of five
        totals = torch.zeros(len(self.statistics) + 3, self.members, device=self.device)
        for _ in range(config.num_epochs):
            order = self._shuffle()
            for start in range(0, order.shape[1], config.minibatch_size):
                index = order[:, start : start + config.minibatch_size]
                batch = fields[index].unbind(-1)
                totals += self._update(select(obs, index), *batch)
        totals /= config.num_epochs * config.num_minibatches
        names = [f"losses/{name}" for name in self.statistics]
        names += [f"losses/gradient_norm/{name}" for name in ("network", *self.network.branches)]
        metrics = dict(zip(names, totals, strict=True))
        metrics["losses/explained_variance"] = explained_variance(rollout.value, returns)
        return metrics

    def _update(
        self,
        obs: Observations,
        log_prob: Tensor,
        value: Tensor,
        advantage: Tensor,
        returns: Tensor,
        action: Tensor,
    ) -> Tensor:
        """One gradient step on a minibatch of (M, B, ...); returns the statistics (8, M)."""
        outputs = self.network(obs)
        loss, statistics = ppo_loss(
            outputs["policy"],
            outputs["value"].squeeze(-1),
            action.long(),
            log_prob,
            value,
            advantage,
            returns,
            self.config,
        )
        norm = self.learner.update(loss, obs)
        norms = torch.stack([norm, *self.learner.branch_norms.values()])
        return torch.cat([statistics, norms])

    def _shuffle(self) -> Tensor:
        """A random order of each member's samples, (M, T N), as rows of the rollout (T M N)."""
        order = rng.bits(self._batch_keys, self._epochs, 0).argsort(dim=1, stable=True)
        self._epochs += 1
        lanes = self.config.num_envs
        member = torch.arange(self.members, device=self.device).unsqueeze(1)
        step, lane = order // lanes, order % lanes
        return (step * self.members + member) * lanes + lane

    def state_dict(self) -> dict[str, Any]:
        """Everything a bit-exact resume needs, the learner included."""
        return {
            "learner": self.learner.state_dict(),
            "clock": self._clock,
            "epochs": self._epochs,
            "obs": self._obs,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
        self.learner.load_state_dict(state["learner"])
        self._clock.copy_(state["clock"])
        self._epochs.copy_(state["epochs"])
        obs = state["obs"]
        self._obs = None if obs is None else obs.to(self.device)


def select(obs: Observations, rows: Tensor) -> Observations:
    """Gather rows (M, B) of observations (R, *shape) into a batch (M, B, *shape)."""
    if isinstance(obs, SparseBatch):
        return obs.select(rows)
    return obs.index_select(0, rows.flatten()).view(*rows.shape, *obs.shape[1:])


def explained_variance(value: Tensor, returns: Tensor) -> Tensor:
    """1 - Var(returns - value) / Var(returns) of each member, from (T, M, N) to (M,)."""
    residual = (returns - value).transpose(0, 1).flatten(1).var(1)
    total = returns.transpose(0, 1).flatten(1).var(1)
    return 1 - residual / total
