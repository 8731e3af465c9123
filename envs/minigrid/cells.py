"""Cells of a MiniGrid world as one byte each, and the rules of the game as one table over them.

A code is `kind << 3 | colour`, with the top bit set on what blocks the view. Kinds 0 to 9 are
MiniGrid's object types; doors take three kinds, one per state. Colours are MiniGrid's indices.
"""

from enum import IntEnum
from functools import cache
from itertools import product

import numpy as np
from numpy.typing import NDArray

COLOURS = ("red", "green", "blue", "purple", "yellow", "grey")
RED, GREEN, BLUE, PURPLE, YELLOW, GREY = range(6)


class Kind(IntEnum):
    """Content of a cell; a door's state is part of its kind."""

    UNSEEN = 0
    EMPTY = 1
    WALL = 2
    FLOOR = 3
    CLOSED_DOOR = 4
    KEY = 5
    BALL = 6
    BOX = 7
    GOAL = 8
    LAVA = 9
    OPEN_DOOR = 10
    LOCKED_DOOR = 11


OPAQUE = 1 << 7

LEFT, RIGHT, FORWARD, PICKUP, DROP, TOGGLE, DONE = range(7)

#: Fields of an entry of `rules`: bits 0-7 hold the new cell in front and 8-15 the new hand.
MOVE, EVENT = 16, 18
STAY, TURN_LEFT, TURN_RIGHT, ADVANCE = range(4)
#: The episode goes on, is won, ends without a reward, or its family decides.
NOTHING, WIN, END, ASK = range(4)

#: Type and state of doors, as the reference shows them.
_DOORS = {Kind.OPEN_DOOR: (4, 0), Kind.CLOSED_DOOR: (4, 1), Kind.LOCKED_DOOR: (4, 2)}
_COLOURED = (Kind.FLOOR, Kind.KEY, Kind.BALL, Kind.BOX, *_DOORS)
_PORTABLE = (Kind.KEY, Kind.BALL, Kind.BOX)


def code(kind: Kind, colour: int = RED) -> int:
    """Byte of an object."""
    hides = kind in (Kind.WALL, Kind.CLOSED_DOOR, Kind.LOCKED_DOOR)
    return kind << 3 | colour | (OPAQUE if hides else 0)


UNSEEN = code(Kind.UNSEEN)
EMPTY = code(Kind.EMPTY)
WALL = code(Kind.WALL, GREY)
GOAL = code(Kind.GOAL, GREEN)
LAVA = code(Kind.LAVA)
_COLOURED_CODES = [code(kind, colour) for kind, colour in product(_COLOURED, range(6))]
CODES = (UNSEEN, EMPTY, WALL, GOAL, LAVA, *_COLOURED_CODES)


def encodings() -> NDArray[np.uint8]:
    """MiniGrid's (type, colour, state) of a cell by its code, (256, 3)."""
    table = np.zeros((256, 3), np.uint8)
    for value in CODES:
        kind = Kind(value >> 3 & 15)
        shown, state = _DOORS.get(kind, (int(kind), 0))
        table[value] = shown, value & 7, state
    return table


def decode(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Codes of encodings (..., 3), the inverse of `encodings`."""
    codes: NDArray[np.uint8] = _decoding()[tuple(np.moveaxis(image, -1, 0))]
    return codes


@cache
def _decoding() -> NDArray[np.uint8]:
    """Codes by type, colour and state."""
    table = np.zeros((11, 6, 3), np.uint8)
    table[tuple(encodings()[list(CODES)].T)] = CODES
    return table


def rules() -> NDArray[np.int32]:
    """The game: what each action does, by the hand and the cell in front of the agent.

    Returns:
        (7 actions, 64 hands, 256 cells in front), entries packed as `MOVE` and `EVENT` say. An
        empty hand is the code EMPTY.
    """
    action, hand, front = np.indices((7, 64, 256), sparse=True)
    what, holds = front >> 3 & 15, hand >> 3
    overlaps = (Kind.EMPTY, Kind.FLOOR, Kind.OPEN_DOOR, Kind.GOAL, Kind.LAVA)
    advance = (action == FORWARD) & np.isin(what, overlaps)
    moves = [action == LEFT, action == RIGHT, advance]
    move = np.select(moves, [TURN_LEFT, TURN_RIGHT, ADVANCE], STAY)
    reached = [advance & (what == Kind.GOAL), advance & (what == Kind.LAVA)]
    event = np.select(reached, [WIN, END], NOTHING)
    takes = (action == PICKUP) & np.isin(what, _PORTABLE) & (hand == EMPTY)
    drops = (action == DROP) & (front == EMPTY) & np.isin(holds, _PORTABLE)
    toggles = action == TOGGLE
    fits = (holds == Kind.KEY) & (hand & 7 == front & 7)
    opens = toggles & ((what == Kind.CLOSED_DOOR) | (what == Kind.LOCKED_DOOR) & fits)
    closes = toggles & (what == Kind.OPEN_DOOR)
    unpacks = toggles & (what == Kind.BOX)
    colour = front & 7
    new_front = np.select(
        [takes | unpacks, drops, opens, closes],
        [EMPTY, hand, code(Kind.OPEN_DOOR) | colour, code(Kind.CLOSED_DOOR) | colour],
        front,
    )
    new_hand = np.select([takes, drops], [front, EMPTY], hand)
    packed = new_front | new_hand << 8 | move << MOVE | event << EVENT
    return np.asarray(packed, np.int32)


def with_event(
    table: NDArray[np.int32],
    action: int,
    event: int,
    before: Kind | None = None,
    after: Kind | None = None,
) -> NDArray[np.int32]:
    """Changes the event of some entries of `rules`.

    Args:
        table: the rules, changed in place.
        action: the action that makes the event.
        event: the event.
        before: the kind that the cell in front held, None for any.
        after: the kind that it then holds, None for any.

    Returns:
        The table.
    """
    part = table[action]
    front = np.broadcast_to(np.arange(256), part.shape)
    where = np.ones(part.shape, bool)
    for codes, kind in ((front, before), (part & 255, after)):
        where &= kind is None or (codes >> 3 & 15) == kind
    part[where] = part[where] & ~(3 << EVENT) | event << EVENT
    return table


def sight() -> NDArray[np.int32]:
    """Table of the light in one row of the view, from the agent's row away from it.

    Returns:
        Table indexed by `lit << 8 | opaque`, 7 bits each, bit x for column x: bits 0-6 of an
        entry are the cells of the row that are seen, bits 8-14 those of the next row that the
        row lights.

    Source:
        MiniGrid's `Grid.process_vis`, whose two passes over a row depend on nothing else.
    """
    lit, opaque = (np.arange(1 << 15) >> 8, np.arange(1 << 15) & 127)
    ahead = np.zeros_like(lit)
    for columns, step in ((range(6), 1), (range(6, 0, -1), -1)):
        for x in columns:
            passes = lit >> x & ~(opaque >> x) & 1
            lit = lit | passes << (x + step)
            ahead = ahead | passes << x | passes << (x + step)
    return (lit | ahead << 8).astype(np.int32)
