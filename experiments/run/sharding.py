"""One run in several processes: which members or lanes each of them has, and when all stop."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor

from neoteny.agents.agent import AGENTS
from neoteny.core.errors import InputError, RunError
from neoteny.core.ranks import ALONE, Ranks
from neoteny.experiments.options.config import RunConfig
from neoteny.experiments.run.seed_blocks import added_folders, block_folder, stored_seeds

__all__ = ["agree", "shard"]


def shard(config: RunConfig, ranks: Ranks) -> tuple[RunConfig, Ranks]:
    """This process's part of a run.

    Where there are as many members as processes or more, each process trains a block of them as a
    run of its own: the first in the run's folder, the others in folders beside it, as seeds that
    are added to an arm lie. Else, and where a run of one folder goes on, all processes train all
    members together, each with a part of their lanes.

    Returns:
        The run of this process, and the processes that train it together.

    Raises:
        InputError: If the run cannot be split so, or was split otherwise.
    """
    if ranks.alone:
        return config, ranks
    if config.device.startswith("cuda:"):
        raise InputError(
            f"device is {config.device}, but each of {ranks.size} processes takes a GPU of its own:"
            " give --device cuda"
        )
    if config.device == "cuda":
        ranks.take_gpu()
    if config.resume is not None:
        blocks = [config.folder, *added_folders(config)]
        if len(blocks) > 1:
            return _stored_block(config, blocks, ranks), ALONE
    elif config.seeds >= ranks.size:
        return _new_block(config, ranks), ALONE
    _require_divisible(config, ranks.size)
    return config, ranks


def agree(
    ranks: Ranks, stops: bool, due: bool, parameters: Iterable[Tensor], step: int
) -> tuple[bool, bool]:
    """One answer for all processes of a run.

    Args:
        ranks: The processes.
        stops: True if this one was asked to stop.
        due: True if it would save a checkpoint.
        parameters: Its network's.
        step: Environment steps of one member so far.

    Returns:
        Asked to stop, if any was; a checkpoint is due, if it is in the first process.

    Raises:
        RunError: If the processes' networks are not the same any more.
    """
    if ranks.alone:
        return stops, due
    bits = torch.stack([parameter.detach().view(torch.int32).sum() for parameter in parameters])
    weights = int(bits.sum())
    asked, saves, most, least = ranks.largest(
        stops, due and ranks.first, weights, -weights, device=bits.device
    )
    if most != -least:
        raise RunError(
            f"the networks of the processes differ at step {step:,}, as computers that round "
            "differently make them: use processes on alike devices"
        )
    return bool(asked), bool(saves)


def _new_block(config: RunConfig, ranks: Ranks) -> RunConfig:
    """The members of this process: as many as the others have, or one more."""
    seeds = config.seed_list
    size, more = divmod(len(seeds), ranks.size)
    bounds = [rank * size + min(rank, more) for rank in range(ranks.size + 1)]
    blocks = [seeds[begin:end] for begin, end in pairwise(bounds)]
    folders = [config.folder, *(block_folder(config.folder, block) for block in blocks[1:])]
    for folder in added_folders(config):
        if folder not in folders and set(stored_seeds(folder)) & set(seeds):
            raise InputError(
                f"{folder} holds some of the seeds already, from a run that was split otherwise: "
                "choose another --out or remove it"
            )
    own = blocks[ranks.rank]
    return dataclasses.replace(config, first_seed=own[0], seeds=len(own), out=folders[ranks.rank])


def _stored_block(config: RunConfig, folders: list[Path], ranks: Ranks) -> RunConfig:
    """The members that this process trained before."""
    if len(folders) != ranks.size:
        raise InputError(
            f"{config.folder} was trained by {len(folders)} processes, each with members of its "
            f"own, not by {ranks.size}: resume it with as many, or each of "
            f"{', '.join(folder.name for folder in folders)} by itself"
        )
    own = folders[ranks.rank]
    seeds = stored_seeds(own)
    return dataclasses.replace(config, first_seed=seeds[0], seeds=len(seeds), out=own, resume=own)


def _require_divisible(config: RunConfig, size: int) -> None:
    """Refuse a run whose lanes and minibatches cannot be split evenly."""
    agent = AGENTS[config.agent]
    names = () if agent.separate else agent.config_class.split
    if not names:
        raise InputError(
            f"agent {config.agent} trains whole members: {size} processes need --seeds {size} or "
            f"more, not {config.seeds}"
        )
    if config.cuda_graphs:
        raise InputError("cuda_graphs record one process: leave them out, or give a member to each")
    for name in names:
        count = getattr(config.hyper, name)
        if count % size:
            raise InputError(
                f"{name} is {count}, which {size} processes cannot share evenly: choose a multiple "
                f"of {size}, or --seeds {size} to give each a member"
            )
