"""PPO and DQN of Stable-Baselines3 on our streams, to compare with ours.

Each member is an agent of its own in a stream of its own, one after the other, with its own
random numbers. Differences to our agents by design: PPO clips the gradient of policy
and value by one norm, and does not take the larger of clipped and unclipped value error; DQN has
no double Q-learning and draws exploration once for all lanes.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import stable_baselines3
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor

from neoteny.agents.agent import Agent, AgentSettings
from neoteny.agents.dqn_loss import DQNConfig
from neoteny.agents.ppo_loss import PPOConfig
from neoteny.agents.spaces import action_count
from neoteny.core.errors import InputError
from neoteny.plasticity.interventions import TASK_STEPS, Intervention
from neoteny.plasticity.learner import Learner
from neoteny.plasticity.networks import NetworkSpec
from neoteny.sb3.bridge import ACTIVATIONS, attach
from neoteny.sb3.policy_networks import PolicyNetworks, stored_observations
from neoteny.sb3.vec_env import SB3VecEnv

Interventions = Callable[[], list[Intervention]]


class SB3Agents(Agent):
    """M agents of Stable-Baselines3.

    Args:
        streams: M streams of one member each.
        config: hyper-parameters of PPO or of DQN, which choose the algorithm.
        spec: widths and activation of the hidden layers.
        interventions: makes the interventions of one member.
        seeds: one a member.
        task_steps: environment steps of a task, by which interventions are timed.

    Raises:
        ValueError: if Stable-Baselines3 has no counterpart of a setting.
    """

    def __init__(
        self,
        streams: Sequence[Any],
        config: PPOConfig | DQNConfig,
        spec: NetworkSpec,
        interventions: Interventions,
        seeds: Sequence[int],
        task_steps: float = TASK_STEPS,
    ) -> None:
        if spec.activation not in ACTIVATIONS or not spec.bias:
            raise InputError(
                f"activation {spec.activation}, bias {spec.bias}: agents of Stable-Baselines3 have "
                f"biases and one of {', '.join(ACTIVATIONS)} here"
            )
        if not spec.plain or spec.shared:
            raise InputError(
                f"torso {spec.torso}, norm {spec.norm}, residual {spec.residual}, shared "
                f"{spec.shared}: agents of Stable-Baselines3 have separate plain MLPs here"
            )
        if isinstance(config, DQNConfig):
            action_count(streams[0].single_action_space)  # refuses those that it cannot take
        self.config = config
        self.device = torch.device(streams[0].device)
        self._settings = config.optimizer_settings(task_steps)
        self.agents: list[BaseAlgorithm] = []
        learners = []
        self._random: list[Any] = []
        self._lost = False
        for stream, seed in zip(streams, seeds, strict=True):
            with _own_random(None) as state:
                agent = build_agent(SB3VecEnv(stream), config, spec, seed, self.device)
                mine = interventions()
                learners.append(attach(agent, spec.activation, mine, self._settings, seed))
            self.agents.append(agent)
            self._random.append(state[0])
        self.learner = JointLearner(learners)

    @classmethod
    def build(cls, settings: AgentSettings, stream: Any) -> SB3Agents:
        """One agent for each member's stream."""
        return cls(
            stream.streams,
            settings.config,
            settings.spec,
            settings.make_interventions,
            settings.seeds,
            settings.task_steps(stream),
        )

    @property
    def network(self) -> PolicyNetworks:
        """The networks of all agents, for diagnostics."""
        return PolicyNetworks([agent.policy for agent in self.agents])

    def iterate(self, stream: Any = None) -> dict[str, Tensor]:
        """One iteration of every agent in its own stream: its own metrics under `losses/`."""
        if self._lost:
            raise InputError(
                "a run of Stable-Baselines3 cannot be continued: start again with another --out"
            )
        rows = []
        for index, agent in enumerate(self.agents):
            with _own_random(self._random[index]) as state:
                steps, never = self.config.steps_per_iteration, None
                agent.learn(steps, log_interval=never, reset_num_timesteps=False)  # type: ignore[arg-type]
            self._random[index] = state[0]
            rows.append({**agent.logger.name_to_value})
        names = [name for name in rows[0] if name.startswith("train/")]
        return {
            f"losses/{name.removeprefix('train/')}": torch.tensor(
                [float(row.get(name, np.nan)) for row in rows], device=self.device
            )
            for name in names
        }

    def recent(self, most: int) -> Tensor:
        """At most `most` observations of each agent, spread over its rollout or replay."""
        rows = [stored_observations(agent, most) for agent in self.agents]
        return torch.as_tensor(np.stack(rows), device=self.device)

    def state_dict(self) -> dict[str, Any]:
        """Metadata of a finished run, which cannot be continued."""
        return {"learner": self.learner.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Recognise a run that is not to be continued."""
        self._lost = True


class JointLearner:
    """The learners of M agents, as the run loop uses one of M members."""

    def __init__(self, learners: Sequence[Learner]) -> None:
        self.learners = list(learners)
        self.settings = learners[0].settings
        self.interventions = [
            _Joint(same) for same in zip(*(x.interventions for x in learners), strict=True)
        ]

    @property
    def alive(self) -> Tensor:
        """(M,) bool, True where an agent's gradients are finite."""
        return torch.cat([learner.alive for learner in self.learners])

    def freeze(self, alive: Sequence[bool]) -> None:
        """Tell each learner if its agent is still finite."""
        for learner, still in zip(self.learners, alive, strict=True):
            learner.freeze([still])

    def reset_optimizer(self) -> None:
        """Forget the moments of all agents' optimisers."""
        for learner in self.learners:
            learner.reset_optimizer()

    def boundary(self, task: Tensor) -> None:
        """Tell the interventions of each agent of its new task (M,)."""
        for learner, new in zip(self.learners, task.unsqueeze(1), strict=True):
            learner.boundary(new)

    def state_dict(self) -> dict[str, Any]:
        """The learners' states."""
        return {"learners": [learner.state_dict() for learner in self.learners]}


class _Joint:
    """The same intervention in M agents."""

    def __init__(self, parts: Sequence[Intervention]) -> None:
        self.parts = parts

    def __getattr__(self, name: str) -> Any:
        return getattr(self.parts[0], name)

    def measured(self) -> dict[str, Tensor]:
        parts = [part.measured() for part in self.parts]
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


@contextmanager
def _own_random(state: Any) -> Iterator[list[Any]]:
    """Run with the global random numbers of one agent, and put the others' back.

    Args:
        state: state of the agent's generators; None if the agent seeds them itself.

    Yields:
        A list that holds the generators' state once the block is left.
    """
    outside = _random_state()
    after: list[Any] = []
    if state is not None:
        _set_random(state)
    try:
        yield after
    finally:
        after.append(_random_state())
        _set_random(outside)


def _random_state() -> tuple[Any, ...]:
    return random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002


def _set_random(state: tuple[Any, ...]) -> None:
    random.setstate(state[0])
    np.random.set_state(state[1])  # noqa: NPY002
    torch.set_rng_state(state[2])


def build_agent(
    env: VecEnv,
    config: PPOConfig | DQNConfig,
    spec: NetworkSpec,
    seed: int,
    device: torch.device,
) -> BaseAlgorithm:
    """PPO or DQN of Stable-Baselines3 with these hyper-parameters and widths."""
    widths = list(spec.hidden)
    both = isinstance(config, PPOConfig)
    shared: dict[str, Any] = {
        "learning_rate": config.learning_rate,
        "gamma": config.gamma,
        "max_grad_norm": np.inf if config.max_grad_norm is None else config.max_grad_norm,
        "policy_kwargs": {
            "net_arch": {"pi": widths, "vf": widths} if both else widths,
            "activation_fn": ACTIVATIONS[spec.activation],
        }
        | ({"log_std_init": config.log_std_init} if isinstance(config, PPOConfig) else {}),
        "seed": seed,
        "device": device,
    }
    return _ppo(env, config, shared) if isinstance(config, PPOConfig) else _dqn(env, config, shared)


def _require_counterparts(name: str, config: Any, own: dict[str, bool]) -> None:
    """Refuse an option, its name to True where it is on, that only our agent of a name has."""
    if wrong := [option for option, is_on in own.items() if is_on]:
        raise InputError(
            f"{wrong[0]} is {getattr(config, wrong[0])}: {name} of Stable-Baselines3 has no "
            "counterpart; use --preset sb3, or set it to what is there"
        )


def _ppo(env: VecEnv, config: PPOConfig, shared: dict[str, Any]) -> stable_baselines3.PPO:
    _require_counterparts("PPO", config, {"value_loss": config.value_loss != "mse"})
    return stable_baselines3.PPO(
        "MlpPolicy",
        env,
        n_steps=config.num_steps,
        batch_size=config.minibatch_size,
        n_epochs=config.num_epochs,
        gae_lambda=config.gae_lambda,
        clip_range=config.clip_range,
        clip_range_vf=config.clip_range_vf,
        normalize_advantage=config.normalize_advantage,
        ent_coef=config.ent_coef,
        vf_coef=config.vf_coef / 2,  # theirs weighs the squared error, ours half of it
        **shared,
    )


def _dqn(env: VecEnv, config: DQNConfig, shared: dict[str, Any]) -> stable_baselines3.DQN:
    lanes, every = config.num_envs, config.train_frequency
    refused = {
        "double": config.double,
        "dueling": config.dueling,
        "n_steps": config.n_steps > 1,
        "loss": config.loss != "huber",
        "replay_policy": config.replay_policy != "keep",
        "epsilon_spread": config.epsilon_spread > 0,
        "epsilon_restart": config.epsilon_restart,
        "train_frequency": bool(lanes % every and every % lanes),
    }
    _require_counterparts("DQN", config, refused)
    agent = stable_baselines3.DQN(
        "MlpPolicy",
        env,
        buffer_size=config.replay_size,
        learning_starts=config.learning_starts,
        batch_size=config.batch_size,
        tau=config.target_rate,
        train_freq=max(1, every // lanes),
        gradient_steps=max(1, lanes // every),
        target_update_interval=max(lanes, config.target_frequency),
        **shared,
    )

    def exploration(_: float) -> float:
        """Exploration rate by steps; the argument, the part left of the run, is not used."""
        part = min(1.0, agent.num_timesteps / config.epsilon_steps)
        return config.epsilon_start + part * (config.epsilon_end - config.epsilon_start)

    agent.exploration_schedule = exploration
    return agent
