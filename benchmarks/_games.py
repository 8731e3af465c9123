"""Our environments, and what their peers and references call them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from _work import LIMIT

PEERS: Mapping[str, str] = {
    "gymnax": "gymnax",
    "pgx": "pgx-minatar",
    "navix": "navix",
    "xminigrid": "xminigrid",
    "envpool": "envpool",
}
"""Distributions that the peers need, by their modules of `benchmarks/peers` without `_steps`."""
REFERENCES = ("minatar", "gymnasium")
"""Modules, likewise, that step one environment of the packages that ours are exact to."""


T = TypeVar("T")


class Game(NamedTuple):
    """One of our ids."""

    id: str
    peers: Mapping[str, str] = {}
    """Name of the game in each peer that has it."""
    reference: tuple[str, str] = ("gymnasium", "")
    """Module of the reference, and its name of the game."""
    options: Mapping[str, Any] = {}


def _minatar(name: str, reference: str) -> Game:
    """MinAtar as gymnax plays it: minimal actions, none of them sticky, 1,000 steps at most."""
    peers = {"gymnax": f"{name}-MinAtar", "pgx": f"minatar-{reference}"}
    if name == "Seaquest":  # gymnax 0.0.9 has none
        del peers["gymnax"]
    options = {"max_steps": LIMIT, "sticky": 0.0}
    return Game(f"MinAtar-{name}-v1", peers, ("minatar", reference), options)


def _classic(name: str) -> Game:
    return Game(name, {"gymnax": name, "envpool": name}, ("gymnasium", name))


def _minigrid(name: str, navix: bool = False, xminigrid: str = "") -> Game:
    id = f"MiniGrid-{name}-v0"
    peers = {"envpool": id}
    if navix:
        peers["navix"] = f"Navix-{name}-v0"
    if xminigrid:
        peers["xminigrid"] = f"MiniGrid-{xminigrid}"
    return Game(id, peers, ("gymnasium", id))


FAMILIES: Mapping[str, tuple[Game, ...]] = {
    "minatar": (
        _minatar("Breakout", "breakout"),
        _minatar("Asterix", "asterix"),
        _minatar("Freeway", "freeway"),
        _minatar("SpaceInvaders", "space_invaders"),
        _minatar("Seaquest", "seaquest"),
    ),
    "classic": tuple(map(_classic, ("CartPole-v1", "MountainCar-v0", "Acrobot-v1", "Pendulum-v1"))),
    "minigrid": (
        _minigrid("Empty-8x8", navix=True, xminigrid="Empty-8x8"),
        _minigrid("DistShift1", navix=True),
        _minigrid("FourRooms", navix=True, xminigrid="FourRooms"),
        _minigrid("LavaGapS7", navix=True),
        _minigrid("LavaCrossingS9N2"),
        _minigrid("SimpleCrossingS9N2", navix=True),
        _minigrid("DoorKey-8x8", navix=True, xminigrid="DoorKey-8x8"),
        _minigrid("Dynamic-Obstacles-8x8", navix=True),
        _minigrid("Unlock", xminigrid="Unlock"),
        _minigrid("UnlockPickup", xminigrid="UnlockPickUp"),
        _minigrid("BlockedUnlockPickup", xminigrid="BlockedUnlockPickUp"),
        _minigrid("KeyCorridorS6R3", navix=True),
        _minigrid("MultiRoom-N6"),
        _minigrid("GoToDoor-8x8", navix=True),
        _minigrid("RedBlueDoors-8x8"),
        _minigrid("MemoryS13"),
        _minigrid("LockedRoom", xminigrid="LockedRoom"),
        _minigrid("Fetch-8x8-N3"),
        _minigrid("PutNear-8x8-N3"),
    ),
}
"""Every family of ours, by one id each; peers only where they have the same grid."""


def chosen(
    every: Mapping[str, Sequence[T]],
    families: Iterable[str],
    parts: Sequence[str],
    name: Callable[[T], str],
) -> list[T]:
    """The members of families that have one of some parts in their names; without parts, all.

    Raises:
        ValueError: If there is no such family, or nothing of that name.
    """
    if unknown := set(families) - set(every):
        raise ValueError(f"no family {sorted(unknown)}: use {', '.join(every)}")
    found = [one for family in families for one in every[family]]
    names = list(map(name, found))
    for part in parts:
        if not any(part in known for known in names):
            raise ValueError(f"nothing has {part!r} in its name: use {', '.join(names)}")
    return [one for one in found if any(part in name(one) for part in parts or ("",))]
