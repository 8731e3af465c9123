import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from neoteny.wrappers import (
    EpisodeStatistics,
    NonStationaryVector,
    ObservationPermutation,
    Periodic,
    RandomOrder,
    RewardFlip,
    make_stream,
)

HOST = ("_local_scalar_dense", "nonzero", "masked_select", "unique", "lift_fresh", "_to_copy.cpu")


class Calls(TorchDispatchMode):
    """Notes every operator that makes the host wait for the device, or copies from the host."""

    def __init__(self):
        super().__init__()
        self.host = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = str(func)
        masks = name.startswith("aten.index") and any(
            isinstance(index, torch.Tensor) and index.dtype == torch.bool
            for argument in args
            if isinstance(argument, list | tuple)
            for index in argument
        )
        if masks or any(word in name for word in HOST):
            self.host.append(name)
        return func(*args, **(kwargs or {}))


def test_the_detector_detects():
    x = torch.arange(4.0)
    for sync in (lambda: x.sum().item(), lambda: x[x > 1], lambda: torch.tensor([1, 2])):
        with Calls() as calls:
            sync()
        assert calls.host


@pytest.mark.parametrize("mode", ["reset", "latch", "now"])
@pytest.mark.parametrize("members", [1, 3])
def test_no_step_waits_for_the_device_not_even_a_switch(toy, mode, members):
    seeds = list(range(members))
    changes = [ObservationPermutation((3,), 4, seed=seeds), RewardFlip()]
    for schedule in (Periodic(8), RandomOrder(8, 4)):
        vector = NonStationaryVector(toy.Counter(4, members, seed=seeds), schedule, changes, mode)
        env = EpisodeStatistics(vector)
        env.reset()
        actions = torch.zeros(4 * members, dtype=torch.int64)
        with Calls() as calls:
            for _ in range(20):
                env.step(actions)
            env.collect()
        assert calls.host == []


@pytest.mark.parametrize("members", [1, 4])
def test_no_step_of_the_paper_stream_waits_within_a_task(members):
    stream = make_stream("minatar-continual", 4, members, seed=26, task_steps=80)
    env = EpisodeStatistics(stream)
    env.reset()
    actions = torch.zeros(4 * members, dtype=torch.int64)
    env.step(actions)
    with Calls() as calls:
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
