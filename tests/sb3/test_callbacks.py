"""Stable-Baselines3: who is pulled towards isometry and how, and diagnostics against hooks."""

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete
from stable_baselines3 import A2C, DQN, PPO
from stable_baselines3.common.logger import configure
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import nn

from neoteny.plasticity.adamo import AdamO
from neoteny.plasticity.diagnostics import dormant_fraction, effective_rank, singular_values
from neoteny.plasticity.groups import isometry_groups
from neoteny.plasticity.isometry import gram_deviation, isometry_step
from neoteny.sb3.callbacks import DiagnosticsCallback, IsometryCallback
from neoteny.sb3.policy_networks import branches

SETTINGS = {
    PPO: {"n_steps": 64, "batch_size": 32, "n_epochs": 2},
    A2C: {"n_steps": 16},
    DQN: {"learning_starts": 32, "batch_size": 16, "train_freq": 8, "buffer_size": 500},
}
algorithms = pytest.mark.parametrize("algorithm", [PPO, A2C, DQN])


def build(algorithm, policy="MlpPolicy", env="CartPole-v1", kwargs=None, **settings):
    kwargs = {"net_arch": [16, 16]} | (kwargs or {})
    options = SETTINGS[algorithm] | settings
    return algorithm(policy, env, seed=3, device="cpu", policy_kwargs=kwargs, **options)


def parameters(agent):
    return {name: p.detach().clone() for name, p in agent.policy.named_parameters()}


def hidden_weights(policy):
    """The weights of the layers that the branches call hidden, each once."""
    layers = [layer for branch in branches(policy).values() for layer in branch.hidden()]
    return list({id(layer.weight): layer.weight for layer in layers}.values())


HIDDEN = {
    PPO: {"mlp_extractor.policy_net", "mlp_extractor.value_net"},
    A2C: {"mlp_extractor.policy_net", "mlp_extractor.value_net"},
    DQN: {"q_net.q_net"},
}


@algorithms
def test_hidden_weights_are_all_matrices_but_the_heads(algorithm):
    agent = build(algorithm)
    hidden = {id(p) for p in hidden_weights(agent.policy)}
    names = {name for name, p in agent.policy.named_parameters() if id(p) in hidden}
    assert names == {f"{body}.{at}.weight" for body in HIDDEN[algorithm] for at in (0, 2)}


class Pictures(gymnasium.Env):
    observation_space = Box(0, 255, (3, 36, 36), np.uint8)
    action_space = Discrete(3)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.observation_space.sample(), {}

    def step(self, action):
        return self.observation_space.sample(), 1.0, bool(self.np_random.random() < 0.1), False, {}


@pytest.mark.parametrize("algorithm", [PPO, DQN])
def test_convolutions_are_hidden_layers_too(algorithm):
    agent = build(algorithm, "CnnPolicy", Pictures())
    shapes = [tuple(p.shape) for p in hidden_weights(agent.policy)]
    bodies = 1 if algorithm is DQN else 2
    assert sorted(map(len, shapes)) == [2] * (1 + 2 * bodies) + [4] * 3


PULLS = [{"isometry": 0.5}, {"half_life": 34.6573590279973}, {"isometry": 0.5, "scale": "free"}]


@pytest.mark.parametrize(
    ("algorithm", "pull"),
    [
        pytest.param(algorithm, pull, marks=() if at == place else pytest.mark.slow)
        for place, algorithm in enumerate((PPO, A2C, DQN))
        for at, pull in enumerate(PULLS)
    ],
)
def test_without_learning_only_hidden_weights_move_by_the_closed_form(algorithm, pull):
    """Learning rate 0: n updates are n steps of the pull and nothing else, bit for bit."""
    scale = pull.get("scale", 1.0)
    callback = IsometryCallback(isometry_lr=0.005, **pull)
    optimizer = {"optimizer_class": torch.optim.Adam}
    agent = build(algorithm, kwargs=optimizer, learning_rate=0.0)
    count = [0]
    agent.policy.optimizer.register_step_post_hook(lambda *_: count.__setitem__(0, count[0] + 1))
    with torch.no_grad():  # away from isometry, where a free scale has nothing to pull
        for weight in hidden_weights(agent.policy):
            weight.mul_(torch.linspace(0.5, 1.5, weight.shape[1]))
    before = parameters(agent)
    hidden = [p.detach().clone() for p in hidden_weights(agent.policy)]
    agent.learn(128, callback=callback)
    assert count[0] >= 8
    moved = [name for name, p in parameters(agent).items() if not torch.equal(p, before[name])]
    assert len(moved) == len(hidden)
    for start, end in zip(hidden, hidden_weights(agent.policy), strict=True):
        deviation = gram_deviation(start, scale)
        for _ in range(count[0]):
            isometry_step([start], 4 * 0.005 * 0.5, scale)
        torch.testing.assert_close(start, end.detach(), rtol=0, atol=1e-6)
        assert gram_deviation(start, scale) < deviation


def use_adamo(agent, **settings):
    """Put AdamO over the agent's hidden weights in the place of its optimiser."""
    policy = agent.policy
    trained = policy.q_net if isinstance(agent, DQN) else policy
    learning_rate = agent.lr_schedule(1)
    policy.optimizer = AdamO(isometry_groups(trained), lr=learning_rate, **settings)


