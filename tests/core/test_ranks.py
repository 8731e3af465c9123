"""The processes of a run: what each has, and what all of them find."""

import pytest
import torch
from together import together

from neoteny.core.errors import InputError, RunError
from neoteny.core.ranks import ALONE, Ranks


def test_one_process_has_everything_and_copies_nothing():
    batch = torch.arange(6.0).view(2, 3)
    assert ALONE.alone
    assert ALONE.first
    assert ALONE.share(batch) is batch
    assert ALONE.lanes(batch, 2) is batch
    assert ALONE.sum(batch) is batch
    assert ALONE.mean(batch) is batch
    assert ALONE.all_lanes([batch], 2)[0] is batch
    assert ALONE.largest(3, True, device=batch.device) == [3, True]
    assert ALONE.agreed(lambda: 7) == 7


def test_shares_are_the_batch_in_order():
    batch = torch.arange(24).view(2, 6, 2)
    parts = [Ranks(rank, 3).share(batch) for rank in range(3)]
    assert torch.equal(torch.cat(parts, 1), batch)
    assert parts[1][1].tolist() == [[16, 17], [18, 19]]


def test_lanes_are_parts_of_each_member_and_come_together_again():
    lanes = torch.arange(12)  # members 0 and 1 have 6 each
    assert Ranks(1, 3).lanes(lanes, 2).tolist() == [2, 3, 8, 9]
    columns = [
        torch.randn(12, 2, 3),
        torch.arange(12) % 5 == 0,
        torch.arange(12, dtype=torch.int64),
        torch.randint(0, 255, (12, 5), dtype=torch.uint8),
        torch.randn(12, dtype=torch.float64),
        torch.arange(12, dtype=torch.int16) - 5,
    ]
    for found in together(3, lambda r: r.all_lanes([r.lanes(c, 2) for c in columns], 2)):
        for one, wanted in zip(found, columns, strict=True):
            assert one.dtype == wanted.dtype
            assert torch.equal(one, wanted)


def test_averages_and_largest_numbers():
    def act(ranks):
        tensors = [torch.full((2, 3), float(ranks.rank)), torch.tensor([1.0, 10.0 * ranks.rank])]
        ranks.average(tensors)
        numbers = ranks.largest(ranks.rank, -ranks.rank, device=torch.device("cpu"))
        return *tensors, numbers

    for first, second, numbers in together(4, act):
        assert torch.equal(first, torch.full((2, 3), 1.5))
        assert second.tolist() == [1.0, 15.0]
        assert numbers == [3, 0]


def test_all_have_what_the_first_process_found_or_hear_that_it_failed():
    assert together(2, lambda ranks: ranks.agreed(lambda: [ranks.rank, "state"])) == [
        [0, "state"],
        [0, "state"],
    ]

    def act(ranks):
        def find():
            raise InputError("no checkpoint")

        try:
            ranks.agreed(find)
        except (InputError, RunError) as error:
            return type(error), str(error)

    first, second = together(2, act)
    assert first == (InputError, "no checkpoint")
    assert second == (RunError, "process 0 of this run could not begin: see its message")


def test_only_all_variables_of_torchrun_make_several_processes(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    assert Ranks.here() == ALONE
    monkeypatch.setenv("WORLD_SIZE", "4")  # as clusters set it for programs of their own
    assert Ranks.here() == ALONE
    for name, value in {"RANK": "3", "LOCAL_RANK": "1", "MASTER_ADDR": "a"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MASTER_PORT", "1")
    assert Ranks.here() == Ranks(3, 4)


def test_a_computer_with_fewer_gpus_than_processes_is_refused(monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "2")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(InputError, match="2 GPUs for more processes: give torchrun --nproc-per-n"):
        Ranks(2, 4).take_gpu()
