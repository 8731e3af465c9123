"""DQN's hyper-parameters and the pure functions of its update and exploration.

Source: Mnih et al., Nature 518 (2015); double Q-learning, van Hasselt et al., arXiv:1509.06461;
dueling, Wang et al., arXiv:1511.06581; exploration per lane, Horgan et al., arXiv:1803.00933.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from neoteny.agents.agent import AgentConfig
from neoteny.agents.hl_gauss import HLGauss, check_support
from neoteny.core.errors import InputError
from neoteny.plasticity.optimizer_settings import TASK_STEPS, OptimizerSettings


@dataclass(frozen=True)
class DQNConfig(AgentConfig):
    """Hyper-parameters of DQN. Counts of steps are environment steps of one member."""

    num_envs: int = 128
    """Parallel environments (lanes) of one member; each takes some 500 bytes."""
    num_steps: int = 64
    """Steps in each lane that one row of the metrics covers."""
    learning_rate: float = 5e-4
    """Adam's step size, constant."""
    adam_eps: float = 1e-5
    """Adam's epsilon."""
    gamma: float = 0.99
    """Discount per step."""
    batch_size: int = 128
    """Transitions of one member in a minibatch."""
    train_frequency: int = 32
    """Environment steps for each gradient step."""
    learning_starts: int = 10_000
    """Transitions in the replay before the first gradient step, and again after a flush."""
    n_steps: int = 1
    """Rewards summed before bootstrapping."""
    double: bool = True
    """Let the online network choose the action that the target network values."""
    dueling: bool = False
    """Two branches, value and advantage, instead of one."""
    target_frequency: int = 8_000
    """Environment steps between two moves of the target network."""
    target_rate: float = 1.0
    """Share of the way to the online network in a move; 1 copies it."""
    loss: Literal["huber", "mse", "hl_gauss"] = "huber"
    """Half the squared error, in huber's case linear beyond an error of 1, or the cross-entropy of
    a histogram of values with a Gaussian around the target (hl_gauss), which value_min, value_max
    and value_bins are for."""
    max_grad_norm: float | None = 10.0
    """Largest gradient norm; none disables clipping."""
    replay_size: int = 100_000
    """Transitions of one member that are kept, rounded down to whole steps of all lanes; each takes
    32 bytes and those of an observation."""
    replay_policy: Literal["keep", "flush", "partition", "reservoir"] = "keep"
    """Rule for old transitions: the oldest go (keep); all go at a task switch (flush); each
    task has a part of the replay (partition); all ever seen are equally likely to be kept
    (reservoir)."""
    replay_parts: int = 4
    """Number of parts of a partitioned replay; the newest task takes over the oldest's."""
    epsilon_start: float = 1.0
    """Share of random actions at the start."""
    epsilon_end: float = 0.05
    """Share of random actions from epsilon_steps on."""
    epsilon_steps: int = 250_000
    """Environment steps in which the share falls linearly."""
    epsilon_spread: float = 0.0
    """Lane i of N has the share to the power 1 + spread * i / (N - 1); Ape-X has start and end 0.4
    and spread 7."""
    epsilon_restart: bool = False
    """Begin the fall anew at every task switch."""
    value_min: float = -25.0
    """Lower end of the histogram, in units of return; targets below count as this."""
    value_max: float = 25.0
    """Upper end of the histogram, likewise; a new network values actions by the middle."""
    value_bins: int = 51
    """Bins of the histogram."""

    limits: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(("num_envs", "num_steps", "batch_size", "train_frequency"), "at least 1"),
        **dict.fromkeys(("learning_starts", "n_steps", "target_frequency"), "at least 1"),
        **dict.fromkeys(("replay_size", "replay_parts", "epsilon_steps"), "at least 1"),
        **dict.fromkeys(("learning_rate", "adam_eps", "epsilon_spread"), "at least 0"),
        **dict.fromkeys(("gamma", "epsilon_start", "epsilon_end", "target_rate"), "in [0, 1]"),
        "max_grad_norm": "above 0",
        "value_bins": "from 2 to 10,000",
    }
    split: ClassVar[tuple[str, ...]] = ("num_envs", "batch_size")

    def __post_init__(self) -> None:
        super().__post_init__()
        room = self.largest_replay
        if room < self.learning_starts:
            raise InputError(
                f"replay_size {self.replay_size} holds {room} transitions of {self.num_envs} "
                f"lanes, fewer than learning_starts {self.learning_starts}: raise it"
            )
        check_support(self.value_min, self.value_max)

    @property
    def replay_rows(self) -> int:
        """Steps of all lanes that the replay has room for."""
        return self.replay_size // self.num_envs

    @property
    def largest_replay(self) -> int:
        """Transitions of one member that can be drawn from at once."""
        if self.replay_policy == "partition":
            return self.replay_rows // self.replay_parts * self.num_envs
        if self.replay_policy == "reservoir":
            return self.replay_rows * self.num_envs
        return max(0, self.replay_rows - self.n_steps) * self.num_envs

    @property
    def steps_per_iteration(self) -> int:
        """Environment steps of one member in an iteration."""
        return self.num_envs * self.num_steps

    @property
    def updates_per_step(self) -> float:
        """Gradient steps per environment step."""
        return 1 / self.train_frequency

    @property
    def target_updates(self) -> int:
        """Gradient steps between two moves of the target network."""
        return max(1, round(self.target_frequency / self.train_frequency))

    def optimizer_settings(self, task_steps: float = TASK_STEPS) -> OptimizerSettings:
        """Constants and times for interventions; a task has `task_steps` environment steps."""
        return OptimizerSettings(
            self.learning_rate,
            self.adam_eps,
            updates_per_step=self.updates_per_step,
            updates_per_target=self.target_updates,
            task_steps=task_steps,
        )


