import dataclasses
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from host_calls import no_waits
from stable_baselines3 import PPO as ReferencePPO

from neoteny import envs
from neoteny.agents.distributions import Categorical
from neoteny.agents.ppo_loss import PPOConfig, explained_variance, normalized, ppo_loss
from neoteny.agents.rollout import Minibatch
from neoteny.plasticity.networks import NetworkSpec


def reference_loss(batch, config):
    """The clipped losses in float64 NumPy, from the papers' formulas."""
    b = {k: v.double().numpy() for k, v in batch.items() if k != "action"}
    action = batch["action"].numpy()
    log_probs = b["outputs"] - np.log(np.exp(b["outputs"]).sum(-1, keepdims=True))
    taken = np.take_along_axis(log_probs, action[..., None], -1)[..., 0]
    adv = b["advantage"]
    adv = (adv - adv.mean(1, keepdims=True)) / (adv.std(1, ddof=1, keepdims=True) + 1e-8)
    ratio = np.exp(taken - b["old_log_prob"])
    eps = config.clip_range
    policy = -np.minimum(adv * ratio, adv * np.clip(ratio, 1 - eps, 1 + eps)).mean(1)
    moved = b["old_value"] + np.clip(b["value"] - b["old_value"], -0.2, 0.2)
    worst = np.maximum((b["value"] - b["returns"]) ** 2, (moved - b["returns"]) ** 2)
    entropy = -(np.exp(log_probs) * log_probs).sum(-1).mean(1)
    return policy + config.vf_coef * 0.5 * worst.mean(1) - config.ent_coef * entropy


def test_loss_equals_the_formulas_for_every_member():
    g = torch.Generator().manual_seed(1)
    shape = (3, 64)
    batch = {
        "outputs": torch.randn(*shape, 4, generator=g),
        "value": torch.randn(shape, generator=g),
        "action": torch.randint(4, shape, generator=g),
        "old_log_prob": -torch.rand(shape, generator=g) * 2,
        "old_value": torch.randn(shape, generator=g),
        "advantage": torch.randn(shape, generator=g) * 5,
        "returns": torch.randn(shape, generator=g),
    }
    config = PPOConfig()
    given = batch | {"advantage": normalized(batch["advantage"])}
    loss, statistics = ppo_loss(Categorical(4), **given, config=config)
    np.testing.assert_allclose(loss, reference_loss(batch, config), rtol=1e-5)
    assert statistics.shape == (5, 3)


