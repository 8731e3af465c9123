"""Acrobot."""

import math

import torch
from gymnasium.envs.classic_control import AcrobotEnv
from torch import Tensor

from neoteny.envs.base import State
from neoteny.envs.classic.problem import ClassicControl

_TURN = 2 * math.pi
_SPEED_1, _SPEED_2 = 4 * math.pi, 9 * math.pi


class Acrobot(ClassicControl):
    """Acrobot: swing the free end of a two-link chain above a bar by a torque of -1, 0 or 1.

    State: the angle of the first link from straight down, that of the second from the first, and
    their velocities; the observation has the angles' cosines and sines. A step pays -1, the last
    one 0. The episode terminates when the free end is above the bar.

    Parameters: `LINK_LENGTH_1`, `LINK_MASS_1`, `LINK_MASS_2`, `LINK_COM_POS_1`, `LINK_COM_POS_2`
    (centres of mass), `LINK_MOI` (moment of inertia of each link), `dt` (seconds a step), and
    `gravity`, which is a constant in Gymnasium.

    Source:
        Sutton (1996), with the equations of Sutton and Barto's book; Gymnasium's Acrobot.
    """

    reference = AcrobotEnv
    defaults = {  # noqa: RUF012 - never changed
        "LINK_LENGTH_1": 1.0,
        "LINK_MASS_1": 1.0,
        "LINK_MASS_2": 1.0,
        "LINK_COM_POS_1": 0.5,
        "LINK_COM_POS_2": 0.5,
        "LINK_MOI": 1.0,
        "dt": 0.2,
        "gravity": 9.8,
    }
    starts = ((-0.1, 0.1),) * 4

    def _transition(
        self, state: State, actions: Tensor, draws: Tensor
    ) -> tuple[State, Tensor, Tensor]:
        torque = (actions - 1).to(self.dtype)
        dt = self.parameters["dt"].unsqueeze(1)
        # One step of the classical Runge-Kutta method.
        start = state["physics"]
        first = self._velocity(start, torque)
        second = self._velocity(start + dt / 2 * first, torque)
        third = self._velocity(start + dt / 2 * second, torque)
        fourth = self._velocity(start + dt * third, torque)
        end = start + dt / 6.0 * (first + 2 * second + 2 * third + fourth)
        angle_1, angle_2, speed_1, speed_2 = end.unbind(1)
        angle_1, angle_2 = _wrap(angle_1), _wrap(angle_2)
        speed_1 = speed_1.clamp(-_SPEED_1, _SPEED_1)
        speed_2 = speed_2.clamp(-_SPEED_2, _SPEED_2)
        terminated = -angle_1.cos() - (angle_2 + angle_1).cos() > 1.0
        physics = torch.stack([angle_1, angle_2, speed_1, speed_2], dim=1)
        return {"physics": physics}, terminated.to(torch.float32) - 1.0, terminated

    def _velocity(self, physics: Tensor, torque: Tensor) -> Tensor:
        """Time derivative of the state, (L, 4)."""
        angle_1, angle_2, speed_1, speed_2 = physics.unbind(1)
        l1, m1, m2, c1, c2, inertia, _, gravity = self.parameters.values()
        cosine, sine = angle_2.cos(), angle_2.sin()
        lever = m2 * l1 * c2
        d1 = m1 * c1**2 + m2 * (l1**2 + c2**2 + 2 * l1 * c2 * cosine) + inertia + inertia
        d2 = m2 * (c2**2 + l1 * c2 * cosine) + inertia
        phi2 = m2 * c2 * gravity * (angle_1 + angle_2 - math.pi / 2).cos()
        phi1 = (
            -lever * speed_2**2 * sine
            - 2 * lever * speed_2 * speed_1 * sine
            + (m1 * c1 + m2 * l1) * gravity * (angle_1 - math.pi / 2).cos()
            + phi2
        )
        pull = torque + d2 / d1 * phi1 - lever * speed_1**2 * sine - phi2
        acceleration_2 = pull / (m2 * c2**2 + inertia - d2**2 / d1)
        acceleration_1 = -(d2 * acceleration_2 + phi1) / d1
        return torch.stack([speed_1, speed_2, acceleration_1, acceleration_2], dim=1)

    def _observe(self, state: State) -> Tensor:
        angle_1, angle_2, speed_1, speed_2 = state["physics"].unbind(1)
        columns = [angle_1.cos(), angle_1.sin(), angle_2.cos(), angle_2.sin(), speed_1, speed_2]
        return torch.stack(columns, dim=1).to(torch.float32)


def _wrap(angle: Tensor) -> Tensor:
    """The same angle in [-pi, pi], an angle that is already there unchanged."""
    above = ((angle - math.pi) / _TURN).ceil().clamp_(min=0)
    below = ((angle + math.pi) / _TURN).floor().clamp_(max=0)
    return angle - (above + below) * _TURN
