"""MinAtar Seaquest."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from neoteny.core import rng
from neoteny.envs.base import State
from neoteny.envs.minatar.game import DOWN, FIRE, LEFT, RIGHT, SIZE, UP, MinAtar, Spec

_FRONT, _BACK, _BULLET, _TRAIL, _TORPEDO, _FISH, _SUB, _OXYGEN, _GAUGE, _DIVER = range(10)
_ENEMIES, _DIVERS, _BULLETS = 32, 4, 2
_FULL_OXYGEN, _FULL_CREW = 200, 6
_OXYGEN_CELL = _FULL_OXYGEN // SIZE
_COOLDOWN, _RELOAD, _DIVER_SPAWN, _DIVER_PAUSE = 5, 10, 30, 5
_FASTEST_SPAWN, _FASTEST_MOVE = 1, 2
#: Row codes of the layer: gauges of row 9, then the submarine's back by its column + 1.
_GAUGES = (SIZE + 1) * (_FULL_CREW + 1)
#: Kinds of things that slots show, in the order of `_observe`, and in how many slots.
_SHOWN = (_ENEMIES, _ENEMIES, _ENEMIES, _DIVERS, _DIVERS, _BULLETS)


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

    A new object moves the older ones up by one slot. Nothing in play falls off: an enemy sees at
    most 29 later spawns in its life, a diver one, and a bullet of the player one later shot. A
    submarine has one bullet at most, which crosses the board in 10 steps and is fired every 11.

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
        """Moves bullets and enemies: enemies, bullets, number of kills and True if lost."""
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
        hit, late = _first_hit(bullet, moved, moves & _any(moved) & ~contact, 65 - rank)
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

    def _breathe(self, state: State, y: Tensor, aboard: Tensor) -> tuple[State, Tensor, Tensor]:
        """Oxygen, surfacing and the ramp: fields, reward of a rescue, True if the episode ends."""
        oxygen, surface = state["oxygen"], state["surface"]
        under = y > 0
        arrives = ~(under | surface)
        rises = arrives & (aboard != 0)
        rescue = rises & (aboard == _FULL_CREW)
        bonus = (oxygen // _OXYGEN_CELL) * rescue
        air = {
            "oxygen": (oxygen - under.long()).masked_fill(rises, _FULL_OXYGEN),
            "surface": ~under & (surface | rises),
            "aboard": aboard.masked_fill(rescue, 0) - rises.long(),
        }
        ends = (oxygen <= 0) | (arrives & ~rises)
        return air | self._ramp(state, rises), bonus.to(torch.float32), ends

    def _ramp(self, state: State, rises: Tensor) -> State:
        """Speeds after this step; the lower a speed, the faster."""
        spawn_speed, move_speed = state["spawn_speed"], state["move_speed"]
        if not self.ramping:
            return {"spawn_speed": spawn_speed, "move_speed": move_speed}
        spawns, moves = spawn_speed > _FASTEST_SPAWN, move_speed > _FASTEST_MOVE
        ramps = rises & (spawns | moves)
        odd = (state["ramp_index"] & 1).bool()
        return {
            "spawn_speed": spawn_speed - (ramps & spawns).long(),
            "move_speed": move_speed - (ramps & odd & moves).long(),
            "ramp_index": state["ramp_index"] + ramps,
        }

    def set_channel_order(self, order: Tensor | NDArray[Any] | None) -> None:
        """Permutes the observation's channels from now on, as `channel_order` does.

        Args:
            order: permutations, (members, channels) or (channels,); None for the native order.

        Raises:
            ValueError: if a row is not a permutation of 0 ... channels - 1.
        """
        super().set_channel_order(order)
        places = np.argsort(self.channel_order.cpu().numpy(), axis=1)
        shown = np.stack([_shown(row, self.channels) for row in places])
        self._shown = self._table(shown.reshape(-1))
        kind = np.repeat(np.arange(len(_SHOWN)), _SHOWN)
        member = np.repeat(np.arange(self.members), self.lanes)[:, None]
        offsets = 256 * (kind + len(_SHOWN) * member)
        self._shown_offsets = self._table(offsets if self.members > 1 else offsets[:1]).int()
        self._true = torch.ones(1, 1, dtype=torch.bool, device=self.device).expand(offsets.shape)
        self._unused = self._table(_unused(places[:, _TRAIL], self.channels)[member])

    def _observe(self, state: State) -> Tensor:
        board = super()._observe(state)
        place, heading, _, is_sub, _, torpedo = _lanes_last(state["enemies"])
        diver, course, _ = _lanes_last(state["divers"])
        # The table shows submarines where the highest bit is flipped: a free half of the codes.
        enemy = place ^ (is_sub << 7)
        things = [enemy, place - heading, torpedo, diver, diver - course, state["bullets"][:, 0].T]
        codes = torch.cat(things).T.contiguous() + self._shown_offsets
        cells = self._shown.index_select(0, codes.view(-1)).view(codes.shape)
        flat = board.view(self.num_envs, -1)
        flat.scatter_(1, cells, self._true).scatter_(1, self._unused, False)
        return board

    def _layer_tables(self) -> list[NDArray[np.bool_]]:
        table = np.zeros((_GAUGES + SIZE + 2, SIZE, len(self.game.channels)), np.bool_)
        for oxygen, crew in np.ndindex(SIZE + 1, _FULL_CREW + 1):
            code = oxygen * (_FULL_CREW + 1) + crew
            table[code, :oxygen, _OXYGEN] = True
            table[code, SIZE - 1 - crew : SIZE - 1, _GAUGE] = True
        for x in range(SIZE):
            table[_GAUGES + 1 + x, x, _BACK] = True
        return [table]

    def _codes(self, state: State) -> list[Tensor]:
        oxygen = state["oxygen"].clamp(min=0) // _OXYGEN_CELL
        gauges = oxygen * (_FULL_CREW + 1) + state["aboard"].clamp(min=0)
        back = state["x"] - state["facing"] + (_GAUGES + 1)
        codes = torch.zeros(self.num_envs, SIZE, dtype=torch.int32, device=self.device)
        codes.scatter_(1, state["y"][:, None], back[:, None].int())
        codes[:, SIZE - 1] = gauges
        return [codes]

    def _points(self, state: State) -> list[Tensor]:
        return [state["y"] * SIZE + state["x"]]


def _spawn_enemy(state: State, draws: Tensor) -> tuple[Tensor, Tensor]:
    """Enemies after a possible spawn, unless one in its row heads the other way; the timer."""
    enemies = _lanes_last(state["enemies"])
    due = state["spawn_timer"] == 0
    right = rng.bernoulli(draws[1], 0.5)
    is_sub = rng.bernoulli(draws[2], 1 / 3).to(torch.uint8)
    y = rng.integer(draws[3], SIZE - 2) + 1
    heading = _heading(right)
    against = ((enemies[0] >> 4) == y.to(torch.uint8)) & (enemies[1] == -heading)
    spawns = due & (against.view(torch.uint8).amax(0) == 0)
    timer = state["move_speed"].to(torch.uint8)
    nothing = torch.zeros_like(timer)
    entry = [_entrance(y, right), heading, timer, is_sub, nothing + _RELOAD, nothing]
    enemies = _push(enemies, torch.stack(entry), spawns)
    return enemies, torch.where(due, state["spawn_speed"], state["spawn_timer"])


def _spawn_diver(state: State, draws: Tensor) -> tuple[Tensor, Tensor]:
    """Divers after a possible spawn, and the timer."""
    due = state["diver_timer"] == 0
    right = rng.bernoulli(draws[4], 0.5)
    place = _entrance(rng.integer(draws[5], SIZE - 2) + 1, right)
    entry = torch.stack([place, _heading(right), torch.full_like(place, _DIVER_PAUSE)])
    divers = _push(_lanes_last(state["divers"]), entry, due)
    return divers, state["diver_timer"].masked_fill(due, _DIVER_SPAWN)


def _move_divers(divers: Tensor, player: Tensor, aboard: Tensor) -> tuple[Tensor, Tensor]:
    """Moves the divers and takes those in the player's cell aboard, the newest first."""
    place, heading, timer = divers
    present = _any(place)
    moves = (present & ~_any(timer)).view(torch.uint8)
    moved = _on_board(place + heading * moves)
    meets = ((place == player) | (moved == player)).long()
    newer = meets.cumsum(0) - meets
    picked = meets.bool() & (aboard + newer < _FULL_CREW)
    timer = timer + moves * (_DIVER_PAUSE + 1) - present.view(torch.uint8)
    return torch.stack([moved * ~picked, heading, timer]), aboard + picked.sum(0)