def sb3_twin(model, agent):
    """Copy an SB3 MLP policy's parameters into ours; pairs of both."""
    policy, value = agent.network.branches["policy"], agent.network.branches["value"]
    pairs = []
    if policy.log_std is not None:
        pairs.append((policy.log_std, model.policy.log_std))
    for branch, net, head in (
        (policy, model.policy.mlp_extractor.policy_net, model.policy.action_net),
        (value, model.policy.mlp_extractor.value_net, model.policy.value_net),
    ):
        linears = [m for m in net if isinstance(m, torch.nn.Linear)] + [head]
        for ours, theirs in zip([*branch.hidden, branch.head], linears, strict=True):
            pairs += [(ours.weight, theirs.weight), (ours.bias, theirs.bias)]
    assert len(pairs) == len(list(model.policy.parameters()))
    with torch.no_grad():
        for ours, theirs in pairs:
            ours[0].copy_(theirs)
    return pairs


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("name", ["CartPole-v1", "Pendulum-v1"])
def test_one_update_equals_stable_baselines3(name, fast, make_agent):
    """The same weights and the same batch: our loss, gradient, clip and Adam step land on SB3's
    weights.
    """
    config = PPOConfig(
        num_envs=1,
        num_steps=64,
        num_epochs=1,
        num_minibatches=1,
        learning_rate=1e-2,
        ent_coef=0.02,
        vf_coef=0.7,
        max_grad_norm=0.3,
        clip_range_vf=0.1,
    )
    model = ReferencePPO(
        "MlpPolicy",
        name,
        n_steps=64,
        batch_size=64,
        n_epochs=1,
        learning_rate=1e-2,
        ent_coef=0.02,
        vf_coef=0.35,
        max_grad_norm=0.3,
        clip_range_vf=0.1,
        seed=1,
        device="cpu",
        policy_kwargs={"net_arch": [16, 16], "activation_fn": torch.nn.Tanh, "log_std_init": 0.3},
    )  # SB3's value loss has no factor one half
    spec = NetworkSpec(hidden=(16, 16), activation="tanh")
    agent = make_agent(envs.make(name, 1), config, spec, fast=fast)
    learner = agent.learner
    learner._groups = {"network": learner._parameters}  # SB3 clips both nets by one norm
    pairs = sb3_twin(model, agent)
    model.learn(64)  # one rollout and one update, on weights that we have copied
    buffer = model.rollout_buffer
    fields = [buffer.log_probs, buffer.values, buffer.advantages, buffer.returns, buffer.actions]
    agent._minibatch = Minibatch(
        obs=torch.as_tensor(buffer.observations).reshape(64, -1),
        fields=torch.stack([torch.as_tensor(field).flatten() for field in fields], dim=-1),
        rows=torch.arange(64).unsqueeze(0),
        totals=torch.zeros(7, 1),  # one clipping group, so one norm
    )
    agent._update()
    for ours, theirs in pairs:
        torch.testing.assert_close(ours.grad[0], theirs.grad, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(ours[0], theirs, rtol=1e-4, atol=1e-6)
    if name == "Pendulum-v1":
        assert (np.abs(buffer.actions) > 2).any()  # stored as they were drawn


CLIMBING = PPOConfig(
    num_envs=32,
    num_steps=16,
    num_epochs=4,
    num_minibatches=4,
    learning_rate=1e-2,
    gamma=0.5,
    clip_range_vf=None,
)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        pytest.param("constant", 1.0, marks=pytest.mark.slow),
        pytest.param("observation", "sign", marks=pytest.mark.slow),
        pytest.param("delayed", "age", marks=pytest.mark.slow),
        pytest.param("action", 1.0, marks=pytest.mark.slow),
        ("both", 1.0),
    ],
)
def test_ladder_reaches_the_known_values_and_actions(ladder, make_agent, kind, expected):
    env = ladder(kind, 32)
    agent = make_agent(env, dataclasses.replace(CLIMBING, ent_coef=0.0))
    for _ in range(8):
        rollout = agent.collect(env)
        agent.learn(rollout)
    rollout = agent.collect(env)
    obs = rollout.obs.flatten(0, 1)
    if kind == "delayed":  # V = gamma before the last step, 1 on it
        target = torch.where(obs[:, 1] > 0, 1.0, 0.5)
    else:
        target = obs[:, 0] if expected == "sign" else torch.ones(len(obs))
    assert (rollout.value.flatten() - target).abs().mean() < 0.15
    if kind in ("action", "both"):
        assert rollout.reward.mean() > 0.95


def test_time_limits_are_bootstrapped_not_treated_as_ends(ladder, make_agent):
    """One reward a step for ever, cut every 4 steps: the value is 1 / (1 - gamma)."""
    env = ladder("constant", 32, max_steps=4)
    agent = make_agent(env, CLIMBING)
    for _ in range(7):
        agent.learn(agent.collect(env))
    assert agent.collect(env).value.mean() == pytest.approx(2.0, abs=0.1)  # else below 1.6


@pytest.mark.parametrize(
    ("name", "fast"),
    [
        ("MinAtar-Breakout", True),
        ("Pendulum-v1", True),
        pytest.param("Pendulum-v1", False, marks=pytest.mark.slow),
    ],
)
def test_a_member_does_not_depend_on_the_others(make_agent, name, fast):
    config = PPOConfig(num_envs=8, num_steps=8, num_epochs=2, num_minibatches=2)
    seeds = (5, 6, 9)

    def train(which):
        env = envs.make(name, 8, members=len(which), seed=which, max_steps=7)
        names = ("adamo", "l2_init", "c_chain")
        agent = make_agent(env, config, interventions=names, seeds=which, fast=fast)
        for _ in range(2):
            metrics = agent.learn(agent.collect(env))
        return [p.detach() for p in agent.network.parameters()], metrics

    together, metrics = train(seeds)
    member = 2
    alone, lone_metrics = train((seeds[member],))
    for many, one in zip(together, alone, strict=True):
        torch.testing.assert_close(many[member], one[0], rtol=1e-4, atol=1e-5)
    for key, value in metrics.items():
        torch.testing.assert_close(value[member], lone_metrics[key][0], rtol=1e-3, atol=1e-4)


