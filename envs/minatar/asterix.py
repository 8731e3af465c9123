"""MinAtar Asterix."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from neoteny.core import rng
from neoteny.envs.base import State
from neoteny.envs.minatar.game import DOWN, LEFT, RIGHT, SIZE, UP, MinAtar, Spec

#: Codes of a row: 0 for empty, else 1 + x + 10 * (moving right) + 20 * (gold).
_CODES = 41
_PLAYER, _ENEMY, _TRAIL, _GOLD = range(4)
_RAMP_PERIOD = 100


class Asterix(MinAtar):
    """Asterix: collect gold (+1 each); touching an enemy ends the episode.

    State: player `x` and `y`; `rows` (L, 10), the code of the one entity a row can hold, rows 0
    and 9 staying empty; `spawn_speed`, `move_speed` and their timers; `ramp_timer`, `ramp_index`.
    """

    game = Spec("Asterix", ("player", "enemy", "trail", "gold"), (0, LEFT, UP, RIGHT, DOWN))
    point_channels = (_PLAYER,)
    slots = 4

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._next = self._table(_next_codes()).int().view(-1)
        code, reward, dead = _contacts()
        self._contact_code = self._table(code).int().view(-1)
        self._contact_reward = self._table(reward).float().view(-1)
        self._contact_dead = self._table(dead).view(-1)
        self._free_bits = self._table([1 << y for y in range(SIZE)]).int()
        self._free_bits[[0, 9]] = 0
        count, choice = _free_rows()
        self._free_count = self._table(count)
        self._free_choice = self._table(choice).view(-1)
        start = {"x": 5, "y": 5, "spawn_speed": 10, "spawn_timer": 10, "move_speed": 5}
        start |= {"move_timer": 5, "ramp_timer": _RAMP_PERIOD, "ramp_index": 0}
        self._fresh = {name: self._table([value]) for name, value in start.items()}
        self._fresh["rows"] = self._table(np.zeros((1, SIZE))).int()

    def _initial(self, draws: Tensor) -> State:
        return self._fresh

    def _play(self, state: State, action: Tensor, draws: Tensor) -> tuple[State, Tensor, Tensor]:
        rows, spawn_timer = self._spawn(state, draws)
        x = (state["x"] + self._step_x.index_select(0, action)).clamp_(0, SIZE - 1)
        y = (state["y"] + self._step_y.index_select(0, action)).clamp_(1, SIZE - 2)
        moves = state["move_timer"] == 0
        move_timer = torch.where(moves, state["move_speed"], state["move_timer"])
        # Only the player's row can be touched: a table gives what is left there after the contact
        # before the move, the move, and the contact after it.
        here = y[:, None]
        contact = (rows.gather(1, here)[:, 0] + moves * _CODES) * SIZE + x
        rows = self._next.index_select(0, (rows + (moves * _CODES)[:, None].int()).view(-1))
        rows = rows.view(-1, SIZE)
        rows.scatter_(1, here, self._contact_code.index_select(0, contact)[:, None])
        after = {
            "x": x,
            "y": y,
            "rows": rows,
            "spawn_timer": spawn_timer - 1,
            "move_timer": move_timer - 1,
        }
        reward = self._contact_reward.index_select(0, contact)
        dead = self._contact_dead.index_select(0, contact)
        return after | self._ramp(state), reward, dead

    def _spawn(self, state: State, draws: Tensor) -> tuple[Tensor, Tensor]:
        """Rows after a possible spawn in a uniformly chosen free row, and the spawn timer."""
        due = state["spawn_timer"] == 0
        rows = state["rows"]
        free = ((rows == 0) * self._free_bits).sum(1)
        right = rng.bernoulli(draws[1], 0.5)
        gold = rng.bernoulli(draws[2], 1 / 3)
        rank = rng.integer(draws[3], self._free_count.index_select(0, free >> 1))
        # Without a free row the choice is row 0, which gets the 0 it holds.
        chosen = self._free_choice.index_select(0, (free << 2) + rank)
        code = torch.where(right, 11, 10) + gold * 20
        code = code * (due & (chosen > 0))
        rows = rows.scatter(1, chosen[:, None], code[:, None].int())
        return rows, torch.where(due, state["spawn_speed"], state["spawn_timer"])

    def _ramp(self, state: State) -> State:
        """Speeds and ramp counters after this step; the lower a speed, the faster."""
        spawn_speed, move_speed = state["spawn_speed"], state["move_speed"]
        timer, index = state["ramp_timer"], state["ramp_index"]
        if not self.ramping:
            return {}
        active = (spawn_speed > 1) | (move_speed > 1)
        ramps = active & (timer < 0)
        odd = (index & 1).bool()
        return {
            "spawn_speed": spawn_speed - (ramps & (spawn_speed > 1)).to(torch.int64),
            "move_speed": move_speed - (ramps & odd & (move_speed > 1)).to(torch.int64),
            "ramp_index": index + ramps,
            "ramp_timer": torch.where(ramps, _RAMP_PERIOD, timer - (active & ~ramps).long()),
        }

    def _layer_tables(self) -> list[NDArray[np.bool_]]:
        table = np.zeros((_CODES, SIZE, len(self.game.channels)), np.bool_)
        for code in range(1, _CODES):
            x, right, gold = _entity(code)
            table[code, x, _GOLD if gold else _ENEMY] = True
            behind = x - 1 if right else x + 1
            if 0 <= behind < SIZE:
                table[code, behind, _TRAIL] = True
        return [table]

    def _codes(self, state: State) -> list[Tensor]:
        return [state["rows"]]

    def _points(self, state: State) -> list[Tensor]:
        return [state["y"] * SIZE + state["x"]]


def _entity(code: int) -> tuple[int, bool, bool]:
    """Column, True if it moves right and True if it is gold, of a code above 0."""
    return (code - 1) % 10, bool((code - 1) // 10 % 2), code > 20


def _next_codes() -> NDArray[np.int64]:
    """(2, codes): the code after no move and after a move; off the board it becomes 0."""
    moved = np.zeros(_CODES, np.int64)
    for code in range(1, _CODES):
        x, right, _ = _entity(code)
        if 0 <= x + (1 if right else -1) < SIZE:
            moved[code] = code + (1 if right else -1)
    return np.stack([np.arange(_CODES), moved])


def _contacts() -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Contacts in the player's row, (2, codes, 10) by (moves, code, player's column).

    Returns:
        The code left in the row, the reward and True if an enemy was touched.
    """
    shape = (2, _CODES, SIZE)
    left, reward, dead = np.zeros(shape, int), np.zeros(shape, int), np.zeros(shape, np.bool_)
    following = _next_codes()
    for moves, start, x in np.ndindex(shape):
        code = start
        for moved in range(moves + 1):
            code = int(following[moved, code])
            if code and _entity(code)[0] == x:
                gold = _entity(code)[2]
                reward[moves, start, x] += gold
                dead[moves, start, x] |= not gold
                code = 0 if gold else code
        left[moves, start, x] = code
    return left, reward, dead


def _free_rows() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """By the eight bits of the free rows 1 ... 8: how many, and the row of each rank (256, 8)."""
    count, choice = np.zeros(256, np.int64), np.zeros((256, 8), np.int64)
    for bits in range(256):
        rows = [row + 1 for row in range(8) if bits >> row & 1]
        count[bits] = len(rows)
        choice[bits, : len(rows)] = rows
    return count, choice
