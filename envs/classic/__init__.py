"""Classic control as batched tensor programs, with the dynamics' parameters per lane."""

from neoteny.envs.classic.acrobot import Acrobot
from neoteny.envs.classic.cartpole import CartPole
from neoteny.envs.classic.mountain_car import MountainCar, MountainCarContinuous
from neoteny.envs.classic.pendulum import Pendulum
from neoteny.envs.classic.problem import ClassicControl

#: Gymnasium's id to the class and Gymnasium's limit of steps.
PROBLEMS: dict[str, tuple[type[ClassicControl], int]] = {
    "CartPole-v1": (CartPole, 500),
    "CartPole-v0": (CartPole, 200),
    "MountainCar-v0": (MountainCar, 200),
    "MountainCarContinuous-v0": (MountainCarContinuous, 999),
    "Acrobot-v1": (Acrobot, 500),
    "Pendulum-v1": (Pendulum, 200),
}

__all__ = [
    "PROBLEMS",
    "Acrobot",
    "CartPole",
    "ClassicControl",
    "MountainCar",
    "MountainCarContinuous",
    "Pendulum",
]
