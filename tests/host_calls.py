"""Operators that make the host wait, noted as they are called, or refused on CUDA."""

from contextlib import contextmanager

import torch
from torch.utils._python_dispatch import TorchDispatchMode

HOST = ("_local_scalar_dense", "nonzero", "masked_select", "unique", "lift_fresh", "_to_copy.cpu")


class HostCalls(TorchDispatchMode):
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


@contextmanager
def no_waits():
    """A block in which CUDA refuses whatever makes the host wait for it."""
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")
