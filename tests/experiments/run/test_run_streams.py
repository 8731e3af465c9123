"""Streams that cannot be played to the end, or are larger than the memory, are refused at once."""

import pytest

from neoteny.agents.dqn_loss import DQNConfig
from neoteny.agents.ppo_loss import PPOConfig
from neoteny.core import available_memory
from neoteny.core.errors import InputError
from neoteny.experiments.options.config import RunConfig
from neoteny.experiments.options.network_options import NetworkOptions
from neoteny.experiments.run.run_streams import make_run_stream
from neoteny.wrappers import STREAMS, Cyclic, NonStationaryVector, RewardFlip

PPO = PPOConfig(num_envs=4, num_steps=16, num_minibatches=2)


def config(folder, text, steps, name="mine.yaml"):
    (folder / name).write_text(text)
    return RunConfig(
        stream=folder / name,
        hyper=PPO,
        steps=steps,
        task_steps=64,
        network=NetworkOptions(hidden=(8,)),
    )


NAMES = "environments: CartPole-v1\ntask_names: [a, b]\nschedule: "
CHAIN = """
from neoteny.wrappers import {0}
def stream():
    return {{"environments": ["CartPole-v1", "CartPole-v1"], "schedule": {1}}}
"""


@pytest.mark.parametrize(
    ("schedule", "enough", "last"),
    [
        ("{kind: Cyclic, tasks: 3}", 128, 2),
        ("{kind: At, steps: [64, 128]}", 128, 2),
        ("{kind: Periodic}", 128, 3),
        ("{kind: OnReturn, threshold: 1, every: 64}", 128, 3),
        ("{kind: OnReturn, threshold: 1, every: 64, tasks: 3}", 128, 2),
        ("{kind: Asynchronous, spread: 8, base: {kind: Cyclic, tasks: 4}}", 128, 3),
        ("{kind: Poisson, period: 64, seed: 1, tasks: 3}", 64, 2),
    ],
)
def test_every_task_that_is_reached_has_a_name(tmp_path, schedule, enough, last):
    assert make_run_stream(config(tmp_path, NAMES + schedule, enough)).task_names == ["a", "b"]
    message = rf"task {last} is played within 256 steps, but task_names has 2 names"
    with pytest.raises(InputError, match=message):
        make_run_stream(config(tmp_path, NAMES + schedule, 256))


def test_a_stream_that_names_no_task_is_refused(own_names):
    @STREAMS.register("nameless")
    def nameless(context):
        env = context.make("neoteny/CartPole-v1")
        return NonStationaryVector(env, Cyclic(64, 2), [RewardFlip()])

    with pytest.raises(InputError, match=r"task 1 is played within 128 steps, .* 0 names"):
        make_run_stream(RunConfig(env="nameless", hyper=PPO, steps=128, task_steps=64))


@pytest.mark.parametrize(
    ("kind", "schedule"),
    [("At", "At((64, 128))"), ("Periodic", "Periodic(64)"), ("Cyclic", "Cyclic(64, 3)")],
)
def test_every_task_that_is_reached_has_an_environment(tmp_path, kind, schedule):
    text = CHAIN.format(kind, schedule)
    make_run_stream(config(tmp_path, text, 128, "own.py"))
    with pytest.raises(InputError, match=r"task 2 is played within 192 steps, but there are 2 env"):
        make_run_stream(config(tmp_path, text, 192, "own.py"))


@pytest.mark.parametrize(
    ("room", "options", "message"),
    [
        (
            10**6,
            {"network": NetworkOptions(hidden=(2000, 2000))},
            "networks would take at least .* lower hidden",
        ),
        (10**6, {"hyper": PPOConfig(num_envs=4096)}, "environments would take at least"),
        (
            64 * 256 * (16 + 106) - 1,
            {"hyper": PPOConfig(num_envs=64, num_steps=256)},
            "a rollout would take at least",
        ),
        (
            10**6 * (16 + 32) - 1,
            {"agent": "dqn", "hyper": DQNConfig(replay_size=10**6)},
            "the replay would take at least .* lower replay_size",
        ),
    ],
)
def test_what_is_larger_than_the_memory_is_refused(monkeypatch, room, options, message):
    monkeypatch.setattr(available_memory, "memory", lambda device: room)
    given = {"env": "CartPole-v1", "network": NetworkOptions(hidden=(8,)), **options}
    with pytest.raises(InputError, match=message):
        make_run_stream(RunConfig(**given))


def test_the_memory_of_this_machine_is_known():
    assert 10**8 < available_memory.memory("cpu") < 10**14


def test_a_supervised_file_takes_only_the_options_that_its_definition_reads(tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text("data: digits")
    config = RunConfig(agent="classifier", stream=path, steps=8, env_option=("tasks=3",))
    with pytest.raises(InputError, match="have no option 'tasks'; they have data, images"):
        make_run_stream(config)
