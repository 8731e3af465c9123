"""Supervised streams: labelled images whose pixels or classes change from task to task.

A step is one sample of one member, so schedules, half-lives and TensorBoard's axis count samples
where streams of environments count environment steps.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from gymnasium.spaces import Box, Discrete
from torch import Tensor

from neoteny.core import rng
from neoteny.core.errors import InputError
from neoteny.envs.datasets import Dataset
from neoteny.wrappers.aliases import State
from neoteny.wrappers.arrays import Value
from neoteny.wrappers.change_base import Change, Seed, _Seeded, counter
from neoteny.wrappers.compose import ComposedChanges
from neoteny.wrappers.member_schedules import MemberSchedules
from neoteny.wrappers.schedules import Schedule

_PHASE = 2**32 - 1
"""A counter of the hash that no task has."""


@dataclass(frozen=True)
class RandomLabels(_Seeded):
    """Each task gives every sample, or a share of them, a class at random.

    The class depends on the seed, the task and the number of the sample alone: give the same `step`
    for the same sample, and its class stays the same for as long as a task lasts. With a share
    below 1 labels change gradually: a sample keeps its class for 1 / share tasks, to the next
    whole number up or down, and which samples get a new one in a task is random.

    Args:
        classes: n, each as likely as the others.
        seed: >= 0; a sequence of M seeds gives each member its own labels.
        share: of the samples that a task gives a new class, in expectation.

    Raises:
        ValueError: `classes` is not positive, a seed is negative, or `share` is not in (0, 1].

    Source: the memorisation task of Lyle et al., "Understanding Plasticity in Neural Networks",
    arXiv:2303.01486.
    """

    limits: ClassVar[Mapping[str, str]] = {"classes": "at least 1", "share": "in (0, 1]"}
    classes: int
    seed: Seed = 0
    share: float = 1.0
    random: ClassVar[bool] = True

    def label(self, y: Value, task: Value, step: Value = 0) -> Value:
        """A class (*lead) int in place of `y`; `step`, broadcastable to it, numbers the samples."""
        lead = tuple(np.shape(y))
        keys, sample = self._member_keys(y, lead), counter(step, len(lead))
        # Each sample's place between two of its draws, in 32 bits as the share is, so that with a
        # share of 1 the number of the draw is that of the task.
        phase = rng.bits(keys, _PHASE, sample)
        draw = (counter(task, len(lead)) * round(self.share * 2**32) + phase) >> 32
        words = rng.bits(keys, draw, sample)
        found = rng.integer(words, self.classes).expand(lead)
        return found.to(y.dtype) if isinstance(y, Tensor) else found.numpy().astype(np.int64)


@dataclass(frozen=True)
class Samples:
    """Minibatches of a stream; images are gathered one minibatch at a time, when asked for."""

    stream: "SupervisedStream"
    rows: Tensor
    """(K, M, B) int64, numbers of the samples."""
    start: int
    """Step of the first minibatch."""

    def __len__(self) -> int:
        """K."""
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Minibatch `index`: observations (M, B, *shape) float32 and labels (M, B) int64."""
        rows = self.rows[index]
        task = self.stream.task_at(self.start + index * rows.shape[1])
        return self.stream.observations(rows, task), self.stream.labels(rows, task)

    def first(self, most: int) -> tuple[Tensor, Tensor]:
        """The first samples of each member, at most `most`, and their labels.

        Returns:
            (M, n, *shape) float32 and (M, n) int64.
        """
        rows = self.rows.transpose(0, 1).flatten(1)[:, :most]
        task = self.stream.task_at(self.start)
        return self.stream.observations(rows, task), self.stream.labels(rows, task)


