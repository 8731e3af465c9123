"""Packages that only some commands need, which come with the extras of an installation."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from neoteny.core.errors import InputError

__all__ = ["imported"]


def imported(package: str, missing: str) -> Any:
    """A package, imported on use.

    Raises:
        InputError: If it is not installed, with the words of `missing`.
    """
    try:
        return import_module(package)
    except ImportError:
        raise InputError(missing) from None
