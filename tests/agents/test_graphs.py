"""A CUDA graph is a list of operations on fixed memory; so is the tape below, on any device."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from neoteny import envs
from neoteny.agents import PPO, NetworkSpec, PPOConfig
from neoteny.agents.graphs import CudaGraph, Recorded
from neoteny.plasticity.interventions import INTERVENTIONS, make_interventions

CONFIG = PPOConfig(num_envs=16, num_steps=8, num_epochs=2, num_minibatches=4)
USUAL = ("none", "adamo", "layer_norm", "l2_init", "muon", "spectral")
STATIC = sorted(name for name, cls in INTERVENTIONS.items() if cls.static)


class Tape(TorchDispatchMode):
    """Records operations as a CUDA graph does: with the memory they read and wrote."""

    def __init__(self):
        super().__init__()
        self.operations = []

    def warm_up(self, step):
        step()

    def record(self, step):
        memory = [t.clone() for t in self.tracked]
        with self:
            step()
        for tensor, before in zip(self.tracked, memory, strict=True):
            tensor.copy_(before)  # capturing runs nothing

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        self.operations.append((func, args, kwargs or {}, tree_leaves(out)))
        return out

    @torch.no_grad()
    def replay(self):
        for func, args, kwargs, outputs in self.operations:
            for new, old in zip(tree_leaves(func(*args, **kwargs)), outputs, strict=True):
                if isinstance(old, torch.Tensor) and new.data_ptr() != old.data_ptr():
                    old.copy_(new)


@pytest.fixture(autouse=True)
def graphs_cannot_hold_lists_of_ones(as_on_cuda):
    """Their lengths differ from update to update."""


def agent(intervention, recorder=None, name="MinAtar-Breakout"):
    env = envs.make(name, CONFIG.num_envs, members=2)
    spec = NetworkSpec((16, 16))
    made = make_interventions([intervention])
    return PPO(env, CONFIG, spec, made, (0, 1), recorder=recorder), env


def everything(ppo):
    learner = ppo.learner
    moments = [t for state in learner.optimizer.state.values() for t in state.values()]
    states = [t for i in learner.interventions for t in i.state.values()]
    return [*learner.network.parameters(), *moments, *states, learner.alive]


def train(ppo, env, iterations):
    metrics = [ppo.learn(ppo.collect(env)) for _ in range(iterations)]
    return [value for row in metrics for value in row.values()]


@pytest.mark.parametrize(
    ("intervention", "name"),
    [
        pytest.param(name, "MinAtar-Breakout", marks=() if name in USUAL else pytest.mark.slow)
        for name in STATIC
    ]
    + [("adamo", "Pendulum-v1")],
)
def test_replayed_updates_equal_executed_ones(intervention, name):
    plain, plain_env = agent(intervention, name=name)
    tape = Tape()
    recorded, env = agent(intervention, lambda: tape, name)

    class Tracked:
        def __iter__(self):
            return iter([p.data for p in everything(recorded)] + [recorded._minibatch.totals])

    tape.tracked = Tracked()
    expected, found = train(plain, plain_env, 3), train(recorded, env, 3)
    assert tape.operations, "nothing was recorded"
    for a, b in zip(found, expected, strict=True):
        assert torch.equal(a, b)
    for a, b in zip(everything(recorded), everything(plain), strict=True):
        assert torch.equal(a, b)
    assert recorded.learner.updates == plain.learner.updates == 24


def test_a_step_is_warmed_up_recorded_and_replayed():
    calls = []

    class Fake:
        def warm_up(self, step):
            calls.append("warm up")

        def record(self, step):
            calls.append("record")

        def replay(self):
            calls.append("replay")

    step = Recorded(lambda: None, Fake(), warm_up=2)
    replayed = []
    for _ in range(4):
        step()
        replayed.append(step.replayed)
    assert calls == ["warm up", "warm up", "record", "replay", "replay"]
    assert replayed == [False, False, False, True]


def test_updates_that_differ_from_each_other_are_not_recorded():
    ppo, env = agent("redo", lambda: pytest.fail("a recorder was asked for"))
    assert not ppo.learner.static
    train(ppo, env, 1)


@pytest.mark.gpu
@pytest.mark.parametrize("intervention", STATIC)
def test_cuda_graphs_equal_executed_updates(intervention):
    found = []
    for recorder in (None, lambda: CudaGraph(torch.device("cuda"))):
        env = envs.make("MinAtar-Breakout", CONFIG.num_envs, members=2, device="cuda")
        made = make_interventions([intervention])
        ppo = PPO(env, CONFIG, NetworkSpec((16, 16)), made, (0, 1), recorder=recorder)
        found.append([*train(ppo, env, 3), *ppo.network.parameters()])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
