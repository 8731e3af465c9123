"""Environments stepped as tensors on one device, and the ids they are made by.

Importing this package registers the ids with Gymnasium too, for `gymnasium.make_vec`.
"""

import difflib
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import gymnasium
import torch

from neoteny.envs.base import TensorEnv
from neoteny.envs.minatar import GAMES

NAMESPACE = "neoteny/"
_REGISTRY: dict[str, tuple[type[TensorEnv], dict[str, Any]]] = {}


def register(id: str, cls: type[TensorEnv], **defaults: Any) -> None:
    """Registers an environment class under an id, here and with Gymnasium.

    Args:
        id: name with namespace and version, such as "neoteny/MinAtar-Breakout-v0".
        cls: called as `cls(num_envs, members, device, seed, **options)`.
        **defaults: options that the id fixes.
    """
    _REGISTRY[id] = (cls, defaults)
    gymnasium.register(
        id=id, vector_entry_point=f"{cls.__module__}:{cls.__name__}", kwargs=defaults
    )


def registered() -> list[str]:
    """Lists the ids that `make` knows, sorted."""
    return sorted(_REGISTRY)


def resolve(id: str) -> str:
    """Completes a short id: the namespace and "-v0" may be left out.

    Raises:
        ValueError: if no such id is registered; it names the nearest one.
    """
    full = id if id.startswith(NAMESPACE) else NAMESPACE + id
    for candidate in (full, full + "-v0"):
        if candidate in _REGISTRY:
            return candidate
    near = difflib.get_close_matches(full, registered(), n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ValueError(
        f"unknown environment {id!r}{hint} (neoteny.envs.registered() lists the known ids)"
    )


def make(
    id: str,
    num_envs: int,
    members: int = 1,
    device: torch.device | str = "cpu",
    seed: int | Sequence[int] = 0,
    **options: Any,
) -> TensorEnv:
    """Makes a batch of environments.

    Args:
        id: an id of `registered()`; short forms such as "MinAtar-Breakout" mean "-v0".
        num_envs: lanes per member, N; the result has members * N lanes, member-major.
        members: number of members, M.
        device: where the environments live.
        seed: member m takes seed + m; or one seed per member.
        **options: options of the environment, such as `sticky` or `max_steps`.

    Returns:
        The environments, not yet reset.

    Raises:
        ValueError: for an unknown id or option, or a value out of range.
    """
    cls, defaults = _REGISTRY[full := resolve(id)]
    known = _options(cls) - set(defaults)
    if unknown := sorted(set(options) - known):
        raise ValueError(f"{full} has no option {unknown[0]!r}: its options are {sorted(known)}")
    build: Callable[..., TensorEnv] = cls
    return build(num_envs, members, device, seed, **defaults | options)


def _options(cls: type[TensorEnv]) -> set[str]:
    """Keyword-only parameters of the constructors along the class hierarchy."""
    parameters = [
        parameter
        for base in cls.__mro__
        if "__init__" in vars(base)
        for parameter in inspect.signature(vars(base)["__init__"]).parameters.values()
    ]
    return {found.name for found in parameters if found.kind is inspect.Parameter.KEYWORD_ONLY}


for _name, _game in GAMES.items():
    register(f"{NAMESPACE}MinAtar-{_name}-v0", _game)
    register(f"{NAMESPACE}MinAtar-{_name}-v1", _game, minimal_actions=True)

__all__ = ["TensorEnv", "make", "register", "registered", "resolve"]
