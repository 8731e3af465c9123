"""Isometry and diagnostics for the agents of Stable-Baselines3.

Example:
    >>> from stable_baselines3 import PPO
    >>> from neoteny.sb3.callbacks import DiagnosticsCallback, IsometryCallback
    >>> agent = PPO("MlpPolicy", "CartPole-v1")
    >>> agent.learn(100_000, callback=[IsometryCallback(), DiagnosticsCallback()])
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from gymnasium.spaces import Dict
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.dqn.policies import DQNPolicy
from torch import Tensor

from neoteny.core.errors import InputError
from neoteny.plasticity.adamo import AdamO
from neoteny.plasticity.adamo_checks import check_pull, pull_settings, safe_strength
from neoteny.plasticity.diagnostics import diagnose
from neoteny.plasticity.gram import Scale
from neoteny.plasticity.groups import isometry_groups
from neoteny.plasticity.isometry import half_life as half_life_of
from neoteny.plasticity.isometry import isometry_step
from neoteny.sb3.policy_networks import PolicyNetworks, branches, stored_observations


def _hidden(policy: BasePolicy) -> list[dict[str, Any]]:
    """Groups of the hidden weights that are trained; see `isometry_groups`."""
    heads = [branch.head for branch in branches(policy).values()]
    trained = policy.q_net if isinstance(policy, DQNPolicy) else policy
    return [group for group in isometry_groups(trained, heads) if "isometry" not in group]


class IsometryCallback(BaseCallback):
    """Pulls all hidden weights towards isometry, before every step of whatever optimiser there is.

    With Adam, the optimiser of PPO and DQN, this is AdamO bit for bit: both terms are taken at the
    same weights, and the pull is neither in the moments nor clipped. It knows the heads, as an
    `optimizer_class` cannot: they, biases and norms are left alone. It acts during the call of
    `learn` that it is given to. Nothing tells it of a `learn` that an exception ended: steps of the
    optimiser that are taken by hand after that still feel the pull, the next `learn` does not.

    Args:
        isometry: penalty coefficient lambda; unset, 0.05, or what `half_life` asks for.
        isometry_lr: step size of the pull; None follows the optimiser's learning rate.
        scale: target squared singular value, or "free" for the mean that each layer has.
        half_life: updates in which a small deviation from isometry halves, in place of `isometry`
            and whatever the learning rate is.
        verbose: as for all callbacks.

    Raises:
        ValueError: for settings out of range; at the start of training, if the policy is not
            known, or the optimiser is AdamO already; there and before any step, if the pull is so
            strong, or a weight so large, that it diverges.
    """

    def __init__(
        self,
        isometry: float | None = None,
        isometry_lr: float | None = None,
        scale: Scale = 1.0,
        verbose: int = 0,
        *,
        half_life: float | None = None,
    ) -> None:
        super().__init__(verbose)
        settings = pull_settings(isometry, half_life, 1.0, isometry_lr, scale)
        self.isometry, self.isometry_lr = settings
        self.scale = scale
        self._groups: list[dict[str, Any]] = []
        self._safe = 0.0
        self._handle: Any = None
        self._started: float | None = None
        check_pull(self._pull_settings(0.0))

    def _pull_settings(self, lr: float) -> dict[str, Any]:
        return {
            "lr": lr,
            "isometry": self.isometry,
            "isometry_lr": self.isometry_lr,
            "scale": self.scale,
        }

    def _on_training_start(self) -> None:
        groups = _hidden(self.model.policy)
        optimizer = self.model.policy.optimizer
        if isinstance(optimizer, AdamO):
            raise InputError(
                "the optimiser is AdamO, which pulls by itself, heads included: drop"
                " optimizer_class=AdamO and keep IsometryCallback"
            )
        strength = check_pull(self._pull_settings(optimizer.param_groups[0]["lr"]))
        self._groups = [
            group | {"params": same} for group in groups for same in _alike(group["params"])
        ]
        self._safe = 0.0
        self._look(strength)
        if self._handle is not None:
            self._handle.remove()  # of a call that ended by an exception
        self._handle = optimizer.register_step_pre_hook(self._pull)
        self._started = self.model.start_time
        if strength:
            half = half_life_of(strength, self.scale)
            self.logger.record("isometry/half_life_updates", half, exclude="stdout")
        self.logger.record("isometry/strength", strength, exclude="stdout")

    def _pull(self, optimizer: Any, *_: Any) -> None:
        # A call of `learn` that ends by an exception does not tell its callbacks.
        if self.model.start_time != self._started:
            return
        strength = check_pull(self._pull_settings(optimizer.param_groups[0]["lr"]))
        self._look(strength)
        for group in self._groups:
            moving = [weight for weight in group["params"] if weight.grad is not None]
            if strength and moving:
                isometry_step(moving, strength, self.scale, 0, group.get("blocks", 1))

    def _look(self, strength: float) -> None:
        """Refuse weights that are too large for a pull stronger than any before."""
        if strength > self._safe:
            self._safe = min(
                safe_strength(g["params"], strength, self.scale, 0, g.get("blocks", 1))
                for g in self._groups
            )

    def _on_step(self) -> bool:
        return True

    def _on_training_end(self) -> None:
        self._handle.remove()


def _alike(weights: Sequence[Tensor]) -> list[list[Tensor]]:
    """Weights of one shape and type together."""
    shapes: dict[Any, list[Tensor]] = {}
    for weight in weights:
        shapes.setdefault((weight.shape, weight.dtype), []).append(weight)
    return list(shapes.values())


class DiagnosticsCallback(BaseCallback):
    """Logs the plasticity diagnostics of every layer to the agent's logger.

    They are measured at the end of a rollout on observations spread over what the agent has stored:
    its rollout, or its replay. Names are those of `neoteny.plasticity.diagnostics.diagnose`.

    Args:
        every: least number of environment steps between two measurements.
        probe: most observations to measure on.
        verbose: as for all callbacks.

    Raises:
        ValueError: at the start of training, if the policy is not known or observations are
            dictionaries; at the first measurement, if it is more than a chain of layers.
    """

    def __init__(self, every: int = 10_000, probe: int = 512, verbose: int = 0) -> None:
        super().__init__(verbose)
        if every < 1 or probe < 1:
            raise InputError(f"every {every} and probe {probe} must be at least 1")
        self.every = every
        self.probe = probe
        self._measured: int | None = None

    def _on_training_start(self) -> None:
        branches(self.model.policy)  # refuses an unknown policy
        if isinstance(self.model.observation_space, Dict):
            raise InputError("diagnostics need observations that are arrays, not dictionaries")
        if self._measured is not None and self.num_timesteps < self._measured:
            self._measured = None  # steps are counted anew

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        if self._measured is None or self.num_timesteps - self._measured >= self.every:
            self._measured = self.num_timesteps
            for name, value in self.measure().items():
                self.logger.record(name, value, exclude="stdout")

    def measure(self) -> dict[str, float]:
        """Every diagnostic now, by one copy from the device."""
        policy = self.model.policy
        probe = torch.as_tensor(self.observations(), device=policy.device).unsqueeze(0)
        found = diagnose(PolicyNetworks([policy]), probe)
        values = torch.stack(list(found.values())).flatten().tolist()
        return dict(zip(found, values, strict=True))

    def observations(self) -> np.ndarray:
        """At most `probe` stored observations, evenly spread."""
        return stored_observations(self.model, self.probe)
