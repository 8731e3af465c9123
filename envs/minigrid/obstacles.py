"""Dynamic-Obstacles: balls that wander."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from neoteny.core import rng
from neoteny.envs.base import State
from neoteny.envs.minigrid.cells import BLUE, EMPTY, FORWARD, GOAL, Kind, code
from neoteny.envs.minigrid.layouts import distinct, free, walled
from neoteny.envs.minigrid.world import MiniGrid

#: Tries after which the reference leaves an obstacle where it is.
_TRIES = 101


class DynamicObstacles(MiniGrid):
    """Dynamic-Obstacles: reach the goal without walking into anything.

    Before the agent acts, each obstacle in turn moves to a random free cell of the nine around
    it. Walking against what was in front before they moved costs 1 and ends the episode.

    Args:
        *args: as `MiniGrid`.
        size: width and height.
        obstacles: number of balls.
        random_start: start at a random free cell, facing anywhere, instead of the near corner.
        **options: as `MiniGrid`.
    """

    actions = 3
    see_through = True
    fixed = True
    limit = staticmethod(lambda size=8, **_: 4 * size**2)

    def __init__(
        self,
        *args: Any,
        size: int = 8,
        obstacles: int = 4,
        random_start: bool = False,
        **options: Any,
    ) -> None:
        self._balls, self._random = obstacles, random_start
        self.slots = 2 * obstacles + (2 if random_start else 0)
        super().__init__(size, size, self.limit(size=size), *args, **options)
        board = walled(size, size)
        board[-2, -2] = GOAL
        self._world = self._worlds(board[None])
        cells_free = free(board)
        self._free = self._table(cells_free if random_start else cells_free[1:])
        self._start = self._table([size + 1])
        around = np.array([dy * size + dx for dy in (-1, 0, 1) for dx in (-1, 0, 1)])
        self._around = self._table(around)
        self._bits = self._table(1 << np.arange(9), np.int64)
        open_cells = [np.flatnonzero(mask >> np.arange(9) & 1) for mask in range(512)]
        counts = np.array([len(found) for found in open_cells])
        moves = np.zeros((512, 9), np.int64)
        for mask, found in enumerate(open_cells):
            moves[mask, : len(found)] = around[found]
        self._counts, self._moves = self._table(counts), self._table(moves.reshape(-1))
        # Chance, out of 2**32, that all tries miss the free cells.
        self._stays = self._table(np.rint((1 - counts / 9) ** _TRIES * 2**32))

    def _initial(self, draws: Tensor) -> State:
        pose = self._start
        ranks = distinct(draws[: self._balls + self._random], len(self._free))
        if self._random:
            *ranks, rank = ranks
            pose = rng.integer(draws[-1], 4) * self.area + self._free.index_select(0, rank)
        places = self._free.index_select(0, torch.stack(ranks, dim=1).view(-1))
        places = places.view(self.num_envs, -1)
        ball = torch.full_like(places, code(Kind.BALL, BLUE))
        worlds = self._world.expand(self.num_envs, -1)
        return {"pose": pose, "grid": self._furnished(worlds, places, ball), "balls": places}

    def _transition(
        self, state: State, actions: Tensor, draws: Tensor
    ) -> tuple[State, Tensor, Tensor]:
        actions = actions * (actions < self.actions)
        front = self._near.index_select(0, state["pose"])[:, :1]
        before = self._grid(state).gather(1, front)[:, 0]
        collides = (actions == FORWARD) & (before != EMPTY) & (before != GOAL)
        moved = self._wander(state, draws)
        after, reward, over = super()._transition(state | moved, actions, draws)
        return moved | after, reward.masked_fill(collides, -1.0), over | collides

    def _wander(self, state: State, draws: Tensor) -> State:
        """Grid and balls after the obstacles' moves, one after the other."""
        grid = self._grid(state).clone()
        agent = (state["pose"] % self.area)[:, None]
        balls = []
        for index, ball in enumerate(state["balls"].unbind(1)):
            around = ball[:, None] + self._around
            clear = (grid.gather(1, around) == EMPTY) & (around != agent)
            mask = (clear * self._bits).sum(1)
            choice = rng.integer(draws[2 * index], self._counts.index_select(0, mask))
            move = self._moves.index_select(0, mask * 9 + choice)
            ball = ball + move * (draws[2 * index + 1] >= self._stays.index_select(0, mask))
            grid.scatter_(1, state["balls"][:, index, None], EMPTY)
            grid.scatter_(1, ball[:, None], code(Kind.BALL, BLUE))
            balls.append(ball)
        return {"grid": grid.view(torch.int64), "balls": torch.stack(balls, dim=1)}