def test_an_intervention_does_not_shift_the_environments_random_numbers(make_agent):
    def first_rewards(interventions):
        env = envs.make("MinAtar-Asterix", 16)
        agent = make_agent(env, interventions=interventions)
        return agent.collect(env)

    plain, isometric = first_rewards(("none",)), first_rewards(("adamo",))
    assert torch.equal(plain.obs, isometric.obs)
    assert torch.equal(plain.action, isometric.action)


def test_every_sample_is_used_once_an_epoch(ladder, make_agent):
    agent = make_agent(ladder("both", 16, members=3), seeds=(1, 2, 3))
    order = agent._shuffle()
    again = agent._shuffle()
    lanes, steps = 16, 16
    for member in range(3):
        mine = {(t * 3 + member) * lanes + n for t in range(steps) for n in range(lanes)}
        assert set(order[member].tolist()) == mine
    assert not torch.equal(order, again)


def test_explained_variance_is_one_for_perfect_and_zero_for_constant_predictions():
    returns = torch.randn(7, 2, 5)
    torch.testing.assert_close(explained_variance(returns, returns), torch.ones(2))
    torch.testing.assert_close(explained_variance(torch.zeros(7, 2, 5), returns), torch.zeros(2))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_minibatches": 100}, "does not divide"),
        ({"num_envs": 0}, "num_envs is 0"),
        ({"gamma": 1.5}, "gamma is 1.5"),
    ],
)
def test_bad_hyper_parameters_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(PPOConfig(), **change)


@pytest.mark.gpu
@pytest.mark.parametrize(
    ("name", "interventions"),
    [
        ("MinAtar-Asterix", ("none",)),
        ("MinAtar-Asterix", ("adamo", "l2_init", "layer_norm")),
        ("Pendulum-v1", ("adamo",)),
    ],
)
def test_cuda_runs_without_synchronising_and_agrees_with_the_cpu(
    make_agent, name, interventions, as_on_cuda
):
    results = []
    for device in ("cuda", "cpu"):
        env = envs.make(name, 16, members=2, max_steps=9, device=device)
        spec = NetworkSpec(hidden=(16, 16), activation="groupsort")
        agent = make_agent(env, spec=spec, interventions=interventions, seeds=(0, 1))
        agent.learn(agent.collect(env))
        with no_waits() if device == "cuda" else nullcontext():
            agent.learn(agent.collect(env))
        results.append([p.detach().cpu() for p in agent.network.parameters()])
    for cuda, cpu in zip(*results, strict=True):
        torch.testing.assert_close(cuda, cpu, rtol=1e-2, atol=1e-3)


def test_recent_targets_are_those_of_the_recent_observations(ladder, make_agent):
    env = ladder("observation", 16, members=2)  # episodes of one step that pay their sign
    agent = make_agent(env, seeds=(1, 2))
    agent.iterate(env)
    obs, targets = agent.recent(32), agent.recent_targets(32)
    sign = obs[..., :1]
    torch.testing.assert_close(targets["value"], sign - sign.mean(1, keepdim=True))
    rollout = agent.collect(env)  # with the present policy, so that its probabilities are known
    advantage = agent.advantages(rollout)
    agent._rollout.advantage = advantage
    found = agent.recent_targets(10_000)["policy"]
    obs, action = (rollout.spread(x, 10_000) for x in (rollout.obs, rollout.action.flatten(1)))
    times = np.linspace(0, 15, 8).astype(int)
    centred = advantage[times].transpose(0, 1).flatten(1)
    centred = centred - centred.mean(1, keepdim=True)
    outputs = agent.network.branch("policy", obs).detach().requires_grad_()
    log_prob = agent.policy.log_prob(outputs, action)[0]
    (expected,) = torch.autograd.grad((log_prob * centred).sum(), outputs)
    torch.testing.assert_close(found, expected)
