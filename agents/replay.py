"""Replay of experience on the device: a buffer of the last steps, and n-step transitions from it.

Observations are stored once, in their own type: the observation after a step is the next row's.
What truncation cuts off is kept in spare rows, as many a lane as the environment says can occur
within the buffer, so that bootstrapping through truncation is exact and nobody asks the host.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from neoteny.core import rng
from neoteny.core.errors import InputError

ACTION, REWARD, TERMINATED, DONE = range(4)


@dataclass
class Batch:
    """Transitions of n steps or fewer, B of each member."""

    frames: Tensor
    """(M, 2 B, *shape) the observations that actions were chosen on, then those to bootstrap from,
    before any reset."""
    action: Tensor
    """(M, B, 1) int64."""
    returns: Tensor
    """(M, B, 1) float, the discounted sum of up to n rewards, cut where the episode ended."""
    discount: Tensor
    """(M, B, 1) float, of the value of `next_obs`; 0 where the episode terminated."""

    @property
    def obs(self) -> Tensor:
        """(M, B, *shape) observations that actions were chosen on."""
        return self.frames.narrow(1, 0, self.action.shape[1])

    @property
    def next_obs(self) -> Tensor:
        """(M, B, *shape) observations to bootstrap from."""
        rows = self.action.shape[1]
        return self.frames.narrow(1, rows, rows)


class ReplayBuffer:
    """The last steps of M members with N lanes each.

    Args:
        obs: (M * N, *shape) the observations that the first actions are chosen on; those that
            follow are stored in their type.
        members: M.
        rows: Steps that are kept of every lane, one of them still without an action.
        n_steps: Largest number of rewards in a return.
        gamma: Discount per step.
    """

    def __init__(self, obs: Tensor, members: int, rows: int, n_steps: int, gamma: float) -> None:
        if rows <= n_steps:
            raise InputError(f"a replay of {rows} rows holds no return over {n_steps}: enlarge it")
        self.members, self.lanes = members, len(obs) // members
        self.rows, self.n_steps, self.gamma = rows, n_steps, gamma
        self.shape = obs.shape[1:]
        self.time = 0
        """Steps recorded so far."""
        self.first = 0
        """The first step that may be drawn."""
        self.spare = 0
        """Rows for final observations, which follow the others; 0 or at least 2."""
        device = obs.device
        self.frames = obs.new_zeros(members, rows, self.lanes, *self.shape)
        self.fields = torch.zeros(members, rows, self.lanes, 4, device=device)
        self._final = torch.zeros(members, self.lanes, dtype=torch.int64, device=device)
        """Spare row that each lane writes to next."""
        self._cut: set[int] = set()
        """Rows whose successors may lie in the spare rows."""
        self._powers = torch.tensor([gamma**k for k in range(n_steps + 1)], device=device)
        self._within = torch.arange(n_steps, device=device) * self.lanes
        self._place()
        self.frames[:, 0] = self._by_member(obs)

    def _place(self) -> None:
        """Number the rows of `frames` and their successors."""
        device = self.frames.device
        self._all_frames = self.frames.view(-1, *self.shape)
        self._all_fields = self.fields.view(-1, 4)
        member = torch.arange(self.members, device=device).unsqueeze(1)
        cells = self.rows * self.lanes
        self._of_fields = member * cells
        self._of_frames = member * (cells + self.spare * self.lanes)
        after = (torch.arange(cells, device=device) + self.lanes) % cells
        self._after = (self._of_frames + after).view(self.members, self.rows, self.lanes)
        self.successor = self._after.clone()
        """(M, rows, N) row of `frames` that holds the observation which a step led to."""
        self._first_spare = self._of_frames + cells + torch.arange(self.lanes, device=device)

    def _by_member(self, lanes: Tensor) -> Tensor:
        """View (L, ...) as (M, N, ...)."""
        return lanes.view(self.members, self.lanes, *lanes.shape[1:])

    @property
    def observation(self) -> Tensor:
        """(M, N, *shape) the observations that the next actions are chosen on."""
        return self.frames[:, self.time % self.rows]

    @property
    def oldest(self) -> int:
        """First step that is still whole and may be drawn."""
        return max(self.first, self.time - self.rows + 1)

    @property
    def steps(self) -> int:
        """Steps of each lane that a transition can start from."""
        return max(0, self.time - self.n_steps + 1 - self.oldest)

    @property
    def size(self) -> int:
        """Transitions of one member that can be drawn."""
        return self.steps * self.lanes

    def recent(self, steps: int, count: int) -> Tensor:
        """At most `count` observations (M, B, *shape), spread over the last steps and the lanes."""
        steps = min(max(self.time, 1), steps, self.rows - 1)
        times = range(self.time - steps, self.time, math.ceil(steps / 8)) if self.time else (0,)
        lanes = max(1, count // len(times))
        every = max(1, self.lanes // lanes)
        picked = [self.frames[:, t % self.rows, ::every][:, :lanes] for t in times]
        return torch.stack(picked, 1).flatten(1, 2)

    def reserve(self, truncations: int) -> None:
        """Make room for so many final observations a lane; stored ones are kept.

        Args:
            truncations: Most that a lane can see while a step stays in the buffer.
        """
        rows = truncations + 1 if truncations else 0  # every lane always writes to a free one
        if rows <= self.spare:
            return
        held, old_base, pointer = self.spare, self._of_frames, self._final
        successor = self.successor
        cells = self.rows * self.lanes
        grown = self.frames.new_zeros(self.members, self.rows + rows, self.lanes, *self.shape)
        grown[:, : self.rows + held] = self.frames
        position = successor.view(self.members, -1) - old_base  # within the member
        self.frames, self.spare = grown, rows
        self._place()
        if not held:
            return
        # Spare rows are turned so that the oldest comes first and new ones follow the newest.
        turn = (torch.arange(held, device=grown.device)[:, None] + pointer[:, None]) % held
        kept = grown[:, self.rows : self.rows + held].clone()
        index = turn.view(*turn.shape, *[1] * len(self.shape)).expand_as(kept)
        grown[:, self.rows : self.rows + held] = kept.gather(1, index)
        lane = torch.arange(cells, device=grown.device) % self.lanes
        slot = (position - cells).div(self.lanes, rounding_mode="floor")
        turned = (slot - pointer[:, lane]) % held
        moved = torch.where(position >= cells, cells + turned * self.lanes + lane, position)
        self.successor = (moved + self._of_frames).view_as(self._after)
        self._final = torch.full_like(pointer, held)

    def add(
        self,
        action: Tensor,
        reward: Tensor,
        terminated: Tensor,
        truncated: Tensor,
        obs: Tensor,
        final_obs: Tensor | None,
    ) -> None:
        """Record a step of every lane.

        Args:
            action: (L,) int64.
            reward: (L,) float.
            terminated: (L,) bool.
            truncated: (L,) bool.
            obs: (L, *shape) after resets.
            final_obs: (L, *shape) before resets; None if nothing is truncated.
        """
        row = self.time % self.rows
        self.time += 1
        self._write(row, self.time % self.rows, action, reward, terminated, truncated, obs)
        if self.spare:
            self._link(row, truncated, final_obs)

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
        """Store a step in a row, and the observation that follows it in the next row."""
        step = torch.stack([action, reward, terminated, terminated | truncated], -1)
        self.fields.select(1, row).copy_(self._by_member(step))
        self.frames.select(1, following).copy_(self._by_member(obs))

    def _link(self, row: int, truncated: Tensor, final_obs: Tensor | None) -> None:
        """Link a row to its successor, and keep the final observations of truncated lanes."""
        if final_obs is None and row not in self._cut:
            return
        after, successor = self._after.select(1, row), self.successor.select(1, row)
        if final_obs is None:
            self._cut.remove(row)
            successor.copy_(after)
            return
        self._cut.add(row)
        cut = self._by_member(truncated)
        spare = self._first_spare + self._final * self.lanes
        _copy_rows(self._all_frames, spare.flatten(), final_obs.to(self.frames.dtype))
        torch.where(cut, spare, after, out=successor)
        self._final.add_(cut).remainder_(self.spare)

    def sample(self, words: Tensor) -> Batch:
        """Draw transitions, uniformly and with replacement.

        Args:
            words: (M, B) random 32-bit words.
        """
        begin = self.oldest % self.rows * self.lanes
        drawn = rng.integer(words, self.size)
        return self.gather((drawn + begin) % (self.rows * self.lanes))

    def gather(self, position: Tensor) -> Batch:
        """Build the transitions that start at positions (M, B): row times N plus lane."""
        if self.n_steps == 1:
            here = self._in_members(position, self._of_fields).flatten()
            fields = self._all_fields.index_select(0, here).view(*position.shape, 4)
            action, returns, terminated, _ = fields.unbind(-1)
            discount = torch.sub(self._powers[1], terminated, alpha=self.gamma)
        else:
            path = (position.unsqueeze(-1) + self._within) % (self.rows * self.lanes)
            fields = self._all_fields[path + self._of_fields.unsqueeze(-1)]
            going = (1 - fields[..., DONE]).cumprod(-1)
            reached = torch.cat([torch.ones_like(going[..., :1]), going[..., :-1]], -1)
            returns = (reached * fields[..., REWARD] * self._powers[:-1]).sum(-1)
            last = reached.sum(-1, keepdim=True).long() - 1
            terminated = fields[..., TERMINATED].gather(-1, last).squeeze(-1)
            discount = self._powers[last.squeeze(-1) + 1] * (1 - terminated)
            action = fields[..., 0, ACTION]
            here = (path.gather(-1, last).squeeze(-1) + self._of_fields).flatten()
        after = self.successor.view(-1).index_select(0, here).view_as(position)
        before = self._in_members(position, self._of_frames)
        rows = torch.cat([before, after], 1)
        frames = self._all_frames.index_select(0, rows.flatten())
        frames = frames.view(*rows.shape, *self.shape)
        columns = (column.unsqueeze(-1) for column in (action.long(), returns, discount))
        return Batch(frames, *columns)

    def _in_members(self, position: Tensor, begins: Tensor) -> Tensor:
        """Positions (M, B) within the members as positions in the memory of all."""
        return position if self.members == 1 else position + begins

    def old_share(self, since: int) -> float:
        """Share of the transitions in the buffer that were recorded before step `since`."""
        return min(max(0, since - self.oldest), self.steps) / max(1, self.steps)

    def state_dict(self) -> dict[str, Any]:
        """The recorded transitions; binary observations as bits."""
        used = min(self.time + 1, self.rows)
        return {
            "time": self.time,
            "first": self.first,
            "spare": self.spare,
            "frames": pack(self.frames[:, :used]),
            "finals": pack(self.frames[:, self.rows :]),
            "fields": self.fields[:, :used].clone(),
            "successor": self.successor[:, :used].clone(),
            "final": self._final.clone(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
        self.reserve(state["spare"] - 1 if state["spare"] else 0)
        self.time, self.first = state["time"], state["first"]
        used = min(self.time + 1, self.rows)
        device = self.frames.device
        self.frames[:, :used] = unpack(state["frames"]).to(device)
        self.frames[:, self.rows :] = unpack(state["finals"]).to(device)
        self.fields[:, :used] = state["fields"].to(device)
        self.successor[:, :used] = state["successor"].to(device)
        self._final.copy_(state["final"])
        self._cut = set(range(used)) if self.spare else set()


def floats(obs: Tensor) -> Tensor:
    """Observations as networks multiply them; booleans convert fastest as the bytes they are."""
    if obs.dtype == torch.bool:
        obs = obs.view(torch.uint8)
    return obs.to(torch.get_default_dtype())


def _copy_rows(target: Tensor, index: Tensor, source: Tensor) -> None:
    """Write rows at indices, small elements by eight where their memory allows it."""
    target, source = target.flatten(1), source.flatten(1)
    aligned = source.shape[1] % 8 == 0 and source.storage_offset() % 8 == 0
    if source.element_size() == 1 and aligned:
        target, source = target.view(torch.int64), source.view(torch.int64)
    target.index_copy_(0, index, source)


def pack(obs: Tensor) -> dict[str, Any]:
    """Observations for a checkpoint: an eighth of their size where they are binary."""
    if obs.dtype != torch.bool:
        return {"shape": list(obs.shape), "values": obs.clone()}
    bits = np.packbits(obs.cpu().numpy().reshape(-1))
    return {"shape": list(obs.shape), "bits": torch.from_numpy(bits)}


def unpack(packed: dict[str, Any]) -> Tensor:
    """Restore what :func:`pack` returned."""
    if "values" in packed:
        values: Tensor = packed["values"]
        return values
    count = math.prod(packed["shape"])
    bits = np.unpackbits(packed["bits"].cpu().numpy(), count=count)
    return torch.from_numpy(bits.astype(bool)).view(packed["shape"])
