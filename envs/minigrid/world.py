"""Base of the MiniGrid families: the step, the view of the agent, rewards and missions."""

from collections.abc import Callable
from itertools import product
from typing import Any, ClassVar

import numpy as np
import torch
from gymnasium.spaces import Box, Discrete
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray
from torch import Tensor

from neoteny.core.errors import InputError
from neoteny.envs.arguments import check_render_mode
from neoteny.envs.base import State, TensorEnv
from neoteny.envs.minigrid import cells
from neoteny.envs.minigrid.cells import EMPTY, EVENT, MOVE, NOTHING, UNSEEN, WALL, WIN
from neoteny.envs.minigrid.world_image import draw

VIEW = 7
#: Right, down, left, up: the four directions an agent can face.
DX, DY = (1, 0, -1, 0), (0, 1, 0, -1)
_BYTES = 0x0101010101010101
_ENCODINGS = ("image", "onehot")


class MiniGrid(TensorEnv):
    """Base of the MiniGrid families: a grid of objects seen through a 7 x 7 window.

    A world is a row of bytes, cell y * width + x, followed by a wall that stands for everything
    outside, the agent's hand and one unseen cell. The agent's `pose` is
    direction * width * height + cell. A step is one lookup in the table of rules, by action, hand
    and cell in front; a view is one gather of cells by pose.

    An episode can terminate and be truncated in the same step, as in the reference.

    Args:
        width: columns of the grid.
        height: rows of the grid.
        steps: the family's limit of steps, used where `max_steps` is None.
        num_envs: lanes per member.
        members: number of members.
        device: where the state lives.
        seed: seed of member 0, member m taking seed + m; or one seed per member.
        max_steps: episodes are truncated after this many steps, and a reward shrinks with the
            share of them that was needed; None for the family's limit, -1 for no end, where
            rewards shrink until the family's limit.
        encoding: "image" for MiniGrid's (7, 7, 3) uint8 image of type, colour and state; "onehot"
            for bool planes (7, 7, 24 + goal): type 11, colour 6, state 3, the agent's direction
            4, and one-hot goal words where the family's mission varies.
        render_mode: None or "rgb_array".

    Raises:
        ValueError: for an option out of range.

    Source:
        Chevalier-Boisvert et al. (2023), Minigrid and Miniworld, arXiv:2306.13831.
    """

    metadata: ClassVar[dict[str, Any]] = {  # type: ignore[misc]
        "autoreset_mode": AutoresetMode.SAME_STEP,
        "render_modes": ["rgb_array"],
        "render_fps": 10,
    }
    #: Actions of the family.
    actions = 7
    #: True if walls hide nothing.
    see_through = False
    #: True if no action changes the grid, so that a step only moves the agent.
    fixed = False
    #: The family's limit of steps, by the options that say how large a world is.
    limit: ClassVar[Callable[..., int]]
    #: The mission, with a place for each goal word.
    mission = "get to the green goal square"
    #: Choices of each goal word. Where there are any, the state has a `mission` index over their
    #: product, the last word fastest.
    goal_words: tuple[tuple[str, ...], ...] = ()

    def __init__(
        self,
        width: int,
        height: int,
        steps: int,
        num_envs: int,
        members: int = 1,
        device: torch.device | str = "cpu",
        seed: int | Any = 0,
        *,
        max_steps: int | None = None,
        encoding: str = "image",
        render_mode: str | None = None,
    ) -> None:
        if encoding not in _ENCODINGS:
            raise InputError(f"encoding is {encoding!r}: use one of {_ENCODINGS}")
        check_render_mode(render_mode)
        self.width, self.height, self.area = width, height, width * height
        self.encoding, self.render_mode = encoding, render_mode
        image = Box(0, 255, (VIEW, VIEW, 3), np.uint8)
        planes = 24 + sum(map(len, self.goal_words))
        onehot = Box(0, 1, (VIEW, VIEW, planes), np.bool_)  # type: ignore[arg-type]
        space = image if encoding == "image" else onehot
        limit = steps if max_steps is None else max_steps
        super().__init__(space, Discrete(self.actions), num_envs, members, device, seed, limit)
        scale = self.max_steps or steps
        reward = 1 - 0.9 * (np.arange(1, scale + 1) / scale)
        self._reward = torch.from_numpy(reward.astype(np.float32)).to(self.device)
        self._tables()

    def _tables(self) -> None:
        """Builds the tables of a step: rules, poses, views and encodings."""
        self._rules = self._table(self._game().reshape(-1), np.int32)
        near, following, view = self._geometry()
        self._near, self._next = self._table(near), self._table(following)
        self._view = self._table(view)
        self._sight = self._table(cells.sight(), np.int32)
        self._shifts = self._table(np.arange(VIEW))
        shown, goals = cells.encodings(), self._goal_table()
        self._goals = self._table(goals)
        if self.encoding == "image":
            self._shown = self._table(shown, np.uint8)
            return
        planes = self.single_observation_space.shape[-1]  # type: ignore[index]
        self._shown = self._table(_planes(shown, (11, 6, 3), 0, planes), np.uint8)
        directions = np.repeat(np.arange(4), self.area)[:, None]
        self._directions = self._table(_planes(directions, (4,), 20, planes), np.uint8)
        sizes = tuple(map(len, self.goal_words))
        self._goal_planes = self._table(_planes(goals, sizes, 24, planes), np.uint8)

    def _game(self) -> NDArray[np.int32]:
        """The rules; a family may change the events."""
        return cells.rules()

    def _goal_table(self) -> NDArray[np.int64]:
        """Goal words of every mission, (missions, words)."""
        choices = [range(len(words)) for words in self.goal_words]
        return np.array(list(product(*choices)), np.int64)

    def _geometry(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Tables over the pose, and its successors.

        Returns:
            The cell in front and the hand (poses, 2); the pose after staying, turning left or
            right and advancing (4 * poses,); the cells of the view (poses, 7 or 8 times 7). Views
            are column by column, as in the reference's image; where walls hide, each column of
            seven has an unseen cell as its eighth, so that it fills a word.
        """
        direction, y, x = (axis.ravel() for axis in np.indices((4, self.height, self.width)))
        dx, dy = np.take(DX, direction), np.take(DY, direction)
        front = self._cell(x + dx, y + dy)
        pose, cell = np.arange(4 * self.area), y * self.width + x
        turned = [(direction + turn) % 4 * self.area + cell for turn in (-1, 1)]
        inside = front < self.area
        following = [pose, *turned, np.where(inside, direction * self.area + front, pose)]
        rows = VIEW if self.see_through else VIEW + 1
        column, row = (axis.ravel() for axis in np.indices((VIEW, rows)))
        ahead, aside = VIEW - 1 - row, column - VIEW // 2
        x_seen = x[:, None] + dx[:, None] * ahead - dy[:, None] * aside
        y_seen = y[:, None] + dy[:, None] * ahead + dx[:, None] * aside
        view = self._cell(x_seen, y_seen)
        view[:, (row == VIEW - 1) & (aside == 0)] = self.area + 1
        view[:, row == VIEW] = self.area + 2
        near = np.stack([front, np.full_like(front, self.area + 1)], axis=1)
        return near, np.concatenate(following), view

    def _cell(self, x: NDArray[np.int64], y: NDArray[np.int64]) -> NDArray[np.int64]:
        """Index of a cell in a world; everything outside is one cell."""
        inside = (x >= 0) & (x < self.width) & (y >= 0) & (y < self.height)
        return np.where(inside, y * self.width + x, self.area)

    def _worlds(self, boards: NDArray[np.uint8]) -> Tensor:
        """Boards (n, height, width) as rows of bytes with what follows the cells, (n, stride)."""
        stride = -(-(self.area + 3) // 8) * 8
        rows = np.full((len(boards), stride), UNSEEN, np.uint8)
        rows[:, : self.area] = boards.reshape(len(boards), -1)
        rows[:, self.area : self.area + 2] = WALL, EMPTY
        return self._table(rows, np.uint8)

    def _furnished(self, worlds: Tensor, places: Tensor, objects: Tensor) -> Tensor:
        """Grid field of a state: worlds with objects (codes) put at cells, (L, words) int64.

        Args:
            worlds: (L, stride) uint8.
            places: (L, n) int64.
            objects: (L, n), or broadcastable.
        """
        codes = objects.to(torch.uint8).expand_as(places)
        return worlds.scatter(1, places, codes).view(torch.int64)

    def _grid(self, state: State) -> Tensor:
        """Worlds of the lanes as bytes, (L, stride)."""
        return state["grid"].view(torch.uint8)

    def _transition(
        self, state: State, actions: Tensor, draws: Tensor
    ) -> tuple[State, Tensor, Tensor]:
        pose, grid = state["pose"], self._grid(state)
        near = self._near.index_select(0, pose)
        front, hand = grid.gather(1, near).unbind(1)
        rule = self._rules.index_select(0, (actions * 64 + hand) * 256 + front)
        move = (rule >> MOVE) & 3
        after = {"pose": self._next.index_select(0, move * (4 * self.area) + pose)}
        if not self.fixed:
            # The low bytes of a rule are the new cell in front and the new hand.
            changed = rule[:, None].view(torch.uint8)[:, :2]
            after["grid"] = grid.scatter(1, near, changed).view(torch.int64)
        won, over = self._judge(state, state | after, actions, rule >> EVENT)
        elapsed, last = state["elapsed"], len(self._reward) - 1
        if self.max_steps is None or self.max_steps > last + 1:
            elapsed = elapsed.clamp(max=last)
        return after, self._reward.index_select(0, elapsed) * won, over

    def _judge(
        self, state: State, after: State, actions: Tensor, event: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Lanes that have won, and lanes whose episode is over, each (L,) bool."""
        return event == WIN, event != NOTHING

    def _advance(
        self, state: State, actions: Tensor
    ) -> tuple[State, State, Tensor, Tensor, Tensor]:
        new, after, reward, terminated, truncated = super()._advance(state, actions)
        if self.max_steps is not None:
            truncated = state["elapsed"] + 1 >= self.max_steps
        return new, after, reward, terminated, truncated

    def _seen(self, state: State) -> Tensor:
        """Codes of the view, hidden cells unseen, column by column, (L, 7, 7) uint8."""
        grid = self._grid(state)
        found = grid.gather(1, self._view.index_select(0, state["pose"]))
        if self.see_through:
            return found.view(-1, VIEW, VIEW)
        words = found.view(torch.int64)
        return (words & self._lit(words)).view(torch.uint8).view(-1, VIEW, VIEW + 1)[..., :VIEW]

    def _lit(self, words: Tensor) -> Tensor:
        """Bytes of ones where a view is lit; both (L, 7) int64, a word per column."""
        opaque = (((words >> 7) & _BYTES) << self._shifts).sum(1)
        # Byte y of a lane is now its row y of the view, bit x for column x.
        rows = opaque[:, None].view(torch.uint8).t().to(torch.int32).unbind(0)
        light = self._sight.index_select(0, rows[VIEW - 1] | 1 << VIEW // 2 + 8)
        lit = [light]
        for row in reversed(rows[: VIEW - 1]):
            light = self._sight.index_select(0, (light & 127 << 8) | row)
            lit.append(light)
        lit = [*reversed(lit), torch.zeros_like(light)]
        lanes = torch.stack(lit, dim=1).to(torch.uint8).view(torch.int64)
        return ((lanes >> self._shifts) & _BYTES) * 255

    def _observe(self, state: State) -> Tensor:
        codes = self._seen(state).reshape(-1)
        shown = self._shown.index_select(0, codes.to(torch.int32))
        if self.encoding == "image":
            return shown.view(-1, VIEW, VIEW, 3)
        extra = self._directions.index_select(0, state["pose"])
        if self.goal_words:
            extra = extra | self._goal_planes.index_select(0, state["mission"])
        planes = shown.view(len(extra), VIEW * VIEW, -1).bitwise_or_(extra[:, None])
        return planes.view(torch.bool).view(len(extra), VIEW, VIEW, -1)

    def reset(
        self, *, seed: Any = None, options: dict[str, Any] | None = None
    ) -> tuple[Tensor, dict[str, Any]]:
        """Starts new episodes, as `TensorEnv.reset` does.

        Returns:
            Observation, and info with `direction` (L,) and `mission`, the goal words (L, words).
        """
        obs, info = super().reset(seed=seed, options=options)
        return obs, info | self._state_info()

    def step(self, actions: Any) -> tuple[Tensor, Tensor, Tensor, Tensor, dict[str, Any]]:
        """Steps every lane, as `TensorEnv.step` does.

        Returns:
            The values of `TensorEnv.step`, but a lane may be terminated and truncated at once, and
            info has `direction` (L,) and `mission` (L, words) of the returned observation.
        """
        obs, reward, terminated, truncated, info = super().step(actions)
        return obs, reward, terminated, truncated, info | self._state_info()

    def _state_info(self) -> State:
        """Direction (L,) int64 and goal words (L, words) int64 of the current state."""
        return {"direction": self.state["pose"] // self.area, "mission": self.goals()}

    def goals(self) -> Tensor:
        """Goal words of the lanes' missions as indices into `goal_words`, (L, words) int64."""
        if not self.goal_words:
            return self._goals.expand(self.num_envs, 0)
        return self._goals.index_select(0, self.state["mission"])

    def missions(self) -> list[str]:
        """Missions of the lanes in words, made on the host."""
        return [
            self.mission.format(*map(tuple.__getitem__, self.goal_words, row))
            for row in self.goals().tolist()
        ]

    def _frames(self, lanes: NDArray[np.int64]) -> list[NDArray[np.uint8]]:
        state = {
            name: value[torch.from_numpy(lanes).to(self.device)]
            for name, value in self.state.items()
        }
        boards = self._grid(state)[:, : self.area].cpu().numpy()
        images = cells.encodings()[boards.reshape(-1, self.height, self.width).swapaxes(1, 2)]
        directions, agents = np.divmod(state["pose"].cpu().numpy(), self.area)
        seen = self._seen(state).flatten(1).ne(cells.UNSEEN)
        view = self._view.index_select(0, state["pose"]).view(len(lanes), 7, -1)[..., :7].flatten(1)
        lit = np.zeros((len(lanes), self.area + 3), bool)
        np.put_along_axis(lit, view.cpu().numpy(), seen.cpu().numpy(), axis=1)
        np.put_along_axis(lit, agents[:, None], True, axis=1)
        shape = (len(lanes), self.height, self.width)
        highlighted = lit[:, : self.area].reshape(shape).swapaxes(1, 2)
        places = np.stack([agents % self.width, agents // self.width], axis=1)
        return draw(images, places, directions, highlighted)


def _planes(
    values: NDArray[Any], sizes: tuple[int, ...], first: int, planes: int
) -> NDArray[np.uint8]:
    """One-hot planes of columns of values (n, columns), the first at plane `first`."""
    table = np.zeros((len(values), planes), np.uint8)
    starts = first + np.cumsum([0, *sizes])
    for column, start in zip(values.T, starts[:-1], strict=True):
        table[np.arange(len(values)), start + column] = 1
    return table