def _first_hit(bullet: Tensor, place: Tensor, able: Tensor, rank: Tensor) -> tuple[Tensor, Tensor]:
    """The things hit by bullets: in a bullet's cell, the able one of the highest rank.

    Returns:
        Which of the slots are hit, (slots, L) bool, and per bullet the rank hit or 0, (2, L).
    """
    meets = (place == bullet[:, None]) & able
    best = (meets * rank).amax(1)
    return (rank == best[0]) | (rank == best[1]), best


def _push(planes: Tensor, entry: Tensor, due: Tensor) -> Tensor:
    """Puts an entry (planes, L) into slot 0 of planes (planes, slots, L) where due."""
    shifted = torch.cat([entry[:, None], planes[:, :-1]], 1)
    return planes ^ ((planes ^ shifted) * due)


def _place(y: Tensor, x: Tensor) -> Tensor:
    return ((y << 4) + x + 1).to(torch.uint8)


def _entrance(y: Tensor, right: Tensor) -> Tensor:
    """Place at the side that it comes from."""
    return _place(y, (SIZE - 1) * (~right).long())


def _heading(right: Tensor) -> Tensor:
    return (right.to(torch.uint8) << 1) - 1


def _on_board(place: Tensor) -> Tensor:
    """The place, or 0 if its column is off the board: bits 0 to 3 are column + 1."""
    # A comparison with a number is slow on bytes; from columns 1 to 10 this gives 1 and else 0.
    inside = (((place - 1) & 15) + 6 >> 4) ^ 1
    return place * inside


