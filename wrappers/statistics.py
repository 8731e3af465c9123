"""Episode statistics kept on the device, copied to the host only when somebody asks."""

from collections.abc import Hashable, Sequence

import torch
from torch import Tensor

from neoteny.core.errors import InputError
from neoteny.wrappers.aliases import AnyVectorEnv, Info, ResetOptions, State
from neoteny.wrappers.arrays import Array
from neoteny.wrappers.vector_base import MemberWrapper

CUT, RETURN, LENGTH, EPISODES, REWARD = range(5)


class EpisodeStatistics(MemberWrapper):
    """Sums returns and lengths of episodes for each member, without waiting for the device.

    An episode counts when it ends by itself, by termination or by a time limit. One that a task
    switch ended (`info["cut"]`) has no full return and is only counted in "episodes_cut".

    Args:
        env: an environment that returns tensors, with the wrapper that changes its tasks.

    Raises:
        ValueError: the environment returns NumPy arrays.
    """

    def __init__(self, env: AnyVectorEnv) -> None:
        super().__init__(env)
        if self.device is None:
            raise InputError(f"{env} returns NumPy arrays; EpisodeStatistics needs a TensorEnv")
        zeros = torch.zeros((8, self.num_envs), dtype=torch.float64, device=self.device)
        # First the totals since the last collect; then of the episode under way its return, its
        # length and 1, which is what it adds to the number of episodes. They lie so that one
        # operation reaches several, and are looked up once: that takes as long as an operation.
        self._totals, self._running = zeros[:5], zeros[5:7]
        self._under_way, self._length = zeros[5:], zeros[6]
        self._under_way[2] = 1
        self._ended, self._cut = zeros[RETURN : EPISODES + 1], zeros[CUT]
        self._rewards = zeros[REWARD:6]  # the total and that of the episode
        self._nothing = zeros.new_zeros(())
        self._count = 0

    def reset(
        self, *, seed: int | Sequence[int] | None = None, options: ResetOptions | None = None
    ) -> tuple[Tensor, Info]:
        """Begin episodes; those given up are forgotten."""
        mask = self._reset_mask(options)
        obs, info = self.env.reset(seed=seed, options=options)  # type: ignore[arg-type]
        if mask is None:
            self._running.zero_()
        else:
            self._running.masked_fill_(torch.as_tensor(mask), 0.0)
        return obs, info

    def step(self, actions: Array) -> tuple[Tensor, Tensor, Tensor, Tensor, Info]:
        """Play one step and count it.

        Raises:
            ValueError: the rewards have another shape than (L,).
        """
        obs, reward, terminated, truncated, info = self.env.step(actions)
        if reward.shape != self._length.shape:
            raise InputError(
                f"rewards have shape {tuple(reward.shape)}, expected ({self.num_envs},), one a lane"
            )
        self._rewards.add_(reward)
        self._length.add_(1)
        ended = terminated | truncated
        counted = ended
        if "cut" in info:
            counted = ended & ~info["cut"]
            self._cut.add_(info["cut"])
        self._ended.add_(torch.where(counted, self._under_way, self._nothing))
        self._running.masked_fill_(ended, 0.0)
        self._count += 1
        return obs, reward, terminated, truncated, info

    def steady(self, horizon: int) -> Hashable:
        """Decisions of the host in the next `horizon` steps of the environment."""
        return self._below.steady(horizon)

    def skip(self, steps: int) -> None:
        """Count steps that were replayed."""
        super().skip(steps)
        self._count += steps

    def collect(self) -> dict[str, Tensor]:
        """Results of the time since the last call.

        Returns:
            (M,) float64 tensors on the device: "episodic_return" and "episodic_length", means over
            the episodes that ended by themselves, NaN if none did; "episodes", their number;
            "episodes_cut", those that a switch cut short; "reward_per_step".
        """
        totals = self._totals.view(5, self.members, self.lanes).sum(2)
        self._totals.zero_()
        steps, self._count = self._count * self.lanes, 0
        return {
            "episodic_return": totals[RETURN] / totals[EPISODES],
            "episodic_length": totals[LENGTH] / totals[EPISODES],
            "episodes": totals[EPISODES],
            "episodes_cut": totals[CUT],
            "reward_per_step": totals[REWARD] / steps,
        }

    def state_dict(self) -> State:
        """A copy of everything needed to go on exactly from here."""
        own = {"running": self._running.clone(), "totals": self._totals.clone()}
        return {**super().state_dict(), **own, "count": self._count}

    def load_state_dict(self, state: State) -> None:
        """Go on from where `state` was taken."""
        super().load_state_dict(state)
        self._running.copy_(state["running"])
        self._totals.copy_(state["totals"])
        self._count = state["count"]
