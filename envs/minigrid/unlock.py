"""Unlock, UnlockPickup and BlockedUnlockPickup: two rooms and a locked door between them."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from neoteny.core import rng
from neoteny.envs.base import State
from neoteny.envs.minigrid import cells
from neoteny.envs.minigrid.cells import COLOURS, PICKUP, TOGGLE, WIN, Kind, code
from neoteny.envs.minigrid.layouts import clear_poses, distinct, frame, padded, walled
from neoteny.envs.minigrid.world import MiniGrid

_ROOM = 6
_WIDTH = 2 * _ROOM - 1
_LEFT = [y * _WIDTH + x for y in range(1, 5) for x in range(1, 5)]
#: The reference keeps the box away from the middle of its room, where its agent is for a moment.
_RIGHT = [y * _WIDTH + x for y in range(1, 5) for x in range(6, 10) if abs(x - 8) + abs(y - 3) >= 2]


class Unlock(MiniGrid):
    """Unlock: open the locked door with the key."""

    mission = "open the door"
    slots = 7
    #: True if there is a box behind the door, and if there is a ball before it.
    boxed = blocked = False
    limit = staticmethod(lambda **_: 8 * _ROOM**2)

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(_WIDTH, _ROOM, self.limit(), *args, **options)
        board = walled(_WIDTH, _ROOM)
        frame(board, 0, 0, _ROOM, _ROOM)
        self._world = self._worlds(board[None])
        self._left, self._right = self._table(_LEFT), self._table(_RIGHT)
        poses = []
        for row in range(1, _ROOM - 1):
            for key in _LEFT:
                furnished = board.copy()
                furnished[row, _ROOM - 1] = code(Kind.LOCKED_DOOR)
                furnished.flat[key] = code(Kind.KEY)
                if self.blocked:
                    furnished[row, _ROOM - 2] = code(Kind.BALL)
                poses.append(clear_poses(furnished, _LEFT))
        self._poses, self._pose_counts = map(self._table, padded(poses))

    def _game(self) -> NDArray[np.int32]:
        return cells.with_event(cells.rules(), TOGGLE, WIN, Kind.LOCKED_DOOR, Kind.OPEN_DOOR)

    def _initial(self, draws: Tensor) -> State:
        row = rng.integer(draws[0], _ROOM - 2)
        door = (row + 1) * _WIDTH + _ROOM - 1
        # The ball's cell is the last of its row in the left room.
        taken = [row * (_ROOM - 2) + _ROOM - 3] if self.blocked else []
        (key,) = distinct(draws[1:2], len(_LEFT), taken)
        door_colour, box_colour, ball_colour = rng.integer(draws[2:5], len(COLOURS)).unbind(0)
        places = [door, self._left.index_select(0, key)]
        objects = [code(Kind.LOCKED_DOOR) + door_colour, code(Kind.KEY) + door_colour]
        fields = {}
        if self.boxed:
            places += [self._right.index_select(0, rng.integer(draws[5], len(_RIGHT)))]
            objects += [code(Kind.BOX) + box_colour]
            fields = {"mission": box_colour}
        if self.blocked:
            places += [door - 1]
            objects += [code(Kind.BALL) + ball_colour]
        config = row * len(_LEFT) + key
        pose = rng.integer(draws[6], self._pose_counts.index_select(0, config))
        worlds = self._world.expand(self.num_envs, -1)
        grid = self._furnished(worlds, torch.stack(places, dim=1), torch.stack(objects, dim=1))
        poses = self._poses.index_select(0, config)
        return fields | {"pose": poses.gather(1, pose[:, None])[:, 0], "grid": grid}


class UnlockPickup(Unlock):
    """UnlockPickup: open the locked door and pick up the box behind it."""

    mission = "pick up the {} box"
    goal_words = (COLOURS,)
    boxed = True

    def _game(self) -> NDArray[np.int32]:
        return cells.with_event(cells.rules(), PICKUP, WIN, Kind.BOX, Kind.EMPTY)


class BlockedUnlockPickup(UnlockPickup):
    """BlockedUnlockPickup: UnlockPickup with a ball in front of the door."""

    blocked = True
    limit = staticmethod(lambda **_: 16 * _ROOM**2)