@algorithms
def test_the_callback_with_adam_is_adamo(algorithm):
    """With the default strength, and heads that `isometry_groups` finds by their names."""
    adam = {"optimizer_class": torch.optim.Adam, "optimizer_kwargs": {"eps": 1e-5}}
    one = build(algorithm, kwargs=adam, learning_rate=3e-3)
    one.learn(96, callback=IsometryCallback())
    two = build(algorithm, learning_rate=3e-3)
    use_adamo(two, eps=1e-5)
    two.learn(96)
    plain = build(algorithm, kwargs=adam, learning_rate=3e-3)
    plain.learn(96)
    differs = False
    for name, p in parameters(one).items():
        assert torch.equal(p, parameters(two)[name]), name
        differs |= not torch.equal(p, parameters(plain)[name])
    assert differs


@algorithms
def test_adamo_as_optimizer_class_pulls_heads_and_says_so(algorithm, caplog):
    agent = build(algorithm, kwargs={"optimizer_class": AdamO}, learning_rate=1e-3)
    (said,) = [r.getMessage() for r in caplog.records if "AdamO pulls" in r.getMessage()]
    matrices = 3 if algorithm is DQN else 6
    assert f"pulls all {matrices} matrices" in said
    assert "half-life of 1,733 updates" in said
    assert "drop optimizer_class=AdamO and use IsometryCallback" in said
    with pytest.raises(ValueError, match="pulls by itself, heads included: drop optimizer_class"):
        agent.learn(64, callback=IsometryCallback())


@algorithms
def test_named_parameters_of_a_policy_leave_its_heads_out(algorithm):
    policy = build(algorithm).policy
    hidden = {id(p) for p in hidden_weights(policy)}
    names = {name for name, p in policy.named_parameters() if id(p) in hidden}
    names |= {name.replace("q_net.", "q_net_target.", 1) for name in names if algorithm is DQN}
    optimizer = AdamO(policy.named_parameters())
    assert set(optimizer.param_groups[0]["param_names"]) == names
    assert [group["isometry"] for group in optimizer.param_groups] == [0.05, 0.0]


def by_hooks(agent, probe):
    """Activations after every activation function, as torch's own hooks see them."""
    found = {}
    handles = []
    for name, branch in branches(agent.policy).items():
        found[name] = []
        for module in branch.body:
            if isinstance(module, nn.ReLU | nn.Tanh):
                kept = found[name]
                handles.append(module.register_forward_hook(lambda m, i, o, k=kept: k.append(o)))
    with torch.no_grad():
        if isinstance(agent, DQN):
            agent.q_net(probe)
        else:
            agent.policy(probe)
    for handle in handles:
        handle.remove()
    return found


def test_fewer_stored_observations_than_asked_for_come_all():
    agent = build(PPO)
    callback = DiagnosticsCallback(probe=100)
    agent.learn(64, callback=callback)
    stored = agent.rollout_buffer.observations.reshape(64, 4)
    np.testing.assert_array_equal(callback.observations(), stored)
    callback.probe = 4
    np.testing.assert_array_equal(callback.observations(), stored[[0, 21, 42, 63]])


@algorithms
def test_diagnostics_are_those_of_weights_and_hooked_activations(algorithm):
    agent = build(algorithm)
    callback = DiagnosticsCallback(every=64, probe=100)
    agent.learn(128, callback=callback)
    found = callback.measure()
    probe = torch.as_tensor(callback.observations())
    for name, activations in by_hooks(agent, probe).items():
        layers = [m for m in branches(agent.policy)[name].body if isinstance(m, nn.Linear)]
        for at, (h, layer) in enumerate(zip(activations, layers, strict=True)):
            key = f"plasticity/{name}/layer{at}"
            deviation = float(gram_deviation(layer.weight.detach()))
            assert found[f"{key}/gram_deviation"] == pytest.approx(deviation, rel=1e-4)
            dormant = float(dormant_fraction(h, 0.025))
            assert found[f"{key}/dormant_fraction"] == pytest.approx(dormant, abs=1e-6)
            rank = float(effective_rank(singular_values(h)))
            assert found[f"{key}/feature_effective_rank"] == pytest.approx(rank, rel=1e-3)
        head = float(branches(agent.policy)[name].head.weight.detach().norm())
        assert found[f"plasticity/{name}/head/weight_norm"] == pytest.approx(head, rel=1e-5)


@pytest.mark.parametrize("algorithm", [PPO, DQN])
def test_diagnostics_read_convolutions_and_reach_the_logger(algorithm, tmp_path):
    agent = build(algorithm, "CnnPolicy", Pictures())
    agent.set_logger(configure(str(tmp_path), ["csv"]))
    agent.learn(130, callback=DiagnosticsCallback(every=64, probe=16))
    found = agent.logger.name_to_value | dict.fromkeys(read_header(tmp_path))
    agent.logger.close()
    branch = "q" if algorithm is DQN else "policy"
    for at in range(6):
        assert f"plasticity/{branch}/layer{at}/dormant_fraction" in found


def read_header(folder):
    text = (folder / "progress.csv").read_text()
    return text.splitlines()[0].split(",") if text else []


class Branching(BaseFeaturesExtractor):
    def __init__(self, space):
        super().__init__(space, 4)
        self.layer = nn.Linear(4, 4)

    def forward(self, x):
        return x + self.layer(x)


def test_what_cannot_be_read_is_said():
    agent = build(PPO, kwargs={"features_extractor_class": Branching})
    with pytest.raises(ValueError, match="Branching is more than a chain"):
        agent.learn(64, callback=DiagnosticsCallback())
    with pytest.raises(ValueError, match="the isometry step diverges"):
        agent.learn(64, callback=IsometryCallback(isometry=1e4))
