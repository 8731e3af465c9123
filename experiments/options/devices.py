"""Checks of the options of the device."""

from __future__ import annotations

import torch

from neoteny.agents.agent import Agent
from neoteny.core.errors import InputError

__all__ = ["check_device", "check_graphs", "set_precision"]


def check_device(name: str) -> None:
    """Refuse a device that torch does not have here.

    Raises:
        InputError: Naming it.
    """
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    if device.type not in ("cpu", "cuda") or (device.type == "cpu" and device.index):
        raise InputError(f"device is {name!r}: use cpu, cuda or one GPU as in cuda:1")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device.type == "cuda" and not count:
        raise InputError(f"device is {name}, but this torch sees no CUDA: use --device cpu")
    if device.type == "cuda" and (device.index or 0) >= count:
        raise InputError(f"device is {name}, but the last one is cuda:{count - 1}: use that")


def set_precision(device: str, precision: str) -> None:
    """Have a GPU round float32 factors of products to TF32, or not.

    torch rounds those of convolutions unless told otherwise. A CPU is left as it is.
    """
    if device.startswith("cuda"):
        rounded = precision == "tf32"
        torch.set_float32_matmul_precision("high" if rounded else "highest")
        torch.backends.cudnn.allow_tf32 = rounded


def check_graphs(device: str, agent: type[Agent], recorded: bool) -> None:
    """Refuse CUDA graphs where there are none.

    Args:
        device: Its name.
        agent: The class of the agent.
        recorded: False if graphs are to be checked that nobody asked for.

    Raises:
        InputError: Naming the option.
    """
    if not recorded:
        raise InputError("check_graphs needs recorded graphs: give --cuda-graphs as well")
    if not device.startswith("cuda"):
        raise InputError(f"cuda_graphs need a GPU, but device is {device}: leave them out")
    if not agent.records:
        raise InputError(f"cuda_graphs serve ppo and dqn, not {agent.name}: leave them out")
