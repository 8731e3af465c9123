"""One Gymnasium environment, made as HostEnv needs it."""

import importlib
import importlib.util
import operator
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.wrappers import FlattenObservation, TransformAction, TransformObservation
from numpy.typing import NDArray

from neoteny.core.errors import InputError
from neoteny.envs.checked_single import CheckedSingle

AnyEnv = gymnasium.Env[Any, Any]
#: Packages that register their ids with Gymnasium only when they are imported.
PLUGINS = ("minigrid", "ale_py")
#: Types of observations that are shown as they are, or by another; all others as float32.
_TORCH_TYPES = {
    name: np.dtype("int32" if name == "uint16" else name)
    for name in ("bool", "uint8", "int8", "int16", "int32", "float16", "float32", "uint16")
}
#: What Gymnasium's CartPole computes from its parameters when it is made, and never again.
DERIVED: dict[str, tuple[Any, ...]] = {
    "total_mass": (operator.add, "masspole", "masscart"),
    "polemass_length": (operator.mul, "masspole", "length"),
}


def host_ids() -> list[str]:
    """Lists the ids that Gymnasium and the installed plugins can make, sorted, without ours."""
    for name in PLUGINS:
        if importlib.util.find_spec(name) is not None:
            importlib.import_module(name)
    return sorted(
        id
        for id, spec in gymnasium.registry.items()
        if spec.entry_point is not None and spec.namespace != "neoteny"
    )


def is_host_id(id: str) -> bool:
    """True if Gymnasium can make it; "module:id" names the package that registers it."""
    module, _, name = id.partition(":")
    named = bool(name) and all(part.isidentifier() for part in module.split("."))
    return named or id in gymnasium.registry or id in host_ids()


def make_single(
    id: str,
    observation: str | None,
    flatten: bool,
    options: Mapping[str, Any],
    as_text: bool = False,
) -> "Replayable":
    """Makes one environment with an array as observation.

    Args:
        id: as for `HostEnv`, like `observation`, `flatten` and `options`.
        observation: entry of a Dict.
        flatten: make it a vector.
        options: for `gymnasium.make`.
        as_text: see `CheckedSingle`.

    Raises:
        ValueError: if the environment cannot be made, or for spaces that are not supported.
    """
    is_host_id(id)  # registers the plugins' ids, in a new process too
    try:
        env: AnyEnv = gymnasium.make(id, **options)
    except (ImportError, gymnasium.error.Error) as error:
        raise InputError(f"{_called(id, options)} cannot be made: {error}") from error
    except Exception as error:
        if isinstance(error, TypeError | AttributeError) and _about_options(error, options):
            raise InputError(f"{_called(id, options)} cannot be made: {error}") from error
        error.add_note(f"raised by the environment {id} when it was made")
        raise
    env = _select(CheckedSingle(env, id, as_text), observation, flatten)
    return Replayable(_count_from_zero(_as_array(env, flatten)))


def _called(id: str, options: Mapping[str, Any]) -> str:
    return f"{id} with options {dict(options)}" if options else id


def _about_options(error: TypeError | AttributeError, options: Mapping[str, Any]) -> bool:
    """True if the constructor does not take the options; False if it fails with them."""
    cause = error.__cause__ or error
    raised = traceback.extract_tb(cause.__traceback__)[-1].filename
    at_call = raised == gymnasium.envs.registration.__file__
    if isinstance(error, AttributeError):
        return at_call
    return at_call or any(repr(name) in str(cause) for name in options)


def _select(env: AnyEnv, entry: str | None, flatten: bool) -> AnyEnv:
    """The environment with one entry of a Dict observation, or all if they will be flattened."""
    space = env.observation_space
    if not isinstance(space, spaces.Dict):
        if entry is not None:
            raise InputError(f"observation is {entry!r}, but observations are {space}, not a Dict")
        return env
    if entry is None and "image" in space.spaces:
        entry = "image"
    if entry in space.spaces:
        return TransformObservation(env, operator.itemgetter(entry), space[entry])
    if entry is None and flatten:
        return env
    raise InputError(
        f"observations are a Dict of {list(space.spaces)}: pass one of them as observation=...,"
        " or flatten=True"
    )


def _as_array(env: AnyEnv, flatten: bool) -> AnyEnv:
    """The environment with a Box, of a type that torch computes with, as observation space."""
    if (
        flatten
        or not isinstance(env.observation_space, spaces.Box)
        or not env.observation_space.shape
    ):
        try:
            env = FlattenObservation(env)
        except NotImplementedError:
            message = f"observations {env.observation_space} cannot be flattened"
            raise InputError(message) from None
    box = env.observation_space
    if not isinstance(box, spaces.Box):
        raise InputError(f"observations {box} are not supported: they have no fixed shape")
    dtype = _TORCH_TYPES.get(box.dtype.name, np.dtype(np.float32))
    if dtype == box.dtype:
        return env
    cast = operator.methodcaller("astype", dtype)
    shown = spaces.Box(cast(box.low), cast(box.high), dtype=dtype.type)
    return TransformObservation(env, cast, shown)


