"""FourRooms, LockedRoom and MultiRoom: a goal in one of many rooms."""

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from neoteny.core import rng
from neoteny.core.errors import InputError
from neoteny.envs.base import State
from neoteny.envs.minigrid.cells import COLOURS, EMPTY, GOAL, WALL, Kind, code
from neoteny.envs.minigrid.layouts import Board, arrangements, blank, distinct, frame, free, walled
from neoteny.envs.minigrid.world import MiniGrid

_SIZE = 19
_MIDDLE = _SIZE // 2


class FourRooms(MiniGrid):
    """FourRooms: find the goal in one of four rooms, joined by a gap in each wall between them."""

    mission = "reach the goal"
    fixed = True
    slots = 7
    limit = staticmethod(lambda **_: 100)

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(_SIZE, _SIZE, self.limit(), *args, **options)
        board = walled(_SIZE, _SIZE)
        for x in (0, _MIDDLE):
            for y in (0, _MIDDLE):
                frame(board, x, y, _MIDDLE + 1, _MIDDLE + 1)
        self._world = self._worlds(board[None])
        self._floor = self._table(free(board))
        # The gaps of the upper and lower, then of the left and right wall between rooms.
        first = [_SIZE + _MIDDLE, (_MIDDLE + 1) * _SIZE + _MIDDLE]
        first += [_MIDDLE * _SIZE + 1, _MIDDLE * _SIZE + _MIDDLE + 1]
        self._gaps = self._table(np.array(first)[:, None])
        self._along = self._table(np.array([_SIZE, _SIZE, 1, 1])[:, None])

    def _initial(self, draws: Tensor) -> State:
        gaps = self._gaps + self._along * rng.integer(draws[:4], _MIDDLE - 1)
        rooms = len(self._floor)
        agent, goal = (
            torch.where(
                place < rooms,
                self._floor.index_select(0, place.clamp(max=rooms - 1)),
                gaps.gather(0, (place[None] - rooms).clamp_(min=0))[0],
            )
            for place in distinct(draws[4:6], rooms + 4)
        )
        worlds = self._world.expand(self.num_envs, -1).scatter(1, gaps.t(), EMPTY)
        return {
            "pose": rng.integer(draws[6], 4) * self.area + agent,
            "grid": worlds.scatter_(1, goal[:, None], GOAL).view(torch.int64),
        }


class LockedRoom(MiniGrid):
    """LockedRoom: fetch the key from one of six rooms, and reach the goal in the locked one."""

    mission = "get the {} key from the {} room, unlock the {} door and go to the goal"
    goal_words = (COLOURS, COLOURS, COLOURS)
    slots = 7
    limit = staticmethod(lambda **_: 10 * _SIZE)

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(_SIZE, _SIZE, self.limit(), *args, **options)
        board = walled(_SIZE, _SIZE)
        left, right, pitch = _MIDDLE - 2, _MIDDLE + 2, _SIZE // 3
        board[:, [left, right]] = WALL
        board[::pitch, :left] = board[::pitch, right:] = WALL
        self._world = self._worlds(board[None])
        corners = [row * pitch * _SIZE + side for row in range(3) for side in (0, right)]
        self._corners = self._table(corners)
        self._doors = self._table(
            [(row * pitch + 3) * _SIZE + side for row in range(3) for side in (left, right)]
        )
        y, x = (axis.ravel() for axis in np.indices((pitch - 1, left - 1)))
        self._room = self._table((y + 1) * _SIZE + x + 1)
        middle = np.arange(_SIZE)[:, None] * _SIZE + np.arange(left + 1, right)
        self._hallway = self._table(middle[1:-1].reshape(-1))
        self._colours = self._table(arrangements(6, 6))

    def _initial(self, draws: Tensor) -> State:
        locked, key_room = distinct(draws[:2], 6)
        goal, key = (
            self._corners.index_select(0, room)
            + self._room.index_select(0, rng.integer(word, len(self._room)))
            for room, word in ((locked, draws[2]), (key_room, draws[3]))
        )
        colours = self._colours.index_select(0, rng.integer(draws[4], len(self._colours)))
        chosen = torch.stack([locked, key_room], dim=1)
        locked_colour, key_colour = colours.gather(1, chosen).unbind(1)
        is_locked = locked[:, None] == torch.arange(6, device=self.device)
        kinds = torch.where(is_locked, code(Kind.LOCKED_DOOR), code(Kind.CLOSED_DOOR))
        items = [torch.full_like(goal, GOAL), code(Kind.KEY) + locked_colour]
        objects = torch.cat([kinds + colours, torch.stack(items, dim=1)], dim=1)
        doors = self._doors.expand(self.num_envs, -1)
        places = torch.cat([doors, torch.stack([goal, key], dim=1)], dim=1)
        cell = self._hallway.index_select(0, rng.integer(draws[5], len(self._hallway)))
        return {
            "pose": rng.integer(draws[6], 4) * self.area + cell,
            "grid": self._furnished(self._world.expand(self.num_envs, -1), places, objects),
            "mission": (locked_colour * 6 + key_colour) * 6 + locked_colour,
        }


