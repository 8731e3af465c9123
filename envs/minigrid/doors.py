"""DoorKey, GoToDoor and RedBlueDoors."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from neoteny.core import rng
from neoteny.envs.base import State
from neoteny.envs.minigrid import cells
from neoteny.envs.minigrid.cells import (
    ASK,
    BLUE,
    COLOURS,
    DONE,
    END,
    GOAL,
    NOTHING,
    RED,
    TOGGLE,
    WALL,
    YELLOW,
    Kind,
    code,
)  # fmt: skip
from neoteny.envs.minigrid.layouts import arrangements, blank, distinct, frame, walled
from neoteny.envs.minigrid.world import MiniGrid


class DoorKey(MiniGrid):
    """DoorKey: fetch the key, unlock the door and reach the goal behind it.

    Args:
        *args: as `MiniGrid`.
        size: width and height.
        **options: as `MiniGrid`.
    """

    mission = "use the key to open the door and then get to the goal"
    slots = 5
    limit = staticmethod(lambda size=8, **_: 10 * size**2)

    def __init__(self, *args: Any, size: int = 8, **options: Any) -> None:
        super().__init__(size, size, self.limit(size=size), *args, **options)
        boards = np.repeat(walled(size, size)[None], size - 4, axis=0)
        boards[:, -2, -2] = GOAL
        boards[np.arange(size - 4), :, np.arange(2, size - 2)] = WALL
        self._split = self._worlds(boards)
        # Cells left of the splitting wall, column by column.
        column, row = np.indices((size - 4, size - 2))
        self._left = self._table(((row + 1) * size + column + 1).reshape(-1))
        self._objects = self._table(
            [code(Kind.LOCKED_DOOR, YELLOW), code(Kind.KEY, YELLOW)], np.uint8
        )

    def _initial(self, draws: Tensor) -> State:
        inner = self.width - 2
        split = rng.integer(draws[0], len(self._split))
        agent, key = (
            self._left.index_select(0, place) for place in distinct(draws[1:3], (split + 1) * inner)
        )
        door = (1 + rng.integer(draws[3], inner - 1)) * self.width + split + 2
        worlds = self._split.index_select(0, split)
        return {
            "pose": rng.integer(draws[4], 4) * self.area + agent,
            "grid": self._furnished(worlds, torch.stack([door, key], dim=1), self._objects),
        }


class GoToDoor(MiniGrid):
    """GoToDoor: say "done" beside the door of the named colour.

    Toggling anything ends the episode without a reward.

    Args:
        *args: as `MiniGrid`.
        size: greatest width and height; the least is 5.
        **options: as `MiniGrid`.
    """

    mission = "go to the {} door"
    goal_words = (COLOURS,)
    see_through = True
    slots = 11
    limit = staticmethod(lambda size=5, **_: 4 * size**2)

    def __init__(self, *args: Any, size: int = 5, **options: Any) -> None:
        super().__init__(size, size, self.limit(size=size), *args, **options)
        self._sizes = size - 4
        boards = []
        for width in range(5, size + 1):
            for height in range(5, size + 1):
                boards.append(blank(size, size))
                frame(boards[-1], 0, 0, width, height)
        self._rooms = self._worlds(np.stack(boards))
        self._colours = self._table(arrangements(6, 4))

    def _game(self) -> NDArray[np.int32]:
        table = cells.with_event(cells.rules(), TOGGLE, END)
        return cells.with_event(table, DONE, ASK)

    def _initial(self, draws: Tensor) -> State:
        wider, taller = rng.integer(draws[:2], self._sizes).unbind(0)
        right, bottom = wider + 4, taller + 4
        across = 2 + rng.integer(draws[2:4], wider + 1)
        down = 2 + rng.integer(draws[4:6], taller + 1)
        places = torch.stack(
            [
                across[0],
                bottom * self.width + across[1],
                down[0] * self.width,
                down[1] * self.width + right,
            ],
            dim=1,
        )
        colours = self._colours.index_select(0, rng.integer(draws[6], len(self._colours)))
        x, y = 1 + rng.integer(draws[7], right - 1), 1 + rng.integer(draws[8], bottom - 1)
        wanted = rng.integer(draws[9], 4)[:, None]
        worlds = self._rooms.index_select(0, wider * self._sizes + taller)
        return {
            "pose": rng.integer(draws[10], 4) * self.area + y * self.width + x,
            "grid": self._furnished(worlds, places, code(Kind.CLOSED_DOOR) + colours),
            "mission": colours.gather(1, wanted)[:, 0],
            "target": places.gather(1, wanted)[:, 0],
        }

    def _judge(
        self, state: State, after: State, actions: Tensor, event: Tensor
    ) -> tuple[Tensor, Tensor]:
        # The agent is never in an outermost column, so that cells one apart are neighbours.
        apart = (after["pose"] % self.area - state["target"]).abs()
        return (event == ASK) & ((apart == 1) | (apart == self.width)), event != NOTHING


class RedBlueDoors(MiniGrid):
    """RedBlueDoors: open the red door, then the blue one.

    Args:
        *args: as `MiniGrid`.
        size: height, and half the width.
        **options: as `MiniGrid`.
    """

    mission = "open the red door then the blue door"
    slots = 5
    limit = staticmethod(lambda size=8, **_: 20 * size**2)

    def __init__(self, *args: Any, size: int = 8, **options: Any) -> None:
        super().__init__(2 * size, size, self.limit(size=size), *args, **options)
        board = walled(2 * size, size)
        frame(board, size // 2, 0, size, size)
        self._world = self._worlds(board[None])
        self._objects = self._table(
            [code(Kind.CLOSED_DOOR, RED), code(Kind.CLOSED_DOOR, BLUE)], np.uint8
        )

    def _game(self) -> NDArray[np.int32]:
        return cells.with_event(cells.rules(), TOGGLE, ASK, Kind.CLOSED_DOOR, Kind.OPEN_DOOR)

    def _initial(self, draws: Tensor) -> State:
        size, inner = self.height, self.height - 2
        x = 1 + size // 2 + rng.integer(draws[0], inner)
        y, red, blue = (1 + rng.integer(draws[1:4], inner)).unbind(0)
        red = red * self.width + size // 2
        blue = blue * self.width + size // 2 + size - 1
        worlds = self._world.expand(self.num_envs, -1)
        return {
            "pose": rng.integer(draws[4], 4) * self.area + y * self.width + x,
            "grid": self._furnished(worlds, torch.stack([red, blue], dim=1), self._objects),
            "doors": torch.stack([red, blue], dim=1),
        }

    def _judge(
        self, state: State, after: State, actions: Tensor, event: Tensor
    ) -> tuple[Tensor, Tensor]:
        doors = self._grid(after).gather(1, state["doors"])
        red, blue = (doors >> 3 == Kind.OPEN_DOOR).unbind(1)
        opened = (event == ASK) & blue
        return opened & red, opened
