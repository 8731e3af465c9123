"""The agents of Stable-Baselines3 by name; the package itself is imported when one is built."""

from __future__ import annotations

from typing import Any

from neoteny.agents.agent import Agent, AgentSettings
from neoteny.agents.dqn_loss import DQNConfig
from neoteny.agents.ppo_loss import PPOConfig


class _Deferred(Agent):
    """Imports the agents when one is built."""

    separate = True

    @classmethod
    def build(cls, settings: AgentSettings, stream: Any) -> Agent:
        """One agent for each member's stream."""
        from neoteny.sb3.agents import SB3Agents  # takes a second

        return SB3Agents.build(settings, stream)


class SB3PPO(_Deferred):
    """PPO of Stable-Baselines3."""

    name = "sb3-ppo"
    family = "ppo"
    config_class = PPOConfig


class SB3DQN(_Deferred):
    """DQN of Stable-Baselines3."""

    name = "sb3-dqn"
    family = "dqn"
    config_class = DQNConfig
    preset = "sb3"
