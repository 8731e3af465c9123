"""LavaCrossing and SimpleCrossing: rivers with one opening each."""

from itertools import combinations, permutations
from typing import Any

import numpy as np
import torch
from torch import Tensor

from neoteny.core import rng
from neoteny.envs.base import State
from neoteny.envs.minigrid.cells import EMPTY, GOAL, LAVA, WALL
from neoteny.envs.minigrid.layouts import walled
from neoteny.envs.minigrid.world import MiniGrid

#: A run of cells: the first, the step from one to the next, and how many.
Run = tuple[int, int, int]


class Crossing(MiniGrid):
    """LavaCrossing and SimpleCrossing: find the openings of the rivers on the way to the goal.

    Args:
        *args: as `MiniGrid`.
        size: width and height, odd.
        rivers: number of rivers.
        lava: True if the rivers are lava, False if they are walls.
        **options: as `MiniGrid`.
    """

    fixed = True
    limit = staticmethod(lambda size=9, **_: 4 * size**2)

    def __init__(
        self, *args: Any, size: int = 9, rivers: int = 1, lava: bool = True, **options: Any
    ) -> None:
        self.mission = (
            "avoid the lava and get to the green goal square"
            if lava
            else "find the opening and get to the green goal square"
        )
        self.slots = 2 + rivers
        super().__init__(size, size, self.limit(size=size), *args, **options)
        plain = walled(size, size)
        plain[-2, -2] = GOAL
        places = range(2, size - 2, 2)
        boards, routes = [], []
        for chosen in combinations(
            [(across, p) for across in (False, True) for p in places], rivers
        ):
            columns = [place for across, place in chosen if not across]
            rows = [place for across, place in chosen if across]
            boards.append(plain.copy())
            boards[-1][1:-1, columns] = boards[-1][rows, 1:-1] = LAVA if lava else WALL
            routes.append(_routes(size, columns, rows))
        counts = [len(found) for found in routes]
        self._rivers, self._counts = self._worlds(np.stack(boards)), self._table(counts)
        self._first = self._table(np.cumsum([0, *counts[:-1]]))
        self._runs = self._table([route for found in routes for route in found])
        self._start = self._table([size + 1])

    def _initial(self, draws: Tensor) -> State:
        chosen = rng.integer(draws[0], len(self._rivers))
        route = rng.integer(draws[1], self._counts.index_select(0, chosen))
        route = route + self._first.index_select(0, chosen)
        first, step, length = self._runs.index_select(0, route).unbind(2)
        openings = first + step * rng.integer(draws[2:].t(), length)
        empty = torch.full((1, 1), EMPTY, device=self.device)
        worlds = self._rivers.index_select(0, chosen)
        return {"pose": self._start, "grid": self._furnished(worlds, openings, empty)}


def _routes(size: int, columns: list[int], rows: list[int]) -> list[list[Run]]:
    """Openings of the rivers at columns and rows, one run of candidates each, by each order.

    An order says for each river crossed if it is a column or a row; all orders are as likely.
    """
    sides, floors = [0, *columns, size - 1], [0, *rows, size - 1]
    routes = []
    for order in sorted(set(permutations("c" * len(columns) + "r" * len(rows)))):
        i = j = 0
        runs: list[Run] = []
        for crossed in order:
            if crossed == "c":
                i += 1
                runs.append(
                    ((floors[j] + 1) * size + sides[i], size, floors[j + 1] - floors[j] - 1)
                )
            else:
                j += 1
                runs.append((floors[j] * size + sides[i] + 1, 1, sides[i + 1] - sides[i] - 1))
        routes.append(runs)
    return routes