class SupervisedStream:
    """M members that each walk through one data set in an order of their own, task after task.

    Every member sees every image once an epoch. The order of epoch e is the order of random words
    hashed from the member's seed and e, so it needs no state but the number of samples so far, and
    does not depend on the other members.

    Args:
        data: images and classes.
        changes: what a task does to them, applied left to right to pixels and to labels.
        schedule: when tasks change, in samples of one member.
        seeds: (M,) one a member.
        device: where data and minibatches live.
        name: of the task, whichever it is.

    Raises:
        ValueError: a change does not fit the images or acts on what only environments have, or
            the schedule drifts, or waits for returns or lanes, of which there are none.
    """

    def __init__(
        self,
        data: Dataset,
        changes: Sequence[Change],
        schedule: Schedule,
        seeds: Sequence[int],
        device: torch.device | str = "cpu",
        name: str = "supervised",
    ) -> None:
        self.data = data.to(device)
        self.device = torch.device(device)
        self.seeds = tuple(seeds)
        self.members = len(self.seeds)
        self.schedule = MemberSchedules(schedule, self.members)
        if self.schedule.gradual or self.schedule.waits or self.schedule.delayed:
            raise InputError(
                f"{schedule} drifts, or waits for returns or lanes: give a supervised stream a "
                "schedule that switches by the number of samples"
            )
        self._composed = ComposedChanges(changes, self.members, supervised=True)
        self.task_names = [name]
        self.classes = data.classes
        self.single_observation_space = Box(-np.inf, np.inf, data.shape, np.float32)
        self._composed.check(self.single_observation_space, Discrete(data.classes))
        self._mean, self._std = data.moments()
        self.steps = 0
        size = len(data)
        self._keys = rng.lane_keys(self.seeds, size, "samples", self.device).view(-1, size)
        self._visit = 0
        self._counts = [0, 0]  # samples since the last collect, and since the task began
        self._correct = torch.zeros(2, self.members, dtype=torch.int64, device=self.device)

    @property
    def changes(self) -> tuple[Change, ...]:
        """The changes of images and labels."""
        return self._composed.changes

    def task_at(self, step: int) -> int:
        """Task of the sample number `step`."""
        return self.schedule.members[0].task(step)

    def tasks_at(self, step: int) -> list[int]:
        """(M,) task of each member for the sample number `step`; all play the same."""
        return self.schedule.tasks(step)

    def boundaries(self, total: int) -> list[int]:
        """Ascending steps b, 0 < b < total, at which the task is switched."""
        return self.schedule.boundaries(total)

    def draw(self, minibatches: int, size: int) -> Samples:
        """The next minibatches of every member.

        A minibatch belongs to the task of its first sample.

        Args:
            minibatches: K.
            size: B, samples of one member in a minibatch.
        """
        visit = self.schedule.members[0].visit(self.steps)
        if visit != self._visit:
            self._visit, self._counts[1] = visit, 0
            self._correct[1].zero_()
        rows = self.rows(self.steps, minibatches * size).view(self.members, minibatches, size)
        samples = Samples(self, rows.transpose(0, 1), self.steps)
        self.steps += minibatches * size
        return samples

    def rows(self, start: int, count: int) -> Tensor:
        """(M, count) which sample each member sees at the steps from `start` on."""
        size = len(self.data)
        first, last = start // size, (start + count - 1) // size
        epochs = torch.arange(first, last + 1, device=self.device).view(-1, 1, 1)
        order = rng.bits(self._keys, epochs, 0).argsort(dim=-1, stable=True)  # (E, M, n)
        return order.transpose(0, 1).flatten(1)[:, start - first * size :][:, :count]

    def observations(self, rows: Tensor, task: int) -> Tensor:
        """Pixels of the samples `rows` (M, B) under `task`: (M, B, *shape) float32.

        Before any change, all pixels of the data set together have mean 0 and standard deviation 1.
        """
        obs = self.data.images.index_select(0, rows.flatten()).view(*rows.shape, *self.data.shape)
        scaled = (obs.to(torch.float32) - self._mean) / self._std
        return self._composed.observation(scaled, task, rows)

    def labels(self, rows: Tensor, task: int) -> Tensor:
        """Classes of the samples `rows` (M, B) under `task`: (M, B) int64."""
        return self._composed.label(self.data.labels[rows], task, rows)

    def score(self, correct: Tensor, samples: int) -> None:
        """Count answers that were given before learning from their samples.

        Args:
            correct: (M,) number of correct ones.
            samples: out of so many a member.
        """
        self._correct += correct
        self._counts = [count + samples for count in self._counts]

    def close(self) -> None:
        """Do nothing: a stream of data has no processes."""

    def collect(self) -> dict[str, Tensor]:
        """Online accuracy, (M,) float64: since the last call, and over the task so far."""
        recent, task = self._correct.double()
        found = {
            "online_accuracy": recent / self._counts[0],
            "task_accuracy": task / self._counts[1],
        }
        self._correct[0].zero_()
        self._counts[0] = 0
        return found

    def state_dict(self) -> State:
        """A copy of everything needed to go on exactly from here."""
        return {
            "steps": self.steps,
            "visit": self._visit,
            "counts": list(self._counts),
            "correct": self._correct.clone(),
        }

    def load_state_dict(self, state: State) -> None:
        """Go on from where `state` was taken."""
        self.steps, self._visit = state["steps"], state["visit"]
        self._counts = list(state["counts"])
        self._correct.copy_(state["correct"])
