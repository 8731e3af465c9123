import pytest
import torch
from host_calls import no_waits

from neoteny.wrappers import (
    STREAMS,
    EpisodeStatistics,
    NonStationaryVector,
    ObservationPermutation,
    OnReturn,
    Periodic,
    RandomOrder,
    RewardFlip,
    make_stream,
)
from neoteny.wrappers.member_schedules import ReturnMonitor


def test_the_detector_detects(host_calls):
    x = torch.arange(4.0)
    for sync in (lambda: x.sum().item(), lambda: x[x > 1], lambda: torch.tensor([1, 2])):
        with host_calls() as calls:
            sync()
        assert calls.host


@pytest.mark.parametrize(("members", "mode"), [(1, "latch"), (3, "reset")])
def test_no_step_waits_for_the_device_not_even_a_switch(host_calls, toy, mode, members):
    seeds = list(range(members))
    changes = [ObservationPermutation((3,), 4, seed=seeds), RewardFlip()]
    for schedule in (Periodic(8), RandomOrder(8, 4)):
        vector = NonStationaryVector(toy.Counter(4, members, seed=seeds), schedule, changes, mode)
        env = EpisodeStatistics(vector)
        env.reset()
        actions = torch.zeros(4 * members, dtype=torch.int64)
        with host_calls() as calls:
            for _ in range(20):
                env.step(actions)
            env.collect()
        assert calls.host == []


def test_no_change_and_no_schedule_waits_for_the_device(host_calls, tracks, case):
    changes, schedule, mode = tracks.changes[case[0]], tracks.schedules[case[1]], case[2]
    env = NonStationaryVector(tracks.Track(4, 2, max_steps=8), schedule, changes, mode)
    env.reset()
    actions = torch.zeros(8, dtype=torch.int64)
    env.step(actions)  # tables are copied to the device at their first use
    with host_calls() as calls:
        for _ in range(8):
            env.step(actions)
    assert calls.host == []


def test_a_schedule_that_waits_for_returns_looks_only_when_it_is_due(
    host_calls, tracks, monkeypatch
):
    looks = []
    monkeypatch.setattr(ReturnMonitor, "_decide", lambda judge, looking, steps: looks.append(steps))
    env = NonStationaryVector(tracks.Track(4, max_steps=8), OnReturn(1e9, 40), [RewardFlip()])
    env.reset()
    actions = torch.zeros(4, dtype=torch.int64)
    with host_calls() as calls:
        for _ in range(25):
            env.step(actions)
    assert calls.host == []
    assert looks == [40, 80]


@pytest.mark.parametrize("members", [1, 4])
def test_no_step_of_the_paper_stream_waits_within_a_task(host_calls, members):
    stream = make_stream("minatar-continual", 4, members, seed=26, task_steps=80)
    env = EpisodeStatistics(stream)
    env.reset()
    actions = torch.zeros(4 * members, dtype=torch.int64)
    env.step(actions)
    with host_calls() as calls:
        for _ in range(18):
            env.step(actions)
    assert calls.host == []


@pytest.mark.gpu
def test_no_change_and_no_schedule_synchronises_cuda(tracks, case):
    changes, schedule, mode = tracks.changes[case[0]], tracks.schedules[case[1]], case[2]
    env = NonStationaryVector(
        tracks.Track(4, 2, device="cuda", max_steps=8), schedule, changes, mode
    )
    env.reset()
    actions = torch.zeros(8, dtype=torch.int64, device="cuda")
    env.step(actions)
    with no_waits():
        for _ in range(12):
            env.step(actions)


@pytest.mark.gpu
@pytest.mark.parametrize("name", STREAMS)
def test_no_step_synchronises_cuda_within_a_task(name):
    stream = make_stream(name, 4, 3, device="cuda", seed=26, task_steps=80)
    env = EpisodeStatistics(stream)
    env.reset()
    actions = torch.zeros(12, dtype=torch.int64, device="cuda")
    env.step(actions)
    with no_waits():
        for _ in range(18):
            env.step(actions)
