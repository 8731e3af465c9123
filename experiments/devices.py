"""The device of a run."""

from __future__ import annotations

import torch

from neoteny.core.errors import InputError

__all__ = ["check_device"]


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
