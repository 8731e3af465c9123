"""PPO's hyper-parameters and the pure functions of its update.

Source: Schulman et al., arXiv:1707.06347; details as in Huang et al., "The 37 implementation
details of PPO".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from neoteny.agents.agent import AgentConfig
from neoteny.agents.distributions import ActionDistribution
from neoteny.agents.hl_gauss import HLGauss, check_support
from neoteny.core.errors import InputError
from neoteny.plasticity.optimizer_settings import TASK_STEPS, OptimizerSettings


@dataclass(frozen=True)
class PPOConfig(AgentConfig):
    """Hyper-parameters of PPO. The defaults are the paper's for MinAtar (preset `paper`)."""

    num_envs: int = 2048
    """Parallel environments (lanes) of one member; each takes some 500 bytes, and for
    every step of the rollout 106 bytes and those of an observation (of a binary one up to twice as
    many on a CPU, where its ones are listed). What networks compute for a minibatch comes on top.
    """
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
    """Largest change of a value prediction in an iteration, in units of return; none disables.
    hl_gauss has no such limit."""
    ent_coef: float = 0.01
    """Weight of the entropy bonus, in nats."""
    vf_coef: float = 0.5
    """Weight of the value loss (half the squared error, or the cross-entropy in nats)."""
    max_grad_norm: float | None = 0.5
    """Largest gradient norm of a branch; none disables clipping."""
    normalize_advantage: bool = True
    """Normalise advantages within each member's minibatch."""
    log_std_init: float = 0.0
    """Initial logarithm of a Gaussian policy's standard deviations, where actions are continuous;
    in the units of the action."""
    value_loss: Literal["mse", "hl_gauss"] = "mse"
    """Half the squared error (mse), or the cross-entropy of a histogram of values with a Gaussian
    around the target (hl_gauss), which value_min, value_max and value_bins are for."""
    value_min: float = -25.0
    """Lower end of the histogram, in units of return; targets below count as this."""
    value_max: float = 25.0
    """Upper end of the histogram, likewise; a new network values states by the middle."""
    value_bins: int = 51
    """Bins of the histogram."""

    limits: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(("num_envs", "num_steps", "num_epochs", "num_minibatches"), "at least 1"),
        **dict.fromkeys(("learning_rate", "adam_eps", "ent_coef", "vf_coef"), "at least 0"),
        **dict.fromkeys(("gamma", "gae_lambda"), "in [0, 1]"),
        **dict.fromkeys(("clip_range", "clip_range_vf", "max_grad_norm"), "above 0"),
        "value_bins": "from 2 to 10,000",
    }
    split: ClassVar[tuple[str, ...]] = ("num_envs", "minibatch_size")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps_per_iteration % self.num_minibatches:
            raise InputError(
                f"num_minibatches {self.num_minibatches} does not divide the batch of num_envs "
                f"{self.num_envs} x num_steps {self.num_steps} = {self.steps_per_iteration}: "
                "choose a divisor"
            )
        if self.minibatch_size == 1 and self.normalize_advantage:
            raise InputError(
                f"num_minibatches {self.num_minibatches} leaves one sample to a minibatch, whose "
                "advantage cannot be normalised: lower it, or set normalize_advantage to False"
            )
        check_support(self.value_min, self.value_max)

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

    def optimizer_settings(self, task_steps: float = TASK_STEPS) -> OptimizerSettings:
        """Constants and times for interventions; a task has `task_steps` environment steps."""
        updates = self.num_epochs * self.num_minibatches
        return OptimizerSettings(
            self.learning_rate,
            self.adam_eps,
            updates_per_step=self.updates_per_step,
            updates_per_iteration=updates,
            updates_per_target=updates,
            task_steps=task_steps,
        )


def normalized(advantage: Tensor) -> Tensor:
    """Advantages (M, B) of mean 0 and standard deviation 1 in each member."""
    std, mean = torch.std_mean(advantage, dim=1, keepdim=True)
    return (advantage - mean).div_(std + 1e-8)