class MultiRoom(MiniGrid):
    """MultiRoom: pass a chain of rooms, door by door, to the goal in the last one.

    The rooms come from a pool made by the reference's generator, the same for every seed; the
    colours of the doors, the start and the goal are drawn in every episode.

    Args:
        *args: as `MiniGrid`.
        rooms: number of rooms.
        room_size: greatest width and height of a room with its walls; the least is 4.
        layouts: size of the pool.
        **options: as `MiniGrid`.

    Raises:
        ValueError: if `layouts` is less than 1.
    """

    mission = "traverse the rooms to get to the goal"
    _side = 25
    limit = staticmethod(lambda rooms=6, **_: 20 * rooms)

    def __init__(
        self,
        *args: Any,
        rooms: int = 6,
        room_size: int = 10,
        layouts: int = 2048,
        **options: Any,
    ) -> None:
        if layouts < 1:
            raise InputError(f"layouts is {layouts}: the pool needs at least 1")
        self.slots = 6 + rooms - 1
        super().__init__(self._side, self._side, self.limit(rooms=rooms), *args, **options)
        boards, doors, ends = _chains(self._side, rooms, room_size, layouts)
        self._doors, self._ends = self._table(doors), self._table(ends)
        self._boards = self._worlds(boards)

    def _initial(self, draws: Tensor) -> State:
        layout = rng.integer(draws[0], len(self._boards))
        x, y, width, height = self._ends.index_select(0, layout).unbind(2)
        # Inside the first and the last room, (2, L).
        x = x.t() + 1 + rng.integer(draws[1:3], width.t() - 2)
        y = y.t() + 1 + rng.integer(draws[3:5], height.t() - 2)
        start, goal = (y * self.width + x).unbind(0)
        doors = self._doors.index_select(0, layout)
        colours = [rng.integer(draws[6], len(COLOURS))]
        for word in draws[7:]:
            colour = rng.integer(word, len(COLOURS) - 1)
            colours.append(colour + (colour >= colours[-1]))
        objects = [code(Kind.CLOSED_DOOR) + colour for colour in colours]
        objects.append(torch.full_like(goal, GOAL))
        places = torch.cat([doors, goal[:, None]], dim=1)
        worlds = self._boards.index_select(0, layout)
        return {
            "pose": rng.integer(draws[5], 4) * self.area + start,
            "grid": self._furnished(worlds, places, torch.stack(objects, dim=1)),
        }


@lru_cache(maxsize=8)
def _chains(
    side: int, rooms: int, room_size: int, count: int
) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64]]:
    """Chains of rooms made by the reference's generator.

    Returns:
        Boards (count, side, side), cells of the doors (count, rooms - 1), and x, y, width and
        height of the first and the last room (count, 2, 4).
    """
    from minigrid.envs.multiroom import MultiRoomEnv

    reference = MultiRoomEnv(rooms, rooms, room_size, side, side)
    reference.reset(seed=0)
    boards, doors, ends = [], [], []
    for _ in range(count):
        reference._gen_grid(side, side)  # type: ignore[no-untyped-call]
        chain = reference.rooms
        board: Board = blank(side, side)
        for room in chain:
            frame(board, *room.top, *room.size)
        boards.append(board)
        doors.append([room.entryDoorPos[1] * side + room.entryDoorPos[0] for room in chain[1:]])
        ends.append([(*room.top, *room.size) for room in (chain[0], chain[-1])])
    return np.stack(boards), np.array(doors), np.array(ends)
