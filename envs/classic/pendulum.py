"""Pendulum."""

import math

import torch
from gymnasium.envs.classic_control import PendulumEnv
from torch import Tensor

from neoteny.envs.base import State
from neoteny.envs.classic.problem import ClassicControl

_SPEED = 8.0
_TORQUE = 2.0


class Pendulum(ClassicControl):
    """Pendulum: swing up a pendulum and hold it upright by a torque in [-2, 2].

    State: angle from upright and angular velocity; the observation has the angle's cosine and
    sine. A step costs the squares of the angle, the velocity (by 0.1) and the torque (by 0.001).
    The episode never terminates.

    Parameters: `g` (gravity), `m` (mass), `l` (length) and `dt` (seconds a step).

    Source:
        Gymnasium's Pendulum.
    """

    reference = PendulumEnv
    defaults = {"g": 10.0, "m": 1.0, "l": 1.0, "dt": 0.05}  # noqa: RUF012 - never changed
    starts = ((-math.pi, math.pi), (-1.0, 1.0))

    def _transition(
        self, state: State, actions: Tensor, draws: Tensor
    ) -> tuple[State, Tensor, Tensor]:
        angle, speed = state["physics"].unbind(1)
        g, m, l, dt = self.parameters.values()  # noqa: E741 - Gymnasium's name
        torque = actions.squeeze(1).clamp(-_TORQUE, _TORQUE)
        tilt = (angle + math.pi).remainder(2 * math.pi) - math.pi
        cost = tilt**2 + 0.1 * speed**2 + 0.001 * torque**2
        # Gymnasium's action is float32, and so is all that it is multiplied by.
        push = (3.0 / (m * l**2)).to(torch.float32) * torque
        speed = (speed + (3 * g / (2 * l) * angle.sin() + push) * dt).clamp(-_SPEED, _SPEED)
        physics = torch.stack([angle + speed * dt, speed], dim=1)
        return (
            {"physics": physics},
            -cost.to(torch.float32),
            torch.zeros_like(tilt, dtype=torch.bool),
        )

    def _observe(self, state: State) -> Tensor:
        angle, speed = state["physics"].unbind(1)
        return torch.stack([angle.cos(), angle.sin(), speed], dim=1).to(torch.float32)
