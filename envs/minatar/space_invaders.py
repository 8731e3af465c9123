"""MinAtar Space Invaders."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from neoteny.envs.base import State
from neoteny.envs.minatar.game import FIRE, LEFT, RIGHT, SIZE, MinAtar, Spec, bit_rows

_ALIENS = 24
_BLOCK = 0b0011111100
_COOLDOWN = 5
_SHOT_PERIOD = 10
_SLOWEST, _FASTEST = 12, 6
_LEFT_EDGE, _RIGHT_EDGE = 1, 1 << (SIZE - 1)


class SpaceInvaders(MinAtar):
    """Space Invaders: shoot the aliens (+1 each) before they or their bullets hit the cannon.

    State: `cannon` column, `cooldown` of its gun; boards `aliens`, `shots` (the cannon's) and
    `bombs` (the aliens') as (L, 10) int32, ten bits a row, bit x for column x; `alive`, the
    number of aliens; `direction` -1 or 1; `interval` between their moves; `move_timer`,
    `bomb_timer`, `ramp_index`.
    """

    game = Spec(
        "SpaceInvaders",
        ("cannon", "alien", "alien_left", "alien_right", "friendly_bullet", "enemy_bullet"),
        (0, LEFT, RIGHT, FIRE),
    )
    point_channels = (0,)
    slots = 1

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._bit = self._table([1 << x for x in range(SIZE)]).int()
        self._count = self._table([bits.bit_count() for bits in range(1 << SIZE)]).int()
        self._nearest = self._table(_nearest()).view(-1)
        self._heights = self._table(range(SIZE)).int()
        block = np.zeros((1, SIZE))
        block[0, :4] = _BLOCK
        start = {"cannon": 5, "cooldown": 0, "alive": _ALIENS, "direction": -1}
        start |= {"interval": _SLOWEST, "move_timer": _SLOWEST, "bomb_timer": _SHOT_PERIOD}
        self._fresh = {name: self._table([value]) for name, value in start.items()}
        self._fresh["ramp_index"] = self._table([0])
        self._fresh["aliens"] = self._table(block).int()
        self._fresh["shots"] = self._fresh["bombs"] = torch.zeros_like(self._fresh["aliens"])
        self._empty_row = torch.zeros(self.num_envs, 1, dtype=torch.int32, device=self.device)

    def _initial(self, draws: Tensor) -> State:
        return self._fresh

    def _play(self, state: State, action: Tensor, draws: Tensor) -> tuple[State, Tensor, Tensor]:
        fires = (action == FIRE) & (state["cooldown"] == 0)
        cannon = (state["cannon"] + self._step_x.index_select(0, action)).clamp_(0, SIZE - 1)
        here = self._bit.index_select(0, cannon)
        shot = (here * fires)[:, None]
        shots = torch.cat([state["shots"][:, 1:9], shot, self._empty_row], 1)
        bombs = torch.cat([self._empty_row, state["bombs"][:, :9]], 1)
        dead = ((bombs[:, 9] | state["aliens"][:, 9]) & here) != 0
        aliens, marched, landed = self._march(state, here)
        columns = _columns(aliens)
        bombs, bomb_timer = self._bomb(state["bomb_timer"], bombs, aliens, columns, cannon)
        kills = aliens & shots
        killed = self._count.index_select(0, kills.view(-1)).view(-1, SIZE).sum(1)
        alive = state["alive"] - killed
        after = marched | {
            "cannon": cannon,
            "cooldown": (state["cooldown"].masked_fill(fires, _COOLDOWN) - 1).clamp_(min=0),
            "aliens": aliens ^ kills,
            "shots": shots ^ kills,
            "bombs": bombs,
            "bomb_timer": bomb_timer,
            "alive": alive,
        }
        after |= self._refill(state, after["aliens"], alive)
        return after, killed.to(torch.float32), dead | landed

    def _march(self, state: State, here: Tensor) -> tuple[Tensor, State, Tensor]:
        """Moves the aliens if due: their board, the fields changed, True if that ends it."""
        aliens, direction = state["aliens"], state["direction"]
        moves = state["move_timer"] == 0
        left = direction < 0
        edge = torch.where(left, _LEFT_EDGE, _RIGHT_EDGE)
        descends = moves & ((_columns(aliens) & edge) != 0)
        sideways = moves & ~descends
        shifted = aliens >> (sideways & left)[:, None].int()
        shifted = shifted << (sideways & ~left)[:, None].int()
        lowered = torch.cat([aliens[:, 9:], aliens[:, :9]], 1)
        board = torch.where(descends[:, None], lowered, shifted)
        landed = (descends & (aliens[:, 9] != 0)) | (moves & ((board[:, 9] & here) != 0))
        timer = torch.minimum(state["alive"], state["interval"])
        return (
            board,
            {
                "direction": torch.where(descends, -direction, direction),
                "move_timer": torch.where(moves, timer, state["move_timer"]) - 1,
            },
            landed,
        )

    def _bomb(
        self, timer: Tensor, bombs: Tensor, aliens: Tensor, columns: Tensor, cannon: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Drops a bomb, if due, from the lowest alien of the column nearest to the cannon."""
        due = timer == 0
        x = self._nearest.index_select(0, columns * SIZE + cannon)
        occupied = (aliens >> x[:, None].int()) & 1
        y = (occupied * self._heights).amax(1).to(torch.int64)[:, None]
        bomb = (self._bit.index_select(0, x) * due)[:, None]
        bombs = bombs.scatter(1, y, bombs.gather(1, y) | bomb)
        return bombs, timer.masked_fill(due, _SHOT_PERIOD) - 1

    def _refill(self, state: State, aliens: Tensor, alive: Tensor) -> State:
        """A new wave once the board is empty, marching faster when ramping."""
        empty = alive == 0
        wave = {
            "aliens": torch.where(empty[:, None], self._fresh["aliens"], aliens),
            "alive": alive.masked_fill(empty, _ALIENS),
        }
        if not self.ramping:
            return wave
        ramps = empty & (state["interval"] > _FASTEST)
        return wave | {
            "interval": state["interval"] - ramps.to(torch.int64),
            "ramp_index": state["ramp_index"] + ramps,
        }

    def _layer_tables(self) -> list[NDArray[np.bool_]]:
        channels = len(self.game.channels)
        aliens = bit_rows(1, channels)
        leftward = aliens | bit_rows(2, channels)
        rightward = aliens | bit_rows(3, channels)
        return [
            np.concatenate([leftward, rightward]),
            bit_rows(4, channels),
            bit_rows(5, channels),
        ]

    def _codes(self, state: State) -> list[Tensor]:
        rightward = (state["direction"] > 0)[:, None].int() << SIZE
        return [state["aliens"] + rightward, state["shots"], state["bombs"]]

    def _points(self, state: State) -> list[Tensor]:
        return [state["cannon"] + 9 * SIZE]


def _columns(board: Tensor) -> Tensor:
    """Ten bits a lane: the columns that hold anything in any of the ten rows."""
    five = board[:, :5] | board[:, 5:]
    two = five[:, :2] | five[:, 2:4]
    return two[:, 0] | two[:, 1] | five[:, 4]


def _nearest() -> NDArray[np.int64]:
    """(1024, 10) by (occupied columns, cannon): the nearest occupied column, ties to the left."""
    table = np.zeros((1 << SIZE, SIZE), np.int64)
    columns = np.arange(SIZE)
    for bits in range(1, 1 << SIZE):
        occupied = columns[(bits >> columns & 1).astype(bool)]
        # argmin takes the first of equals, the leftmost.
        table[bits] = occupied[np.abs(occupied - columns[:, None]).argmin(axis=1)]
    return table
