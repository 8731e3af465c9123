"""Empty, DistShift and LavaGap: a goal in one room, with or without lava in the way."""

from typing import Any

import numpy as np
from torch import Tensor

from neoteny.core import rng
from neoteny.envs.base import State
from neoteny.envs.minigrid.cells import GOAL, LAVA
from neoteny.envs.minigrid.layouts import Static, free, walled


class Empty(Static):
    """Empty: reach the goal in the far corner of an empty room.

    Args:
        *args: as `MiniGrid`.
        size: width and height.
        random_start: start at a random free cell, facing anywhere, instead of the near corner.
        **options: as `MiniGrid`.
    """

    see_through = True
    limit = staticmethod(lambda size=8, **_: 4 * size**2)

    def __init__(
        self, *args: Any, size: int = 8, random_start: bool = False, **options: Any
    ) -> None:
        board = walled(size, size)
        board[-2, -2] = GOAL
        self.slots = 2 if random_start else 0
        super().__init__(board[None], self.limit(size=size), *args, **options)
        self._starts = self._table(free(board) if random_start else [size + 1])

    def _initial(self, draws: Tensor) -> State:
        if not self.slots:
            return {"pose": self._starts}
        cell = self._starts.index_select(0, rng.integer(draws[0], len(self._starts)))
        return {"pose": rng.integer(draws[1], 4) * self.area + cell}


class DistShift(Static):
    """DistShift: reach the goal past two strips of lava, the second of which moves.

    Args:
        *args: as `MiniGrid`.
        strip_row: row of the second strip.
        **options: as `MiniGrid`.
    """

    see_through = True
    limit = staticmethod(lambda **_: 4 * 9 * 7)

    def __init__(self, *args: Any, strip_row: int = 2, **options: Any) -> None:
        board = walled(9, 7)
        board[1, -2] = GOAL
        board[[1, strip_row], 3:6] = LAVA
        super().__init__(board[None], self.limit(), *args, **options)
        self._start = self._table([9 + 1])

    def _initial(self, draws: Tensor) -> State:
        return {"pose": self._start}


class LavaGap(Static):
    """LavaGap: pass the one gap in a strip of lava and reach the goal.

    Args:
        *args: as `MiniGrid`.
        size: width and height.
        **options: as `MiniGrid`.
    """

    mission = "avoid the lava and get to the green goal square"
    slots = 1
    limit = staticmethod(lambda size=7, **_: 4 * size**2)

    def __init__(self, *args: Any, size: int = 7, **options: Any) -> None:
        plain = walled(size, size)
        plain[-2, -2] = GOAL
        boards = []
        for x in range(2, size - 2):
            for y in range(1, size - 1):
                board = plain.copy()
                board[1:-1, x] = LAVA
                board[y, x] = plain[y, x]
                boards.append(board)
        super().__init__(np.stack(boards), self.limit(size=size), *args, **options)
        self._start = self._table([size + 1])

    def _initial(self, draws: Tensor) -> State:
        return {"pose": self._start, "layout": rng.integer(draws[0], len(self._pool))}
