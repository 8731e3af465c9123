"""Boards drawn on the host, random placement, and families whose grids are a short list."""

from collections.abc import Iterable, Sequence
from itertools import permutations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from neoteny.core import rng
from neoteny.envs.base import State
from neoteny.envs.minigrid.cells import EMPTY, WALL
from neoteny.envs.minigrid.world import DX, DY, MiniGrid

Board = NDArray[np.uint8]

#: Bytes of a table of all observations up to which it is built.
_TABLE_LIMIT = 1 << 22


def blank(width: int, height: int) -> Board:
    """An empty board without walls, (height, width) codes."""
    return np.full((height, width), EMPTY, np.uint8)


def frame(board: Board, x: int, y: int, width: int, height: int) -> None:
    """Draws the walls of a rectangle."""
    board[[y, y + height - 1], x : x + width] = WALL
    board[y : y + height, [x, x + width - 1]] = WALL


def walled(width: int, height: int) -> Board:
    """An empty board with walls around it, (height, width) codes."""
    board = blank(width, height)
    frame(board, 0, 0, width, height)
    return board


def free(board: Board) -> NDArray[np.int64]:
    """Indices of the empty cells, in order."""
    return np.flatnonzero(board == EMPTY)


def distinct(words: Tensor, count: Tensor | int, taken: Sequence[Tensor] = ()) -> list[Tensor]:
    """Numbers below `count`, each uniform over those that the ones before it leave.

    These are the places of things that are placed one after the other by rejection.

    Args:
        words: (n, L) random words.
        count: an integer or (L,), at least n plus those taken.
        taken: numbers taken already, (L,) each, distinct.

    Returns:
        n tensors (L,) int64.
    """
    chosen: list[Tensor] = []
    ascending: list[Tensor] = []
    for number in taken:
        ascending = _inserted(ascending, number)
    for word in words:
        number = rng.integer(word, count - len(ascending))
        for below in ascending:
            number = number + (number >= below)
        chosen.append(number)
        ascending = _inserted(ascending, number)
    return chosen


def arrangements(count: int, length: int) -> NDArray[np.int64]:
    """All ordered choices of distinct numbers below `count`, (choices, length)."""
    return np.array(list(permutations(range(count), length)), np.int64)


def padded(rows: list[list[int]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Lists of unequal lengths as a table (n, longest) and their lengths (n,)."""
    lengths = np.array([len(row) for row in rows])
    table = np.zeros((len(rows), lengths.max()), np.int64)
    for index, row in enumerate(rows):
        table[index, : len(row)] = row
    return table, lengths


def clear_poses(board: Board, cells: Iterable[int]) -> list[int]:
    """Poses in the given cells that have no object in front of them.

    Args:
        board: (height, width) codes.
        cells: indices; those that are not empty are left out.
    """
    height, width = board.shape
    return [
        direction * height * width + cell
        for cell in cells
        for direction, (dx, dy) in enumerate(zip(DX, DY, strict=True))
        if board.flat[cell] == EMPTY
        and board[cell // width + dy, cell % width + dx] in (EMPTY, WALL)
    ]


def _inserted(ascending: list[Tensor], value: Tensor) -> list[Tensor]:
    """The list with a value added, still ascending lane by lane."""
    result = []
    for other in ascending:
        result.append(other.minimum(value))
        value = other.maximum(value)
    return [*result, value]


class Static(MiniGrid):
    """A family whose grid is one of a few boards and never changes.

    The state is the pose and, where there are several boards, the index `layout`. If the table of
    the observations at every pose of every board is small, an observation is one lookup in it.

    Args:
        boards: (n, height, width) codes.
        steps: the family's limit of steps.
        *args: as `MiniGrid`.
        **options: as `MiniGrid`.
    """

    fixed = True

    def __init__(self, boards: NDArray[np.uint8], steps: int, *args: Any, **options: Any) -> None:
        layouts, height, width = boards.shape
        super().__init__(width, height, steps, *args, **options)
        self._pool = self._worlds(boards)
        self._observations: Tensor | None = None
        poses = 4 * self.area
        if layouts * poses * int(np.prod(self.single_observation_space.shape or ())) < _TABLE_LIMIT:
            every = self._table(np.arange(layouts * poses))
            self._observations = super()._observe({"pose": every % poses, "layout": every // poses})

    def _grid(self, state: State) -> Tensor:
        if "layout" in state:
            return self._pool.index_select(0, state["layout"])
        return self._pool.expand(len(state["pose"]), -1)

    def _observe(self, state: State) -> Tensor:
        if self._observations is None:
            return super()._observe(state)
        index = state["pose"]
        if "layout" in state:
            index = state["layout"] * (4 * self.area) + index
        return self._observations.index_select(0, index)
