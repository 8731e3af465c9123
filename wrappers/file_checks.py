"""Checks that all files of streams go through, and the messages that name the place."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from neoteny.core.errors import InputError, error_context
from neoteny.core.names import require_known
from neoteny.core.options import show
from neoteny.core.serializable import Serializable
from neoteny.wrappers.aliases import Content, Description
from neoteny.wrappers.change_base import Change
from neoteny.wrappers.schedules import Schedule

LONGEST = 100


def check_keys(content: Mapping[str, object], known: Sequence[str]) -> None:
    """Refuse keys that are not `known`, naming the nearest one."""
    for key in content:
        require_known("key", key, known)


def described(value: object, family: type[Schedule] | type[Change]) -> Any:
    """A value of the family, or a description whose kind and fields exist."""
    if value is None or isinstance(value, family):
        return value
    value = {"kind": value} if isinstance(value, str) else value
    if not isinstance(value, Mapping):
        raise InputError(
            f"{show(value)} must be a mapping with kind:, one of {', '.join(family.kinds)}"
        )
    family.kinds.require(value.get("kind"))
    own = [field.name for field in family.kinds[value["kind"]].described_by()]
    check_keys(value, ["kind", *own])
    return dict(value)


def completed(
    kinds: Mapping[str, type[Serializable]], given: Content, more: Content
) -> Description:
    """`given` with those entries of `more` that its kind has a field for."""
    own = {field.name for field in kinds[given["kind"]].described_by()}
    inner = {
        key: completed(kinds, value, more)
        for key, value in given.items()
        if isinstance(value, Mapping) and str(value.get("kind")) in kinds
    }
    return {key: value for key, value in more.items() if key in own} | {**given, **inner}


def plain(value: object) -> Any:
    """A part of a definition in JSON types."""
    if isinstance(value, Schedule | Change):
        return value.to_dict()
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


def changes_in(content: Mapping[str, object], source: str) -> tuple[Change | Description, ...]:
    """The changes of a file, each a value or a description whose kind and fields exist."""
    given = content.get("changes") or ()
    with error_context(source, "changes"):
        given = given if isinstance(given, list | tuple) else [given]
    checked = []
    for index, change in enumerate(given):
        with error_context(source, f"changes[{index}]"):
            if change is None:
                raise InputError("is empty; give a kind such as RewardFlip, or leave it out")
            checked.append(described(change, Change))
    return tuple(checked)


def texts(content: Mapping[str, object], source: str, key: str) -> tuple[str, ...]:
    """A list of texts, each short enough for a table; one that is left out is empty."""
    given = content.get(key)
    if given is not None and not isinstance(given, list | tuple):
        raise InputError(f"{source}: {key}: must be a list of names, got {show(given)}")
    return tuple(text(name, source, key) for name in given or ())


def text(value: object, source: str, key: str) -> str:
    """A name of at most 100 letters that can be printed, in one line."""
    value = str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value
    if not isinstance(value, str) or not value.isprintable() or not 0 < len(value) <= LONGEST:
        raise InputError(
            f"{source}: {key}: must be of 1 to {LONGEST} printable letters, got {show(value)}"
        )
    return value


def options_in(content: Mapping[str, object], source: str) -> Content | None:
    """The options of a file or of a task in it: a mapping of names to values, or None."""
    value = content.get("options")
    if value is not None and not isinstance(value, Mapping):
        raise InputError(
            f"{source}: options: must be a mapping of names to values, got {show(value)}"
        )
    return value
