"""Tiny tensor environments with known values, after Jones's debugging ladder, and small agents."""

import gymnasium
import pytest
import torch

from neoteny.agents.ppo import PPO
from neoteny.agents.ppo_loss import PPOConfig
from neoteny.envs.base import TensorEnv
from neoteny.plasticity.interventions import make_interventions
from neoteny.plasticity.networks import Network, NetworkSpec

SMALL = PPOConfig(num_envs=16, num_steps=16, num_epochs=2, num_minibatches=4)


class LadderEnv(TensorEnv):
    """Observation: one random sign, and the step within the episode. The reward is a rule's choice.

    `kind`: "constant" pays 1 at once; "observation" pays the sign; "delayed" pays 1 on the second
    and last step; "action" pays 1 for action 1; "both" pays 1 if the action matches the sign.
    """

    slots = 1

    def __init__(self, kind, num_envs, members=1, device="cpu", seed=0, max_steps=None):
        self.kind = kind
        super().__init__(
            gymnasium.spaces.Box(-1.0, 1.0, (2,)),
            gymnasium.spaces.Discrete(2),
            num_envs,
            members,
            device,
            seed,
            max_steps,
        )

    def _initial(self, draws):
        sign = (draws[0] & 1).float() * 2 - 1
        return {"sign": sign, "age": torch.zeros_like(sign)}

    def _transition(self, state, actions, draws):
        sign, age = state["sign"], state["age"]
        reward = {
            "constant": torch.ones_like(sign),
            "observation": sign,
            "delayed": age,
            "action": actions.float(),
            "both": (actions.float() * 2 - 1 == sign).float(),
        }[self.kind]
        last = age == 1 if self.kind == "delayed" else torch.ones_like(sign, dtype=torch.bool)
        if self.max_steps is not None:
            last = torch.zeros_like(last)
        return {"sign": sign, "age": age + 1}, reward, last

    def _observe(self, state):
        return torch.stack([state["sign"], state["age"].clamp(max=1.0)], -1)


@pytest.fixture
def ladder():
    return LadderEnv


@pytest.fixture
def as_on_cuda(monkeypatch):
    """Nothing is done that is only done on a CPU: listing of ones."""
    monkeypatch.setattr(Network, "takes_sparse", lambda *_: False)


@pytest.fixture
def make_agent():
    def make(envs, config=SMALL, spec=None, interventions=("none",), seeds=(0,), **options):
        spec = spec or NetworkSpec(hidden=(16, 16))
        return PPO(envs, config, spec, make_interventions(interventions), seeds, **options)

    return make