def epsilon_at(step: Tensor, lanes: int, config: DQNConfig) -> Tensor:
    """Share of random actions.

    Args:
        step: (T,) environment steps of one member since the schedule began.
        lanes: N.
        config: Start, end, duration and spread.

    Returns:
        (T, N) in [0, 1].
    """
    part = (step / config.epsilon_steps).clamp(max=1.0).unsqueeze(1)
    epsilon = config.epsilon_start + (config.epsilon_end - config.epsilon_start) * part
    lane = torch.arange(lanes, device=step.device) / max(1, lanes - 1)
    powers: Tensor = epsilon ** (1 + config.epsilon_spread * lane)
    return powers


def explorations(uniform: Tensor, epsilon: Tensor | float, actions: int) -> tuple[Tensor, Tensor]:
    """Lanes that explore, and their actions, from one random number each.

    Args:
        uniform: (...) in [0, 1).
        epsilon: Share of random actions, in [0, 1].
        actions: Number of actions A.

    Returns:
        (...) bool, True where uniform < epsilon, and (...) int64, the action that
        uniform / epsilon chooses there.
    """
    random = (uniform * (actions / epsilon)).long().clamp(max=actions - 1)
    return uniform < epsilon, random


def explore(greedy: Tensor, uniform: Tensor, epsilon: Tensor | float, actions: int) -> Tensor:
    """Replace a share of greedy actions (...) by uniformly random ones, see `explorations`."""
    explores, random = explorations(uniform, epsilon, actions)
    return torch.where(explores, random, greedy)


def dueling_outputs(value: Tensor, advantage: Tensor) -> Tensor:
    """Outputs of all actions from those of a dueling network's branches.

    Args:
        value: (..., K), one number, or the logits of a histogram's K bins.
        advantage: (..., A K), whose mean over the actions is taken off bin by bin.

    Returns:
        (..., A K): Q-values, or the logits of their histograms, as in Rainbow.

    Source: Wang et al., arXiv:1511.06581; of histograms, Hessel et al., arXiv:1710.02298.
    """
    advantage = torch.unflatten(advantage, -1, (-1, value.shape[-1]))
    return (value.unsqueeze(-2) + advantage - advantage.mean(-2, keepdim=True)).flatten(-2)


def td_target(
    returns: Tensor, discount: Tensor, target_values: Tensor, online_values: Tensor | None
) -> Tensor:
    """Target of the value of the action taken.

    Args:
        returns: (M, B, 1) discounted rewards up to the bootstrap.
        discount: (M, B, 1) of the bootstrap, 0 where the episode has terminated.
        target_values: (M, B, A) the target network's values of the observation bootstrapped from.
        online_values: (M, B, A) the online network's, which choose the action; None lets the
            target network choose, the plain rule.

    Returns:
        (M, B, 1).
    """
    if online_values is None:
        value = target_values.amax(-1, keepdim=True)
    else:
        value = target_values.gather(-1, online_values.argmax(-1, keepdim=True))
    return torch.addcmul(returns, discount, value)


def td_loss(values: Tensor, action: Tensor, target: Tensor, kind: str) -> tuple[Tensor, Tensor]:
    """Temporal-difference loss of each member.

    Args:
        values: (M, B, A).
        action: (M, B, 1) int64.
        target: (M, B, 1), without gradient.
        kind: "huber" or "mse".

    Returns:
        Loss (M,) and statistics (4, M) without gradient: the loss, the mean absolute error, the
        mean value and the mean target.
    """
    chosen = values.gather(-1, action)
    if kind == "huber":
        loss = F.smooth_l1_loss(chosen, target, reduction="none")
    else:
        loss = 0.5 * (chosen - target).square()
    with torch.no_grad():
        parts = torch.stack([loss, (chosen - target).abs(), chosen, target])
    return loss.mean((1, 2)), parts.mean((2, 3))


def histogram_loss(
    histogram: HLGauss, outputs: Tensor, action: Tensor, target: Tensor
) -> tuple[Tensor, Tensor]:
    """Cross-entropy of the histogram of the action taken with the target's, of each member.

    Args:
        histogram: Bins of the values of A actions.
        outputs: (M, B, A K) of the branch.
        action: (M, B, 1) int64.
        target: (M, B, 1), without gradient.

    Returns:
        Loss (M,) and statistics (5, M): those of `td_loss`, and the share of targets outside the
        support.
    """
    logits = histogram.logits(outputs)
    chosen = logits.gather(2, action.unsqueeze(-1).expand(-1, -1, 1, histogram.bins))
    loss = histogram.loss(chosen, target)
    with torch.no_grad():
        value = histogram.mean(chosen)
        error = (value - target).abs()
        parts = torch.stack([loss, error, value, target, histogram.outside(target)])
    return loss.mean((1, 2)), parts.mean((2, 3))
