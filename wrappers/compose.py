"""Changes put together, and how both adapters apply them to an environment."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, Protocol, get_args

import numpy as np
import torch
from torch import Tensor

from neoteny.core.errors import InputError
from neoteny.envs.host_single import DERIVED
from neoteny.wrappers.aliases import AnyEnv, AnySpace, AnyVectorEnv
from neoteny.wrappers.arrays import Array, Value, ValueT, filled, where
from neoteny.wrappers.change_base import HOOKS, Bound, Change, Parameter, from_zero

ENVIRONMENT = frozenset({"observation", "action", "reward", "params"})
SUPERVISED = frozenset({"observation", "label"})


class ComposedChanges:
    """Changes applied in order to observations, rewards and labels, in reverse to actions.

    Args:
        changes: the changes.
        members: M, to which changes with tables of their own for each member must fit.
        gradual: True if tasks lie between two whole ones.
        supervised: True if inputs and labels are changed, rather than an environment.

    Raises:
        ValueError: a change is for another number of members, acts on nothing that is there, or
            knows no way between two tasks.
    """

    def __init__(
        self,
        changes: Sequence[Change],
        members: int = 1,
        *,
        gradual: bool = False,
        supervised: bool = False,
    ) -> None:
        self.changes = tuple(changes)
        there = SUPERVISED if supervised else ENVIRONMENT
        for change in self.changes:
            if change.members not in (1, members):
                raise InputError(f"{change} is for {change.members} members, not {members}")
            if change.hooks and not change.hooks & there:
                stream = "a supervised stream" if supervised else "an environment"
                raise InputError(
                    f"{change} acts on {', '.join(sorted(change.hooks))}, but {stream} has only "
                    f"{', '.join(sorted(there))}; leave it out"
                )
            if gradual and not change.gradual:
                raise InputError(
                    f"{change} knows no way between two tasks; give it a schedule that switches, "
                    "in a wrapper of its own"
                )
        self._acting = {
            hook: [change for change in self.changes if hook in change.hooks] for hook in HOOKS
        }
        self._first: Bound | int = 0
        self.random = any(change.random for change in self.changes)

    def acts_on(self, hook: str) -> bool:
        """True if any change has this hook."""
        return bool(self._acting[hook])

    def check(self, observation: AnySpace, action: AnySpace) -> AnySpace:
        """Refuse an environment with these spaces if a change cannot act on it.

        Returns:
            The space of the changed observations.
        """
        action, self._first = from_zero(action)
        for change in self._acting["observation"]:
            if observation.shape is None:
                raise InputError(
                    f"{change} needs observations that are one array, the environment has "
                    f"{observation}; select one first, such as the image"
                )
        for change in self.changes:
            change.check(observation, action)
            observation = change.observation_space(observation)
        return observation

    def observation(self, obs: ValueT, task: Value, step: Value) -> ValueT:
        """The observation after all changes, (*lead, *event)."""
        for change in self._acting["observation"]:
            obs = change.observation(obs, task, step)  # type: ignore[arg-type, assignment]
        return obs

    def reward(self, reward: ValueT, task: Value, step: Value) -> ValueT:
        """The reward after all changes, (*lead)."""
        for change in self._acting["reward"]:
            reward = change.reward(reward, task, step)  # type: ignore[assignment]
        return reward

    def label(self, y: ValueT, task: Value, step: Value) -> ValueT:
        """The targets of a supervised stream, (*lead)."""
        for change in self._acting["label"]:
            y = change.label(y, task, step)  # type: ignore[assignment]
        return y

    def action(
        self, action: Value, task: Value, step: Value, memory: Sequence[Value] | None
    ) -> tuple[Value, list[Value]]:
        """The action for the environment, (*lead), and the actions that the changes returned.

        Args:
            action: the agent's, in the action space that was checked; the changes see discrete
                ones counted from 0.
            task: in force.
            step: environment steps of the member.
            memory: the second result of this method a step ago, None when all episodes begin.
        """
        acting = self._acting["action"]
        if not acting:
            return action, []
        if not isinstance(action, int | Tensor):
            action = np.asarray(action)
        action = self._shifted(action, -1)
        kept = []
        for place, change in enumerate(reversed(acting)):
            previous = 0 if memory is None else memory[place]
            action = change.action(action, task, step, previous)
            kept.append(action if change.remembers else 0)
        return self._shifted(action, 1), kept

    def _shifted(self, action: Value, sign: int) -> Value:
        """The action, counted from the space's first one instead of 0, or back."""
        first = self._first
        if not np.any(first):
            return action
        if isinstance(action, Tensor):
            return action.long() + sign * torch.as_tensor(first, device=action.device)
        return action + sign * np.asarray(first, np.int64)

    def params(self, task: Value) -> dict[str, Parameter]:
        """Parameters of the environment under `task`."""
        found: dict[str, Parameter] = {}
        for change in self._acting["params"]:
            found |= change.params(task)
        return found


