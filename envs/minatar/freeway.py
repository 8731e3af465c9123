"""MinAtar Freeway."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from neoteny.core import rng
from neoteny.envs.base import State
from neoteny.envs.minatar.game import DOWN, SIZE, UP, MinAtar, Spec

_CARS = 8
_COLUMN = 4
_MOVE_PERIOD = 3
_CLOCK = 2500
_MAX_SPEED = 5


class Freeway(MinAtar):
    """Freeway: cross eight lanes of traffic (+1 each time); the clock ends the episode.

    State: `y` of the chicken, which stays in column 4; `move_timer`; `clock`; and of the car in
    row r + 1, at index r: `car_x`, `car_timer` and `car_speed` (L, 8) int32, the speed signed by
    its direction. Larger speeds are slower: a car of speed k moves every k + 1 steps.
    """

    game = Spec(
        "Freeway",
        ("chicken", "car", "speed1", "speed2", "speed3", "speed4", "speed5"),
        (0, UP, DOWN),
    )
    point_channels = (0,)
    slots = 1 + 2 * _CARS

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._wrap = self._table([9, *range(SIZE), 0]).int()
        start = {"y": 9, "move_timer": _MOVE_PERIOD, "clock": _CLOCK}
        self._fresh = {name: self._table([value]) for name, value in start.items()}
        self._fresh["car_x"] = self._table(np.zeros((1, _CARS))).int()

    def _initial(self, draws: Tensor) -> State:
        speed = _speeds(draws[1 + _CARS :])
        return self._fresh | {"car_speed": speed, "car_timer": speed.abs()}

    def _play(self, state: State, action: Tensor, draws: Tensor) -> tuple[State, Tensor, Tensor]:
        step = self._step_y.index_select(0, action)
        moves = (state["move_timer"] == 0) & (step != 0)
        y = (state["y"] + step * moves).clamp_(0, SIZE - 1)
        move_timer = state["move_timer"].masked_fill(moves, _MOVE_PERIOD)
        crossed = y == 0
        y = y.masked_fill(crossed, SIZE - 1)
        new = crossed[:, None]
        speed = torch.where(new, _speeds(draws[1 : 1 + _CARS]), state["car_speed"])
        patience = speed.abs()
        timer = torch.where(new, patience, state["car_timer"])
        car_x, timer = state["car_x"], timer - 1
        # A car at timer 0 moves and waits its speed again; the others only count down.
        drives = timer < 0
        timer = timer + drives * (patience + 1)
        shifted = car_x + 1 + drives * speed.sign()
        moved = self._wrap.index_select(0, shifted.view(-1)).view(-1, _CARS)
        # Cars touch the chicken before or after they move; one hit sends it out of their rows.
        row = (y - 1).clamp(max=_CARS - 1)[:, None]
        touch = (car_x.gather(1, row) == _COLUMN) | (moved.gather(1, row) == _COLUMN)
        hit = touch[:, 0] & (y < SIZE - 1)
        clock = state["clock"] - 1
        after = {
            "y": y.masked_fill(hit, SIZE - 1),
            "move_timer": (move_timer - 1).clamp_(min=0),
            "clock": clock,
            "car_x": moved,
            "car_timer": timer,
            "car_speed": speed,
        }
        return after, crossed.to(torch.float32), clock < 0

    def _layer_tables(self) -> list[NDArray[np.bool_]]:
        kinds = 2 * _MAX_SPEED + 1
        table = np.zeros((1 + kinds * SIZE, SIZE, len(self.game.channels)), np.bool_)
        for speed in range(-_MAX_SPEED, _MAX_SPEED + 1):
            for x in range(SIZE if speed else 0):
                code = 1 + x + SIZE * (speed + _MAX_SPEED)
                table[code, x, 1] = True
                table[code, (x - np.sign(speed)) % SIZE, 1 + abs(speed)] = True
        return [table]

    def _codes(self, state: State) -> list[Tensor]:
        code = state["car_x"] + state["car_speed"] * SIZE + (1 + SIZE * _MAX_SPEED)
        return [torch.nn.functional.pad(code, (1, 1))]

    def _points(self, state: State) -> list[Tensor]:
        return [state["y"] * SIZE + _COLUMN]


def _speeds(draws: Tensor) -> Tensor:
    """Signed speeds from one word a car, (8, L) to (L, 8) int32.

    The high bits choose the speed and the lowest bit the direction, independent of each other to
    within 2**-30.
    """
    speed = rng.integer(draws, _MAX_SPEED) + 1
    return (speed * (((draws & 1) << 1) - 1)).int().T.contiguous()
