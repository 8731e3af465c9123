"""Replay that outlives the last steps: parts for tasks, or a fair sample of all experience.

Whole transitions are stored, with the observation they bootstrap from, since their neighbours in
time may be gone. They come from a short buffer, once their n steps are over.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from neoteny.agents.dqn_loss import DQNConfig
from neoteny.agents.replay import Batch, ReplayBuffer, pack, unpack
from neoteny.agents.spaces import stored_type
from neoteny.core import rng
from neoteny.core.errors import InputError

ACTION, RETURN, DISCOUNT, VISIT = range(4)


class Replay:
    """The last transitions, of all tasks or of the current one.

    Args:
        obs: (M * N, *shape) the observations that the first actions are chosen on.
        config: Size, policy and returns.
        seeds: One seed per member.
    """

    def __init__(self, obs: Tensor, config: DQNConfig, seeds: Sequence[int]) -> None:
        self.policy = config.replay_policy
        self.switched = 0
        """Step of every lane with which the current task began."""
        self.buffer = ReplayBuffer(
            obs, len(seeds), self._buffer_rows(config), config.n_steps, config.gamma
        )

    def _buffer_rows(self, config: DQNConfig) -> int:
        return config.replay_rows

    @property
    def observation(self) -> Tensor:
        """(M, N, *shape) the observations that the next actions are chosen on."""
        return self.buffer.observation

    @property
    def size(self) -> int:
        """Transitions of one member that can be drawn."""
        return self.buffer.size

    def add(self, *step: Any) -> None:
        """Record a step of every lane, see :meth:`ReplayBuffer.add`."""
        self.buffer.add(*step)

    def sample(self, words: Tensor) -> Batch:
        """Draw transitions by random words (M, B)."""
        return self.buffer.sample(words)

    def switch(self) -> None:
        """Begin a new task: transitions recorded from now on belong to it."""
        self.switched = self.buffer.time
        if self.policy == "flush":
            self.buffer.first = self.buffer.time

    def old_share(self) -> Tensor | float:
        """Share of the stored transitions from earlier tasks, (M,) or the same for all."""
        return self.buffer.old_share(self.switched)

    def state_dict(self) -> dict[str, Any]:
        """Everything a bit-exact resume needs; binary observations as bits."""
        return {"switched": self.switched, "ring": self.buffer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
        self.switched = state["switched"]
        self.buffer.load_state_dict(state["ring"])


class Archive(Replay, ABC):
    """Transitions in slots, some of which are kept for longer than the last steps."""

    def __init__(self, obs: Tensor, config: DQNConfig, seeds: Sequence[int]) -> None:
        super().__init__(obs, config, seeds)
        members, lanes, shape = self.buffer.members, self.buffer.lanes, self.buffer.shape
        self.slots = config.replay_rows
        # One more slot takes what is not kept.
        self.obs = obs.new_zeros(members, self.slots + 1, lanes, *shape)
        self.next_obs = torch.zeros_like(self.obs)
        self.fields = torch.zeros(members, self.slots + 1, lanes, 4, device=obs.device)
        self.visit = 0
        """Task switches before the transition that was stored last."""
        self._switches: list[int] = []
        """Steps at which tasks began whose transitions are not complete yet."""
        member = torch.arange(members, device=obs.device).unsqueeze(1)
        self._lane = torch.arange(lanes, device=obs.device).expand(members, lanes)
        self._base = member * (self.slots + 1) * lanes

    def _buffer_rows(self, config: DQNConfig) -> int:
        return max(config.n_steps, config.num_steps) + 1

    @abstractmethod
    def _slot(self, index: int) -> Tensor | int:
        """Slot (M, N) of the `index`-th transition of every lane; the index `slots` discards it."""

    @property
    @abstractmethod
    def filled(self) -> list[tuple[int, int]]:
        """First slot and number of slots of the runs that hold transitions, in order."""

    @property
    def size(self) -> int:
        """Transitions of one member that can be drawn."""
        return sum(count for _, count in self.filled) * self.buffer.lanes

    def add(self, *step: Any) -> None:
        """Record a step of every lane, and store the transitions that it completes."""
        self.buffer.add(*step)
        start = self.buffer.time - self.buffer.n_steps
        if start < 0:
            return
        if self._switches and start == self._switches[0]:
            del self._switches[0]
            self._begin_visit()
        row = start % self.buffer.rows * self.buffer.lanes
        batch = self.buffer.gather(self._lane + row)
        place = (self._slot(start) * self.buffer.lanes + self._lane + self._base).flatten()
        fields = [batch.action, batch.returns, batch.discount]
        fields.append(torch.full_like(batch.returns, self.visit))
        new = (batch.obs, batch.next_obs, torch.cat(fields, -1))
        for store, values in zip((self.obs, self.next_obs, self.fields), new, strict=True):
            flat = store.view(-1, *store.shape[3:])
            flat.index_copy_(0, place, values.reshape(-1, *store.shape[3:]))

    def switch(self) -> None:
        """Begin a new task: transitions recorded from now on belong to it."""
        super().switch()
        self._switches.append(self.buffer.time)

    def _begin_visit(self) -> None:
        """Begin to store transitions of the new task."""
        self.visit += 1

    def sample(self, words: Tensor) -> Batch:
        """Draw transitions by random words (M, B)."""
        lanes = self.buffer.lanes
        position = rng.integer(words, self.size)
        end = 0
        for first, count in self.filled:
            if first > end:
                position = position + (position >= end * lanes) * ((first - end) * lanes)
            end = first + count
        rows = (position + self._base).flatten()
        fields = self.fields.view(-1, 4).index_select(0, rows).view(*words.shape, 4)
        shape = self.buffer.shape
        frames = [
            store.view(-1, *shape).index_select(0, rows).view(*words.shape, *shape)
            for store in (self.obs, self.next_obs)
        ]
        action, returns, discount, _ = torch.split(fields, 1, -1)
        return Batch(torch.cat(frames, 1), action.long(), returns, discount)

    def old_share(self) -> Tensor | float:
        """Share of the stored transitions that come from earlier tasks, (M,)."""
        if not self.size:
            return 0.0
        runs = [self.fields[:, first : first + count, :, VISIT] for first, count in self.filled]
        visits = torch.cat(runs, 1).flatten(1)
        return (visits < self.visit).float().mean(1)

    def state_dict(self) -> dict[str, Any]:
        """Everything a bit-exact resume needs; binary observations as bits."""
        used = max((first + count for first, count in self.filled), default=0)
        return super().state_dict() | {
            "visit": self.visit,
            "switches": list(self._switches),
            "obs": pack(self.obs[:, :used]),
            "next_obs": pack(self.next_obs[:, :used]),
            "fields": self.fields[:, :used].clone(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
        super().load_state_dict(state)
        self.visit, self._switches = state["visit"], list(state["switches"])
        used = state["fields"].shape[1]
        device = self.obs.device
        self.obs[:, :used] = unpack(state["obs"]).to(device)
        self.next_obs[:, :used] = unpack(state["next_obs"]).to(device)
        self.fields[:, :used] = state["fields"].to(device)


class Reservoir(Archive):
    """Every transition of the whole run is equally likely to be among those kept.

    Source: Vitter, "Random sampling with a reservoir" (1985), algorithm R, in each lane.
    """

    def __init__(self, obs: Tensor, config: DQNConfig, seeds: Sequence[int]) -> None:
        super().__init__(obs, config, seeds)
        keys = rng.lane_keys(seeds, config.num_envs, "reservoir", obs.device)
        self._keys = keys.view(len(seeds), -1)

    @property
    def filled(self) -> list[tuple[int, int]]:
        """One run, from the first slot on."""
        stored = max(0, self.buffer.time - self.buffer.n_steps + 1)
        return [(0, min(stored, self.slots))]

    def _slot(self, index: int) -> Tensor | int:
        if index < self.slots:
            return index
        return rng.integer(rng.bits(self._keys, index, 0), index + 1).clamp_(max=self.slots)


class Partition(Archive):
    """Each task has a part of the slots, a ring; a new task takes over the oldest's part."""

    def __init__(self, obs: Tensor, config: DQNConfig, seeds: Sequence[int]) -> None:
        super().__init__(obs, config, seeds)
        self.stored = [0] * config.replay_parts
        """Transitions of each lane that each part has been given."""
        self.part_slots = self.slots // config.replay_parts

    @property
    def _part(self) -> int:
        return self.visit % len(self.stored)

    @property
    def filled(self) -> list[tuple[int, int]]:
        """One run for each part, from its first slot on."""
        return [
            (part * self.part_slots, min(stored, self.part_slots))
            for part, stored in enumerate(self.stored)
        ]

    def _begin_visit(self) -> None:
        super()._begin_visit()
        self.stored[self._part] = 0

    def _slot(self, index: int) -> int:
        place = self.stored[self._part] % self.part_slots
        self.stored[self._part] += 1
        return self._part * self.part_slots + place

    def state_dict(self) -> dict[str, Any]:
        """Everything a bit-exact resume needs; binary observations as bits."""
        return super().state_dict() | {"stored": list(self.stored)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
        self.stored = list(state["stored"])
        super().load_state_dict(state)


POLICIES = {"keep": Replay, "flush": Replay, "partition": Partition, "reservoir": Reservoir}


def make_replay(obs: Tensor, config: DQNConfig, seeds: Sequence[int]) -> Replay:
    """The configured replay, empty but for the first observations."""
    return POLICIES[config.replay_policy](obs.to(stored_type(obs.dtype)), config, seeds)


def check_switches(envs: Any, config: DQNConfig, members: int) -> None:
    """Refuse members that switch at different steps if a switch changes the replay of all.

    Raises:
        ValueError: If they do, naming the settings and the remedy.
    """
    acts = config.replay_policy in ("flush", "partition") or config.epsilon_restart
    if members > 1 and acts and not envs.switch_together:
        raise InputError(
            f"replay_policy {config.replay_policy} and epsilon_restart {config.epsilon_restart} "
            f"act on all {members} members, which do not switch together here: use replay_policy "
            "keep or reservoir and no restart, or one seed"
        )