def _count_from_zero(env: AnyEnv) -> AnyEnv:
    """The environment with discrete actions counted from 0."""
    space = env.action_space
    zero: spaces.Space[Any]
    if isinstance(space, spaces.Discrete):
        zero, start = spaces.Discrete(int(space.n)), np.asarray(space.start, np.int64)
    elif isinstance(space, spaces.MultiDiscrete):
        zero, start = spaces.MultiDiscrete(space.nvec), np.asarray(space.start, np.int64)
    elif isinstance(space, spaces.Box | spaces.MultiBinary):
        return env
    else:
        raise InputError(f"actions {space} are not supported: they are not one array")
    return TransformAction(env, partial(operator.add, start), zero) if start.any() else env


def set_attributes(env: AnyEnv, values: Mapping[str, Any]) -> None:
    """Sets attributes of the innermost environment, and what CartPole derives from them."""
    base = env.unwrapped
    for name, value in values.items():
        setattr(base, name, value)
    for name, (function, *arguments) in DERIVED.items():
        if values and hasattr(base, name):
            setattr(base, name, function(*(getattr(base, argument) for argument in arguments)))


@dataclass
class Place:
    """State of an environment as the actions and parameters that lead there again from its seed.

    Attributes:
        seed: seed of the lane.
        episodes: episodes begun.
        actions: actions of the last episode, (steps, *action).
        start: parameters that had been set when the episode began.
        changes: parameters set since, each with the number of actions played before.
    """

    seed: int
    episodes: int
    actions: NDArray[Any]
    start: dict[str, float]
    changes: list[tuple[int, dict[str, float]]]


class Replayable(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Seeds each episode by its number, and goes to any place by playing its episode again.

    `reset` with a seed begins with episode 0; without one it goes on to the next. Setting `place`
    makes the next `reset` go there instead.
    """

    def __init__(self, env: AnyEnv) -> None:
        super().__init__(env)
        self._goal: Place | None = None
        self._seed, self._episodes = 0, 0
        self._actions: list[Any] = []
        self._parameters: dict[str, float] = {}  # that were set
        self._start: dict[str, float] = {}
        self._changes: list[tuple[int, dict[str, float]]] = []

    @property
    def place(self) -> Place:
        """Actions and parameters that lead to the present state."""
        space = self.action_space
        actions = np.array(self._actions, space.dtype).reshape(-1, *(space.shape or ()))
        return Place(self._seed, self._episodes, actions, dict(self._start), list(self._changes))

    @place.setter
    def place(self, place: Place) -> None:
        self._goal = place

    @property
    def own_limit(self) -> int | None:
        """Steps after which the environment, as MiniGrid, says it truncates by itself."""
        limit = getattr(self.unwrapped, "max_steps", None)
        integer = isinstance(limit, int | np.integer) and not isinstance(limit, bool)
        return int(limit) if integer else None  # type: ignore[arg-type]

    @property
    def parameters(self) -> dict[str, float]:
        """Public attributes of the innermost environment that are numbers."""
        base = self.unwrapped
        spaces_of_names = [vars(kind) for kind in reversed(type(base).__mro__)] + [vars(base)]
        values = {name: value for names in spaces_of_names for name, value in names.items()}
        return {
            name: float(value)
            for name, value in values.items()
            if isinstance(value, int | float)
            and not isinstance(value, bool)
            and not name.startswith("_")
        }

    @parameters.setter
    def parameters(self, values: Mapping[str, float]) -> None:
        self._changes.append((len(self._actions), dict(values)))
        self._set(values)

    def _set(self, values: Mapping[str, float]) -> None:
        self._parameters |= values
        set_attributes(self, values)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begins the next episode, the first one of `seed`, or goes to `place`."""
        goal, self._goal = self._goal, None
        if seed is not None:
            self._seed, self._episodes = seed, 0
        elif goal is not None:
            self._seed, self._episodes = goal.seed, goal.episodes - 1
            self._set(goal.start)
        entropy = np.random.SeedSequence([self._seed, self._episodes])
        self._episodes += 1
        self._actions, self._changes, self._start = [], [], dict(self._parameters)
        obs, info = self.env.reset(seed=int(entropy.generate_state(1)[0]), options=options)
        if goal is not None and seed is None:
            obs = self._play_again(goal, obs)
        return obs, info

    def _play_again(self, place: Place, obs: Any) -> Any:
        for step in range(len(place.actions) + 1):
            for _, values in (change for change in place.changes if change[0] == step):
                self.parameters = values
            if step < len(place.actions):
                obs = self.step(place.actions[step])[0]
        return obs

    def step(self, action: Any) -> Any:
        """Plays one step and keeps the action."""
        self._actions.append(np.copy(action))
        return self.env.step(action)
