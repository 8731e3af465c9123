"""Callbacks of Stable-Baselines3: what they refuse, and calls of `learn` that are broken off."""

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Dict, Discrete
from stable_baselines3 import DQN, PPO, SAC, TD3
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import nn

import neoteny.sb3.callbacks as sb3
from neoteny.sb3.callbacks import DiagnosticsCallback, IsometryCallback
from neoteny.sb3.policy_networks import PolicyNetworks


class Interrupt(BaseCallback):
    def _on_step(self):
        raise KeyboardInterrupt


class Count(BaseCallback):
    """The steps of the optimiser in one call of `learn`."""

    def _on_training_start(self):
        self.steps = 0
        optimizer = self.model.policy.optimizer
        self.handle = optimizer.register_step_post_hook(self.step)

    def step(self, *_):
        self.steps += 1

    def _on_step(self):
        return True

    def _on_training_end(self):
        self.handle.remove()


def build(algorithm=PPO, **settings):
    own = {
        PPO: {"n_steps": 32, "batch_size": 16, "n_epochs": 1},
        DQN: {"learning_starts": 8, "batch_size": 8, "train_freq": 4, "buffer_size": 200},
    }
    options = {"device": "cpu", "policy_kwargs": {"net_arch": [8]}, **own[algorithm]}
    return algorithm("MlpPolicy", "CartPole-v1", **{**options, **settings})


@pytest.fixture
def pulls(monkeypatch):
    """The calls of `isometry_step` so far."""
    calls = []
    real = sb3.isometry_step

    def step(*arguments):
        calls.append(arguments)
        real(*arguments)

    monkeypatch.setattr(sb3, "isometry_step", step)
    return calls


def per_step(agent, pulls, callbacks):
    """Pulls per step of the optimiser in a call of `learn`."""
    pulls.clear()
    counter = Count()
    agent.learn(64, callback=[counter, *callbacks])
    assert counter.steps
    return len(pulls) / counter.steps


@pytest.mark.parametrize(
    ("algorithm", "same"),
    [
        (PPO, False),
        (DQN, True),
        pytest.param(PPO, True, marks=pytest.mark.slow),
        pytest.param(DQN, False, marks=pytest.mark.slow),
    ],
)
def test_an_interrupted_call_leaves_no_pull_behind(algorithm, same, pulls):
    agent = build(algorithm)
    shapes = 1  # all hidden weights have one shape and are pulled together
    callback = IsometryCallback()
    assert per_step(agent, pulls, [callback]) == shapes
    broken = callback if same else IsometryCallback()
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            agent.learn(64, callback=[broken, Interrupt()])
    assert per_step(agent, pulls, []) == 0
    assert per_step(agent, pulls, [callback]) == shapes
    assert per_step(agent, pulls, [callback, callback]) == shapes
    assert per_step(agent, pulls, []) == 0


@pytest.mark.parametrize("algorithm", [SAC, TD3])
def test_policies_that_are_not_known_are_refused_at_the_start(algorithm):
    agent = algorithm("MlpPolicy", "Pendulum-v1", device="cpu", learning_starts=4)
    for callback in (IsometryCallback(), DiagnosticsCallback()):
        with pytest.raises(ValueError, match="Policy is not known: give PPO's or A2C's"):
            agent.learn(8, callback=callback)
        assert agent.num_timesteps == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"isometry": -1.0}, "isometry=-1.0 is not a finite number"),
        ({"isometry_lr": -0.1}, "isometry_lr=-0.1"),
        ({"scale": 0.0}, "scale=0.0"),
        ({"half_life": 9, "isometry": 0.1}, "isometry=0.1 would be unused"),
        ({"half_life": 0.1}, "half_life=0.1 is too short"),
        ({"isometry": 1.0, "isometry_lr": 0.5}, "= 2 >= 1: the isometry step diverges"),
    ],
)
def test_settings_out_of_range_are_refused_when_given(settings, message):
    with pytest.raises(ValueError, match=message):
        IsometryCallback(**settings)


def test_a_learning_rate_that_rises_too_far_is_refused_before_the_step():
    agent = build(learning_rate=lambda left: 1e-3 if left == 1 else 10.0)
    with pytest.raises(ValueError, match="the isometry step diverges"):
        agent.learn(96, callback=IsometryCallback(isometry=0.1))
    assert all(p.isfinite().all() for p in agent.policy.parameters())


class Named(gymnasium.Env):
    observation_space = Dict({"a": Box(-1, 1, (3,)), "b": Box(-1, 1, (2,))})
    action_space = Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return {"a": np.zeros(3, np.float32), "b": np.ones(2, np.float32)}, {}

    def step(self, action):
        return self.reset()[0], 0.0, False, False, {}


def test_observations_by_name_are_pulled_and_not_diagnosed():
    options = {"n_steps": 16, "batch_size": 16, "n_epochs": 1, "device": "cpu"}
    agent = PPO("MultiInputPolicy", Named(), **options)
    agent.learn(16, callback=IsometryCallback())
    with pytest.raises(ValueError, match="observations that are arrays"):
        agent.learn(16, callback=DiagnosticsCallback())
    assert agent.num_timesteps == 0


def test_diagnostics_start_again_when_steps_are_counted_anew(monkeypatch):
    measured = []
    callback = DiagnosticsCallback(every=64)
    monkeypatch.setattr(callback, "measure", lambda: measured.append(1) or {})
    build().learn(96, callback=callback)
    assert len(measured) == 2
    build().learn(32, callback=callback)
    assert len(measured) == 3


class Grouped(BaseFeaturesExtractor):
    def __init__(self, space):
        super().__init__(space, 8)
        self.layers = nn.Sequential(
            nn.Unflatten(1, (4, 1)), nn.Conv1d(4, 8, 1, groups=4), nn.ReLU(), nn.Flatten()
        )

    def forward(self, x):
        return self.layers(x)


def test_groups_of_a_convolution_are_maps_of_their_own():
    agent = build(policy_kwargs={"features_extractor_class": Grouped, "net_arch": [8]})
    agent.learn(64, callback=IsometryCallback(isometry=0.9, isometry_lr=0.2))
    weight = agent.policy.features_extractor.layers[1].weight.detach()
    before = weight.view(4, 2, 1).norm(dim=1)
    for _ in range(40):
        sb3.isometry_step([weight], 0.4, 1.0, 0, 4)
    after = weight.view(4, 2, 1).norm(dim=1)
    torch.testing.assert_close(after, torch.ones(4, 1), atol=1e-4, rtol=0)
    assert (before - 1).abs().max() < 0.2
    whole = PolicyNetworks([agent.policy]).branches["policy"].body.layers[0].weight
    assert whole.shape == (1, 8, 4)
    singular = torch.linalg.svdvals(whole)
    torch.testing.assert_close(singular, torch.ones(1, 4), atol=1e-4, rtol=0)
