"""Base of the classic control problems: parameters per lane, uniform starts and rendering."""

import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal, get_args

import gymnasium
import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray
from torch import Tensor

from neoteny.core import rng
from neoteny.core.errors import InputError
from neoteny.envs.arguments import by_lane, check_render_mode
from neoteny.envs.base import State, TensorEnv

Precision = Literal["float64", "float32"]
_PREFIX = "parameters."


class ClassicControl(TensorEnv):
    """Base of the classic control problems, with the dynamics of Gymnasium's.

    The state is one tensor, `physics` (L, d), that holds Gymnasium's `state`. It is float64, as
    there, and observations are float32. A step from a given state differs from Gymnasium's only
    by the last bit of sine and cosine; the random starts are the project's own, uniform within
    Gymnasium's bounds.

    Each parameter of the dynamics is a tensor over the lanes, so that members and lanes can
    have different physics, and physics can drift. A parameter bears the name of the attribute of
    Gymnasium's environment; all that follows from it follows at once, such as CartPole's total
    mass from `masspole`, which Gymnasium computes only at construction.

    Args:
        num_envs: lanes per member.
        members: number of members.
        device: where the state lives.
        seed: seed of member 0, member m taking seed + m; or one seed per member.
        max_steps: episodes are truncated after this many steps; None for no limit.
        precision: dtype of the state and the parameters; "float32" is for devices that are slow
            in float64 or lack it, and drifts from Gymnasium's trajectories within an episode.
        parameters: values in place of the defaults, as in `set_parameters`.
        render_mode: None or "rgb_array", which needs pygame.

    Attributes:
        parameters: name to value per lane, (L,).

    Raises:
        ValueError: for an option out of range.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012 - Gymnasium declares it so
        "autoreset_mode": AutoresetMode.SAME_STEP,
        "render_modes": ["rgb_array"],
        "render_fps": 30,
    }
    #: Gymnasium's environment, which gives the spaces and draws the frames.
    reference: ClassVar[type[gymnasium.Env[Any, Any]]]
    #: Names of the parameters and their usual values.
    defaults: ClassVar[Mapping[str, float]]
    #: Bounds of a fresh state, (low, high) for each of its d numbers.
    starts: ClassVar[Sequence[tuple[float, float]]]

    def __init__(
        self,
        num_envs: int = 1,
        members: int = 1,
        device: torch.device | str = "cpu",
        seed: int | Sequence[int] = 0,
        *,
        max_steps: int | None = None,
        precision: Precision = "float64",
        parameters: Mapping[str, Any] | None = None,
        render_mode: Literal["rgb_array"] | None = None,
    ) -> None:
        if precision not in get_args(Precision):
            raise InputError(f"precision is {precision!r}: use one of {get_args(Precision)}")
        check_render_mode(render_mode)
        if render_mode and importlib.util.find_spec("pygame") is None:
            raise InputError("render_mode='rgb_array' needs pygame: pip install pygame-ce")
        self.slots = len(self.starts)
        self._drawn: Any = self.reference(render_mode=render_mode)  # type: ignore[call-arg]
        super().__init__(
            self._drawn.observation_space,
            self._drawn.action_space,
            num_envs,
            members,
            device,
            seed,
            max_steps,
        )
        self.render_mode = render_mode
        self.dtype = getattr(torch, precision)
        bounds = torch.tensor(list(self.starts), dtype=torch.float64).to(self.device, self.dtype)
        self._low, self._range = bounds[:, 0], bounds[:, 1] - bounds[:, 0]
        self.parameters = {
            name: torch.full((self.num_envs,), value, dtype=self.dtype, device=self.device)
            for name, value in self.defaults.items()
        }
        self.set_parameters(**parameters or {})

    def set_parameters(self, **values: float | Sequence[float] | NDArray[Any] | Tensor) -> None:
        """Changes parameters of the dynamics from the next step on, in place.

        Args:
            **values: name to a number, (M,) numbers, one a member, or (L,) numbers, one a lane.

        Raises:
            ValueError: for an unknown name or another shape, and for a value that is not finite,
                unless it is a tensor, whose values are not looked at.
        """
        for name, value in values.items():
            if name not in self.parameters:
                raise InputError(
                    f"{type(self).__name__} has no parameter {name!r}: its parameters are"
                    f" {list(self.parameters)}"
                )
            if not isinstance(value, Tensor) and not np.isfinite(value).all():
                raise InputError(f"{name} is {value}: it must be finite")
            if isinstance(value, int | float):  # without a copy from the host
                self.parameters[name].fill_(value)
            else:
                given = torch.as_tensor(value, dtype=self.dtype, device=self.device)
                own = by_lane(name, given, self.members, self.lanes)
                self.parameters[name].copy_(own)

    def _initial(self, draws: Tensor) -> State:
        fraction = rng.uniform(draws).to(self.dtype)
        return {"physics": self._low + self._range * fraction.T}

    def _observe(self, state: State) -> Tensor:
        contiguous = torch.contiguous_format
        return state["physics"].to(torch.float32, memory_format=contiguous, copy=True)

    def state_dict(self) -> dict[str, Tensor]:
        """Copies the state, the members' seeds and the parameters."""
        parameters = {_PREFIX + name: value.clone() for name, value in self.parameters.items()}
        return super().state_dict() | parameters

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restores a copy made by `state_dict`.

        Raises:
            ValueError: if a field is missing, unknown or of another shape.
        """
        own = {name: value for name, value in state.items() if name.startswith(_PREFIX)}
        super().load_state_dict({name: state[name] for name in state if name not in own})
        self.set_parameters(**{name.removeprefix(_PREFIX): own[name] for name in own})

    def _frames(self, lanes: NDArray[np.int64]) -> Iterator[NDArray[np.uint8]]:
        """Lets Gymnasium's renderer draw one lane after the other, with the lane's parameters."""
        physics = self.state["physics"].cpu().numpy()
        parameters = {name: value.cpu().numpy() for name, value in self.parameters.items()}
        self._drawn.last_u = None  # Pendulum's renderer asks for the torque, to draw an arrow
        for lane in lanes:
            self._drawn.state = physics[lane]
            for name, value in parameters.items():
                setattr(self._drawn, name, value[lane])
            yield self._drawn.render()

    def close_extras(self, **kwargs: Any) -> None:
        """Drops the state and closes the renderer."""
        super().close_extras(**kwargs)
        self._drawn.close()
