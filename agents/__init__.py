"""Learning algorithms on the device, the networks they train and the learner that updates them."""

from neoteny.agents.agent import AGENTS, Agent, AgentConfig, AgentSettings
from neoteny.agents.classifier import Classifier, ClassifierConfig
from neoteny.agents.dqn import DQN
from neoteny.agents.dqn_loss import DQNConfig
from neoteny.agents.ppo import PPO
from neoteny.agents.ppo_loss import PPOConfig
from neoteny.plasticity.learner import Learner
from neoteny.plasticity.networks import HeadSpec, Network, NetworkSpec

__all__ = [
    "AGENTS",
    "DQN",
    "PPO",
    "Agent",
    "AgentConfig",
    "AgentSettings",
    "Classifier",
    "ClassifierConfig",
    "DQNConfig",
    "HeadSpec",
    "Learner",
    "Network",
    "NetworkSpec",
    "PPOConfig",
]
