"""What a task changes: pure functions of a task index, the same on NumPy and on every device."""

from collections.abc import Sequence
from math import prod
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from neoteny.wrappers.arrays import Table

Axis = Literal["features", "pixels", "channels"]


class Change:
    """A task's effect on an environment or on a supervised stream; nothing by default.

    Arrays have any leading axes followed by the event: `(*lead, *event)`. `task` is an int or
    an integer array that broadcasts to `lead`. A change with `members` = M > 1 gives each
    member its own tables; the first leading axis is then the member axis, of length M.
    """

    members: int = 1

    def observation(self, obs: Any, task: Any) -> Any:
        """What the agent sees of `obs` (*lead, *event) under `task`; same shape."""
        return obs

    def action(self, action: Any, task: Any) -> Any:
        """What the environment receives when the agent plays `action` (*lead); same shape."""
        return action

    def reward(self, reward: Any, task: Any) -> Any:
        """What the agent receives when the environment pays `reward` (*lead); same shape."""
        return reward

    def label(self, y: Any, task: Any) -> Any:
        """The target of a supervised stream in place of `y` (*lead, …); same shape."""
        return y

    def params(self, task: int) -> dict[str, float]:
        """Attributes of the environment under `task`, set when it comes into force."""
        return {}


class RewardFlip(Change):
    """Odd tasks negate the reward: what was sought must now be avoided."""

    def reward(self, reward: Any, task: Any) -> Any:
        """`reward` under even tasks, `-reward` under odd ones."""
        odd = task % 2 == 1  # a bool keeps the dtype of the reward, an int64 array would not
        return reward - 2 * reward * odd

    def __repr__(self) -> str:
        return "RewardFlip()"


class ObservationPermutation(Change):
    """Each task shuffles the observation in its own fixed way.

    Task t of seed s uses `numpy.random.default_rng([s, t]).permutation(n)`; the output's place j
    shows the input's place `permutation[j]`, as `x[..., permutation]` does.

    Args:
        shape: the observation's shape, channels last.
        tasks: number of permutations; task t uses number t modulo `tasks`.
        seed: >= 0; a sequence of M seeds gives each member its own permutations.
        over: "features" shuffles all flattened entries, "pixels" the positions (all axes but the
            last, each position keeping its channels), "channels" the last axis.
        keep_first: leave task 0 unpermuted.

    Raises:
        ValueError: `shape` is empty, `over` is unknown, or `tasks` is not positive.
    """

    def __init__(
        self,
        shape: Sequence[int],
        tasks: int,
        seed: int | Sequence[int] = 0,
        over: Axis = "features",
        keep_first: bool = True,
    ) -> None:
        self.shape = tuple(shape)
        if not self.shape:
            raise ValueError("shape is empty; only observations with at least one axis can permute")
        sizes = {
            "features": prod(self.shape),
            "pixels": prod(self.shape[:-1]),
            "channels": self.shape[-1],
        }
        if over not in sizes:
            raise ValueError(f"over must be one of {', '.join(sizes)}, got {over!r}")
        if tasks <= 0:
            raise ValueError(f"tasks must be positive, got {tasks}; give at least 1")
        self.over, self.tasks, self.keep_first = over, tasks, keep_first
        self.seeds = (seed,) if isinstance(seed, int | np.integer) else tuple(seed)
        self.members = len(self.seeds)
        rows = [self._draw(s, task, sizes[over]) for s in self.seeds for task in range(tasks)]
        self._table = Table(np.stack(rows))  # (M * tasks, n)
        self._places: tuple[Any, Any] = (None, None)  # what they are for, and the places

    def _draw(self, seed: int, task: int, size: int) -> Any:
        if task == 0 and self.keep_first:
            return np.arange(size)
        return np.random.default_rng([seed, task]).permutation(size)

    def _permutation(self, x: Any, task: Any, lead: int) -> Any:
        """Rows of the table: (*task.shape, n), or (M, 1, …, n) with `lead` ones for members."""
        table = self._table.like(x)
        row = task % self.tasks
        if self.members > 1:
            if isinstance(x, Tensor):
                member: Any = torch.arange(self.members, device=x.device)
            else:
                member = np.arange(self.members)
            row = row + self.tasks * member.reshape((self.members,) + (1,) * (lead - 1))
        return table[row]

    def observation(self, obs: Any, task: Any) -> Any:
        """Shuffle `obs`.

        Args:
            obs: (*lead, *shape), Tensor or ndarray of any dtype.
            task: int, or integers broadcastable to `lead`.

        Returns:
            Like `obs`.

        Raises:
            ValueError: `obs` does not end with `shape`, or lacks the member axis.
        """
        lead = tuple(obs.shape[: obs.ndim - len(self.shape)])
        if tuple(obs.shape[len(lead) :]) != self.shape:
            raise ValueError(
                f"observation of shape {tuple(obs.shape)} does not end in {self.shape}"
            )
        if self.members > 1 and lead[:1] != (self.members,):
            raise ValueError(
                f"observation of shape {tuple(obs.shape)} lacks the axis of {self.members} "
                "members; view it as (members, lanes, ...)"
            )
        if not isinstance(task, int):
            task = task.reshape((1,) * (len(lead) - task.ndim) + tuple(task.shape))
        elif isinstance(obs, Tensor):
            return obs.reshape(-1).index_select(0, self._flat(obs, task, lead)).reshape(obs.shape)
        return self._shuffle(obs, task, lead)

    def _shuffle(self, x: Any, task: Any, lead: tuple[int, ...]) -> Any:
        permutation = self._permutation(x, task, len(lead))
        last = 1 if self.over == "features" else self.shape[-1]
        grid = x.reshape((*lead, -1, last))  # every case permutes one of two event axes
        return _take(grid, permutation, -1 if self.over == "channels" else -2).reshape(x.shape)

    def _flat(self, obs: Tensor, task: int, lead: tuple[int, ...]) -> Tensor:
        """Where in `obs` each entry of the result comes from, kept for as long as a task lasts.

        Working it out at every call makes a step several times slower on CPUs.
        """
        key = (task % self.tasks, obs.shape, obs.device)
        if self._places[0] != key:
            places = torch.arange(obs.numel(), device=obs.device).reshape(obs.shape)
            self._places = (key, self._shuffle(places, task, lead).reshape(-1))
        flat: Tensor = self._places[1]
        return flat

    def __repr__(self) -> str:
        return (
            f"ObservationPermutation(shape={self.shape}, tasks={self.tasks}, "
            f"seed={self.seeds if self.members > 1 else self.seeds[0]}, over={self.over!r}, "
            f"keep_first={self.keep_first})"
        )


def _take(grid: Any, permutation: Any, axis: int) -> Any:
    """`grid` (*lead, P, C) in the order of `permutation` (*broadcastable to lead, n)."""
    on_device = isinstance(grid, Tensor)
    if permutation.ndim == 1:
        return grid.index_select(axis, permutation) if on_device else grid.take(permutation, axis)
    index = permutation[..., None] if axis == -2 else permutation[..., None, :]
    take = torch.take_along_dim if on_device else np.take_along_axis
    return take(grid, index, axis)
