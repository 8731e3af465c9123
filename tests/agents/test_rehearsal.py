"""Every agent on a pretended device: no waits, no mixed devices, the numbers of the CPU.

See `rehearsal.py`. What CUDA computes may differ in round-off; that it computes the same is what
the tests marked `gpu` are for.
"""

import pytest
import torch
from image_stream import Images
from rehearsal import DEVICE, Mismatch, held, rehearsal

from neoteny import envs
from neoteny.agents import DQN, PPO, DQNConfig, NetworkSpec, PPOConfig
from neoteny.agents.classifier import Classifier, ClassifierConfig
from neoteny.core.ranks import Ranks
from neoteny.envs.shared_lanes import SharedLanes
from neoteny.plasticity.interventions import INTERVENTIONS, make_interventions
from neoteny.plasticity.learner import Learner
from neoteny.plasticity.networks import Network

SEEDS = (0, 1)


def ppo(
    spec, interventions, device, env="MinAtar-Breakout", ranks=None, value_loss="mse", **options
):
    def make(lanes):
        return envs.make(name, lanes, members=2, device=device, max_steps=3)

    name = env
    env = make(4) if ranks is None else SharedLanes(make, 4, ranks)
    config = PPOConfig(4, 4, 1, 2, value_loss=value_loss)
    agent = PPO(env, config, spec, interventions, SEEDS, **options)
    agent.learner.ranks = ranks
    return agent, lambda: agent.iterate(env)


def dqn(spec, interventions, device, env="MinAtar-Breakout", loss="huber", **options):
    config = DQNConfig(
        num_envs=4,
        num_steps=4,
        batch_size=8,
        train_frequency=8,
        learning_starts=8,
        replay_size=64,
        target_frequency=16,
        loss=loss,
    )
    env = envs.make(env, 4, members=2, device=device, max_steps=3)
    agent = DQN(env, config, spec, interventions, SEEDS, **options)
    return agent, lambda: agent.iterate(env)


def classifier(spec, interventions, device, **options):
    stream = Images(device)
    agent = Classifier(stream, ClassifierConfig(8, 2), spec, interventions, SEEDS, **options)
    return agent, lambda: agent.learn(agent.collect(stream))


def play(make, names, spec, device, waits=None, **options):
    """Train for a few iterations, a task switch among them; the parameters afterwards."""
    interventions = make_interventions(names, make.__name__)
    agent, iterate = make(spec, interventions, device, **options)
    iterate()  # whatever is made at first use may be copied from the host
    iterate()
    if waits is not None:
        waits.clear()
    iterate()
    noted = None if waits is None else list(waits)
    agent.switch()
    if agent.learner.interventions and agent.learner.interventions[0].needs_boundaries:
        agent.learner.boundary(torch.ones(2, dtype=torch.int64))
    iterate()
    return [held(parameter.detach()) for parameter in agent.network.parameters()], noted


@pytest.fixture
def dense(monkeypatch):
    """On the CPU too, observations are not listed by their ones, which the device never does."""
    monkeypatch.setattr(Network, "takes_sparse", lambda *_: False)


def rehearse(make, names, spec, **options):
    """Train on the pretended device and on the CPU; what waited, after a check that both agree."""
    with rehearsal() as notes:
        there, waits = play(make, names, spec, DEVICE, notes.waits, **options)
    here, _ = play(make, names, spec, torch.device("cpu"), **options)
    assert all(map(torch.equal, there, here))
    return waits


def cases():
    """Every intervention in every agent, torso and way; by default few, of every agent."""
    ways = [(make, torso, fast) for fast in (True, False) for make in (ppo, dqn, classifier)
            for torso in ("mlp", "conv")]  # fmt: skip
    for place, name in enumerate(sorted(INTERVENTIONS)):
        for number, (make, torso, fast) in enumerate(ways):
            usual = place % 12 == 0 and number == 5 * (place // 12) % len(ways)
            yield pytest.param(
                name,
                make,
                torso,
                fast,
                id=f"{name}-{make.__name__}-{torso}-{'fast' if fast else 'plain'}",
                marks=() if usual else pytest.mark.slow,
            )


@pytest.mark.parametrize(("name", "make", "torso", "fast"), list(cases()))
def test_no_update_waits_and_all_equals_the_cpu(dense, name, make, torso, fast):
    spec = NetworkSpec((16, 8), torso=torso, channels=(4,), kernel=(3,))
    assert rehearse(make, (name,), spec, fast=fast) == []


SPEC = NetworkSpec((16, 8))


class Mirror(Ranks):
    """The first of two processes, the other one of which has what it has."""

    def _gather(self, values):
        return torch.stack([values, values])

    def _reduce(self, values, largest=False):
        return values if largest else values.mul_(2)


def test_lanes_and_minibatches_are_shared_without_a_wait(dense):
    assert rehearse(ppo, ("redo",), SPEC, ranks=Mirror(0, 2)) == []


@pytest.mark.parametrize("fast", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_values_as_histograms_are_fitted_without_a_wait_in_half_precision_too(dense, fast):
    options = {"value_loss": "hl_gauss", "precision": torch.bfloat16, "fast": fast}
    assert rehearse(ppo, ("adamo",), SPEC, **options) == []
    assert rehearse(dqn, ("none",), SPEC, loss="hl_gauss", fast=fast) == []


def test_a_planted_wait_and_a_planted_tensor_on_the_host_are_caught():
    with rehearsal() as notes:
        x = torch.arange(6.0, device=DEVICE)
        assert x.device == DEVICE
        assert notes.waits == []
        for wait in (
            lambda: x.sum().item(),
            lambda: bool(x.any()),
            lambda: x[x > 2],
            lambda: x.masked_fill_(x > 9, 0.0)[[0, 1]],
            lambda: x.cpu(),
            lambda: torch.equal(x, x),
            lambda: torch.zeros(6).copy_(x),
        ):
            before = len(notes.waits)
            wait()
            assert len(notes.waits) == before + 1
        assert notes.waits[0].startswith("aten::_local_scalar_dense at test_rehearsal.py:")
        with pytest.raises(Mismatch, match="aten::add"):
            x + torch.ones(6)
        assert held(x + torch.tensor(1.0)).tolist() == [1, 2, 3, 4, 5, 6]


def test_a_wait_planted_in_the_learner_is_found_with_its_line(dense, monkeypatch):
    update = Learner.update

    def planted(self, loss, *arguments):
        loss.sum().item()
        return update(self, loss, *arguments)

    monkeypatch.setattr(Learner, "update", planted)
    waits = rehearse(ppo, ("none",), SPEC)
    assert len(waits) == 2  # an iteration has two updates
    assert all(wait.startswith("aten::_local_scalar_dense at test_rehear") for wait in waits)


@pytest.mark.parametrize(
    ("make", "env"),
    [
        (ppo, "Pendulum-v1"),
        pytest.param(ppo, "CartPole-v1", marks=pytest.mark.slow),
        pytest.param(dqn, "Acrobot-v1", marks=pytest.mark.slow),
        pytest.param(dqn, "MiniGrid-DoorKey-5x5", marks=pytest.mark.slow),
    ],
)
def test_other_games_need_no_wait_either(make, env):
    assert rehearse(make, ("adamo",), SPEC, env=env) == []
