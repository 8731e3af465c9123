"""Every intervention in the agents themselves: their losses, replays, targets and fast paths."""

import pytest
import torch
from image_stream import Images

from neoteny import envs
from neoteny.agents import DQN, PPO, DQNConfig, NetworkSpec, PPOConfig
from neoteny.agents.classifier import Classifier, ClassifierConfig
from neoteny.plasticity.interventions import INTERVENTIONS, make_interventions

# Settings under which one acts within a few updates; the others do so by default.
SOON = {
    "adam_rel": "period=1",
    "c_chain": "after=0",
    "continual_backprop": "lifetime=20,maturity=20",
    "dash": "minibatches=1",
    "hare_tortoise": "period=1",
    "head_reset": "period=1",
    "isometry_gate": "period=1,share=1",
    "layer_reset": "period=1",
    "newton_schulz": "period=1",
    "optimizer_reset": "period=1",
    "redo": "period=1,tau=0.9",
    "regrama": "period=1,tau=0.9",
    "shrink_perturb": "period=1",
    "snr": "period=1,longest=1",
    "soft_shrink_perturb": "period=1",
    "swr": "period=1,lifetime=20",
    "trac": "initial_scale=1e-3",  # from 1e-8, the first steps are lost to rounding
    "weight_clipping": "kappa=0.5",
}


def ppo(spec, interventions):
    env = envs.make("MinAtar-Breakout", 8, members=2)
    agent = PPO(env, PPOConfig(8, 8, 1, 4), spec, interventions, (0, 1))
    return agent, lambda: agent.learn(agent.collect(env))


def dqn(spec, interventions):
    config = DQNConfig(
        num_envs=8,
        num_steps=4,
        batch_size=16,
        train_frequency=8,
        learning_starts=16,
        replay_size=256,
        target_frequency=16,
    )
    env = envs.make("MinAtar-Breakout", 8, members=2)
    agent = DQN(env, config, spec, interventions, (0, 1))
    return agent, lambda: agent.iterate(env)


def classifier(spec, interventions):
    stream = Images()
    agent = Classifier(stream, ClassifierConfig(16, 4), spec, interventions, (0, 1))
    return agent, lambda: agent.learn(agent.collect(stream))


PAIRS = [(ppo, "mlp"), (dqn, "conv"), (classifier, "mlp"), (ppo, "conv"), (dqn, "mlp"),
         (classifier, "conv")]  # fmt: skip


def cases():
    """Every intervention in every agent with every torso; by default one of each."""
    for place, name in enumerate(sorted(INTERVENTIONS)):
        for number, (make, torso) in enumerate(PAIRS):
            usual = number == place % len(PAIRS)
            yield pytest.param(
                name,
                make,
                torso,
                id=f"{name}-{make.__name__}-{torso}",
                marks=() if usual else pytest.mark.slow,
            )


@pytest.mark.parametrize(("name", "make", "torso"), list(cases()))
def test_agents_learn_with_it_and_it_acts(name, make, torso):
    spec = NetworkSpec((16, 8), torso=torso, channels=(4,), kernel=(3,))
    text = f"{name}:{SOON[name]}" if name in SOON else name
    agent, iterate = make(spec, make_interventions([text], make.__name__))
    learner = agent.learner
    weights = [parameter for parameter in agent.network.parameters() if parameter.dim() > 2]
    before = [weight.detach().clone() for weight in weights]
    moved = torch.zeros(len(weights), 2, dtype=torch.bool)
    for iteration in range(2):
        if iteration == 1 and learner.interventions[0].needs_boundaries:
            learner.boundary(torch.ones(2, dtype=torch.int64))
        metrics = iterate()
        for index, (old, new) in enumerate(zip(before, weights, strict=True)):
            moved[index] |= (old != new).flatten(1).any(1)
    assert learner.alive.all()
    assert name == "none" or (learner.interventions[0].activity > 0).all()
    assert all(torch.as_tensor(v).isfinite().all() for k, v in metrics.items() if "losses" in k)
    assert all(parameter.isfinite().all() for parameter in agent.network.parameters())
    assert moved.all()  # if not in the end: TRAC may be back where it began
    for target in learner.targets:
        assert all(parameter.isfinite().all() for parameter in target.parameters())
