"""Stable-Baselines3 behind our gateway: itself without interventions, changed alike with them."""

import dataclasses

import pandas as pd
import pytest
import torch
from rich.console import Console
from stable_baselines3 import DQN, PPO

from neoteny.agents.distributions import Categorical
from neoteny.agents.dqn_loss import DQNConfig
from neoteny.agents.ppo_loss import PPOConfig
from neoteny.experiments.main import main
from neoteny.experiments.options.config import RunConfig
from neoteny.experiments.options.network_options import NetworkOptions
from neoteny.experiments.report.report import write_report
from neoteny.experiments.run.memory import COSTS
from neoteny.experiments.run.runner import run
from neoteny.plasticity.interventions import INTERVENTIONS, OptimizerSettings, make_interventions
from neoteny.plasticity.learner import Learner
from neoteny.plasticity.networks import HeadSpec, Network
from neoteny.sb3.bridge import attach, bridged

CONSOLE = Console(quiet=True)
SETTINGS = OptimizerSettings(3e-3, 1e-5, updates_per_step=0.1)
KWARGS = {
    PPO: {"n_steps": 64, "batch_size": 32, "n_epochs": 2},
    DQN: {"learning_starts": 32, "batch_size": 16, "train_freq": 8, "buffer_size": 500},
}
BRIDGED = [name for name in INTERVENTIONS if bridged(make_interventions([name])[0])]


def build(algorithm):
    kwargs = {
        "net_arch": [16, 16],
        "activation_fn": torch.nn.ReLU,
        "optimizer_class": torch.optim.Adam,
        "optimizer_kwargs": {"eps": 1e-5, "fused": True},
    }
    options = KWARGS[algorithm] | {"policy_kwargs": kwargs, "learning_rate": 3e-3}
    return algorithm("MlpPolicy", "CartPole-v1", seed=3, device="cpu", **options)


@pytest.mark.parametrize("algorithm", [PPO, DQN])
def test_without_interventions_the_agent_is_bit_for_bit_its_own(algorithm):
    plain = build(algorithm)
    plain.learn(128)
    behind = build(algorithm)
    learner = attach(behind, "relu", make_interventions(["none"]), SETTINGS, 3)
    behind.learn(128)
    assert learner.updates >= 8
    pairs = zip(plain.policy.parameters(), behind.policy.parameters(), strict=True)
    assert all(torch.equal(one, two) for one, two in pairs)


def test_which_interventions_are_bridged():
    refused = set(INTERVENTIONS) - set(BRIDGED)
    changes = {"layer_norm", "crelu", "groupsort", "deep_fourier", "nap", "plasticity_injection"}
    assert refused == changes | {"scale_adamo", "simba"}


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.slow if i % 4 else ()) for i, n in enumerate(BRIDGED)],
)
def test_an_intervention_does_to_its_policy_what_it_does_to_our_network(name):
    """The same start, losses, observations and switch: the same weights after 8 updates."""
    agent = build(PPO)
    theirs = attach(agent, "relu", make_interventions([name]), SETTINGS, 5)
    policy = agent.policy
    heads = {"policy": HeadSpec(2, distribution=Categorical(2)), "value": HeadSpec(1)}
    ours = Learner(
        lambda spec, generators: copied(Network(spec, (4,), heads, generators), theirs.network),
        theirs.network.spec,
        make_interventions([name]),
        SETTINGS,
        [5],
        max_grad_norm=None,
    )
    generator = torch.Generator().manual_seed(0)
    for update in range(8):
        obs = torch.randn(32, 4, generator=generator)
        if update == 4:
            theirs.boundary(torch.tensor([1]))
            ours.boundary(torch.tensor([1]))
        features = policy.mlp_extractor(policy.extract_features(obs))
        loss = (
            policy.action_net(features[0]).square().mean()
            + policy.value_net(features[1]).square().mean()
        )
        policy.optimizer.zero_grad()
        loss.backward()
        policy.optimizer.step()
        outputs = ours.network(obs.unsqueeze(0))
        mine = sum(outputs[branch].square().mean((1, 2)) for branch in ("policy", "value"))
        ours.update(mine, obs.unsqueeze(0))
    for one, two in zip(theirs.network.parameters(), ours.network.parameters(), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=2e-5)
    known = dict(policy.named_parameters())
    seen = known["mlp_extractor.policy_net.0.weight"].detach()
    assert torch.equal(seen, theirs.network.branches["policy"].hidden[0].weight[0].detach())
    activity = [learner.interventions[0].activity.tolist() for learner in (theirs, ours)]
    assert activity[0] == pytest.approx(activity[1], rel=1e-3)


def copied(network, other):
    with torch.no_grad():
        for own, source in zip(network.parameters(), other.parameters(), strict=True):
            own.copy_(source)
    return network