def forget(memory: list[Value] | None, done: Array) -> list[Value] | None:
    """Actions remembered (M, N, …), 0 where an episode is `done` (L,)."""
    if memory is None:
        return None
    return [
        where(done.reshape(kept.shape[:2]), kept * 0, kept)
        if isinstance(kept, Tensor | np.ndarray)
        else kept
        for kept in memory
    ]


OnSwitch = Literal["reset", "latch", "now"]


def check_mode(on_switch: str) -> None:
    """Refuse an unknown mode.

    Raises:
        ValueError: naming the modes there are.
    """
    if on_switch not in get_args(OnSwitch):
        modes = ", ".join(get_args(OnSwitch))
        raise InputError(f"on_switch must be one of {modes}, got {on_switch!r}")


def check_attributes(env: AnyEnv, names: Iterable[str]) -> None:
    """Refuse names that a single environment has no attribute for.

    Raises:
        ValueError: naming the attribute and the environment.
    """
    for name in names:
        if not hasattr(env.unwrapped, name):
            raise InputError(
                f"a change sets {name!r}, which {env.unwrapped} lacks; it has {_numbers(env)}"
            )


def check_parameters(env: AnyVectorEnv, names: Iterable[str]) -> None:
    """Refuse names that a vector environment has no parameter or attribute for.

    Raises:
        ValueError: naming the parameter and the environment.
    """
    base: Any = env.unwrapped
    for name in names:
        if hasattr(base, "set_parameters"):
            known = list(base.parameters)
            if name not in known:
                raise InputError(
                    f"a change sets {name!r}, which {type(base).__name__} lacks; its parameters "
                    f"are {', '.join(known)}"
                )
        elif not hasattr(base, "get_attr"):
            raise InputError(f"a change sets {name!r}, but {type(base).__name__} has no parameters")
        else:
            _check_host(base, name)


class _HostVector(Protocol):
    """A Gymnasium vector environment whose environments have attributes."""

    def get_attr(self, name: str) -> Sequence[Any]:
        """The attribute of each environment."""


def _check_host(base: _HostVector, name: str) -> None:
    try:
        base.get_attr(name)
    except AttributeError as error:
        raise InputError(f"a change sets {name!r}, which {base} lacks") from error


def set_parameters(
    env: AnyVectorEnv, values: Mapping[str, Parameter], shape: tuple[int, int]
) -> None:
    """Set parameters of a vector environment.

    Args:
        env: offers `set_parameters`, or is a Gymnasium vector environment.
        values: each a number, or an array (M or 1, N or 1, …).
        shape: (M, N).
    """
    base: Any = env.unwrapped
    device = getattr(base, "device", None)
    lanes = {name: _by_lane(value, shape, device) for name, value in values.items()}
    if hasattr(base, "set_parameters"):
        base.set_parameters(**lanes)
        return
    for name, value in lanes.items():
        base.set_attr(name, value.tolist() if isinstance(value, np.ndarray) else value)
    for name, (function, *arguments) in DERIVED.items():
        if values and _has(base, name):
            columns = zip(*(base.get_attr(argument) for argument in arguments), strict=True)
            base.set_attr(name, [function(*column) for column in columns])


def _by_lane(value: Parameter, shape: tuple[int, int], device: torch.device | None) -> Value:
    """A number, or an array (L, …)."""
    if isinstance(value, tuple):
        value = filled(value, device)[None, None]
    if isinstance(value, Tensor):
        return value.expand(*shape, *value.shape[2:]).flatten(0, 1)
    if isinstance(value, np.ndarray):
        return np.broadcast_to(value, (*shape, *value.shape[2:])).reshape(-1, *value.shape[2:])
    return value


def _has(base: _HostVector, name: str) -> bool:
    try:
        base.get_attr(name)
    except AttributeError:
        return False
    return True


def _numbers(env: AnyEnv) -> str:
    found = [k for k, v in vars(env.unwrapped).items() if isinstance(v, int | float)]
    return ", ".join(name for name in found if not name.startswith("_")) or "no numbers"