def ppo_loss(
    policy: ActionDistribution,
    outputs: Tensor,
    value: Tensor,
    action: Tensor,
    old_log_prob: Tensor,
    old_value: Tensor,
    advantage: Tensor,
    returns: Tensor,
    config: PPOConfig,
    histogram: HLGauss | None = None,
) -> tuple[Tensor, Tensor]:
    """The clipped surrogate, value and entropy losses of each member.

    Args:
        policy: What the outputs mean.
        outputs: (M, B, P) of the policy's branch.
        value: (M, B) new predictions, or their logits (M, B, K) with a histogram.
        action: (M, B) int64, or (M, B, A) float, as the policy stores them.
        old_log_prob: (M, B) when the action was taken.
        old_value: (M, B) when the action was taken.
        advantage: (M, B), normalised if wanted.
        returns: (M, B) value targets.
        config: Clip ranges and coefficients.
        histogram: Bins of the values, None where they are predicted themselves.

    Returns:
        Loss (M,) and statistics (5, M) without gradient: policy loss, value loss, entropy,
        approximate KL (E[(r - 1) - ln r]) and the fraction of clipped ratios.
    """
    log_prob, entropy = policy.log_prob(outputs, action)
    log_ratio = log_prob - old_log_prob
    ratio = log_ratio.exp()
    clipped = ratio.clamp(1 - config.clip_range, 1 + config.clip_range)
    policy_loss = -torch.minimum(advantage * ratio, advantage * clipped).mean(1)
    if histogram is None:
        error = (value - returns).square()
        if config.clip_range_vf is not None:
            change = (value - old_value).clamp(-config.clip_range_vf, config.clip_range_vf)
            error = torch.maximum(error, (old_value + change - returns).square())
        value_loss = 0.5 * error.mean(1)
    else:
        value_loss = histogram.loss(value, returns).mean(1)
    entropy = entropy.mean(1)
    loss = policy_loss + config.vf_coef * value_loss - config.ent_coef * entropy
    with torch.no_grad():
        kl = (ratio - 1 - log_ratio).mean(1)
        clip_fraction = ((ratio - 1).abs() > config.clip_range).float().mean(1)
        statistics = torch.stack([policy_loss, value_loss, entropy, kl, clip_fraction])
    return loss, statistics


def _squared_error(
    value: Tensor, old_value: Tensor, returns: Tensor, limit: float | None
) -> tuple[Tensor, Tensor]:
    """Half the squared error (M, B) of values that may move by a limit, and its gradient."""
    error = value - returns
    square = error.square()
    if limit is not None:
        moved = value - old_value
        limited = moved.clamp(-limit, limit)
        limited_square = (old_value + limited).sub_(returns).square_()
        # Where both errors are the same number, as inside the range, so are their gradients.
        error = error.mul_((square > limited_square) | (moved == limited))
        square = torch.maximum(square, limited_square)
    return 0.5 * square, error


class _FusedLoss(torch.autograd.Function):
    """The losses of `ppo_loss` with their gradient in closed form, computed with the value."""

    @staticmethod
    def forward(
        ctx: Any,
        policy: ActionDistribution,
        outputs: Tensor,
        value: Tensor,
        action: Tensor,
        old_log_prob: Tensor,
        old_value: Tensor,
        advantage: Tensor,
        returns: Tensor,
        config: PPOConfig,
        histogram: HLGauss | None = None,
    ) -> tuple[Tensor, Tensor]:
        batch = returns.shape[1]
        log_prob, entropy, gradient = policy.closed_form(outputs, action)
        log_ratio = log_prob.sub_(old_log_prob)
        ratio = log_ratio.exp()
        change = ratio - 1
        gain = advantage * ratio
        clipped = ratio.clamp(1 - config.clip_range, 1 + config.clip_range).mul_(advantage)
        objective = torch.minimum(gain, clipped)
        # d objective / d log_prob, which is 0 where the clipped ratio counts.
        d_outputs = gradient(gain.mul_(gain <= clipped), config.ent_coef)
        if histogram is None:
            losses, slope = _squared_error(value, old_value, returns, config.clip_range_vf)
        else:
            losses, slope = histogram.closed_form(value, returns)
        exceeded = (change.abs() > config.clip_range).to(ratio.dtype)
        statistics = torch.stack([-objective, losses, entropy, change - log_ratio, exceeded]).mean(
            -1
        )
        ctx.save_for_backward(d_outputs, slope)
        ctx.scales = 1 / batch, config.vf_coef / batch
        ctx.mark_non_differentiable(statistics)
        policy_loss, value_loss, mean_entropy, *_ = statistics
        loss = policy_loss + config.vf_coef * value_loss - config.ent_coef * mean_entropy
        return loss, statistics

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> Any:
        d_outputs, d_value = ctx.saved_tensors
        policy_scale, value_scale = ctx.scales
        grad = grad.view(-1, 1, 1)
        d_outputs = d_outputs * (grad * policy_scale)
        d_value = d_value * (grad * value_scale).view(-1, *[1] * (d_value.dim() - 1))
        return None, d_outputs, d_value, *[None] * 7


def fused_ppo_loss(*arguments: Any) -> tuple[Tensor, Tensor]:
    """:func:`ppo_loss` as one autograd node, with the gradient in closed form."""
    loss, statistics = _FusedLoss.apply(*arguments)  # type: ignore[no-untyped-call]
    return loss, statistics


def explained_variance(value: Tensor, returns: Tensor) -> Tensor:
    """1 - Var(returns - value) / Var(returns) of each member, from (T, M, N) to (M,)."""
    residual = (returns - value).transpose(0, 1).flatten(1).var(1)
    total = returns.transpose(0, 1).flatten(1).var(1)
    return 1 - residual / total
