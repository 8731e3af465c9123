"""Pictures of MinAtar boards: a colour for every channel, 32 pixels a cell."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

CELL = 32
#: Colour of each channel, in order of precedence: what is above shows where two share a cell.
COLOURS = {
    "paddle": (226, 232, 240), "chicken": (250, 204, 21), "player": (56, 189, 248),
    "cannon": (74, 222, 128), "brick": (217, 140, 62), "ball": (248, 113, 113),
    "car": (239, 84, 84), "gold": (250, 204, 21), "enemy": (239, 84, 84),
    "alien": (167, 110, 235), "sub_front": (253, 224, 71), "sub_back": (217, 150, 30),
    "enemy_sub": (239, 84, 84), "enemy_fish": (192, 110, 235), "diver": (244, 160, 200),
    "friendly_bullet": (226, 232, 240), "enemy_bullet": (251, 146, 60),
    "oxygen_guage": (34, 170, 200), "diver_guage": (190, 95, 140),
    "alien_left": (112, 190, 250), "alien_right": (250, 190, 112),
    "speed1": (66, 78, 184), "speed2": (58, 108, 200), "speed3": (56, 142, 204),
    "speed4": (66, 176, 200), "speed5": (120, 212, 190), "trail": (92, 98, 116),
}  # fmt: skip
_EMPTY, _LINES = (27, 30, 40), (17, 19, 26)
#: A channel that the table does not know, as of a game of one's own.
_OTHER = (160, 160, 160)
_INSET = slice(10, 22)


def draw(board: NDArray[np.bool_], channels: Sequence[str]) -> NDArray[np.uint8]:
    """Draws boards.

    A cell has the colour of its first object and, as a smaller square within, of its second; a
    trail is only drawn where nothing else is.

    Args:
        board: (n, 10, 10, channels) bool, channels in their native order.
        channels: their names.

    Returns:
        (n, 320, 320, 3) uint8.
    """
    known = list(COLOURS)
    order = sorted(range(len(channels)), key=lambda c: _rank(channels[c], known))
    colours = [COLOURS.get(channels[channel], _OTHER) for channel in order]
    palette = np.array([*colours, _EMPTY], np.uint8)
    board = board[..., order]
    first = np.where(board.any(-1), board.argmax(-1), len(order))
    behind = board & (np.arange(len(order)) > first[..., None])
    behind &= np.array([channels[channel] != "trail" for channel in order])
    second = np.where(behind.any(-1), behind.argmax(-1), first)
    number, height, width = first.shape
    picture = np.empty((number, height, CELL, width, CELL, 3), np.uint8)
    picture[:] = palette[first][:, :, None, :, None]
    picture[:, :, _INSET, :, _INSET] = palette[second][:, :, None, :, None]
    picture[:, :, [0, -1]] = _LINES
    picture[:, :, :, :, [0, -1]] = _LINES
    return picture.reshape(number, height * CELL, width * CELL, 3)


def _rank(name: str, known: list[str]) -> int:
    return known.index(name) if name in known else len(known)
