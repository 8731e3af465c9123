"""MinAtar Breakout."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from neoteny.envs import rng
from neoteny.envs.base import State
from neoteny.envs.minatar.base import LEFT, RIGHT, SIZE, MinAtar, Spec, bit_rows

#: Ball directions: up-left, up-right, down-right, down-left.
_DX = (-1, 1, 1, -1)
_DY = (-1, -1, 1, 1)
_FLIP_X = (1, 0, 3, 2)
_FLIP_Y = (3, 2, 1, 0)
_CELLS = SIZE * SIZE
_STATES = 4 * _CELLS
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
        self._step = self._table([0, -1, 0, 1, 0, 0])
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
    _motion: Tensor
    _brick: Tensor
    _floor: Tensor
    _from_column: Tensor
    _to_column: Tensor

    def _initial(self, draws: Tensor) -> State:
        ball = self._starts.index_select(0, rng.integer(draws[1], 2))
        return self._fresh | {"ball": ball, "trail": self._cell.index_select(0, ball)}

    def _play(self, state: State, action: Tensor, draws: Tensor) -> tuple[State, Tensor, Tensor]:
        ball, bricks = state["ball"], state["bricks"]
        paddle = (state["paddle"] + self._step.index_select(0, action)).clamp_(0, SIZE - 1)
        target = self._brick.index_select(0, ball)
        inside = (bricks & target) != 0
        breaks = inside & ~state["strike"]
        floor = self._floor.index_select(0, ball)
        bricks = bricks ^ torch.where(breaks, target, 0)
        bricks = bricks.masked_fill(floor & (bricks == 0), _WALL)
        # The paddle is tested against the column the ball leaves, then the one it enters.
        bounces = breaks | (self._from_column.index_select(0, ball) == paddle)
        reverses = (self._to_column.index_select(0, ball) == paddle) & ~bounces
        outcome = bounces * _STATES + reverses * (2 * _STATES)
        after = {
            "paddle": paddle,
            "ball": self._motion.index_select(0, outcome + ball),
            "trail": self._cell.index_select(0, ball),
            "bricks": bricks,
            "strike": inside,
        }
        return after, breaks.to(torch.float32), floor & ~(bounces | reverses)

    def _layer_tables(self) -> list[NDArray[np.bool_]]:
        return [bit_rows(3, len(self.game.channels))]

    def _codes(self, state: State) -> list[Tensor]:
        return [(state["bricks"][:, None] >> self._brick_shift) & self._brick_mask]

    def _points(self, state: State) -> list[Tensor]:
        ball = self._cell.index_select(0, state["ball"])
        return [state["paddle"] + 9 * SIZE, ball, state["trail"]]


def _flight() -> dict[str, NDArray[np.int64 | np.bool_]]:
    """Tables over the ball's state, 100 * direction + 10 * y + x, for its next move.

    Returns:
        `cell`, where it is; `motion`, its next state if it flies on, bounces and reverses
        (3 * 400); `brick`, the bit of the brick it enters or 0; `floor`, whether it enters the
        paddle's row, and then `from_column` and `to_column`, else -1.
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
    floor = to_y >= 9
    return {
        "cell": y * SIZE + x,
        "motion": np.concatenate([free, bounce, reverse]),
        "brick": np.where(wall, 1 << ((to_y - 1).clip(0, 2) * SIZE + to_x), 0),
        "floor": floor,
        "from_column": np.where(floor, x, -1),
        "to_column": np.where(floor, to_x, -1),
    }
