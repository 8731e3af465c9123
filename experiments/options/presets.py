"""Named sets of defaults for runs and comparisons."""

from __future__ import annotations

from typing import Any

from neoteny.agents.agent import AGENTS
from neoteny.agents.classifier import ClassifierConfig
from neoteny.agents.dqn_loss import DQNConfig
from neoteny.agents.ppo_loss import PPOConfig
from neoteny.core.errors import InputError
from neoteny.core.registry import Registry
from neoteny.experiments.options.network_options import NetworkOptions

__all__ = ["PRESETS", "preset_values"]

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
_DEMO: dict[str, Any] = {
    "env": "minatar-permute",
    "env_option": ("over=features",),
    "network": NetworkOptions(hidden=(16, 16, 16, 16), bias=False),
    "ppo": PPOConfig(
        num_envs=32, num_steps=32, num_minibatches=8, learning_rate=5e-3, ent_coef=0.03
    ),
    "seeds": 12,
    "task_steps": 30_720,
    "steps": 6 * 30_720,
    "reset_optimizer": False,
    "diagnose_every": 30,  # iterations, a task
    "threads": 1,  # tensors this small gain nothing from more
}
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
"""Every preset by its name: the fields of a run that it sets, and the hyper-parameters of agents by
their `family`."""

PRESETS.add("cpu", {"ppo": _SMALL, "task_steps": 500_000}, "For two cores.")
PRESETS.add(
    "paper",
    {"ppo": PPOConfig(), "task_steps": 15_000_000, "diagnose_every": 2},
    "The paper's protocol.",
)
PRESETS.add("demo", _DEMO, "A network that loses its ability to learn, in minutes.")
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
        "network": NetworkOptions(hidden=(64, 64), activation="tanh"),
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
        "network": NetworkOptions(hidden=(512, 512, 512, 512)),
        "classifier": ClassifierConfig(learning_rate=1e-4),
        "task_steps": 60_000,
        "steps": 80 * 60_000,
    },
    # The lengths of its tasks and its batch size are not known: an epoch, and ours.
    "The paper's network, initialisation and learning rate on a supervised stream.",
)


def preset_values(preset: str, agent: str | None = None) -> dict[str, Any]:
    """The fields of a run that a preset sets, for an agent.

    Args:
        preset: Its name.
        agent: The agent's; unset, the preset's, or ppo.

    Raises:
        InputError: If the preset or the agent is unknown, or they do not go together.
    """
    values = {"agent": "ppo" if agent is None else agent} | PRESETS.find(preset)
    cls = AGENTS.find(values["agent"] if agent is None else agent)
    if cls.supervised != AGENTS[values["agent"]].supervised:
        raise InputError(
            f"preset {preset!r} is for {values['agent']}, not for {agent}: "
            f"try --preset {cls.preset}"
        )
    families = {known.family for known in AGENTS.values()}
    kept = {name: value for name, value in values.items() if name not in families}
    hyper = values.get(cls.family, cls.config_class())
    return kept | {"agent": cls.name, "preset": preset, "hyper": hyper}
