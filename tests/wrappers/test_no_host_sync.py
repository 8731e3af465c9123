import pytest
import torch

from neoteny.wrappers import (
    EpisodeStatistics,
    NonStationaryVector,
    ObservationPermutation,
    Periodic,
    RandomOrder,
    RewardFlip,
    make_stream,
)


def test_the_detector_detects(host_calls):
    x = torch.arange(4.0)
    for sync in (lambda: x.sum().item(), lambda: x[x > 1], lambda: torch.tensor([1, 2])):
        with host_calls() as calls:
            sync()
        assert calls.host


@pytest.mark.parametrize("mode", ["reset", "latch", "now"])
@pytest.mark.parametrize("members", [1, 3])
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
@pytest.mark.parametrize("name", ["minatar-continual", "minatar-permute", "minatar-reward-flip"])
def test_no_step_synchronises_cuda_within_a_task(name):
    stream = make_stream(name, 4, 3, device="cuda", seed=26, task_steps=80)
    env = EpisodeStatistics(stream)
    env.reset()
    actions = torch.zeros(12, dtype=torch.int64, device="cuda")
    env.step(actions)
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(18):
            env.step(actions)
    finally:
        torch.cuda.set_sync_debug_mode("default")