def test_dqns_target_follows_resets_of_units():
    agent = build(DQN)
    learner = attach(agent, "relu", make_interventions(["redo"]), SETTINGS, 5)
    (target,) = learner.targets
    own = agent.q_net_target.q_net[0].weight
    assert target.branches["q"].hidden[0].weight.data_ptr() == own.data_ptr()


PPO_CONFIG = PPOConfig(num_envs=4, num_steps=32, num_epochs=1, num_minibatches=2)
DQN_CONFIG = DQNConfig(
    num_envs=4, num_steps=32, double=False, train_frequency=8, learning_starts=64
)


def config(tmp_path, agent="sb3-ppo", **changes):
    settings = {
        "agent": agent,
        "env": "CartPole-v1",
        "seeds": 2,
        "steps": 512,
        "network": NetworkOptions(hidden=(8, 8)),
        "hyper": DQN_CONFIG if agent == "sb3-dqn" else PPO_CONFIG,
        "diagnose_every": 2,
        "out": tmp_path / agent,
    }
    return RunConfig(**settings | changes)


@pytest.mark.parametrize(("agent", "restarts"), [("sb3-ppo", 8), ("sb3-dqn", 7)])
def test_edits_come_between_rollouts_and_at_moves_of_the_target(tmp_path, agent, restarts):
    """16 updates of two a rollout; 56 updates of 8 a target of 64 steps, from step 64 on."""
    setup = config(tmp_path, agent, steps=1024 if agent == "sb3-ppo" else 512, seeds=1)
    hyper = setup.hyper
    if agent == "sb3-dqn":
        hyper = dataclasses.replace(hyper, target_frequency=64)
    named = dataclasses.replace(setup, hyper=hyper, intervention=("adam_rel",))
    learner = run(named, CONSOLE).agent.learner.learners[0]
    (relative,) = learner.interventions
    assert relative.activity.item() == restarts
    steps = {float(state["step"]) for state in learner.optimizer.state.values()}
    assert steps == {learner.updates % relative.acts_every(learner.settings)}


@pytest.mark.parametrize("agent", [pytest.param("sb3-ppo", marks=pytest.mark.slow), "sb3-dqn"])
def test_a_member_is_the_same_alone_and_beside_others(tmp_path, agent):
    options = {"intervention": ("adamo",), "steps": 256}
    both = run(config(tmp_path, agent, **options), CONSOLE)
    options |= {"seeds": 1, "first_seed": 1, "out": tmp_path / "a"}
    alone = run(config(tmp_path, agent, **options), CONSOLE)
    one, two = both.agent.agents[1].policy, alone.agent.agents[0].policy
    for p, q in zip(one.parameters(), two.parameters(), strict=True):
        assert torch.equal(p, q)
    tables = [
        pd.read_csv(folder / "seed_1" / "metrics.csv").drop(columns=[*COSTS])
        for folder in (tmp_path / agent, tmp_path / "a")
    ]
    pd.testing.assert_frame_equal(*tables, check_exact=True)
    branch = "policy" if agent == "sb3-ppo" else "q"
    assert f"plasticity/{branch}/layer0/dormant_fraction" in tables[0]
    assert tables[0]["step"].tolist() == [128, 256]
    assert both.agent.agents[0].num_timesteps == 256


@pytest.mark.slow
def test_the_yardstick_stands_beside_our_agent_in_the_report(tmp_path, undrawn):
    for agent in ("ppo", "sb3-ppo"):
        run(config(tmp_path, agent), CONSOLE)
    table = write_report(tmp_path).summary
    assert sorted(table["arm"]) == ["ppo-none", "sb3-ppo-none"]
    assert table["iqm"].notna().all()


def test_what_it_cannot_do_is_said(tmp_path, capsys):
    with pytest.raises(ValueError, match="double is True"):
        run(config(tmp_path, "sb3-dqn", hyper=DQNConfig()), CONSOLE)
    hyper = dataclasses.replace(config(tmp_path).hyper, value_loss="hl_gauss")
    with pytest.raises(ValueError, match="value_loss is hl_gauss: PPO of"):
        run(config(tmp_path, hyper=hyper), CONSOLE)
    with pytest.raises(ValueError, match="changes the architecture"):
        run(config(tmp_path, intervention=("layer_norm",)), CONSOLE)
    with pytest.raises(ValueError, match="activation crelu"):
        run(config(tmp_path, network=NetworkOptions(activation="crelu")), CONSOLE)
    run(config(tmp_path, seeds=1, steps=128), CONSOLE)
    out = str(tmp_path / "sb3-ppo")
    assert main(["run", "--resume", out]) == 0  # it was finished
    assert main(["run", "--resume", out, "--steps", "1024"]) == 2
    assert "cannot be continued" in capsys.readouterr().err
