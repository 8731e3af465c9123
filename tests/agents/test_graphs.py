"""A CUDA graph is a list of operations on fixed memory; so is the tape below, on any device."""

import sys

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from neoteny import envs
from neoteny.agents import DQN, PPO, DQNConfig, NetworkSpec, PPOConfig
from neoteny.agents.graphs import CudaGraph, Recorded, reachable
from neoteny.plasticity.interventions import INTERVENTIONS, make_interventions
from neoteny.plasticity.interventions.resets import Timed
from neoteny.wrappers import EpisodeStatistics
from neoteny.wrappers.streams import StreamContext, build_stream

CONFIG = PPOConfig(num_envs=16, num_steps=8, num_epochs=2, num_minibatches=4)
USUAL = ("shrink_perturb:period=1", "spectral")
STATIC = sorted(name for name, cls in INTERVENTIONS.items() if cls.static)
ALWAYS = [name for name in STATIC if not issubclass(INTERVENTIONS[name], Timed)]
RARE = [f"{name}:period=1" for name in STATIC if name not in ALWAYS]
RARE.append("continual_backprop:maturity=48,lifetime=1024")
"""Edit between replays: after every iteration, and this one after every fourth update."""


class Tape(TorchDispatchMode):
    """Records operations as a CUDA graph does: with the memory they read and wrote."""

    def __init__(self):
        super().__init__()
        self.operations = []
        self.roots = ()

    def warm_up(self, step):
        step()

    def record(self, step):
        tracked = reachable(*self.roots)
        memory = {path: place.clone() for path, place in tracked.items()}
        with self:
            step()
        for path, place in tracked.items():
            place.copy_(memory[path])  # capturing runs nothing

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


class Tapes:
    """Makes tapes."""

    def __init__(self, kind=Tape):
        self.kind = kind
        self.made = []
        self.roots = ()

    def __call__(self):
        self.made.append(self.kind())
        self.made[-1].roots = self.roots
        return self.made[-1]


@pytest.fixture(autouse=True)
def graphs_cannot_hold_lists_of_ones(as_on_cuda):
    """Their lengths differ from update to update."""


def agent(intervention, recorder=None, name="MinAtar-Breakout", checks=0):
    env = envs.make(name, CONFIG.num_envs, members=2)
    spec = NetworkSpec((16, 16))
    made = make_interventions([intervention])
    return PPO(env, CONFIG, spec, made, (0, 1), recorder=recorder, checks=checks), env


def everything(ppo):
    learner = ppo.learner
    moments = [t for state in learner.optimizer.state.values() for t in state.values()]
    states = [t for i in learner.interventions for t in i.state.values()]
    return [*learner.network.parameters(), *moments, *states, learner.alive]


def train(ppo, env, iterations):
    metrics = [ppo.learn(ppo.collect(env)) for _ in range(iterations)]
    return [value for row in metrics for value in row.values()]


@pytest.mark.parametrize(
    ("intervention", "name", "checks"),
    [
        pytest.param(name, "MinAtar-Breakout", 0, marks=() if name in USUAL else pytest.mark.slow)
        for name in [*STATIC, *RARE]
    ]
    + [("adamo", "Pendulum-v1", 3)],
)
def test_replayed_updates_equal_executed_ones_checked_or_not(intervention, name, checks):
    plain, plain_env = agent(intervention, name=name)
    tapes = Tapes()
    recorded, env = agent(intervention, tapes, name, checks)
    tapes.roots = recorded, env
    expected, found = train(plain, plain_env, 2), train(recorded, env, 2)
    assert len(tapes.made) == 3, "a step of a rollout, advantages and an update"
    assert sum(bool(tape.operations) for tape in tapes.made) >= 2, "nothing was recorded"
    for a, b in zip(found, expected, strict=True):
        assert torch.equal(a, b)
    for a, b in zip(everything(recorded), everything(plain), strict=True):
        assert torch.equal(a, b)
    assert recorded.learner.updates == plain.learner.updates == 16
    if intervention in ("adamo", *USUAL, RARE[-1]):
        assert recorded.learner.interventions[0].activity.min() > 0


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
    tapes = Tapes()
    ppo, env = agent("isometry_band", tapes)
    tapes.roots = ppo, env
    assert not ppo.learner.static
    train(ppo, env, 1)
    assert len(tapes.made) == 2, "a step of a rollout and advantages"


def watched(ppo):
    """Names of the steps that are recorded, as they come to be so."""
    names, make = [], ppo._recordings._recorder

    def recorder():
        names.append(sys._getframe(1).f_locals["name"])
        return make()

    ppo._recordings._recorder = recorder
    return names


def rows(ppo, env, iterations):
    """Everything that rollouts hold, iteration by iteration."""
    found = []
    for _ in range(iterations):
        rollout = ppo.collect(env)
        found += [value.clone() for value in vars(rollout).values() if torch.is_tensor(value)]
        ppo.learn(rollout)
        found += env.collect().values()
    return found


# Stream, steps a task, options, and the tasks of which a whole rollout is played in 768 steps
STREAMS = {
    "features permuted": ("minatar-permute", 256, {"over": "features"}, 3),
    "rewards flipped": ("minatar-reward-flip", 256, {}, 3),
    "games in turn": ("minatar-continual", 384, {}, 2),
    "variables permuted": ("cartpole-permute", 256, {}, 3),
    "goals": ("minigrid-goal-flip", 256, {}, 3),
    "one task": ("MinAtar-Seaquest", None, {}, 1),
    "latched": ("minatar-permute", 256, {"on_switch": "latch"}, 0),
    "drifting": ("cartpole-drift", 256, {}, 0),
}
FAST = ("games in turn",)


