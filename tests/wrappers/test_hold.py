"""Places in a stream that stay as they are, for evaluations that outlast a task."""

import pytest
import torch

from neoteny.envs import make
from neoteny.wrappers import (
    Asynchronous,
    Cyclic,
    EpisodeStatistics,
    MemberSchedules,
    NonStationaryVector,
    OnReturn,
    RewardScale,
    Sinusoidal,
    make_stream,
)

SCHEDULES = [
    Cyclic(40, 2),
    Asynchronous(Cyclic(40, 2), 30),
    Sinusoidal(160),
    OnReturn(0.0, 40, tasks=2, episodes=1, switches=(20,)),
]


def scaled(schedule, mode="reset"):
    env = make("CartPole-v1", 4, max_steps=8)
    changes = [RewardScale((1.0, 2.0))]
    return EpisodeStatistics(NonStationaryVector(env, schedule, changes, mode))


@pytest.mark.parametrize("mode", ["reset", "latch", "now"])
@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
def test_nothing_switches_where_the_stream_is_held(schedule, mode):
    env = scaled(schedule, mode)
    env.seek(72, hold=True)
    env.reset()
    rewards = []
    for _ in range(60):
        _, reward, _, truncated, info = env.step(torch.zeros(4, dtype=torch.int64))
        rewards.append(reward)
        assert not info.get("cut", truncated & False).any()
        assert info["task"].tolist() == [schedule.task(72)]
    assert all(torch.equal(reward, rewards[0]) for reward in rewards)
    lanes = (
        [72 - int(d) for d in schedule.delays(4)] if schedule.delays(4) is not None else [72] * 4
    )
    phases = [schedule.phase(step) for step in lanes]
    if mode != "latch":
        torch.testing.assert_close(rewards[0], torch.tensor([1.0 + phase for phase in phases]))


def test_without_holding_it_goes_on_and_a_seed_begins_again():
    env = scaled(Cyclic(40, 2))
    env.seek(72)
    env.reset()
    tasks = [int(env.step(torch.zeros(4, dtype=torch.int64))[4]["task"]) for _ in range(4)]
    assert tasks == [1, 1, 0, 0]
    env.seek(72, hold=True)
    env.reset(seed=0)
    tasks = [int(env.step(torch.zeros(4, dtype=torch.int64))[4]["task"]) for _ in range(12)]
    assert tasks == [0] * 10 + [1] * 2


def test_a_chain_holds_its_game():
    stream = make_stream("minatar-continual", 4, members=2, task_steps=40)
    names = stream.tasks_at(60)
    stream.seek(60, hold=True)
    stream.reset()
    for _ in range(30):
        info = stream.step(torch.zeros(8, dtype=torch.int64))[4]
        assert info["task"].tolist() == names
        assert "cut" not in info
    stream.seek(60, MemberSchedules(Cyclic(40, 4), 2))
    stream.reset()
    infos = [stream.step(torch.zeros(8, dtype=torch.int64))[4] for _ in range(5)]
    assert "cut" in infos[-1]
