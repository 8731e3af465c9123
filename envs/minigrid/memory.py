"""Memory: an object seen at the start tells which way to turn at the end."""

from itertools import product
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from neoteny.core import rng
from neoteny.envs.base import State
from neoteny.envs.minigrid import cells
from neoteny.envs.minigrid.cells import GREEN, PICKUP, TOGGLE, WALL, Kind, code
from neoteny.envs.minigrid.layouts import Board, Static, walled

_OBJECTS = (code(Kind.KEY, GREEN), code(Kind.BALL, GREEN))


class Memory(Static):
    """Memory: walk down the hallway to the object that matches the one in the first room.

    Args:
        *args: as `MiniGrid`.
        size: width and height, odd.
        random_length: draw the length of the hallway anew in every episode.
        **options: as `MiniGrid`.
    """

    mission = "go to the matching object at the end of the hallway"
    slots = 3
    limit = staticmethod(lambda size=7, **_: 5 * size**2)

    def __init__(
        self, *args: Any, size: int = 7, random_length: bool = False, **options: Any
    ) -> None:
        ends = range(4 if random_length else size - 3, size - 2)
        choices = list(product(ends, _OBJECTS, _OBJECTS))
        boards = np.stack([_board(size, *choice) for choice in choices])
        super().__init__(boards, self.limit(size=size), *args, **options)
        middle = size // 2
        upper = [(middle - 1) * size + end + 1 for end, _, _ in choices]
        lower = [(middle + 1) * size + end + 1 for end, _, _ in choices]
        matches = np.array([first == above for _, first, above in choices])
        self._success = self._table(np.where(matches, upper, lower))
        self._failure = self._table(np.where(matches, lower, upper))
        self._ends = self._table([end for end, _, _ in choices])

    def _game(self) -> NDArray[np.int32]:
        table = cells.rules()
        table[PICKUP] = table[TOGGLE]
        return table

    def _initial(self, draws: Tensor) -> State:
        layout = rng.integer(draws[0], len(self._pool))
        x = 1 + rng.integer(draws[1], self._ends.index_select(0, layout))
        return {"pose": self.height // 2 * self.width + x, "layout": layout}

    def _judge(
        self, state: State, after: State, actions: Tensor, event: Tensor
    ) -> tuple[Tensor, Tensor]:
        cell, layout = after["pose"] % self.area, state["layout"]
        won = cell == self._success.index_select(0, layout)
        return won, torch.logical_or(won, cell == self._failure.index_select(0, layout))


def _board(size: int, end: int, first: int, above: int) -> Board:
    """The board with its hallway ending at a column, by the first and the upper object."""
    board, middle = walled(size, size), size // 2
    board[[middle - 2, middle + 2], 1:5] = WALL
    board[[middle - 1, middle + 1], 4] = WALL
    board[[middle - 1, middle + 1], 5:end] = WALL
    passage = board[middle, end]
    board[:, [end, end + 2]] = WALL
    board[middle, end] = passage
    board[middle - 1, 1] = first
    board[middle - 2, end + 1] = above
    board[middle + 2, end + 1] = next(other for other in _OBJECTS if other != above)
    return board
