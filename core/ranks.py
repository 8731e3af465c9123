"""The processes of one run, which `torchrun` starts: who they are, and what they tell each other.

A process is known by its rank, from 0 on. One process alone is the ordinary case: then sums are
what they are summed from, and a share is the whole.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from neoteny.core.errors import InputError, RunError

STARTED = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
"""Variables of the environment that `torchrun` sets for every process."""
_T = TypeVar("_T")


@dataclass(frozen=True)
class Ranks:
    """One of the processes of a run.

    Every method but `share` and `lanes` is called by all of them, in the same order.

    Args:
        rank: Number of this process.
        size: Number of processes.
    """

    rank: int = 0
    size: int = 1

    @classmethod
    def here(cls) -> Ranks:
        """The processes that `torchrun` has started this one with, or this one alone."""
        if any(name not in os.environ for name in STARTED):
            return ALONE
        return cls(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]))

    @property
    def alone(self) -> bool:
        """True for a run of one process."""
        return self.size == 1

    @property
    def first(self) -> bool:
        """True for the process that writes and prints for all."""
        return self.rank == 0

    def take_gpu(self) -> None:
        """Have the device `cuda` mean a GPU that no other process on this computer has.

        Raises:
            InputError: If there are fewer GPUs than processes.
        """
        local, count = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
        if local >= count:
            raise InputError(
                f"device is cuda, but this computer has {count} GPUs for more processes: give "
                f"torchrun --nproc-per-node {count}"
            )
        torch.cuda.set_device(local)

    @contextmanager
    def connected(self, device: torch.device) -> Iterator[None]:
        """Let the processes talk to each other: by NCCL if tensors are on GPUs, else by Gloo.

        Raises:
            RunError: If they do not find each other.
        """
        if self.alone:
            yield
            return
        with _lost_peers():
            backend = "nccl" if device.type == "cuda" else "gloo"
            dist.init_process_group(backend, rank=self.rank, world_size=self.size)
        try:
            yield
        finally:
            dist.destroy_process_group()

    def share(self, batch: Tensor) -> Tensor:
        """This process's part (M, B / size, ...) of a batch (M, B, ...), a view."""
        if self.alone:
            return batch
        count = batch.shape[1] // self.size
        return batch.narrow(1, self.rank * count, count)

    def lanes(self, values: Tensor, members: int) -> Tensor:
        """Values (M N / size, ...) of this process's lanes, from those of all (M N, ...)."""
        if self.alone:
            return values
        return self.share(values.view(members, -1, *values.shape[1:])).flatten(0, 1)

    def all_lanes(self, columns: Sequence[Tensor], members: int) -> list[Tensor]:
        """The reverse of `lanes`, for several tensors at once: all processes' values of each."""
        if self.alone or not columns:
            return list(columns)
        rows = [_bytes(column) for column in columns]
        own = torch.cat(rows, dim=1)
        found = self._gather(own).view(self.size, members, -1, own.shape[1]).transpose(0, 1)
        parts = torch.split(found.reshape(-1, own.shape[1]), [row.shape[1] for row in rows], dim=1)
        return [_from_bytes(part, column) for part, column in zip(parts, columns, strict=True)]

    def sum(self, values: Tensor) -> Tensor:
        """Sum over all processes; `values` may be overwritten."""
        return values if self.alone else self._reduce(values)

    def mean(self, values: Tensor) -> Tensor:
        """Mean over all processes; `values` may be overwritten."""
        return values if self.alone else self.sum(values).div_(self.size)

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors by their means over all processes, in one message."""
        if self.alone or not tensors:
            return
        whole = self.mean(torch.cat([tensor.flatten() for tensor in tensors]))
        parts = torch.split(whole, [tensor.numel() for tensor in tensors])
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.view_as(tensor))

    def largest(self, *numbers: int, device: torch.device) -> list[int]:
        """The largest of each number over all processes."""
        if self.alone:
            return list(numbers)
        found: list[int] = self._reduce(torch.tensor(numbers, device=device), largest=True).tolist()
        return found

    def agreed(self, find: Callable[[], _T]) -> _T:
        """Result of the first process, or its error, for every process.

        Raises:
            RunError: In the others, if the first one raised anything.
        """
        if self.alone:
            return find()
        answer: list[Any] = [None, False]
        try:
            if self.first:
                answer = [find(), True]
        finally:
            answer = self._broadcast(answer)
        if not answer[1]:
            raise RunError("process 0 of this run could not begin: see its message")
        value: _T = answer[0]
        return value

    def _gather(self, values: Tensor) -> Tensor:
        """Values (*shape) of all processes, (size, *shape)."""
        found = values.new_empty(self.size, *values.shape)
        with _lost_peers():
            dist.all_gather(list(found), values)
        return found

    def _reduce(self, values: Tensor, largest: bool = False) -> Tensor:
        """Sums or largest values over all processes, in place."""
        with _lost_peers():
            dist.all_reduce(values, dist.ReduceOp.MAX if largest else dist.ReduceOp.SUM)
        return values

    def _broadcast(self, values: list[Any]) -> list[Any]:
        """The first process's list, for all."""
        with _lost_peers():
            dist.broadcast_object_list(values)
        return values


ALONE = Ranks()
"""The only process of a run."""


def _bytes(values: Tensor) -> Tensor:
    """Values (L, ...) as rows of bytes (L, k)."""
    if not values.numel():
        return values.new_empty(len(values), 0, dtype=torch.uint8)
    return values.contiguous().view(len(values), -1).view(torch.uint8)


def _from_bytes(rows: Tensor, like: Tensor) -> Tensor:
    """The reverse of `_bytes`, for values of the type and event shape of others."""
    shape = len(rows), *like.shape[1:]
    if not rows.numel():
        return like.new_empty(shape)
    return rows.contiguous().view(like.dtype).view(shape)


@contextmanager
def _lost_peers() -> Iterator[None]:
    """Turn torch's error when a process cannot be reached into one line."""
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, dist.DistError) and "gloo/transport" not in str(error):
            raise
        reason = (str(error).splitlines() or ["no reason given"])[0]
        raise RunError(f"another process of this run has ended or is lost ({reason})") from error
