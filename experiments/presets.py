"""Named sets of defaults for runs and comparisons."""

from __future__ import annotations

from typing import Any

from neoteny.agents.classifier import ClassifierConfig
from neoteny.agents.dqn_loss import DQNConfig
from neoteny.agents.ppo_loss import PPOConfig
from neoteny.core.registry import Registry

__all__ = ["PRESETS"]

_SMALL = PPOConfig(num_envs=128, num_steps=64, num_minibatches=16, learning_rate=1e-3)
_CONTINUOUS = PPOConfig(
    num_envs=16,
    num_steps=128,
    num_epochs=10,
    num_minibatches=16,
    learning_rate=1e-3,
    gamma=0.9,  # Pendulum's rewards reach -16 a step and are not normalised
    clip_range_vf=None,
    ent_coef=0.0,
)
_SUPERVISED: dict[str, Any] = {
    "agent": "classifier",
    "env": "digits-random-labels",
    "classifier": ClassifierConfig(),
    "task_steps": 38_400,
    "steps": 80 * 38_400,
    "reset_optimizer": False,  # nobody tells a supervised learner of a switch
    "diagnose_every": 6,
}

PRESETS: Registry[dict[str, Any]] = Registry("preset")
"""Every preset by its name: the fields of a run that it sets."""

PRESETS.add("cpu", {"ppo": _SMALL, "task_steps": 500_000}, "For two cores.")
PRESETS.add(
    "paper",
    {"ppo": PPOConfig(), "task_steps": 15_000_000, "diagnose_every": 2},
    "The paper's protocol.",
)
PRESETS.add(
    "demo",
    {
        "ppo": _SMALL,
        "env_option": ("max_steps=1000",),  # lets episodes of Freeway end within a short task
        "seeds": 2,
        "task_steps": 200_000,
        "steps": 1_600_000,
        "diagnose_every": 5,
    },
    "Five minutes in all.",
)
PRESETS.add(
    "sb3",
    {"ppo": _SMALL, "dqn": DQNConfig(double=False), "task_steps": 500_000},
    "For the agents of Stable-Baselines3.",
)
PRESETS.add(
    "continuous",
    {
        "env": "Pendulum-v1",
        "ppo": _CONTINUOUS,
        "hidden": (64, 64),
        "activation": "tanh",
        "task_steps": 200_000,
        "steps": 200_000,
    },
    "For continuous actions, Pendulum and its like.",
)
PRESETS.add(
    "supervised",
    _SUPERVISED | {"seeds": 2},
    "Loss of plasticity on digits, in two minutes.",
)
PRESETS.add(
    "paper-supervised",
    _SUPERVISED
    | {
        "env": "mnist-permuted",
        "hidden": (512, 512, 512, 512),
        "classifier": ClassifierConfig(learning_rate=1e-4),
        "task_steps": 60_000,
        "steps": 80 * 60_000,
    },
    # The lengths of its tasks and its batch size are not known: an epoch, and ours.
    "The paper's network, initialisation and learning rate on a supervised stream.",
)
