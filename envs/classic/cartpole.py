"""CartPole."""

import math

import torch
from gymnasium.envs.classic_control import CartPoleEnv
from torch import Tensor

from neoteny.envs.base import State
from neoteny.envs.classic.problem import ClassicControl

_TRACK = 2.4
_TILT = math.radians(12)


class CartPole(ClassicControl):
    """CartPole: balance a pole on a cart by pushing the cart left (0) or right (1).

    Observation and state: cart position and velocity, pole angle and angular velocity. Every step
    pays 1. The episode terminates when the cart leaves its track or the pole tilts by 12 degrees.

    Parameters: `gravity`, `masscart`, `masspole`, `length` (half the pole's), `force_mag` (of a
    push) and `tau` (seconds a step).

    Source:
        Barto, Sutton and Anderson (1983); Gymnasium's CartPole, integrated by Euler's method.
    """

    reference = CartPoleEnv
    defaults = {  # noqa: RUF012 - never changed
        "gravity": 9.8,
        "masscart": 1.0,
        "masspole": 0.1,
        "length": 0.5,
        "force_mag": 10.0,
        "tau": 0.02,
    }
    starts = ((-0.05, 0.05),) * 4

    def _transition(
        self, state: State, actions: Tensor, draws: Tensor
    ) -> tuple[State, Tensor, Tensor]:
        x, x_dot, theta, theta_dot = state["physics"].unbind(1)
        gravity, masscart, masspole, length, force_mag, tau = self.parameters.values()
        mass = masspole + masscart
        cosine, sine = theta.cos(), theta.sin()
        force = torch.where(actions == 1, force_mag, -force_mag)
        push = (force + masspole * length * theta_dot.square() * sine) / mass
        theta_acc = (gravity * sine - cosine * push) / (
            length * (4.0 / 3.0 - masspole * cosine.square() / mass)
        )
        x_acc = push - masspole * length * theta_acc * cosine / mass
        x, theta = x + tau * x_dot, theta + tau * theta_dot
        physics = torch.stack([x, x_dot + tau * x_acc, theta, theta_dot + tau * theta_acc], dim=1)
        terminated = (x.abs() > _TRACK) | (theta.abs() > _TILT)
        return {"physics": physics}, torch.ones_like(x, dtype=torch.float32), terminated
