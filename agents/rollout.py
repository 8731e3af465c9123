"""Memory of a rollout and its minibatches on the device, and generalised advantage estimation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from neoteny.agents.distributions import ActionDistribution
from neoteny.agents.spaces import stored_type
from neoteny.core import rng
from neoteny.plasticity.networks import Network, Observations
from neoteny.plasticity.sparse import SparseBatch


def gae(
    reward: Tensor,
    value: Tensor,
    next_value: Tensor,
    terminated: Tensor,
    done: Tensor,
    gamma: float,
    gae_lambda: float,
) -> Tensor:
    """Generalised advantage estimation, bootstrapping through truncation.

    delta_t = r_t + gamma (1 - terminated_t) V(s'_t) - V(s_t) and
    A_t = delta_t + gamma lambda (1 - done_t) A_{t+1},
    where s'_t is the state that step t led to, before any reset.

    Args:
        reward: (T, ...) float.
        value: (T, ...) float, V(s_t).
        next_value: (T, ...) float, V(s'_t).
        terminated: (T, ...) bool; the episode ended by its own rules.
        done: (T, ...) bool; terminated or truncated.
        gamma: Discount per step.
        gae_lambda: Decay of the trace.

    Returns:
        (T, ...) advantages.

    Source: Schulman et al., arXiv:1506.02438; truncation as in Pardo et al., arXiv:1712.00378.
    """
    delta = reward + gamma * next_value.masked_fill(terminated, 0.0) - value
    decay = (gamma * gae_lambda) * (~done).to(delta.dtype)
    advantages = torch.empty_like(delta)
    advantage = torch.zeros_like(delta[0])
    for t in range(len(delta) - 1, -1, -1):
        advantage = torch.addcmul(delta[t], decay[t], advantage, out=advantages[t])
    return advantages


@dataclass
class Rollout:
    """T steps of M members with N lanes each; every field is preallocated and written in place.

    `final_obs` has room for the S observations that truncation can cut off in one lane within a
    rollout, a bound the environment gives; `slot` says which of them a truncated step used. So
    truncation is bootstrapped exactly without storing every final observation and without asking
    the host.
    """

    obs: Tensor
    """(T, L, *shape), member-major lanes L = M N, in a type of at most 32 bits."""
    action: Tensor
    """(T, M, N) int64, or (T, M, N, A) float, as the policy stores them."""
    log_prob: Tensor
    """(T, M, N) float."""
    value: Tensor
    """(T, M, N) float."""
    reward: Tensor
    """(T, M, N) float."""
    advantage: Tensor
    """(T, M, N) float, as is the next filled in when the rollout is learnt from."""
    returns: Tensor
    """(T, M, N) float, advantages plus values."""
    terminated: Tensor
    """(T, M, N) bool."""
    truncated: Tensor
    """(T, M, N) bool, false where terminated."""
    last_obs: Tensor
    """(L, *shape) the observation after the last step."""
    final_obs: Tensor
    """(S, L, *shape)."""
    slot: Tensor
    """(T, L) int64, the lane's number of truncations before this step."""
    truncations: Tensor
    """(L,) int64, the lane's number of truncations so far."""
    sparse: list[SparseBatch] = field(default_factory=list)
    """The observations' ones, step after step, where the network takes them so; else empty."""

    @classmethod
    def allocate(cls, action: Tensor, obs: Tensor) -> Rollout:
        """Reserve memory for a rollout.

        Args:
            action: memory for its actions, (T, M, N, ...).
            obs: (L, *shape), observations of one step.
        """
        steps, members, lanes = action.shape[:3]
        obs = obs.to(stored_type(obs.dtype))

        def of_type(kind: torch.dtype) -> Tensor:
            return torch.zeros(steps, members, lanes, dtype=kind, device=obs.device)

        return cls(
            obs=obs.new_empty(steps, *obs.shape),
            action=action,
            log_prob=of_type(torch.float32),
            value=of_type(torch.float32),
            reward=of_type(torch.float32),
            advantage=of_type(torch.float32),
            returns=of_type(torch.float32),
            terminated=of_type(torch.bool),
            truncated=of_type(torch.bool),
            last_obs=obs.clone(),
            final_obs=obs.new_zeros(0, *obs.shape),
            slot=torch.zeros(steps, len(obs), dtype=torch.int64, device=obs.device),
            truncations=torch.zeros(len(obs), dtype=torch.int64, device=obs.device),
        )

    @property
    def steps(self) -> int:
        """T."""
        return len(self.reward)

    @property
    def members(self) -> int:
        """M."""
        return self.reward.shape[1]

    def begin(self, slots: int) -> None:
        """Make room for `slots` final observations a lane; the other memory is reused as it is."""
        if slots != len(self.final_obs):
            self.final_obs = self.last_obs.new_zeros(slots, *self.last_obs.shape)
        self.truncations.zero_()
        self.sparse.clear()

    def spread(self, values: Tensor, most: int) -> Tensor:
        """At most `most` values of each member, spread over steps and lanes.

        Args:
            values: (T, L, *shape), the observations or what goes with them.
            most: Largest B.

        Returns:
            (M, B, *shape), of the same steps and lanes for all values.
        """
        lanes = self.reward.shape[2]
        steps = min(self.steps, 8)
        times = torch.linspace(0, self.steps - 1, steps).long().tolist()
        per_step = min(most // steps, lanes)
        few = torch.stack([values[t] for t in times])  # (steps, L, *shape)
        few = few.view(steps, self.members, lanes, *few.shape[2:])[:, :, :: lanes // per_step]
        return few[:, :, :per_step].transpose(0, 1).flatten(1, 2)

    def advantages(
        self, value: Callable[[Tensor], Tensor], gamma: float, gae_lambda: float
    ) -> Tensor:
        """Advantages (T, M, N), bootstrapped through truncation from the final observations.

        Args:
            value: gives values (M, N) of observations (L, *shape).
            gamma: discount per step.
            gae_lambda: decay of the trace.
        """
        next_value = torch.cat([self.value[1:], value(self.last_obs).unsqueeze(0)])
        if len(self.final_obs):
            final_value = torch.stack([value(obs) for obs in self.final_obs])  # (S, M, N)
            slot = self.slot.view_as(self.value).clamp(max=len(final_value) - 1)
            next_value = torch.where(self.truncated, final_value.gather(0, slot), next_value)
        done = self.terminated | self.truncated
        return gae(self.reward, self.value, next_value, self.terminated, done, gamma, gae_lambda)

    def write(self, t: int | Tensor, **fields: Tensor) -> None:
        """Store what is known of step t.

        Args:
            t: number of the step, as a tensor (1,) where the step is recorded for replay.
            **fields: fields of the rollout, each without its axis T.
        """
        for name, value in fields.items():
            memory: Tensor = getattr(self, name)
            if isinstance(t, int):
                memory[t] = value
            else:
                memory.index_copy_(0, t, value.to(memory.dtype).view(1, *memory.shape[1:]))

    def keep_final(self, t: int | Tensor, final_obs: Tensor, truncated: Tensor) -> None:
        """Keep the final observations (L, *shape) of the lanes that step t truncated (L,)."""
        self.write(t, slot=self.truncations)
        for index in range(len(self.final_obs)):
            hit = truncated & (self.truncations == index)
            _overwrite(self.final_obs[index], final_obs.to(self.final_obs.dtype), hit)
        self.truncations += truncated


def _overwrite(kept: Tensor, new: Tensor, hit: Tensor) -> None:
    """Replace the rows of `kept` (L, *shape) that are hit (L,) by those of `new`, in place."""
    rows, others = kept.flatten(1), new.flatten(1)
    if kept.element_size() > 1 or rows.shape[1] % 8:
        torch.where(hit.unsqueeze(1), others, rows, out=rows)
        return
    # Selecting bytes one by one is slow on a CPU; eight at once by their bits is not.
    rows, others = rows.view(torch.int64), others.view(torch.int64)
    rows.bitwise_xor_((rows ^ others).bitwise_and_(-hit.unsqueeze(1).long()))


@dataclass
class Minibatch:
    """Inputs and outputs of an update, in memory that stays where it is."""

    obs: Observations
    """(T L, *shape), the rollout's memory, or all its ones."""
    fields: Tensor
    """(T L, 4 + action_dim): log-probability, value, advantage, return, action."""
    rows: Tensor
    """(M, B) int64, the rows of both that the update reads."""
    totals: Tensor
    """(statistics, M) sums over updates."""

    @classmethod
    def allocate(cls, rollout: Rollout, size: int, action_dim: int, statistics: int) -> Minibatch:
        """Reserve memory for minibatches of `size` samples a member, and so many statistics."""
        members, like = rollout.members, rollout.value
        return cls(
            obs=rollout.obs.flatten(0, 1),
            fields=like.new_empty(like.numel(), 4 + action_dim),
            rows=rollout.slot.new_empty(members, size),
            totals=like.new_zeros(statistics, members),
        )

    def fill(self, rollout: Rollout, action: Sequence[Tensor]) -> None:
        """Copy what a rollout's samples hold.

        Args:
            rollout: A rollout with its advantages and returns.
            action: Its actions' components, each (T, M, N) float.
        """
        torch.stack(
            [rollout.log_prob, rollout.value, rollout.advantage, rollout.returns, *action],
            dim=-1,
            out=self.fields.view(*rollout.value.shape, -1),
        )


class Shuffle:
    """Random orders of the samples of a rollout, one for each epoch.

    Args:
        seeds: One seed per member.
        steps: Steps T of a rollout.
        lanes: Lanes N of a member.
        device: Device of the orders.
    """

    def __init__(self, seeds: Sequence[int], steps: int, lanes: int, device: torch.device) -> None:
        members, batch = len(seeds), steps * lanes
        self.epochs = torch.zeros((), dtype=torch.int64, device=device)
        self._keys = rng.lane_keys(seeds, batch, "minibatch", device).view(-1, batch)
        rows = torch.arange(batch * members, device=device)
        self._rows = rows.view(-1, members, lanes).transpose(0, 1).flatten(1)

    def __call__(self) -> Tensor:
        """A random order of each member's samples, (M, T N), as rows of the rollout (T M N)."""
        order = rng.bits(self._keys, self.epochs, 0).argsort(dim=1, stable=True)
        self.epochs += 1
        return self._rows.gather(1, order)


@torch.no_grad()
def recent_targets(
    rollout: Rollout, policy: ActionDistribution, network: Network, count: int
) -> dict[str, Tensor]:
    """Returns, and the policy's outputs' gradient of its log-probabilities times advantage.

    Both are centred; `value` is (M, B, 1), `policy` (M, B, outputs of its head), with B at most
    `count`.
    """
    returns = rollout.spread(rollout.returns.flatten(1), count)
    slope = rollout.spread(rollout.advantage.flatten(1), count)
    action = rollout.spread(rollout.action.flatten(1, 2), count)
    outputs = network.branch("policy", rollout.spread(rollout.obs, count))
    gradient = policy.closed_form(outputs, action)[2]
    slope = slope - slope.mean(1, keepdim=True)
    return {
        "policy": -gradient(slope, 0.0)[..., : policy.size],
        "value": (returns - returns.mean(1, keepdim=True)).unsqueeze(-1),
    }
