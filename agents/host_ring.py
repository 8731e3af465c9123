"""The replay's ring in the memory of the host, read and written by NumPy.

A step of 128 lanes and a minibatch of 128 transitions are so small that most of the time goes into
calling operations, and NumPy calls its own in a third of the time that torch needs. The memory is
that of the tensors, and so are the numbers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from neoteny.agents.replay import ACTION, DONE, REWARD, TERMINATED, Batch, Ring

__all__ = ["HostRing", "make_ring"]

KINDS = (torch.bool, torch.uint8, torch.float32)
"""Types of observations that NumPy has as well."""


class HostRing(Ring):
    """A ring on a CPU for returns of one step."""

    def _place(self) -> None:
        super()._place()
        self._look()

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._look()  # a copy has memory of its own

    def _look(self) -> None:
        """Take hold of the tensors' memory."""
        self._fields = self.fields.numpy()
        self._frames = self.frames.numpy()
        self._flat_fields, self._flat_frames = self._all_fields.numpy(), self._all_frames.numpy()
        self._begins = self._of_fields.numpy(), self._of_frames.numpy()

    def _write(
        self,
        row: int,
        following: int,
        action: Tensor,
        reward: Tensor,
        terminated: Tensor,
        truncated: Tensor,
        obs: Tensor,
    ) -> None:
        step, frame = self._fields[:, row], self._frames[:, following]
        shape, over = step.shape[:-1], terminated.numpy()
        step[..., ACTION] = action.numpy().reshape(shape)
        step[..., REWARD] = reward.numpy().reshape(shape)
        step[..., TERMINATED] = over.reshape(shape)
        step[..., DONE] = (over | truncated.numpy()).reshape(shape)
        frame[:] = obs.numpy().reshape(frame.shape)

    def sample(self, words: Tensor) -> Batch:
        """Draw transitions by random words (M, B), uniformly and with replacement."""
        begin = self.oldest % self.rows * self.lanes
        drawn = (words.numpy() * self.size) >> 32
        drawn += begin
        drawn %= self.rows * self.lanes
        return self._transitions(drawn)

    def gather(self, position: Tensor) -> Batch:
        """Build the transitions that start at positions (M, B): row times N plus lane."""
        return self._transitions(position.numpy())

    def _transitions(self, position: NDArray[np.int64]) -> Batch:
        here = before = position
        if self.members > 1:
            here, before = (position + begin for begin in self._begins)
        fields = self._flat_fields.take(here, 0)
        after = self.successor.numpy().reshape(-1).take(here)
        frames = self._flat_frames.take(np.concatenate([before, after], 1), 0)
        gamma = np.float32(self.gamma)
        return Batch(
            torch.from_numpy(frames),
            torch.from_numpy(fields[..., ACTION, None].astype(np.int64)),
            torch.from_numpy(fields[..., REWARD, None]),
            torch.from_numpy(gamma - gamma * fields[..., TERMINATED, None]),
        )


def make_ring(obs: Tensor, members: int, rows: int, n_steps: int, gamma: float) -> Ring:
    """The ring that is fastest for such observations; see :class:`Ring` for the arguments."""
    host = obs.device.type == "cpu" and obs.dtype in KINDS and n_steps == 1
    kind = HostRing if host else Ring
    return kind(obs, members, rows, n_steps, gamma)
