"""MountainCar, with three actions or a continuous one."""

from typing import Any

import torch
from gymnasium.envs.classic_control import Continuous_MountainCarEnv, MountainCarEnv
from torch import Tensor

from neoteny.envs.base import State
from neoteny.envs.classic.problem import ClassicControl

_LEFT, _RIGHT = -1.2, 0.6
_SPEED = 0.07


def _roll(physics: Tensor, push: Tensor, gravity: Tensor) -> tuple[Tensor, Tensor]:
    """Position and velocity after one step in the valley; the left wall stops the car."""
    position, velocity = physics.unbind(1)
    velocity = (velocity + (push - (3 * position).cos() * gravity)).clamp(-_SPEED, _SPEED)
    position = (position + velocity).clamp(_LEFT, _RIGHT)
    return position, velocity.masked_fill((position == _LEFT) & (velocity < 0), 0.0)


class MountainCar(ClassicControl):
    """MountainCar: swing an underpowered car out of a valley by pushing left, not at all or right.

    Observation and state: position and velocity. Every step pays -1. The episode terminates at
    the flag, on the right hill.

    Args:
        goal_velocity: least velocity at the flag.

    Parameters: `force` and `gravity`.

    Source:
        Moore (1990); Gymnasium's MountainCar.
    """

    reference = MountainCarEnv
    defaults = {"force": 0.001, "gravity": 0.0025}  # noqa: RUF012 - never changed
    starts = ((-0.6, -0.4), (0.0, 0.0))

    def __init__(self, *args: Any, goal_velocity: float = 0.0, **options: Any) -> None:
        super().__init__(*args, **options)
        self.goal_velocity = goal_velocity

    def _transition(
        self, state: State, actions: Tensor, draws: Tensor
    ) -> tuple[State, Tensor, Tensor]:
        force, gravity = self.parameters.values()
        position, velocity = _roll(state["physics"], (actions - 1) * force, gravity)
        terminated = (position >= 0.5) & (velocity >= self.goal_velocity)
        reward = torch.full_like(position, -1.0, dtype=torch.float32)
        return {"physics": torch.stack([position, velocity], dim=1)}, reward, terminated


class MountainCarContinuous(MountainCar):
    """MountainCar pushed by any force in [-1, 1], at a cost of a tenth of its square.

    Reaching the flag pays 100. As in Gymnasium, an action out of bounds is clipped but its cost
    is not, and the state is rounded to float32 after every step.

    Args:
        goal_velocity: least velocity at the flag.

    Parameters: `power`, and `gravity`, which is a constant in Gymnasium.

    Source:
        Gymnasium's MountainCarContinuous.
    """

    reference = Continuous_MountainCarEnv  # type: ignore[assignment]
    defaults = {"power": 0.0015, "gravity": 0.0025}  # noqa: RUF012 - never changed

    def _transition(
        self, state: State, actions: Tensor, draws: Tensor
    ) -> tuple[State, Tensor, Tensor]:
        power, gravity = self.parameters.values()
        action = actions.squeeze(1)
        position, velocity = _roll(state["physics"], action.clamp(-1.0, 1.0) * power, gravity)
        terminated = (position >= 0.45) & (velocity >= self.goal_velocity)
        reward = 100.0 * terminated - 0.1 * action.square()
        physics = torch.stack([position, velocity], dim=1).to(torch.float32).to(self.dtype)
        return {"physics": physics}, reward, terminated
