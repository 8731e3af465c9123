"""The MinAtar games as batched tensor programs, exact to the step."""

from neoteny.envs.minatar.asterix import Asterix
from neoteny.envs.minatar.breakout import Breakout
from neoteny.envs.minatar.freeway import Freeway
from neoteny.envs.minatar.game import MinAtar, Spec
from neoteny.envs.minatar.seaquest import Seaquest
from neoteny.envs.minatar.space_invaders import SpaceInvaders

GAMES: dict[str, type[MinAtar]] = {
    game.game.name: game for game in (Asterix, Breakout, Freeway, Seaquest, SpaceInvaders)
}

__all__ = [
    "GAMES",
    "Asterix",
    "Breakout",
    "Freeway",
    "MinAtar",
    "Seaquest",
    "SpaceInvaders",
    "Spec",
]
