"""Parameters of an environment, set alike on the device and on the host."""

from typing import Any

import gymnasium
import numpy as np
import torch
from torch import Tensor

from neoteny.core.errors import InputError
from neoteny.envs.single import DERIVED
from neoteny.wrappers.arrays import filled
from neoteny.wrappers.members import AnyVectorEnv


def check_attributes(env: gymnasium.Env[Any, Any], names: Any) -> None:
    """Refuse names that a single environment has no attribute for.

    Raises:
        ValueError: naming the attribute and the environment.
    """
    for name in names:
        if not hasattr(env.unwrapped, name):
            raise InputError(
                f"a change sets {name!r}, which {env.unwrapped} lacks; it has {_numbers(env)}"
            )


def set_attributes(env: gymnasium.Env[Any, Any], values: dict[str, Any]) -> None:
    """Set attributes of a single environment, and what CartPole derives from them."""
    base = env.unwrapped
    for name, value in values.items():
        setattr(base, name, value)
    for name, (function, *arguments) in DERIVED.items():
        if values and hasattr(base, name):
            setattr(base, name, function(*(getattr(base, argument) for argument in arguments)))


def check_parameters(env: AnyVectorEnv, names: Any) -> None:
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


def _check_host(base: Any, name: str) -> None:
    try:
        base.get_attr(name)
    except AttributeError as error:
        raise InputError(f"a change sets {name!r}, which {base} lacks") from error


def set_parameters(env: AnyVectorEnv, values: dict[str, Any], shape: tuple[int, int]) -> None:
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


def _by_lane(value: Any, shape: tuple[int, int], device: torch.device | None) -> Any:
    """A number, or an array (L, …)."""
    if isinstance(value, tuple):
        value = filled(value, device)[None, None]
    if isinstance(value, Tensor):
        return value.expand(*shape, *value.shape[2:]).flatten(0, 1)
    if isinstance(value, np.ndarray):
        return np.broadcast_to(value, (*shape, *value.shape[2:])).reshape(-1, *value.shape[2:])
    return value


def _has(base: Any, name: str) -> bool:
    try:
        base.get_attr(name)
    except AttributeError:
        return False
    return True


def _numbers(env: gymnasium.Env[Any, Any]) -> str:
    found = [k for k, v in vars(env.unwrapped).items() if isinstance(v, int | float)]
    return ", ".join(name for name in found if not name.startswith("_")) or "no numbers"
