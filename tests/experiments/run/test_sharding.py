"""Which part of a run a process has, and what cannot be split."""

import dataclasses

import pytest
import torch
from together import together

from neoteny.agents.ppo_loss import PPOConfig
from neoteny.core.errors import InputError, RunError
from neoteny.core.ranks import ALONE, Ranks
from neoteny.experiments.options.config import RunConfig
from neoteny.experiments.run.folders import write_json
from neoteny.experiments.run.sharding import agree, shard


@pytest.fixture
def config(tmp_path):
    hyper = PPOConfig(num_envs=8, num_steps=4, num_minibatches=4)
    return RunConfig(hyper=hyper, seeds=5, first_seed=3, out=tmp_path / "arm")


def stored(folder, seeds):
    member = folder / f"seed_{seeds[0]}"
    member.mkdir(parents=True)
    write_json(member / "config.json", {"first_seed": seeds[0], "seeds": len(seeds)})


def test_one_process_has_the_whole_run(config):
    assert shard(config, ALONE) == (config, ALONE)


def test_members_are_split_into_blocks_that_differ_by_one_at_most(config):
    found = [shard(config, Ranks(rank, 3)) for rank in range(3)]
    assert [part.seed_list for part, _ in found] == [[3, 4], [5, 6], [7]]
    assert [part.folder.name for part, _ in found] == ["arm", "arm-seed5to6", "arm-seed7"]
    assert all(ranks is ALONE for _, ranks in found)


def test_with_fewer_members_than_processes_all_train_all_members(config):
    config = dataclasses.replace(config, seeds=1)
    assert shard(config, Ranks(1, 4)) == (config, Ranks(1, 4))


def test_a_stored_run_of_one_folder_goes_on_with_shared_lanes(config):
    stored(config.folder, [3, 4, 5, 6, 7])
    resumed = dataclasses.replace(config, resume=config.folder)
    assert shard(resumed, Ranks(1, 2)) == (resumed, Ranks(1, 2))


def test_stored_blocks_go_on_where_they_lie(config):
    stored(config.folder, [3, 4])
    stored(config.folder.with_name("arm-seed5to7"), [5, 6, 7])
    resumed = dataclasses.replace(config, seeds=2, resume=config.folder, steps=10)
    part, ranks = shard(resumed, Ranks(1, 2))
    assert ranks is ALONE
    assert part.seed_list == [5, 6, 7]
    assert part.folder == part.resume == config.folder.with_name("arm-seed5to7")
    assert part.steps == 10
    with pytest.raises(InputError, match="was trained by 2 processes, each with members of its"):
        shard(resumed, Ranks(0, 3))


@pytest.mark.parametrize(
    ("changed", "size", "message"),
    [
        (
            {"seeds": 1, "hyper": PPOConfig(num_envs=6, num_minibatches=3)},
            4,
            "num_envs is 6, which",
        ),
        ({"seeds": 1}, 3, "num_envs is 8, which 3 processes cannot share evenly"),
        (
            {"seeds": 1, "hyper": PPOConfig(num_envs=8, num_steps=4, num_minibatches=16)},
            4,
            "minibatch_size is 2, which 4 processes cannot share evenly",
        ),
        ({"seeds": 2, "agent": "sb3-ppo"}, 4, "agent sb3-ppo trains whole members: 4 processes"),
    ],
)
def test_what_cannot_be_split_is_refused(config, changed, size, message):
    with pytest.raises(InputError, match=message):
        shard(dataclasses.replace(config, **changed), Ranks(1, size))


def test_seeds_that_were_split_otherwise_are_refused(config):
    stored(config.folder.with_name("arm-seed4to5"), [4, 5])
    with pytest.raises(InputError, match="arm-seed4to5 holds some of the seeds already"):
        shard(config, Ranks(0, 2))


def test_each_process_takes_a_gpu_of_its_own(config):
    object.__setattr__(config, "device", "cuda:1")
    with pytest.raises(InputError, match="each of 2 processes takes a GPU of its own"):
        shard(config, Ranks(0, 2))


def agreed(weights, stops, due):
    """Answers of two processes after an iteration, each with its weight and its own wishes."""

    def act(ranks):
        rank = ranks.rank
        parameters = [torch.full((1, 3), weights[rank]), torch.zeros(1, 2)]
        return agree(ranks, stops[rank], due[rank], parameters, step=64)

    return together(2, act)


def test_all_stop_if_one_is_asked_to_and_the_first_says_when_to_save():
    assert agreed((1.0, 1.0), (False, True), (False, True)) == [(True, False)] * 2
    assert agreed((1.0, 1.0), (False, False), (True, False)) == [(False, True)] * 2


def test_processes_whose_networks_come_apart_stop():
    with pytest.raises(RunError, match="networks of the processes differ at step 64"):
        agreed((1.0, 1.0 + 2**-20), (False, False), (False, False))
