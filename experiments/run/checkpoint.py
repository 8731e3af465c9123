"""Checkpoints: one file for all members of a process, replaced atomically, checked on reading.

The file is an ordinary ``torch.save`` archive that ``torch.load(weights_only=True)`` opens: it
holds tensors and plain Python values only, so that reading one never runs foreign code.
"""

from __future__ import annotations

import warnings
import zipfile
import zlib
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch

from neoteny.core.errors import InputError
from neoteny.experiments.run.folders import atomic_file

FORMAT = "neoteny checkpoint"
VERSION = 2

_PLAIN = (type(None), bool, int, float, str, torch.Tensor, torch.nn.Parameter)


def save(path: Path | str, state: dict[str, Any]) -> None:
    """Write a checkpoint; the previous one stays until the new one is whole on the disk.

    Args:
        path: the file, replaced if it exists.
        state: nested dicts, lists and tuples of tensors, numbers, strings and None.

    Raises:
        InputError: the state holds something else, named by its place in the state.
        RunError: the file cannot be written.
    """
    _check(state, "state")
    with atomic_file(Path(path)) as file:
        try:
            torch.save(
                {"format": FORMAT, "version": VERSION, "seal": _seal(state), "state": state}, file
            )
        except RuntimeError as error:  # torch's, when the file could not be written
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise


def load(path: Path | str, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Read a checkpoint after checking every byte of it (CRC-32 of each record).

    Args:
        path: the file.
        device: where tensors go. The states of torch's own generators must stay on the CPU;
            move them back with ``.cpu()`` before restoring them.

    Returns:
        The state given to `save`.

    Raises:
        InputError: there is no such file, or it is cut short, damaged, foreign, changed since it
            was written, or of another format version.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"there is no checkpoint {path}; check the folder given to --resume")
    _check_archive(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's advice on how to read foreign files
            content = torch.load(path, map_location=device, weights_only=True)
    except Exception:  # whatever torch's reader meets in bytes that are no checkpoint
        raise InputError(_damaged(path, "is not a checkpoint of neoteny")) from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise InputError(_damaged(path, "is not a checkpoint of neoteny"))
    if content.get("version") != VERSION:
        raise InputError(
            f"checkpoint {path} has format version {content.get('version')}, this neoteny reads "
            f"version {VERSION}; resume it with the neoteny that wrote it (see config.json)"
        )
    state: dict[str, Any] = content.get("state", {})
    if content.get("seal") != _seal(state):
        raise InputError(_damaged(path, "was changed after it was written"))
    return state


def _seal(value: object, seal: int = 0) -> int:
    """Checksum of everything in a state: kinds, keys, shapes and numbers."""
    if isinstance(value, torch.Tensor):
        flat = value.detach().cpu().reshape(-1).view(torch.uint8)
        seal = zlib.crc32(f"{value.dtype} {tuple(value.shape)}".encode(), seal)
        return zlib.crc32(flat.numpy().data, seal)
    if isinstance(value, dict | list | tuple):
        seal = zlib.crc32(f"{type(value).__name__} {len(value)}".encode(), seal)
        for item in value.items() if isinstance(value, dict) else value:
            seal = _seal(item, seal)
        return seal
    return zlib.crc32(repr(value).encode(), seal)


def _check_archive(path: Path) -> None:
    """Raise unless every record of the archive has its stored checksum."""
    try:
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
    except (zipfile.BadZipFile, OSError, EOFError, ValueError, NotImplementedError, RuntimeError):
        raise InputError(_damaged(path, "is cut short or no checkpoint at all")) from None
    if broken is not None:
        raise InputError(_damaged(path, f"is damaged (record {broken} fails its checksum)"))


def _damaged(path: Path, what: str) -> str:
    return f"checkpoint {path} {what}; restore a copy or start again with another --out"


def _check(value: object, place: str) -> None:
    """Raise unless ``weights_only`` loading will take the value back.

    Exact types: a NumPy scalar is an instance of float and would only fail on resume.
    """
    if type(value) in _PLAIN:
        return
    if type(value) in (dict, OrderedDict):
        for key, item in value.items():  # type: ignore[attr-defined]
            if type(key) not in (str, int):
                raise InputError(f"{place} has the key {key!r}; use str or int keys")
            _check(item, f"{place}[{key!r}]")
    elif type(value) in (list, tuple):
        for index, item in enumerate(value):  # type: ignore[arg-type]
            _check(item, f"{place}[{index}]")
    else:
        raise InputError(
            f"{place} is a {type(value).__module__}.{type(value).__qualname__}; "
            "a checkpoint takes tensors and plain numbers, strings, dicts, lists and tuples"
        )
