"""MinAtar Breakout."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from neoteny.core import rng
from neoteny.envs.base import State
from neoteny.envs.minatar.game import LEFT, RIGHT, SIZE, MinAtar, Spec, bit_rows

#: Ball directions: up-left, up-right, down-right, down-left.
_DX = (-1, 1, 1, -1)
_DY = (-1, -1, 1, 1)
_FLIP_X = (1, 0, 3, 2)
_FLIP_Y = (3, 2, 1, 0)
_CELLS = SIZE * SIZE
_FLIGHTS = 4 * _CELLS * SIZE
_WALL = (1 << 3 * SIZE) - 1
#: Down-right from the left side, or down-left from the right side.
_STARTS = (2 * _CELLS + 30, 3 * _CELLS + 39)


class Breakout(MinAtar):
    """Breakout: break three rows of bricks; a ball lost at the paddle's row ends the episode.

    State: `paddle` column; `ball` as 100 * direction + 10 * y + x; `trail`, the cell it came
    from; `bricks`, 30 bits, bit 10 * (y - 1) + x; `strike`, whether the ball is inside the wall
    and breaks nothing. The ball's flight, walls included, is a table over its 400 states.
    """

    game = Spec("Breakout", ("paddle", "ball", "trail", "brick"), (0, LEFT, RIGHT))
    point_channels = (0, 1, 2)
    slots = 2

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        for name, table in _flight().items():
            setattr(self, f"_{name}", self._table(table))
        step = np.array([0, -1, 0, 1, 0, 0])
        self._moved = self._table((np.arange(SIZE) + step[:, None]).clip(0, SIZE - 1).ravel())
        self._one, self._none = self._table([1, 0]).float().unbind()
        self._starts = self._table(_STARTS)
        self._fresh = {
            "paddle": self._table([4]),
            "bricks": self._table([_WALL]),
            "strike": self._table([False]),
        }
        shifts = np.zeros(SIZE)
        shifts[1:4] = (0, 10, 20)
        self._brick_shift = self._table(shifts)
        self._brick_mask = self._table(np.where(np.isin(np.arange(SIZE), (1, 2, 3)), 1023, 0))

    _cell: Tensor
    _entered: Tensor
    _motion: Tensor
    _lost: Tensor

    def _initial(self, draws: Tensor) -> State:
        ball = self._starts.index_select(0, rng.integer(draws[1], 2))
        return self._fresh | {"ball": ball, "trail": self._cell.index_select(0, ball)}

    def _play(self, state: State, action: Tensor, draws: Tensor) -> tuple[State, Tensor, Tensor]:
        ball, bricks = state["ball"], state["bricks"]
        paddle = self._moved.index_select(0, torch.add(state["paddle"], action, alpha=SIZE))
        entered = self._entered.index_select(0, ball)
        target = bricks & entered
        inside = target != 0
        breaks = inside > state["strike"]  # and it has not been inside
        bricks = torch.where(breaks, bricks ^ target, bricks)
        gone = (bricks | entered) == 0
        flight = torch.add(torch.add(paddle, ball, alpha=SIZE), breaks, alpha=_FLIGHTS)
        after = {
            "paddle": paddle,
            "ball": self._motion.index_select(0, flight),
            "trail": self._cell.index_select(0, ball),
            "bricks": bricks.masked_fill_(gone, _WALL),
            "strike": inside,
        }
        reward = torch.where(breaks, self._one, self._none)
        return after, reward, self._lost.index_select(0, flight)

    def _layer_tables(self) -> list[NDArray[np.bool_]]:
        return [bit_rows(3, len(self.game.channels))]

    def _codes(self, state: State) -> list[Tensor]:
        return [(state["bricks"].unsqueeze(1) >> self._brick_shift) & self._brick_mask]

    def _points(self, state: State) -> list[Tensor]:
        ball = self._cell.index_select(0, state["ball"])
        return [state["paddle"] + 9 * SIZE, ball, state["trail"]]


def _flight() -> dict[str, NDArray[np.int64 | np.bool_]]:
    """Tables over the ball's state, 100 * direction + 10 * y + x, for its next move.

    Returns:
        `cell`, where it is; `entered`, the bit of the brick whose place it enters, a bit beyond the
        wall, or 0 for the paddle's row, where an empty wall is refilled. By whether it breaks a
        brick, its state and the paddle's column, (2, 400, 10): `motion`, its next state, and
        `lost`, whether it has none.
    """
    direction, y, x = (axis.ravel() for axis in np.indices((4, SIZE, SIZE)))
    to_x = x + np.take(_DX, direction)
    to_y = y + np.take(_DY, direction)
    side = (to_x < 0) | (to_x > 9)
    to_x = to_x.clip(0, 9)
    turned = np.where(side, np.take(_FLIP_X, direction), direction)
    ceiling = to_y < 0
    flipped = np.take(_FLIP_Y, turned)
    free = np.where(ceiling, flipped, turned) * _CELLS + to_y.clip(0, 9) * SIZE + to_x
    bounce = flipped * _CELLS + y * SIZE + to_x
    reverse = (turned + 2) % 4 * _CELLS + y * SIZE + to_x
    wall = (to_y >= 1) & (to_y <= 3)
    place = 1 << ((to_y - 1).clip(0, 2) * SIZE + to_x)
    floor = to_y >= 9
    # The paddle is tested against the column the ball leaves, then the one it enters.
    breaks, floor_of, paddle = np.broadcast_arrays(
        np.array([False, True])[:, None, None], floor[:, None], np.arange(SIZE)
    )
    bounces = breaks | (floor_of & (x[:, None] == paddle))
    reverses = floor_of & (to_x[:, None] == paddle) & ~bounces
    motion = np.select([bounces, reverses], [bounce[:, None], reverse[:, None]], free[:, None])
    return {
        "cell": y * SIZE + x,
        "entered": np.where(wall, place, np.where(floor, 0, 1 << 3 * SIZE)),
        "motion": motion.ravel(),
        "lost": (floor_of & ~(bounces | reverses)).ravel(),
    }