def streamed(name, recorder=None):
    env, task_steps, options, _ = STREAMS[name]
    context = StreamContext(16, torch.device("cpu"), (3, 8), task_steps, 128, None, 768)
    stream = EpisodeStatistics(build_stream(env, context, options))
    spec = NetworkSpec((16, 16))
    return PPO(
        stream, CONFIG, spec, make_interventions(["adamo"]), (3, 8), recorder=recorder
    ), stream


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name in FAST else pytest.mark.slow) for name in STREAMS],
)
def test_replayed_rollouts_equal_played_ones_across_switches(name):
    plain, plain_env = streamed(name)
    tapes = Tapes()
    recorded, env = streamed(name, tapes)
    tapes.roots = recorded, env
    names = watched(recorded)
    expected, found = rows(plain, plain_env, 6), rows(recorded, env, 6)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)
    assert env.steps == plain_env.steps == 768
    for a, b in zip(everything(recorded), everything(plain), strict=True):
        assert torch.equal(a, b)
    assert names.count("a step of a rollout") == STREAMS[name][3]


@pytest.mark.gpu
@pytest.mark.parametrize("intervention", [*ALWAYS, "fresh:period=1", "swr:period=1"])
def test_cuda_graphs_equal_executed_updates(intervention):
    found = []
    for recorder in (None, lambda: CudaGraph(torch.device("cuda"))):
        env = envs.make("MinAtar-Breakout", CONFIG.num_envs, members=2, device="cuda")
        made = make_interventions([intervention])
        ppo = PPO(env, CONFIG, NetworkSpec((16, 16)), made, (0, 1), recorder=recorder)
        found.append([*train(ppo, env, 3), *ppo.network.parameters()])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


DQN_CONFIG = DQNConfig(
    num_envs=16,
    num_steps=16,
    batch_size=8,
    train_frequency=32,
    learning_starts=64,
    replay_size=1_024,
    target_frequency=64,
    n_steps=2,
)


def deep_q(name, intervention, recorder=None):
    env, task_steps, options, _ = STREAMS[name]
    task_steps = task_steps and 512
    context = StreamContext(16, torch.device("cpu"), (3, 8), task_steps, 256, None, 1_024)
    stream = EpisodeStatistics(build_stream(env, context, options))
    made = make_interventions([intervention], "dqn")
    spec = NetworkSpec((16, 16))
    return DQN(stream, DQN_CONFIG, spec, made, (3, 8), recorder=recorder), stream


@pytest.mark.parametrize(
    ("name", "intervention"),
    [
        ("one task", "adamo"),
        pytest.param("games in turn", "none", marks=pytest.mark.slow),
        pytest.param("variables permuted", "layer_norm", marks=pytest.mark.slow),
        pytest.param("goals", "redo", marks=pytest.mark.slow),
    ],
)
def test_replayed_dqn_equals_an_executed_one(name, intervention):
    plain, plain_env = deep_q(name, intervention)
    tapes = Tapes()
    recorded, env = deep_q(name, intervention, tapes)
    tapes.roots = recorded, env
    names = watched(recorded)
    for _ in range(4):
        found, expected = recorded.iterate(env), plain.iterate(plain_env)
        found |= env.collect()
        for metric, value in (expected | plain_env.collect()).items():
            ours, others = torch.as_tensor(found[metric]), torch.as_tensor(value)
            torch.testing.assert_close(ours, others, rtol=0, atol=0, equal_nan=True, msg=metric)
    for a, b in zip(everything(recorded), everything(plain), strict=True):
        assert torch.equal(a, b)
    for a, b in zip(recorded.target.parameters(), plain.target.parameters(), strict=True):
        assert torch.equal(a, b)
    assert "a step of environments" in names
    assert ("an update" in names) == recorded.learner.static


def test_a_graph_that_differs_from_its_operations_ends_a_checked_run():
    class Wrong(Tape):
        def replay(self):
            super().replay()
            next(self.roots[0].network.parameters()).data[0, 0] += 1e-6

    tapes = Tapes(Wrong)
    ppo, env = agent("adamo", tapes, checks=4)
    tapes.roots = ppo, env
    with pytest.raises(RuntimeError, match=r"graph of a step .* left other numbers .*PPO\.network"):
        train(ppo, env, 2)


def test_a_recording_that_fails_is_said_once_and_changes_nothing():
    class Failing(Tape):
        def record(self, step):
            super().record(step)  # which counts on the host, and fails after it
            raise RuntimeError("operation not permitted when stream is capturing\nand more")

    tapes = Tapes(Failing)
    plain, plain_env = agent("adamo")
    ppo, env = agent("adamo", tapes)
    env, plain_env = EpisodeStatistics(env), EpisodeStatistics(plain_env)
    tapes.roots = ppo, env
    with pytest.warns(
        UserWarning, match="no CUDA graph of a step of a rollout .*capturing"
    ) as said:
        found = train(ppo, env, 2)
    assert len(said) == 1
    for a, b in zip(found, train(plain, plain_env, 2), strict=True):
        assert torch.equal(a, b)
    assert (
        env.collect()["reward_per_step"].tolist() == plain_env.collect()["reward_per_step"].tolist()
    )
