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
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from neoteny.agents.agent import Agent, AgentSettings
from neoteny.agents.dqn_loss import (
    DQNConfig,
    TDErrors,
    dueling_values,
    epsilon_at,
    explorations,
    explore,
    td_loss,
    td_target,
)
from neoteny.agents.q_values import PlainBranch
from neoteny.agents.replay import Batch, floats, unpack
from neoteny.agents.replay_policies import Replay, check_switches, make_replay
from neoteny.agents.spaces import action_count, observation_shape
from neoteny.agents.tally import Tally, Update
from neoteny.core import rng
from neoteny.envs.base import TensorEnv
from neoteny.plasticity.interventions import TASK_STEPS, Intervention
from neoteny.plasticity.known_loss import KnownLoss
from neoteny.plasticity.learner import Learner
from neoteny.plasticity.networks import HeadSpec, Network, NetworkSpec, Observations

__all__ = ["DQN", "DQNConfig"]

SPARSE_FROM = 2**26
"""Products in a first layer from which binary observations are better listed than multiplied."""


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
        task_steps: Environment steps of a task, by which interventions are timed.

    Raises:
        ValueError: If actions are not discrete, observations are not a Box, or what happens at a
            switch asks for members that switch together and they do not.
    """

    name = "dqn"
    config_class = DQNConfig
    learner: Learner
    statistics = ("td_loss", "td_error", "q_value", "target")

    def __init__(
        self,
        envs: Any,
        config: DQNConfig,
        spec: NetworkSpec,
        interventions: Sequence[Intervention],
        seeds: Sequence[int],
        fast: bool = True,
        precision: torch.dtype = torch.float32,
        task_steps: float = TASK_STEPS,
    ) -> None:
        self.actions = action_count(envs.single_action_space)
        self.observation_shape = observation_shape(envs.single_observation_space)
        check_switches(envs, config, len(seeds))
        self.config = config
        self.seeds = tuple(seeds)
        self.members = len(seeds)
        self.device = torch.device(envs.device)
        heads = {"q": HeadSpec(self.actions)}
        if config.dueling:
            heads = {"value": HeadSpec(1), "advantage": HeadSpec(self.actions)}
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
        self._scratch: dict[torch.Size, tuple[Tensor, Tensor]] = {}
        self._plain: tuple[PlainBranch | None, PlainBranch | None] | None = None

    @classmethod
    def build(cls, settings: AgentSettings, stream: Any) -> DQN:
        """The agent of a run."""
        return cls(stream, **settings.arguments(stream))

    @property
    def network(self) -> Network:
        """The online network."""
        return self.learner.network

    def _read(self, network: Network) -> PlainBranch | None:
        """The network as one branch of plain layers, to be computed without autograd, if it is."""
        if self.config.dueling or not network.fast or network.precision != torch.float32:
            return None
        branch = network.branches["q"]
        return PlainBranch(branch, network.spec.activation) if branch.batchable else None

    def _features(self, obs: Tensor) -> Observations:
        """Observations (M, B, *shape) as the networks take them fastest; read by several."""
        if self._sparse(obs):
            return self.network.inputs(obs)
        return floats(obs)

    def _sparse(self, obs: Tensor) -> bool:
        """Whether observations (M, B, *shape) are better listed by their ones."""
        large = obs.numel() * self.network.spec.hidden[0] >= SPARSE_FROM
        return large and self.network.takes_sparse(obs)

    def values(self, network: Network, obs: Observations) -> Tensor:
        """Q-values (M, B, A) of observations (M, B, *shape)."""
        if not torch.is_grad_enabled() and (plain := self._read(network)) is not None:
            return plain.values(network.inputs(obs))
        outputs = network(obs)
        if self.config.dueling:
            return dueling_values(outputs["value"], outputs["advantage"])
        values: Tensor = outputs["q"]
        return values

    @torch.no_grad()
    def act(self, obs: Tensor, uniform: Tensor, epsilon: Tensor | float) -> Tensor:
        """Epsilon-greedy actions (M, N) on observations (M, N, *shape)."""
        greedy = self.values(self.network, self._features(obs)).argmax(-1)
        return explore(greedy, uniform, epsilon, self.actions)

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
        self._plain = None
        uniform, epsilon = self._exploration()
        explores, random = explorations(uniform, epsilon.unsqueeze(1), self.actions)
        words = self._words()
        tally = Tally(self.members, self.device, config.loss)
        before = self.learner.updates
        obs = replay.observation
        alone = self._differentiates_alone()
        host = alone and not isinstance(envs.unwrapped, TensorEnv)
        world = torch.inference_mode(False) if host else nullcontext()
        with torch.inference_mode(alone):
            for explore_here, anything in zip(explores.unbind(), random.unbind(), strict=True):
                greedy = self._greedy(obs)
                with world:
                    action = torch.where(explore_here, anything, greedy).flatten()
                    new, reward, terminated, truncated, info = envs.step(action)
                replay.add(action, reward, terminated, truncated, new, info.get("final_obs"))
                obs = new.view(self.members, -1, *self.observation_shape)
                self.step += config.num_envs
                for _ in range(self._due()):
                    tally.add(self._update(replay.sample(words[self.learner.updates - before])))
        names = [f"losses/{name}" for name in (*self.statistics, "gradient_norm/network")]
        return dict(zip(names, tally.means(), strict=True)) | {
            "charts/epsilon": epsilon[-1].mean(),
            "charts/updates": float(self.learner.updates),
            "replay/size": float(replay.size),
            "replay/old_share": replay.old_share(),
        }

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

    def _plain_branches(self) -> tuple[PlainBranch | None, PlainBranch | None]:
        """The online and the target network as plain branches, as read in this iteration."""
        if self._plain is None:
            self._plain = self._read(self.network), self._read(self.target)
        return self._plain

    def _differentiates_alone(self) -> bool:
        """Whether nobody but the plain branches' own code differentiates anything.

        Then torch need not keep track of what depends on what, which is a fifth of the time of a
        small operation. What is made meanwhile cannot be changed in place later, so what stays is
        made before: replay, optimiser, gradients; or it is a TensorEnv's state, which never is.
        """
        plain = all(branch is not None for branch in self._plain_branches())
        return plain and not self.learner.listened_to

    def _flat_floats(self, obs: Tensor) -> Tensor:
        """Features (M, B, in) of observations (M, B, *shape), in memory that is used again."""
        if obs.shape not in self._scratch:
            with torch.inference_mode(False):
                memory = torch.empty(obs.shape, device=obs.device)
                self._scratch[obs.shape] = memory, memory.flatten(2)
        memory, flat = self._scratch[obs.shape]
        floats(obs, memory)
        return flat

    def _greedy(self, obs: Tensor) -> Tensor:
        """Greedy actions (M, N) on observations (M, N, *shape)."""
        plain, _ = self._plain_branches()
        if plain is not None:
            x = self._features(obs) if self._sparse(obs) else self._flat_floats(obs)
            return plain.values(x).argmax(-1)
        features = self._features(obs)
        with torch.no_grad():
            return self.values(self.network, features).argmax(-1)

    def _update(self, batch: Batch) -> Update:
        """One gradient step."""
        plain, target = self._plain_branches()
        loss: Tensor | KnownLoss
        found: Tensor | TDErrors
        if plain is None or target is None:
            loss, found, obs = self._loss(batch)
        else:
            loss, found, obs = self._plain_loss(batch, plain, target)
        if self.learner.optimizer.state:
            norm = self.learner.update(loss, obs)
        else:
            with torch.inference_mode(False):  # its state comes to be
                norm = self.learner.update(loss, obs)
        if self.learner.updates % self.config.target_updates == 0:
            self._follow()
        return Update(found, norm)

    def _loss(self, batch: Batch) -> tuple[Tensor, Tensor, Observations]:
        """Loss (M,) and statistics (4, M), and what they were computed from."""
        obs = self._features(batch.obs)
        with torch.no_grad():
            next_obs = self._features(batch.next_obs)
            next_values = self.values(self.target, next_obs)
            online = self.values(self.network, next_obs) if self.config.double else None
            target = td_target(batch.returns, batch.discount, next_values, online)
        values = self.values(self.network, obs)
        return *td_loss(values, batch.action, target, self.config.loss), obs

    def _plain_loss(
        self, batch: Batch, plain: PlainBranch, target: PlainBranch
    ) -> tuple[KnownLoss, TDErrors, Observations]:
        """The same of plain networks, in as few operations as it takes."""
        rows, double = batch.action.shape[1], self.config.double
        online: Tensor | None = None
        if self._sparse(batch.frames):
            x = obs = self._features(batch.obs)
            next_obs = self._features(batch.next_obs)
            next_values = target.values(next_obs)
            online = plain.values(next_obs) if double else None
        else:
            features = self._flat_floats(batch.frames)
            next_values = target.values(features.narrow(1, rows, rows))
            x = features if double else features.narrow(1, 0, rows)
            obs = floats(batch.obs) if self.learner.listened_to else x

        def bootstrap(others: Tensor) -> Tensor:
            chooses = (others if online is None else online) if double else None
            return td_target(batch.returns, batch.discount, next_values, chooses)

        return *plain.td_loss(x, batch.action, bootstrap, self.config.loss), obs

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

    def recent(self, count: int) -> Tensor:
        """At most `count` observations (M, B, *shape) of the last iteration."""
        assert self.replay is not None
        return self.replay.buffer.recent(self.config.num_steps, count)

    def switch(self) -> None:
        """The task has changed: do to replay and exploration what the configuration says."""
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
        self.target.load_state_dict(state["target"])
        self.step, self.began = state["step"], state["began"]
        self.replay = None
        if state["replay"] is not None:
            frames = unpack(state["replay"]["ring"]["frames"])[:, 0].flatten(0, 1)
            self.replay = make_replay(frames.to(self.device), self.config, self.seeds)
            self.replay.load_state_dict(state["replay"])
