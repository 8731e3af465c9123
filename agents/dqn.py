"""Deep Q-learning, wholly on the device, for M members at once.

An iteration is a number of steps in every lane, with gradient steps in between as they fall due.
Random numbers come from the stateless hash in :mod:`neoteny.core.rng`, keyed by each member's own
seed, so that a member's result depends neither on the other members nor on the device's generator,
and a resume needs only two counters, which the host knows.

Source: Mnih et al., Nature 518 (2015); double Q-learning, van Hasselt et al., arXiv:1509.06461;
    dueling, Wang et al., arXiv:1511.06581.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import torch
from torch import Tensor

from neoteny.agents.agent import Agent
from neoteny.agents.dqn_loss import (
    DQNConfig,
    dueling_outputs,
    epsilon_at,
    explorations,
    explore,
    histogram_loss,
    td_loss,
    td_target,
)
from neoteny.agents.graphs import Recorder, Recordings, filled
from neoteny.agents.hl_gauss import HLGauss
from neoteny.agents.replay import Batch, floats, unpack
from neoteny.agents.replay_policies import Replay, check_switches, make_replay
from neoteny.agents.spaces import action_count, check_lanes, observation_shape
from neoteny.core import rng
from neoteny.plasticity.interventions import TASK_STEPS, Intervention
from neoteny.plasticity.learner import Learner
from neoteny.plasticity.networks import HeadSpec, Network, NetworkSpec


class DQN(Agent):
    """Deep Q-learning, double and dueling, of discrete actions.

    Args:
        envs: A tensor environment with M times `config.num_envs` lanes and discrete actions.
        config: Hyper-parameters.
        spec: Shape of each branch's body.
        interventions: Applied by the learner, left to right.
        seeds: One seed per member.
        fast: Compute a network and its gradient as one batched operation; else run the plain
            modules under autograd, which give the same numbers up to round-off.
        precision: Type of the matrix products' factors, float32 or bfloat16.
        recorder: Makes recorders of steps and of updates, where they run the same operations every
            time; `None` runs them one operation after the other.
        checks: Replays of each recorded step that are compared with its operations, see
            `neoteny.agents.graphs.Recordings`.
        task_steps: Environment steps of a task, by which interventions are timed.

    Raises:
        ValueError: If actions are not discrete, observations are not a Box, or what happens at a
            switch asks for members that switch together and they do not.
    """

    name = "dqn"
    config_class = DQNConfig
    learner: Learner
    step_bytes = 32
    records = True
    statistics: tuple[str, ...] = ("td_loss", "td_error", "q_value", "target")

    def __init__(
        self,
        envs: Any,
        config: DQNConfig,
        spec: NetworkSpec,
        interventions: Sequence[Intervention],
        seeds: Sequence[int],
        fast: bool = True,
        precision: torch.dtype = torch.float32,
        recorder: Callable[[], Recorder] | None = None,
        checks: int = 0,
        task_steps: float = TASK_STEPS,
    ) -> None:
        self.actions = action_count(envs.single_action_space)
        self.observation_shape = observation_shape(envs.single_observation_space)
        check_switches(envs, config, len(seeds))
        self.config = config
        self.seeds = tuple(seeds)
        self.members = len(seeds)
        check_lanes(envs, self.members, config.num_envs)
        self.device = torch.device(envs.device)
        self.histogram: HLGauss | None = None
        size = 1
        if config.loss == "hl_gauss":
            support, size = (config.value_min, config.value_max), config.value_bins
            self.histogram = HLGauss(*support, size, self.actions, self.device)
            self.statistics = (*self.statistics, "outside_support")
        heads = {"q": HeadSpec(self.actions * size, distribution=self.histogram)}
        if config.dueling:
            heads = {"value": HeadSpec(size), "advantage": HeadSpec(self.actions * size)}
        self.learner = Learner(
            lambda final_spec, generators: Network(
                final_spec, self.observation_shape, heads, generators, fast, precision
            ),
            spec,
            interventions,
            config.optimizer_settings(task_steps),
            seeds,
            max_grad_norm=config.max_grad_norm,
            clip_per_branch=False,
            device=self.device,
        )
        self.network: Network = self.learner.network
        self.target = copy.deepcopy(self.network).requires_grad_(False)
        self.learner.targets = [self.target]  # surgery edits it along with the network
        self.learner.beginnings = [self._begin_anew]
        self._policy_keys = rng.lane_keys(seeds, config.num_envs, "policy", self.device)
        batch_keys = rng.lane_keys(seeds, config.batch_size, "replay", self.device)
        self._batch_keys = batch_keys.view(self.members, -1)
        self.step = 0
        """Environment steps of one member so far."""
        self.began = 0
        """Step at which the exploration schedule began."""
        self.replay: Replay | None = None
        self._totals = torch.zeros(len(self.statistics) + 1, self.members, device=self.device)
        self._recordings = Recordings(recorder, checks, self)
        self._inputs: tuple[Tensor, ...] = ()
        self._outcome: tuple[Tensor, ...] = ()
        self._batch: tuple[Tensor, ...] = ()

    def outputs(self, network: Network, obs: Tensor) -> Tensor:
        """Q-values (M, B, A), or the logits (M, B, A K) of their histograms, see `values`."""
        outputs: dict[str, Tensor] = network(obs)
        if self.config.dueling:
            return dueling_outputs(outputs["value"], outputs["advantage"])
        return outputs["q"]

    def values(self, network: Network, obs: Tensor) -> Tensor:
        """Q-values (M, B, A) of float observations (M, B, *shape)."""
        outputs = self.outputs(network, obs)
        return outputs if self.histogram is None else self.histogram.read(outputs)

    @torch.no_grad()
    def greedy(self, obs: Tensor) -> Tensor:
        """Actions (M, N) of largest value on observations (M, N, *shape)."""
        return self.values(self.network, floats(obs)).argmax(-1)

    def act(self, obs: Tensor, uniform: Tensor, epsilon: Tensor | float) -> Tensor:
        """Epsilon-greedy actions (M, N) on observations (M, N, *shape)."""
        return explore(self.greedy(obs), uniform, epsilon, self.actions)

    def _prepare(self, envs: Any) -> Replay:
        """The replay, with room for as many final observations as can occur within it.

        They are asked for in iterations in which any can occur.
        """
        if self.replay is None:
            self.replay = make_replay(envs.reset()[0], self.config, self.seeds)
        buffer, steps = self.replay.buffer, self.config.num_steps
        buffer.reserve(envs.max_truncations(buffer.rows + steps))
        envs.final_observations = envs.max_truncations(steps) > 0
        return self.replay

    def iterate(self, envs: Any) -> dict[str, Tensor | float]:
        """Play `num_steps` steps in every lane, and take the gradient steps that fall due.

        Args:
            envs: The environment, in SAME_STEP autoreset mode.

        Returns:
            Name to (M,) or a number: the losses' statistics averaged over the updates, NaN if there
            were none, exploration and what the replay holds.
        """
        config, replay = self.config, self._prepare(envs)
        uniform, epsilon = self._exploration()
        explores, random = explorations(uniform, epsilon.unsqueeze(1), self.actions)
        words = self._words()
        self._totals.zero_()
        before = self.learner.updates
        weights = tuple(parameter.data_ptr() for parameter in self.network.parameters())
        key = self._recordings.steps_key(envs, config.num_steps, weights)
        obs = replay.observation
        for explore_here, anything in zip(explores.unbind(), random.unbind(), strict=True):
            outcome = self._play(envs, key, (explore_here, anything, obs))
            replay.add(*outcome[:5], outcome[5] if len(outcome) > 5 else None)
            obs = outcome[4].view(self.members, -1, *self.observation_shape)
            self.step += config.num_envs
            for _ in range(self._due()):
                self._learn(replay.sample(words[self.learner.updates - before]))
        updates = self.learner.updates - before
        means = self.learner.mean(self._totals) / (updates or torch.nan)
        names = [f"losses/{name}" for name in (*self.statistics, "gradient_norm/network")]
        return dict(zip(names, means, strict=True)) | {
            "charts/epsilon": epsilon[-1].mean(),
            "charts/updates": float(self.learner.updates),
            "replay/size": float(replay.size),
            "replay/old_share": replay.old_share(),
        }

    def _play(self, envs: Any, key: Hashable, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """A step of every lane, replayed where it has been recorded; arguments of `Replay.add`."""
        if key is None:
            return self._move(envs, *inputs)
        self._inputs = filled(self._inputs, inputs)
        envs.skip(self._recordings.run("a step of environments", key, self._move_recorded))
        return self._outcome

    def _move(
        self, envs: Any, explores: Tensor, anything: Tensor, obs: Tensor
    ) -> tuple[Tensor, ...]:
        """Act on observations (M, N, *shape): action, reward, ends and observations (L, ...)."""
        action = torch.where(explores, anything, self.greedy(obs)).flatten()
        new, reward, terminated, truncated, info = envs.step(action)
        final = (info["final_obs"],) if "final_obs" in info else ()
        return action, reward, terminated, truncated, new, *final

    def _move_recorded(self) -> None:
        """A step from inputs to an outcome that stay where they are."""
        self._outcome = filled(self._outcome, self._move(self._recordings.envs, *self._inputs))

    def _learn(self, batch: Batch) -> None:
        """One gradient step, replayed where it has been recorded."""
        before = self.learner.updates
        if not self._recordings or not self.learner.static:
            self._totals += self._update(batch)
        else:
            self._batch = filled(self._batch, tuple(vars(batch).values()))
            key = (self.learner.any_frozen,)
            self._recordings.run("an update", key, self._update_recorded)
        self.learner.updates = before + 1
        if self.learner.updates % self.config.target_updates == 0:
            self._follow()

    def _update_recorded(self) -> None:
        """One gradient step on a batch that stays where it is."""
        self._totals += self._update(Batch(*self._batch))

    def _exploration(self) -> tuple[Tensor, Tensor]:
        """Random numbers (T, M, N) of the coming steps and their epsilon (T, N)."""
        config = self.config
        clock = torch.arange(config.num_steps, device=self.device)
        first = self.step // config.num_envs
        bits = rng.bits(self._policy_keys, clock.unsqueeze(1) + first, 0)
        uniform = rng.uniform(bits).view(config.num_steps, self.members, -1)
        step = clock * config.num_envs + (self.step - self.began)
        return uniform, epsilon_at(step, config.num_envs, config)

    def _words(self) -> Tensor:
        """Random words (U, M, B) for as many updates as the coming steps can have."""
        config = self.config
        count = -(-config.steps_per_iteration // config.train_frequency)
        index = torch.arange(count, device=self.device) + self.learner.updates
        return rng.bits(self._batch_keys, index.view(-1, 1, 1), 0)

    def _due(self) -> int:
        """Gradient steps due after this step."""
        assert self.replay is not None
        if self.replay.size < self.config.learning_starts:
            return 0
        every = self.config.train_frequency
        return self.step // every - (self.step - self.config.num_envs) // every

    def _update(self, batch: Batch) -> Tensor:
        """One gradient step; its statistics and gradient norm, (S, M)."""
        share = self.learner.share
        obs, next_obs = floats(batch.frames).chunk(2, 1)
        with torch.no_grad():
            next_values = self.values(self.target, share(next_obs))
            online = self.values(self.network, share(next_obs)) if self.config.double else None
            target = td_target(share(batch.returns), share(batch.discount), next_values, online)
        action, outputs = share(batch.action), self.outputs(self.network, share(obs))
        if self.histogram is None:
            loss, statistics = td_loss(outputs, action, target, self.config.loss)
        else:
            loss, statistics = histogram_loss(self.histogram, outputs, action, target)
        norm = self.learner.update(loss, obs)
        return torch.cat([statistics, norm.unsqueeze(0)])

    @torch.no_grad()
    def _follow(self) -> None:
        """Move the target network towards the online network."""
        own: list[Tensor] = list(self.network.parameters())
        target: list[Tensor] = list(self.target.parameters())
        if self.config.target_rate == 1:
            torch._foreach_copy_(target, own)
        else:
            torch._foreach_lerp_(target, own, self.config.target_rate)

    def play(self, obs: Tensor, keys: Tensor, step: int) -> Tensor:
        """Epsilon-greedy actions, as at the end of the exploration schedule."""
        uniform = rng.uniform(rng.bits(keys, step, 0)).view(self.members, -1)
        return self.act(obs, uniform, self.config.epsilon_end).flatten()

    def play_best(self, obs: Tensor) -> Tensor:
        """The most valuable actions."""
        return self.greedy(obs).flatten()

    def recent(self, count: int) -> Tensor:
        """At most `count` observations (M, B, *shape) of the last iteration."""
        assert self.replay is not None
        return self.replay.buffer.recent(self.config.num_steps, count)

    def switch(self) -> None:
        """Reset replay and exploration at a task switch as configured."""
        if self.replay is not None:
            self.replay.switch()
        if self.config.epsilon_restart:
            self.began = self.step

    def _begin_anew(self) -> None:
        """Forget every transition, and explore as at the start."""
        if self.replay is not None:
            now = self.replay.observation.flatten(0, 1)
            self.replay = make_replay(now.clone(), self.config, self.seeds)
        self.began = self.step

    def state_dict(self) -> dict[str, Any]:
        """Everything a bit-exact resume needs, the learner and the replay included."""
        return {
            "learner": self.learner.state_dict(),
            "target": self.target.state_dict(),
            "step": self.step,
            "began": self.began,
            "replay": None if self.replay is None else self.replay.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
        self.learner.load_state_dict(state["learner"])
        self._recordings.forget()  # loading gave the optimiser new tensors
        self.target.load_state_dict(state["target"])
        self.step, self.began = state["step"], state["began"]
        self.replay = None
        if state["replay"] is not None:
            frames = unpack(state["replay"]["ring"]["frames"])[:, 0].flatten(0, 1)
            self.replay = make_replay(frames.to(self.device), self.config, self.seeds)
            self.replay.load_state_dict(state["replay"])
