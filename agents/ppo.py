"""Proximal policy optimisation, wholly on the device, for M members at once.

An iteration is collect then learn: T steps in every lane, then epochs of minibatches drawn anew
each epoch. Random numbers come from the stateless hash in :mod:`neoteny.core.rng`, keyed by each
member's own seed, so that a member's result depends neither on the other members nor on the
device's generator, and a resume needs only two counters.

Source: Schulman et al., arXiv:1707.06347; details as in Huang et al., "The 37 implementation
    details of PPO".
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import torch
from torch import Tensor

from neoteny.agents.agent import Agent
from neoteny.agents.distributions import action_distribution
from neoteny.agents.graphs import Recorder, Recordings
from neoteny.agents.hl_gauss import HLGauss
from neoteny.agents.ppo_loss import (
    PPOConfig,
    explained_variance,
    fused_ppo_loss,
    normalized,
    ppo_loss,
)
from neoteny.agents.rollout import Minibatch, Rollout, Shuffle, recent_targets
from neoteny.agents.spaces import check_lanes, observation_shape
from neoteny.core import rng
from neoteny.plasticity.interventions import TASK_STEPS, Intervention
from neoteny.plasticity.learner import Learner
from neoteny.plasticity.networks import HeadSpec, Network, NetworkSpec, Observations
from neoteny.plasticity.sparse import SparseBatch


class PPO(Agent):
    """Proximal policy optimisation, of discrete or continuous actions.

    Args:
        envs: A tensor environment with M times `config.num_envs` lanes, and discrete actions or
            a Box of floats.
        config: Hyper-parameters.
        spec: Shape of the policy's and the value function's bodies.
        interventions: Applied by the learner, left to right.
        seeds: One seed per member.
        fast: Compute policy and value as one batched network and the gradients of network and loss
            in closed form; else run the plain modules under autograd, which give the same numbers
            up to round-off.
        precision: Type of the matrix products' factors, float32 or bfloat16.
        recorder: Makes recorders of the steps of rollouts, of advantages and of updates, where they
            run the same operations every time; `None` runs them one operation after the other.
        checks: Replays of each recorded step that are compared with its operations, see
            `neoteny.agents.graphs.Recordings`.
        task_steps: Environment steps of a task, by which interventions are timed.

    Raises:
        ValueError: If the actions are of another kind, or observations are not a Box.
    """

    name = "ppo"
    config_class = PPOConfig
    learner: Learner
    step_bytes = 106  # 38 of the rollout, 20 of minibatches, 16 of orders, 32 while one is drawn
    records = True
    statistics = ("policy_loss", "value_loss", "entropy", "approx_kl", "clip_fraction")

    def __init__(
        self,
        envs: Any,
        config: PPOConfig,
        spec: NetworkSpec,
        interventions: Sequence[Intervention],
        seeds: Sequence[int],
        fast: bool = True,
        precision: torch.dtype = torch.float32,
        recorder: Callable[[], Recorder] | None = None,
        checks: int = 0,
        task_steps: float = TASK_STEPS,
    ) -> None:
        self.config = config
        self.members = len(seeds)
        self.device = device = torch.device(envs.device)
        self.policy = action_distribution(envs.single_action_space, config.log_std_init, device)
        self.observation_shape = observation_shape(envs.single_observation_space)
        check_lanes(envs, self.members, config.num_envs)
        self.histogram: HLGauss | None = None
        size = 1
        if config.value_loss == "hl_gauss":
            support, size = (config.value_min, config.value_max), config.value_bins
            self.histogram = HLGauss(*support, size, device=self.device)
        heads = {
            "policy": HeadSpec(self.policy.size, gain=0.01, distribution=self.policy),
            "value": HeadSpec(size, gain=1.0, distribution=self.histogram),
        }
        self.learner = Learner(
            lambda final_spec, generators: Network(
                final_spec, self.observation_shape, heads, generators, fast, precision
            ),
            spec,
            interventions,
            config.optimizer_settings(task_steps),
            seeds,
            max_grad_norm=config.max_grad_norm,
            device=self.device,
        )
        self.network: Network = self.learner.network
        self._policy_keys = rng.lane_keys(seeds, config.num_envs, "policy", self.device)
        self._shuffle = Shuffle(seeds, config.num_steps, config.num_envs, self.device)
        self._clock = torch.zeros((), dtype=torch.int64, device=self.device)
        self._obs: Tensor | None = None
        self._rollout: Rollout | None = None
        self._minibatch: Minibatch | None = None
        self._time = torch.zeros(1, dtype=torch.int64, device=self.device)
        self._recordings = Recordings(recorder, checks, self)

    def iterate(self, stream: Any) -> dict[str, Tensor]:
        """Collect a rollout and learn from it."""
        return self.learn(self.collect(stream))

    def recent(self, count: int) -> Tensor:
        """Observations spread over the last rollout's steps and lanes."""
        assert self._rollout is not None
        return self._rollout.spread(self._rollout.obs, count)

    @torch.no_grad()
    def recent_targets(self, count: int) -> dict[str, Tensor]:
        """See :func:`neoteny.agents.rollout.recent_targets`."""
        assert self._rollout is not None
        return recent_targets(self._rollout, self.policy, self.network, count)

    def play(self, obs: Tensor, keys: Tensor, step: int) -> Tensor:
        """Sample from the policy."""
        uniform = self.policy.draw(keys, step, self.members)
        action = self.policy.sample(self.network.branch("policy", obs), uniform)[0]
        return self.policy.to_env(action)

    def play_best(self, obs: Tensor) -> Tensor:
        """The most probable actions."""
        return self.policy.to_env(self.policy.mode(self.network.branch("policy", obs)))

    def _by_member(self, lanes: Tensor) -> Tensor:
        """View (L, ...) as (M, N, ...)."""
        return lanes.view(self.members, -1, *lanes.shape[1:])

    @torch.no_grad()
    def act(self, obs: Observations) -> tuple[Tensor, Tensor, Tensor]:
        """Sample actions (M, N, ...), their log-probabilities and values for observations."""
        outputs = self.network(obs)
        uniform = self.policy.draw(self._policy_keys, self._clock, self.members)
        self._clock += 1
        action, log_prob = self.policy.sample(outputs["policy"], uniform)
        return action, log_prob, self._read(outputs["value"])

    def _prepare(self, envs: Any) -> Rollout:
        """The rollout's memory, reused; with room for as many final observations as can occur."""
        if self._obs is None:
            self._obs = envs.reset()[0]
        slots = envs.max_truncations(self.config.num_steps)
        envs.final_observations = slots > 0
        if self._rollout is None:
            lead = self.config.num_steps, self.members, self.config.num_envs
            actions = self.policy.allocate(*lead, device=self.device)
            self._rollout = Rollout.allocate(actions, self._obs)
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
        steps = self.config.num_steps
        if self._obs is not None and self._obs is not rollout.last_obs:
            rollout.last_obs.copy_(self._obs)
        key = self._recordings.steps_key(envs, steps, self._memory_key(rollout))
        if key is None:
            obs = rollout.last_obs
            for t in range(steps):
                obs = self._play(envs, rollout, t, obs)
            rollout.last_obs.copy_(obs)
        else:
            self._time.zero_()
            for _ in range(steps):
                envs.skip(self._recordings.run("a step of a rollout", key, self._play_recorded))
        self._obs = rollout.last_obs
        return rollout

    def _play(self, envs: Any, rollout: Rollout, t: int | Tensor, obs: Tensor) -> Tensor:
        """Step t of a rollout in every lane, from observations (L, *shape) to those that follow."""
        inputs = self.network.listed(self._by_member(obs))
        if isinstance(inputs, SparseBatch):
            rollout.sparse.append(inputs)  # listed once, read in every epoch
        action, log_prob, value = self.act(inputs)
        rollout.write(t, obs=obs, action=action, log_prob=log_prob, value=value)
        obs, reward, terminated, truncated, info = envs.step(self.policy.to_env(action))
        truncated = truncated & ~terminated
        outcome = {"reward": reward, "terminated": terminated, "truncated": truncated}
        rollout.write(t, **{name: self._by_member(lanes) for name, lanes in outcome.items()})
        if len(rollout.final_obs):
            rollout.keep_final(t, info["final_obs"], truncated)
        return obs

    @torch.no_grad()
    def _play_recorded(self) -> None:
        """The next step of the rollout, on memory that stays where it is."""
        rollout = self._rollout
        assert rollout is not None
        obs = self._play(self._recordings.envs, rollout, self._time, rollout.last_obs)
        rollout.last_obs.copy_(obs)
        self._time += 1

    def _memory_key(self, rollout: Rollout) -> Hashable:
        """Addresses of the tensors that may be replaced by others."""
        memory = rollout.final_obs, *self.network.parameters()
        return len(rollout.final_obs), *(tensor.data_ptr() for tensor in memory)

    @torch.no_grad()
    def advantages(self, rollout: Rollout) -> Tensor:
        """Advantages (T, M, N), bootstrapped through truncation from the final observations."""
        config = self.config
        return rollout.advantages(self._value, config.gamma, config.gae_lambda)

    def _value(self, obs: Tensor) -> Tensor:
        """Values (M, N) of observations (L, *shape)."""
        return self._read(self.network.branch("value", self._by_member(obs)))

    def _read(self, outputs: Tensor) -> Tensor:
        """Values (M, B) for outputs (M, B, K) of their branch."""
        return self.network.branches["value"].read(outputs).squeeze(-1)

    def learn(self, rollout: Rollout) -> dict[str, Tensor]:
        """Run the epochs of minibatch updates.

        Returns:
            Name to (M,): the losses' statistics and gradient norms averaged over all updates, and
            the explained variance of the values that the rollout was collected with.
        """
        config = self.config
        if self._minibatch is None:
            count = len(self.statistics) + 1 + len(self.network.named_branch_parameters())
            self._minibatch = Minibatch.allocate(
                rollout, config.minibatch_size, self.policy.action_dim, count
            )
        minibatch = self._minibatch
        if rollout.sparse:
            minibatch.obs = SparseBatch.join(rollout.sparse)
        self._recordings.run("advantages", self._memory_key(rollout), self._fill)
        minibatch.totals.zero_()
        for _ in range(config.num_epochs):
            for rows in torch.split(self._shuffle(), config.minibatch_size, dim=1):
                minibatch.rows.copy_(rows)
                self._step()
        totals = self.learner.mean(minibatch.totals) / (config.num_epochs * config.num_minibatches)
        groups = "network", *self.network.named_branch_parameters()
        names = *self.statistics, *(f"gradient_norm/{name}" for name in groups)
        metrics = {f"losses/{name}": mean for name, mean in zip(names, totals, strict=True)}
        metrics["losses/explained_variance"] = explained_variance(rollout.value, rollout.returns)
        if self.histogram is not None:
            metrics["losses/outside_support"] = self.histogram.outside(rollout.returns).mean((0, 2))
        if (log_std := self.network.branches["policy"].log_std) is not None:
            metrics["losses/std"] = log_std.detach().exp().mean(1)
        return metrics

    @torch.no_grad()
    def _fill(self) -> None:
        """Fill the memory that minibatches are drawn from."""
        rollout, minibatch = self._rollout, self._minibatch
        assert rollout is not None
        assert minibatch is not None
        rollout.advantage.copy_(self.advantages(rollout))
        torch.add(rollout.advantage, rollout.value, out=rollout.returns)
        minibatch.fill(rollout, self.policy.split(rollout.action))

    def _step(self) -> None:
        """One gradient step on the minibatch's rows, replayed where it has been recorded."""
        frozen = self.learner.any_frozen  # from the first frozen member on, updates do more
        key = (frozen,) if self._recordings and self.learner.static else None
        before = self.learner.updates
        self._recordings.run("an update", key, self._update)
        self.learner.updates = before + 1

    def _update(self) -> None:
        """One gradient step on the minibatch's rows, adding the statistics to its totals."""
        minibatch, learner = self._minibatch, self.learner
        assert minibatch is not None
        share, rows = learner.share, minibatch.rows
        obs = select(minibatch.obs, share(rows))
        fields = minibatch.fields[rows]
        advantage = fields[..., 2]  # of all processes, as it is normalised
        if self.config.normalize_advantage:
            advantage = normalized(advantage)
        fields = share(fields)
        log_prob, value, _, returns = fields[..., :4].unbind(-1)
        outputs = self.network(obs)
        values = outputs["value"].squeeze(-1) if self.histogram is None else outputs["value"]
        batch = self.policy.join(fields[..., 4:]), log_prob, value, share(advantage), returns
        loss, statistics = (fused_ppo_loss if self.network.fast else ppo_loss)(
            self.policy, outputs["policy"], values, *batch, self.config, self.histogram
        )
        if learner.reads_others:
            obs = select(minibatch.obs, rows)
        norm = learner.update(loss, obs, {"policy": statistics[0], "value": statistics[1]})
        norms = torch.stack([norm, *learner.branch_norms.values()])
        minibatch.totals += torch.cat([statistics, norms])

    def state_dict(self) -> dict[str, Any]:
        """Everything a bit-exact resume needs, the learner included."""
        return {
            "learner": self.learner.state_dict(),
            "clock": self._clock,
            "epochs": self._shuffle.epochs,
            "obs": self._obs,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
        self.learner.load_state_dict(state["learner"])
        self._clock.copy_(state["clock"])
        self._shuffle.epochs.copy_(state["epochs"])
        self._recordings.forget()  # loading gave the optimiser new tensors
        obs = state["obs"]
        self._obs = None if obs is None else obs.to(self.device)


def select(obs: Observations, rows: Tensor) -> Observations:
    """Gather rows (M, B) of observations (R, *shape) into a batch (M, B, *shape)."""
    if isinstance(obs, SparseBatch):
        return obs.select(rows)
    return obs.index_select(0, rows.flatten()).view(*rows.shape, *obs.shape[1:])