def _any(values: Tensor) -> Tensor:
    """True where a byte is not 0."""
    return values.to(torch.bool)


def _lanes_last(field: Tensor) -> Tensor:
    """Planes of a field, (L, planes, slots) to (planes, slots, L); no copy, except after a load."""
    return field.permute(1, 2, 0).contiguous()


def _lanes_first(planes: Tensor) -> Tensor:
    return planes.permute(2, 0, 1)


def _shown(places: NDArray[np.int64], channels: int) -> NDArray[np.int64]:
    """Place in the flat observation that each kind of thing sets, by its code: (kinds, 256).

    Args:
        places: output channel of each native channel.
        channels: number of output channels.
    """
    code = np.arange(256)
    y, x = code >> 4, (code & 15) - 1
    table = np.full((len(_SHOWN), 256), _unused(places[_TRAIL], channels))
    inside = (x >= 0) & (x < SIZE) & (y < SIZE - 1)
    for kind, channel in enumerate((_FISH, _TRAIL, _TORPEDO, _DIVER, _TRAIL, _BULLET)):
        valid = code[inside & ((y > 0) | (channel == _BULLET))]
        cell = (y * SIZE + x)[valid] * channels
        table[kind, valid] = cell + places[channel]
        if channel == _FISH:
            table[kind, valid ^ 128] = cell + places[_SUB]
    return table


def _unused(trail: Any, channels: int) -> Any:
    """A place of the flat observation that stays empty: there are no trails beside the gauges."""
    return (SIZE - 1) * SIZE * channels + trail
