"""`diagnose` and `probe` on the policies of Stable-Baselines3, layers found by type."""

import pytest
import torch
from stable_baselines3 import PPO

from neoteny.plasticity import diagnose, probe
from neoteny.sb3.policy_networks import PolicyNetworks


def outputs(policy, obs):
    logits = policy.get_distribution(obs).distribution.logits
    return {"policy": logits, "value": policy.predict_values(obs)}


def agent(seed):
    kwargs = {"net_arch": [16, 16]}
    return PPO("MlpPolicy", "CartPole-v1", policy_kwargs=kwargs, seed=seed, device="cpu")


@pytest.fixture
def policy():
    return agent(0).policy


LAYERS = {
    "policy": ("mlp_extractor.policy_net.0", "mlp_extractor.policy_net.2", "action_net"),
    "value": ("mlp_extractor.value_net.0", "mlp_extractor.value_net.2", "value_net"),
}


def test_layers_found_by_type_have_the_numbers_of_the_callback(policy):
    obs = torch.randn(64, 4, generator=torch.Generator().manual_seed(0))
    found = diagnose(policy, obs, forward=outputs)
    known = diagnose(PolicyNetworks([policy]), obs.unsqueeze(0))
    names = {
        f"plasticity/{branch}/{layer}/": f"plasticity/{branch}/{'head' if i == 2 else f'layer{i}'}/"
        for branch, layers in LAYERS.items()
        for i, layer in enumerate(layers)
    }
    renamed = {
        names[key[: key.rindex("/") + 1]] + key.rsplit("/", 1)[1]: value
        for key, value in found.items()
    }
    assert set(renamed) == set(known)
    for key, value in known.items():
        torch.testing.assert_close(renamed[key], value, rtol=1e-4, atol=1e-5)


def test_the_probe_takes_a_fresh_policy(policy):
    obs = torch.randn(32, 4, generator=torch.Generator().manual_seed(0))
    report = probe(
        policy, obs, forward=outputs, fresh=lambda: agent(None).policy, steps=15, repeats=2
    )
    assert {key.split("/")[1] for key in report} == {"policy", "value"}
    for key, value in report.items():
        if key.endswith("area"):
            assert value.item() == pytest.approx(1, abs=0.3), key
