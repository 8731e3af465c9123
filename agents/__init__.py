"""Learning algorithms on the device, the networks they train and the learner that updates them."""

from neoteny.agents.classifier import Classifier, ClassifierConfig
from neoteny.agents.dqn import DQN
from neoteny.agents.dqn_loss import DQNConfig
from neoteny.agents.learner import Learner
from neoteny.agents.networks import HeadSpec, Network, NetworkSpec
from neoteny.agents.ppo import PPO
from neoteny.agents.ppo_loss import PPOConfig

__all__ = [
    "DQN",
    "PPO",
    "Classifier",
    "ClassifierConfig",
    "DQNConfig",
    "HeadSpec",
    "Learner",
    "Network",
    "NetworkSpec",
    "PPOConfig",
]
