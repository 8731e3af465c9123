"""MinAtar Seaquest."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from neoteny.envs import rng
from neoteny.envs.base import State
from neoteny.envs.minatar.base import DOWN, FIRE, LEFT, RIGHT, SIZE, UP, MinAtar, Spec

_FRONT, _BACK, _BULLET, _TRAIL, _TORPEDO, _FISH, _SUB, _OXYGEN, _GAUGE, _DIVER = range(10)
_ENEMIES, _DIVERS, _BULLETS = 32, 4, 2
_FULL_OXYGEN, _FULL_CREW = 200, 6
_OXYGEN_CELL = _FULL_OXYGEN // SIZE
_COOLDOWN, _RELOAD, _DIVER_SPAWN, _DIVER_PAUSE = 5, 10, 30, 5
_FASTEST_SPAWN, _FASTEST_MOVE = 1, 2
#: Row codes of the layer: gauges of row 9, then the submarine's back by its column + 1.
_GAUGES = (SIZE + 1) * (_FULL_CREW + 1)
#: Values of a place as a byte, 16 * y + x + 1, or 0 for nowhere.
_PLACES = 256


class Seaquest(MinAtar):
    """Seaquest: shoot fish and submarines (+1 each), and take divers to the surface for air.

    As in the reference, a rescue of six divers leaves -1 aboard: with a negative count, surfacing
    is free until a diver brings the count to 0. A submarine shot in a step still fires in it.

    State: `x`, `y` and `facing` (-1 or 1) of the player; `oxygen`; divers `aboard`; `surface`,
    whether it has stayed at the surface; `cooldown` of its gun; `spawn_speed`, `move_speed`,
    `spawn_timer`, `diver_timer`, `ramp_index`; and objects in slots, the newest in slot 0, as
    planes of bytes: `enemies` (L, 6, 32): place, heading, timer, is submarine, reload, place of
    its bullet; `divers` (L, 3, 4): place, heading, timer; `bullets` (L, 2, 2): place, heading.
    A place is 16 * y + x + 1, or 0 for none; a heading is 1, or 255 for leftward: -1 as a byte.

    A new object moves the older ones up by one slot. Nothing in play reaches the last slot: an
    enemy sees at most 30 spawns in its life, a diver one and a player's bullet one. A submarine
    has one bullet at most, which crosses the board in 10 steps and is fired every 11.

    In memory lanes come last, so that each operation runs along them.
    """

    game = Spec(
        "Seaquest",
        (
            "sub_front", "sub_back", "friendly_bullet", "trail", "enemy_bullet", "enemy_fish",
            "enemy_sub", "oxygen_guage", "diver_guage", "diver",
        ),
        (0, LEFT, UP, RIGHT, DOWN, FIRE),
    )  # fmt: skip
    point_channels = (_FRONT,)
    slots = 6

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._step_x = self._table([0, -1, 0, 1, 0, 0])
        self._step_y = self._table([0, 0, -1, 0, 1, 0])
        # Fish before submarines, each from the oldest, which holds the highest slot.
        self._rank = self._table(range(33, 65)).to(torch.uint8)[:, None]
        start = {"x": 5, "y": 0, "facing": -1, "oxygen": _FULL_OXYGEN, "aboard": 0}
        start |= {"cooldown": 0, "spawn_speed": 20, "spawn_timer": 20, "move_speed": 5}
        start |= {"diver_timer": _DIVER_SPAWN, "ramp_index": 0}
        self._fresh = {name: self._table([value]) for name, value in start.items()}
        self._fresh["surface"] = self._table([True])
        planes = {"enemies": (6, _ENEMIES), "divers": (3, _DIVERS), "bullets": (2, _BULLETS)}
        self._empty = {
            name: _lanes_first(
                torch.zeros(*shape, self.num_envs, dtype=torch.uint8, device=self.device)
            )
            for name, shape in planes.items()
        }

    def _initial(self, draws: Tensor) -> State:
        return self._fresh | self._empty

    def _restart(self, done: Tensor, after: State, draws: Tensor) -> State:
        # A product, as torch.where takes many times longer on bytes.
        keep = ~done[:, None, None]
        return {name: after[name] * keep for name in self._empty} | {
            name: torch.where(done, value, after[name]) for name, value in self._fresh.items()
        }

    def _play(self, state: State, action: Tensor, draws: Tensor) -> tuple[State, Tensor, Tensor]:
        enemies, spawn_timer = _spawn_enemy(state, draws)
        divers, diver_timer = _spawn_diver(state, draws)
        fires = (action == FIRE) & (state["cooldown"] == 0)
        shot = [_place(state["y"], state["x"]), state["facing"].to(torch.uint8)]
        bullets = _push(_lanes_last(state["bullets"]), torch.stack(shot), fires)
        step = self._step_x.index_select(0, action)
        x = (state["x"] + step).clamp_(0, SIZE - 1)
        y = (state["y"] + self._step_y.index_select(0, action)).clamp_(0, SIZE - 2)
        player = _place(y, x)
        divers, aboard = _move_divers(divers, player, state["aboard"])
        speed = state["move_speed"].to(torch.uint8)
        enemies, bullets, killed, dead = self._fight(enemies, bullets, player, speed)
        air, bonus, ends = self._breathe(state, y, aboard)
        cooldown = state["cooldown"].masked_fill(fires, _COOLDOWN)
        after = air | {
            "x": x,
            "y": y,
            "facing": torch.where(step == 0, state["facing"], step),
            "cooldown": (cooldown - 1).clamp_(min=0),
            "spawn_timer": (spawn_timer - 1).clamp_(min=0),
            "diver_timer": (diver_timer - 1).clamp_(min=0),
            "enemies": _lanes_first(enemies),
            "divers": _lanes_first(divers),
            "bullets": _lanes_first(bullets),
        }
        return after, killed + bonus, dead | ends

    def _fight(
        self, enemies: Tensor, bullets: Tensor, player: Tensor, speed: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Moves bullets and enemies: enemies, bullets, number of kills and whether it is lost."""
        place, heading, timer, is_sub, reload, torpedo = enemies
        bullet, aim = bullets
        bullet = _on_board(bullet + aim * _any(bullet))
        rank = self._rank - (is_sub << 5)
        # A bullet hits the oldest fish in its cell, or else the oldest submarine.
        hit, best = _first_hit(bullet, place, _any(place), rank)
        place, bullet = place * ~hit, bullet * (best == 0)
        alive = _any(place)
        moves = alive & ~_any(timer)
        moved = _on_board(place + heading * moves)
        contact = moved == player
        # Enemies that run into a bullet: the newest submarine, or else the newest fish.
        hit, late = _first_hit(bullet, moved, moves & ~contact, 97 - rank - self._flip)
        sub = is_sub * alive
        fires = sub * ~_any(reload)
        torpedo = torpedo | (moved * fires)
        flown = _on_board(torpedo + heading * _any(torpedo))
        touch = contact | (place == player) | (torpedo == player) | (flown == player)
        timer = timer + moves * (speed + 1) - alive.view(torch.uint8)
        reload = reload + fires * (_RELOAD + 1) - sub
        enemies = torch.stack([moved * ~hit, heading, timer, is_sub, reload, flown])
        bullets = torch.stack([bullet * (late == 0), aim])
        killed = ((best != 0).to(torch.float32) + (late != 0).to(torch.float32)).sum(0)
        return enemies, bullets, killed, touch.view(torch.uint8).amax(0) != 0
