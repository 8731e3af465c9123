"""A pretended device: the numbers of the CPU under the rules of an accelerator.

Within `rehearsal()`, tensors made on `DEVICE` hold a tensor on the CPU and say that they are on a
device of their own. Every operation runs on what they hold, so results equal those of the CPU. A
tensor of one or more dimensions on the CPU beside pretended ones is refused, as CUDA refuses it,
and whatever would make the host wait for the device is noted, with the line of the package that
asked for it.

It stands on private parts of torch, and so it serves the tests alone.
"""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

__all__ = ["DEVICE", "Mismatch", "Notes", "Pretended", "held", "rehearsal"]

_setup_privateuseone_for_python_backend("pretend")
torch.pretend.get_amp_supported_dtype = lambda: [torch.bfloat16, torch.float16]
torch.pretend.is_available = lambda: True

DEVICE = torch.device("pretend", 0)
_ROOT = Path(__file__).resolve().parent.parent
_HOST = torch.device("cpu")

_WAITING = {
    "aten::_local_scalar_dense",
    "aten::_unique2",
    "aten::equal",
    "aten::is_nonzero",
    "aten::masked_select",
    "aten::nonzero",
    "aten::unique_consecutive",
    "aten::unique_dim",
}
"""Operations whose result, or its shape, the host has to know."""

_COPIES = ("aten::_to_copy", "aten::copy_")


class Mismatch(RuntimeError):
    """A tensor on the CPU beside pretended ones."""


@dataclass
class Notes:
    """Notes of a rehearsal."""

    waits: list[str] = field(default_factory=list)
    """Every operation that made the host wait for the device, and the line that asked for it."""

    def add(self, operation: str) -> None:
        """Note an operation that waits."""
        frames = [
            frame
            for frame in traceback.extract_stack()
            if Path(frame.filename).resolve().is_relative_to(_ROOT)
            and "site-packages" not in frame.filename
            and frame.filename != __file__
        ]
        place = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
        self.waits.append(operation + place)


_notes = Notes()


class Pretended(torch.Tensor):
    """A tensor that says it is on the device, and holds one on the CPU."""

    held: torch.Tensor

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> Pretended:
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            held.size(),
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            layout=held.layout,
            device=DEVICE,
        )
        made.held = held
        return made

    def __repr__(self) -> str:
        return f"Pretended({self.held!r})"

    @classmethod
    def __torch_dispatch__(
        cls,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        return _run(func, args, kwargs or {})


def held(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor on the CPU that a pretended one holds; others as they are."""
    return tensor.held if isinstance(tensor, Pretended) else tensor


def _held(value: Any) -> Any:
    return value.held if isinstance(value, Pretended) else value


def _run(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """Run an operation on what its arguments hold."""
    name = func.name().split(".")[0]
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
    pretended = [tensor for tensor in tensors if isinstance(tensor, Pretended)]
    if pretended:
        _check(name, args, tensors)
    bare_args, bare_kwargs = tree_map(_held, args), dict(tree_map(_held, dict(kwargs)))
    if bare_kwargs.get("device") is not None:
        bare_kwargs["device"] = _HOST
    out = func(*bare_args, **bare_kwargs)
    if not _stays(name, args, kwargs.get("device"), bool(pretended)):
        if pretended and name in _COPIES:
            _notes.add("a copy to the host")
        return out
    # Operations in place give back their own tensor
    known = {id(tensor.held): tensor for tensor in pretended}

    def wrapped(value: Any) -> Any:
        if id(value) in known:
            return known[id(value)]
        return Pretended(value) if isinstance(value, torch.Tensor) else value

    return tree_map(wrapped, out)


def _stays(name: str, args: tuple[Any, ...], device: Any, pretended: bool) -> bool:
    """True if the result is on the device."""
    if name == "aten::copy_":
        return isinstance(args[0], Pretended)
    return pretended if device is None else torch.device(device).type == DEVICE.type


def _check(name: str, args: tuple[Any, ...], tensors: Sequence[torch.Tensor]) -> None:
    """Note an operation that waits; refuse one whose tensors are on both devices."""
    indexes = name.startswith(("aten::index", "aten::_index_put", "aten::_unsafe_index"))
    if name in _WAITING:
        _notes.add(name)
    if indexes and any(
        isinstance(leaf, torch.Tensor) and leaf.dtype in (torch.bool, torch.uint8)
        for leaf in tree_leaves(args[1])
    ):
        _notes.add(f"{name} by a mask")
    if name in _COPIES:
        return
    # CUDA takes indices from the host, and copies them: the host does not wait, the device does
    beside = tensors[:1] if indexes else tensors
    if any(not isinstance(tensor, Pretended) and tensor.dim() > 0 for tensor in beside):
        raise Mismatch(f"{name} of tensors on the CPU and on the device")


class _Operations(TorchDispatchMode):
    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        return _run(func, args, kwargs or {})


class _Functions(TorchFunctionMode):
    """Work of torch's bindings below the dispatcher: numbers to tensors and back, list indices."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        options = dict(kwargs or {})
        device = options.get("device")
        if (
            func in (torch.tensor, torch.as_tensor)
            and device is not None
            and torch.device(device).type == DEVICE.type
            and not any(isinstance(arg, Pretended) for arg in args)
        ):
            del options["device"]
            return func(*args, **options).to(device)
        if func is torch.Tensor.tolist and isinstance(args[0], Pretended):
            _notes.add("tolist")
            return args[0].held.tolist()
        if func in (torch.Tensor.__getitem__, torch.Tensor.__setitem__):
            args = (args[0], self._index(args[0], args[1]), *args[2:])
        return func(*args, **options)

    def _index(self, tensor: torch.Tensor, index: Any) -> Any:
        if isinstance(index, tuple):
            return tuple(self._index(tensor, part) for part in index)
        if not isinstance(index, list) or not isinstance(tensor, Pretended):
            return index
        _notes.add("an index by a list")
        return torch.tensor(index).to(DEVICE)


@contextlib.contextmanager
def rehearsal() -> Iterator[Notes]:
    """Pretend within the block that there is a device.

    Yields:
        What is noted from here on.
    """
    global _notes
    before, _notes = _notes, Notes()
    try:
        with _Functions(), _Operations():
            yield _notes
    finally:
        _notes = before
