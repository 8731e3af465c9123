"""KeyCorridor: a hallway between two columns of rooms, one of them locked."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from neoteny.core import rng
from neoteny.envs.base import State
from neoteny.envs.minigrid import cells
from neoteny.envs.minigrid.cells import COLOURS, EMPTY, PICKUP, WALL, WIN, Kind, code
from neoteny.envs.minigrid.layouts import Board, blank, clear_poses, frame, padded
from neoteny.envs.minigrid.world import MiniGrid

#: Two rooms (column, row) that share a wall.
Edge = tuple[tuple[int, int], tuple[int, int]]


class KeyCorridor(MiniGrid):
    """KeyCorridor: find the key to the locked room, and pick up the ball in it.

    The reference adds random doors until all rooms are joined. Which of them end up with a door
    is drawn here from the exact distribution of that process.

    Args:
        *args: as `MiniGrid`.
        room_size: width and height of a room with its walls.
        rows: rows of rooms.
        **options: as `MiniGrid`.
    """

    mission = "pick up the {} ball"
    goal_words = (COLOURS,)
    limit = staticmethod(lambda room_size=6, **_: 30 * room_size**2)

    def __init__(self, *args: Any, room_size: int = 6, rows: int = 3, **options: Any) -> None:
        edges = _edges(rows)
        self.slots = 7 + 2 * len(edges)
        self._rows, self._inner, pitch = rows, room_size - 2, room_size - 1
        super().__init__(
            3 * pitch + 1, rows * pitch + 1, self.limit(room_size=room_size), *args, **options
        )
        board = _hallway(room_size, rows)
        self._world = self._worlds(board[None])
        corners = [
            (pitch * b[1] * self.width + pitch * b[0]) + (self.width if a[1] == b[1] else 1)
            for a, b in edges
        ]
        strides = [self.width if a[1] == b[1] else 1 for a, b in edges]
        self._corners = self._table(np.array(corners)[:, None])
        self._strides = self._table(np.array(strides)[:, None])
        row, y, x = (axis.ravel() for axis in np.indices((rows, self._inner, self._inner)))
        self._room = self._table((row * pitch + 1 + y) * self.width + 1 + x)
        thresholds, doors = _plans(edges, rows)
        self._thresholds, self._doors = self._table(thresholds), self._table(doors)
        self._poses, self._pose_counts = map(self._table, padded(_starts(board, room_size, rows)))

    def _game(self) -> NDArray[np.int32]:
        return cells.with_event(cells.rules(), PICKUP, WIN, Kind.BALL, Kind.EMPTY)

    def _initial(self, draws: Tensor) -> State:
        room, key_room = rng.integer(draws[:2], self._rows).unbind(0)
        plan = torch.searchsorted(self._thresholds, (room << 32) + draws[2], right=True)
        doors = self._doors.index_select(0, plan)
        offsets, colours = draws[7:].chunk(2)
        offsets, colours = rng.integer(offsets, self._inner), rng.integer(colours, len(COLOURS))
        places = (self._corners + self._strides * offsets).t()
        # The locked door is the first edge of its room.
        locked = colours.gather(0, room[None])[0]
        opening = offsets.gather(0, room[None])[0]
        ball_colour = rng.integer(draws[3], len(COLOURS))
        ball, key = (
            self._room.index_select(0, of * self._inner**2 + rng.integer(word, self._inner**2))
            for of, word in ((room, draws[4]), (key_room, draws[5]))
        )
        objects = doors + torch.where(doors == WALL, 0, colours.t())
        objects = torch.cat(
            [objects, (code(Kind.BALL) + ball_colour)[:, None], (code(Kind.KEY) + locked)[:, None]],
            dim=1,
        )
        right = 2 * (self._inner + 1)
        places = torch.cat([places, (ball + right)[:, None], key[:, None]], dim=1)
        config = torch.where(room == self._rows // 2, opening, self._inner)
        pose = rng.integer(draws[6], self._pose_counts.index_select(0, config))
        return {
            "pose": self._poses.index_select(0, config).gather(1, pose[:, None])[:, 0],
            "grid": self._furnished(self._world.expand(self.num_envs, -1), places, objects),
            "mission": ball_colour,
        }


def _edges(rows: int) -> list[Edge]:
    """Walls that can have a door: first those of the hallway's right side, by row."""
    beside = [((column, row), (column + 1, row)) for column in (1, 0) for row in range(rows)]
    above = [((column, row), (column, row + 1)) for column in (0, 2) for row in range(rows - 1)]
    return beside + above


def _hallway(size: int, rows: int) -> Board:
    """The rooms, those of the middle column joined to a hallway."""
    pitch = size - 1
    board = blank(3 * pitch + 1, rows * pitch + 1)
    for column in range(3):
        for row in range(rows):
            frame(board, column * pitch, row * pitch, size, size)
    board[pitch : rows * pitch : pitch, pitch + 1 : 2 * pitch] = EMPTY
    return board


def _starts(board: Board, size: int, rows: int) -> list[list[int]]:
    """Poses to start at, by the row of a locked door on the middle room; the last without one."""
    pitch = size - 1
    top = rows // 2 * pitch
    width = board.shape[1]
    room = [y * width + x for y in range(top, top + size) for x in range(pitch, 2 * pitch + 1)]
    starts = []
    for row in range(size - 2):
        furnished = board.copy()
        furnished[top + 1 + row, 2 * pitch] = code(Kind.LOCKED_DOOR)
        starts.append(clear_poses(furnished, room))
    return [*starts, clear_poses(board, room)]


def _plans(edges: list[Edge], rows: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Distribution of the doors, by the locked room's row.

    Returns:
        Ascending thresholds for `row << 32 | word` (plans,), and what stands at every edge then,
        the code of a red door or WALL (plans, edges).
    """
    thresholds, doors = [], []
    for locked in range(rows):
        room = (2, locked)
        usable = [index for index, edge in enumerate(edges) if room not in edge]
        plans = _joined(edges, usable, {room, *((1, row) for row in range(rows))}, 3 * rows)
        total = 0.0
        for plan, probability in plans.items():
            total += probability
            thresholds.append((locked << 32) + round(total * 2**32))
            stands = np.full(len(edges), WALL)
            stands[list(plan)] = code(Kind.CLOSED_DOOR)
            stands[locked] = code(Kind.LOCKED_DOOR)
            doors.append(stands)
        thresholds[-1] = (locked + 1) << 32
    return np.array(thresholds), np.stack(doors)


def _joined(
    edges: list[Edge], usable: list[int], joined: set[tuple[int, int]], rooms: int
) -> dict[frozenset[int], float]:
    """Probability of each set of doors when random ones are added until all rooms are joined."""
    final: dict[frozenset[int], float] = {}
    layer = {frozenset[int](): 1.0}
    while layer:
        following: dict[frozenset[int], float] = {}
        for plan, probability in layer.items():
            if _reach(edges, plan, set(joined)) == rooms:
                final[plan] = probability
                continue
            rest = [edge for edge in usable if edge not in plan]
            for edge in rest:
                larger = plan | {edge}
                following[larger] = following.get(larger, 0.0) + probability / len(rest)
        layer = following
    return final


def _reach(edges: list[Edge], plan: frozenset[int], reached: set[tuple[int, int]]) -> int:
    """Number of rooms that can be reached through doors."""
    grows = True
    while grows:
        found = {room for edge in plan for room in edges[edge] if reached & set(edges[edge])}
        grows = not found <= reached
        reached |= found
    return len(reached)
