"""Fetch and PutNear: a named object among others."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from neoteny.core import rng
from neoteny.envs.base import State
from neoteny.envs.minigrid import cells
from neoteny.envs.minigrid.cells import (
    ASK,
    COLOURS,
    DROP,
    EMPTY,
    EVENT,
    PICKUP,
    Kind,
    code,
)  # fmt: skip
from neoteny.envs.minigrid.layouts import arrangements, distinct, free, padded, walled
from neoteny.envs.minigrid.world import MiniGrid

_PHRASES = ("get a", "go get a", "fetch a", "go fetch a", "you must fetch a")
_KINDS = (Kind.KEY, Kind.BALL, Kind.BOX)
_NAMES = ("key", "ball", "box")


class _Objects(MiniGrid):
    """A room with objects that one can carry, some of which the mission names.

    Args:
        size: width and height.
        steps: the family's limit of steps.
        *args: as `MiniGrid`.
        **options: as `MiniGrid`.
    """

    see_through = True
    #: Kinds of objects in the room.
    kinds: tuple[Kind, ...] = _KINDS

    def __init__(self, size: int, steps: int, *args: Any, **options: Any) -> None:
        super().__init__(size, size, steps, *args, **options)
        board = walled(size, size)
        self._world = self._worlds(board[None])
        self._free = self._table(free(board))
        things = [code(kind, colour) for kind in self.kinds for colour in range(len(COLOURS))]
        self._things = self._table(things)

    def _game(self) -> NDArray[np.int32]:
        table = cells.rules()
        for kind in self.kinds:
            table = cells.with_event(table, PICKUP, ASK, kind, Kind.EMPTY)
        return table

    def _hand(self, state: State) -> Tensor:
        return self._grid(state)[:, self.area + 1]

    def _room(self, ranks: list[Tensor], things: Tensor, direction: Tensor) -> State:
        """The room with things (L, n) at the first ranks of free cells, the agent at the last."""
        places = self._free.index_select(0, torch.stack(ranks, dim=1).view(-1))
        *objects, agent = places.view(self.num_envs, -1).unbind(1)
        codes = self._things.index_select(0, things.reshape(-1)).view_as(things)
        worlds = self._world.expand(self.num_envs, -1)
        return {
            "pose": rng.integer(direction, 4) * self.area + agent,
            "grid": self._furnished(worlds, torch.stack(objects, dim=1), codes),
        }


class Fetch(_Objects):
    """Fetch: pick up the named object; picking up another ends the episode.

    Args:
        *args: as `MiniGrid`.
        size: width and height.
        objects: number of objects.
        **options: as `MiniGrid`.
    """

    mission = "{} {} {}"
    goal_words = (_PHRASES, COLOURS, _NAMES[:2])
    kinds = _KINDS[:2]
    limit = staticmethod(lambda size=8, **_: 5 * size**2)

    def __init__(self, *args: Any, size: int = 8, objects: int = 3, **options: Any) -> None:
        self._count = objects
        self.slots = 4 + 2 * objects
        super().__init__(size, self.limit(size=size), *args, **options)
        _, colour, kind = self._goal_table().T
        self._wanted = self._table((kind + Kind.KEY) << 3 | colour)

    def _initial(self, draws: Tensor) -> State:
        count = self._count
        ranks = distinct(draws[: count + 1], len(self._free))
        things = rng.integer(draws[count + 1 : 2 * count + 1], len(self._things)).t()
        wanted = things.gather(1, rng.integer(draws[-3], count)[:, None])[:, 0]
        kind, colour = wanted // len(COLOURS), wanted % len(COLOURS)
        phrase = rng.integer(draws[-2], len(_PHRASES))
        mission = (phrase * len(COLOURS) + colour) * len(self.kinds) + kind
        return self._room(ranks, things, draws[-1]) | {"mission": mission}

    def _judge(
        self, state: State, after: State, actions: Tensor, event: Tensor
    ) -> tuple[Tensor, Tensor]:
        over = event == ASK
        wanted = self._wanted.index_select(0, state["mission"])
        return over & (self._hand(after) == wanted), over


class PutNear(_Objects):
    """PutNear: put the named object beside another; a wrong pick or drop ends the episode.

    Args:
        *args: as `MiniGrid`.
        size: width and height.
        objects: number of objects.
        **options: as `MiniGrid`.
    """

    mission = "put the {} {} near the {} {}"
    goal_words = (COLOURS, _NAMES, COLOURS, _NAMES)
    limit = staticmethod(lambda size=6, **_: 5 * size)

    def __init__(self, *args: Any, size: int = 6, objects: int = 2, **options: Any) -> None:
        self._count = objects
        self.slots = objects + 4
        super().__init__(size, self.limit(size=size), *args, **options)
        colour, kind, _, _ = self._goal_table().T
        self._wanted = self._table((kind + Kind.KEY) << 3 | colour)
        y, x = np.divmod(np.arange(self.area), size)
        near = (np.abs(x[:, None] - x) <= 1) & (np.abs(y[:, None] - y) <= 1)
        self._beside = self._table(np.pad(near, ((0, 1), (0, 0))).reshape(-1), np.bool_)
        # Where a third object may lie, by the ranks of the first two.
        cells_free = self._free.cpu().numpy()
        apart = ~near[np.ix_(cells_free, cells_free)]
        rest = [np.flatnonzero(first & second).tolist() for first in apart for second in apart]
        self._apart, self._apart_counts = map(self._table, padded(rest))
        self._sets = self._table(arrangements(len(self._things), objects))
        self._pairs = self._table(arrangements(objects, 2))

    def _game(self) -> NDArray[np.int32]:
        table = super()._game()
        # Dropping ends the episode even where there is no room to drop.
        table[DROP, np.arange(64) != EMPTY] |= ASK << EVENT
        return table

    def _initial(self, draws: Tensor) -> State:
        count, cells_free = self._count, len(self._free)
        ranks = [rng.integer(draws[0], cells_free)]
        for word in draws[1:count]:
            others = ranks[0] * cells_free + ranks[-1]
            rank = rng.integer(word, self._apart_counts.index_select(0, others))
            ranks.append(self._apart.index_select(0, others).gather(1, rank[:, None])[:, 0])
        start = distinct(draws[count : count + 1], cells_free, ranks)
        things = self._sets.index_select(0, rng.integer(draws[count + 1], len(self._sets)))
        pair = self._pairs.index_select(0, rng.integer(draws[count + 2], len(self._pairs)))
        named = things.gather(1, pair)
        words = (named % len(COLOURS)) * len(_KINDS) + named // len(COLOURS)
        mission = words[:, 0] * (len(COLOURS) * len(_KINDS)) + words[:, 1]
        target = torch.stack(ranks, dim=1).gather(1, pair[:, 1:])[:, 0]
        return self._room([*ranks, *start], things, draws[count + 3]) | {
            "mission": mission,
            "target": self._free.index_select(0, target),
        }

    def _judge(
        self, state: State, after: State, actions: Tensor, event: Tensor
    ) -> tuple[Tensor, Tensor]:
        asked, dropping, hand = event == ASK, actions == DROP, self._hand(after)
        front = self._near.index_select(0, state["pose"])[:, 0]
        beside = self._beside.index_select(0, front * self.area + state["target"])
        wrong = hand != self._wanted.index_select(0, state["mission"])
        return asked & dropping & (hand == EMPTY) & beside, asked & (dropping | wrong)
