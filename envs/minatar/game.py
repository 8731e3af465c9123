"""Base of the MinAtar games: sticky actions, and observations from tables of board rows."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from gymnasium.spaces import Box, Discrete
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray
from torch import Tensor

from neoteny.core import rng
from neoteny.core.errors import InputError
from neoteny.envs.arguments import check_render_mode
from neoteny.envs.base import State, TensorEnv
from neoteny.envs.minatar.board_image import draw

SIZE = 10
#: The six actions of every game, by index.
NOOP, LEFT, UP, RIGHT, DOWN, FIRE = range(6)


@dataclass(frozen=True)
class Spec:
    """Description of a game.

    Attributes:
        name: the game's name, as in its ids.
        channels: names of the observation channels, in order.
        minimal: the actions that do something; action i of the -v1 ids is minimal[i].
    """

    name: str
    channels: tuple[str, ...]
    minimal: tuple[int, ...]


class MinAtar(TensorEnv):
    """Base of the MinAtar games: a 10 x 10 board seen as bool (10, 10, channels).

    A game describes its observation by layers, tables of board rows indexed by a code per row and
    combined by "or", and by points, cells that always hold one object. Padding and permuting the
    channels only changes the tables, and so costs nothing at run time.

    As in the reference, the last action outlives the episode: a sticky first action repeats what
    the lane did before the reset.

    Args:
        num_envs: lanes per member.
        members: number of members.
        device: where the state lives.
        seed: seed of member 0, member m taking seed + m; or one seed per member.
        sticky: probability that an action is replaced by the one before it.
        ramping: True if the difficulty rises within an episode (Asterix and Space Invaders).
        max_steps: episodes are truncated after this many steps; None for no limit.
        channels: pad the observation with empty channels up to this many; None for none.
        channel_order: channel j shows padded channel `channel_order[member, j]`, exactly
            `padded[..., order]` of NumPy; (members, channels) or (channels,); None keeps it.
        minimal_actions: use the game's minimal set of actions instead of all six.
        render_mode: None or "rgb_array".

    Raises:
        ValueError: for an option out of range.

    Source:
        Young and Tian (2019), MinAtar, arXiv:1903.03176.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012 - Gymnasium declares it so
        "autoreset_mode": AutoresetMode.SAME_STEP,
        "render_modes": ["rgb_array"],
        "render_fps": 10,
    }
    of_members = ("seeds", "channel_order")
    game: ClassVar[Spec]
    #: Channel of each point that `_points` returns.
    point_channels: ClassVar[tuple[int, ...]]

    def __init__(
        self,
        num_envs: int = 1,
        members: int = 1,
        device: torch.device | str = "cpu",
        seed: int | Sequence[int] = 0,
        *,
        sticky: float = 0.1,
        ramping: bool = True,
        max_steps: int | None = None,
        channels: int | None = None,
        channel_order: Tensor | NDArray[Any] | None = None,
        minimal_actions: bool = False,
        render_mode: str | None = None,
    ) -> None:
        if not 0.0 <= sticky <= 1.0:
            raise InputError(f"sticky is {sticky}: it must be a probability in [0, 1]")
        check_render_mode(render_mode)
        native = len(self.game.channels)
        self.channels = native if channels is None else channels
        if self.channels < native:
            raise InputError(
                f"channels is {channels}, but {self.game.name} has {native}: pass at least {native}"
            )
        actions = self.game.minimal if minimal_actions else tuple(range(6))
        space = Box(0, 1, (SIZE, SIZE, self.channels), np.bool_)  # type: ignore[arg-type]
        super().__init__(space, Discrete(len(actions)), num_envs, members, device, seed, max_steps)
        self.sticky = sticky
        self.ramping = ramping
        self.render_mode = render_mode
        self._actions = self._table(actions) if minimal_actions else None
        # Steps of the player by action, in games where it goes wherever the keys point.
        self._step_x = self._table([0, -1, 0, 1, 0, 0])
        self._step_y = self._table([0, 0, -1, 0, 1, 0])
        self._layers = self._layer_tables()
        self.set_channel_order(channel_order)

    @abstractmethod
    def _layer_tables(self) -> list[NDArray[np.bool_]]:
        """Pixels of a row for each code, per layer: (codes, 10, native channels)."""

    @abstractmethod
    def _codes(self, state: State) -> list[Tensor]:
        """Per layer, the code of each row, (L, 10) int32 or int64."""

    @abstractmethod
    def _points(self, state: State) -> list[Tensor]:
        """Cells 10 * y + x that hold one object each, (L,) int64, as in `point_channels`."""

    @abstractmethod
    def _play(self, state: State, action: Tensor, draws: Tensor) -> tuple[State, Tensor, Tensor]:
        """One frame after sticky actions; slot 0 of the draws is already used."""

    def _persistent(self) -> State:
        return {"last_action": torch.zeros(1, dtype=torch.int64, device=self.device)}

    def _transition(
        self, state: State, actions: Tensor, draws: Tensor
    ) -> tuple[State, Tensor, Tensor]:
        if self._actions is not None:
            actions = self._actions.index_select(0, actions)
        if self.sticky:
            repeat = rng.bernoulli(draws[0], self.sticky)
            actions = torch.where(repeat, state["last_action"], actions)
        after, reward, terminated = self._play(state, actions, draws)
        return after | {"last_action": actions}, reward, terminated

    def set_channel_order(self, order: Tensor | NDArray[Any] | None) -> None:
        """Permutes the observation's channels from now on, as `channel_order` does.

        Args:
            order: permutations, (members, channels) or (channels,); None for the native order.

        Raises:
            ValueError: if a row is not a permutation of 0 ... channels - 1.
        """
        identity = np.arange(self.channels)
        given = identity if order is None else _numpy(order)
        if given.shape not in ((self.channels,), (self.members, self.channels)):
            raise InputError(
                f"channel_order has shape {given.shape}, expected ({self.members}, {self.channels})"
            )
        orders = np.broadcast_to(given, (self.members, self.channels)).astype(np.int64)
        if not (np.sort(orders, axis=1) == identity).all():
            raise InputError(f"channel_order is not a permutation of 0 to {self.channels - 1}")
        self.channel_order = torch.from_numpy(orders.copy()).to(self.device)
        lane_member = np.repeat(np.arange(self.members), self.lanes)
        self._rows, self._row_offsets = [], []
        for table in self._layers:
            padded = np.zeros((*table.shape[:2], self.channels), np.bool_)
            padded[..., : table.shape[2]] = table
            shown = np.stack([padded[..., order] for order in orders])
            self._rows.append(self._table(shown.reshape(-1, SIZE * self.channels)))
            self._row_offsets.append(self._table(lane_member[:, None] * len(table)).int())
        places = np.argsort(orders, axis=1)[:, list(self.point_channels)][lane_member]
        first = np.arange(self.num_envs) * (SIZE * SIZE * self.channels)
        self._point_places = self._table((places + first[:, None]).T.reshape(-1))

    def _observe(self, state: State) -> Tensor:
        observation: Tensor | None = None
        for codes, rows, offset in zip(
            self._codes(state), self._rows, self._row_offsets, strict=True
        ):
            index = codes if self.members == 1 else codes + offset
            layer = rows.index_select(0, index.view(-1))
            observation = layer if observation is None else observation.logical_or_(layer)
        assert observation is not None
        points = torch.cat(self._points(state))
        cells = torch.add(self._point_places, points, alpha=self.channels)
        filled = observation.view(-1).index_fill_(0, cells, True)
        return filled.view(self.num_envs, SIZE, SIZE, self.channels)

    def state_dict(self) -> dict[str, Tensor]:
        """Copies the state, the members' seeds and the channel order."""
        return super().state_dict() | {"channel_order": self.channel_order.clone()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restores a copy made by `state_dict`.

        Raises:
            ValueError: if a field is missing, unknown or of another shape.
        """
        fields = dict(state)
        order = fields.pop("channel_order", None)
        super().load_state_dict(fields)
        if order is not None:
            self.set_channel_order(order)

    def _frames(self, lanes: NDArray[np.int64]) -> NDArray[np.uint8]:
        chosen = torch.from_numpy(lanes).to(self.device)
        shown = _numpy(self._observe(self.state).index_select(0, chosen))
        shuffled = _numpy(self.channel_order.argsort(1))[lanes // self.lanes]
        board = np.take_along_axis(shown, shuffled[:, None, None], axis=3)
        return draw(board[..., : len(self.game.channels)], self.game.channels)


def _numpy(values: Tensor | NDArray[Any]) -> NDArray[Any]:
    return values.cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)


def bit_rows(channel: int, channels: int) -> NDArray[np.bool_]:
    """Layer table for a row held as ten bits, bit x for column x, shown in one channel.

    Returns:
        (1024, 10, channels) bool.
    """
    table = np.zeros((1 << SIZE, SIZE, channels), np.bool_)
    table[:, :, channel] = (np.arange(1 << SIZE)[:, None] >> np.arange(SIZE)) & 1
    return table
