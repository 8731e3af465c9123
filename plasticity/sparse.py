"""Binary observations as lists of their ones, and the linear layer that sums the rows they select.

MinAtar's observations are one to three per cent ones, so the first layer of an MLP spends its time
multiplying by zero. On a CPU a sum of the selected weight rows takes a tenth of the time of the
dense product, forward and backward, and gives the same numbers up to the order of summation. The
lists are SciPy's compressed sparse rows, whose selection and transposition are linear in the ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy import sparse
from torch import Tensor
from torch.autograd.function import once_differentiable


class SparseBatch:
    """Rows of binary features, each stored as the indices of its ones.

    Member m's features are numbered from m times `features`, so that one sum serves all members.

    Args:
        matrix: (members * B, members * features) compressed rows; every stored entry is a one.
        members: Number of members M.
    """

    def __init__(self, matrix: sparse.csr_array, members: int) -> None:
        self.matrix = matrix
        self.members = members
        self.features = matrix.shape[1] // members

    def __len__(self) -> int:
        """Number of rows, over all members."""
        return int(self.matrix.shape[0])

    @property
    def index(self) -> Tensor:
        """(ones,) integers in [0, members * features), row after row."""
        return torch.from_numpy(self.matrix.indices)

    @property
    def offsets(self) -> Tensor:
        """(rows + 1,) integers; row r's ones are `index[offsets[r]:offsets[r + 1]]`."""
        return torch.from_numpy(self.matrix.indptr)

    @classmethod
    def join(cls, batches: Sequence[SparseBatch]) -> SparseBatch:
        """Put batches of the same members one after another."""
        joined = sparse.vstack([batch.matrix for batch in batches], format="csr")
        return cls(joined, batches[0].members)

    def select(self, rows: Tensor) -> SparseBatch:
        """Gather rows (M, B), each of which must belong to its member."""
        return SparseBatch(self.matrix[rows.flatten().numpy()], self.members)

    @cached_property
    def transposed(self) -> tuple[Tensor, Tensor]:
        """The rows that contain each feature, and where each feature's list begins."""
        columns = self.matrix.tocsc()
        return torch.from_numpy(columns.indices), torch.from_numpy(columns.indptr)


def encode(obs: Tensor, members: int = 1) -> SparseBatch:
    """List the ones of binary observations.

    Args:
        obs: (members * B, *shape) bool, on the CPU.
        members: Number of members M, whose rows follow each other.

    Returns:
        The same rows as a batch of M members.
    """
    flat = obs.flatten(1)
    rows, features = flat.shape
    place = flat.reshape(-1).numpy().nonzero()[0]
    begins = np.arange(rows) * features
    offsets = np.append(np.searchsorted(place, begins), len(place))
    member = np.arange(rows) // (rows // members)
    index = place - np.repeat(begins - member * features, np.diff(offsets))
    small = np.int32 if max(len(place), members * features) < 2**31 else np.int64
    matrix = sparse.csr_array(
        (np.ones(len(place), np.int8), index.astype(small), offsets.astype(small)),
        shape=(rows, members * features),
    )
    return SparseBatch(matrix, members)


def first_samples(obs: Tensor | SparseBatch, count: int) -> Tensor | SparseBatch:
    """The first `count` samples of each member's minibatch, which suffice for statistics."""
    if isinstance(obs, Tensor):
        return obs[:, :count]
    batch = len(obs) // obs.members
    first = torch.arange(obs.members).unsqueeze(1) * batch
    return obs.select(first + torch.arange(min(count, batch)))


def as_tensor(obs: Tensor | SparseBatch) -> Tensor:
    """Observations (M, B, ...) as one tensor, which a resume can restore."""
    if isinstance(obs, Tensor):
        return obs
    row = torch.arange(len(obs)).repeat_interleave(obs.offsets.diff())
    dense = torch.zeros(len(obs), obs.features, dtype=torch.bool)
    dense[row, obs.index.long() % obs.features] = True
    return dense.view(obs.members, -1, obs.features)


def sum_columns(batch: SparseBatch, weight: Tensor) -> Tensor:
    """Sum, for each row, the columns of a weight (M, out, features) at its ones: (M, B, out)."""
    members, outputs, _ = weight.shape
    table = weight.transpose(1, 2).contiguous().view(-1, outputs)
    out = F.embedding_bag(batch.index, table, batch.offsets, mode="sum", include_last_offset=True)
    return out.view(members, -1, outputs)


def sum_rows(batch: SparseBatch, grad: Tensor) -> Tensor:
    """Sum, for each feature, the rows of (M, B, out) that contain it: (M, out, features)."""
    rows, offsets = batch.transposed
    members, _, outputs = grad.shape
    table = F.embedding_bag(
        rows, grad.contiguous().view(-1, outputs), offsets, mode="sum", include_last_offset=True
    )
    return table.view(members, -1, outputs).transpose(1, 2)


class _SparseLinear(torch.autograd.Function):
    """Sum, for each row, the weight columns of its ones."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, batch: SparseBatch) -> Tensor:
        ctx.batch = batch
        return sum_columns(batch, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return sum_rows(ctx.batch, grad).contiguous(), None


def sparse_linear(batch: SparseBatch, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Linear layer on a sparse batch.

    Args:
        batch: M * B rows of F features.
        weight: (M, out, F).
        bias: (M, out) or None.

    Returns:
        (M, B, out), equal to the dense product up to the order of summation.
    """
    out: Tensor = _SparseLinear.apply(weight, batch)  # type: ignore[no-untyped-call]
    return out if bias is None else out + bias.unsqueeze(1)
