"""Checks that all files of streams go through, and the messages that name the place."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from difflib import get_close_matches
from typing import Any

from neoteny.core.errors import InputError
from neoteny.wrappers.change import Change
from neoteny.wrappers.schedule import Schedule


class Naming:
    """Puts the place in front of the message of a ValueError raised inside."""

    def __init__(self, *place: str) -> None:
        self.place = ": ".join(place)

    def __enter__(self) -> None:
        """Nothing to prepare."""

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        """Raise again with the place."""
        if isinstance(error, ValueError):
            raise InputError(f"{self.place}: {error}") from error


def check_keys(content: Mapping[str, Any], known: Sequence[str]) -> None:
    """Refuse keys that are not `known`, naming the nearest one."""
    for key in content:
        if key not in known:
            near = get_close_matches(str(key), known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"the keys are {', '.join(known)}"
            raise InputError(f"unknown key {key!r}; {hint}")


def described(value: Any, family: type[Schedule] | type[Change]) -> Any:
    """A value of the family, or a description whose kind and fields exist."""
    if value is None or isinstance(value, family):
        return value
    value = {"kind": value} if isinstance(value, str) else value
    if not isinstance(value, Mapping):
        raise InputError(
            f"{value!r} must be a mapping with kind:, one of {', '.join(family.kinds)}"
        )
    if value.get("kind") not in family.kinds or "kind" not in value:
        family.from_dict(value)  # says what is wrong
    own = [field.name for field in fields(family.kinds[value["kind"]])]
    check_keys(value, ["kind", *own])
    return dict(value)


def completed(
    kinds: Mapping[str, type[Any]], given: Mapping[str, Any], more: Mapping[str, Any]
) -> dict[str, Any]:
    """`given` with those entries of `more` that its kind has a field for."""
    own = {field.name for field in fields(kinds[given["kind"]])}
    inner = {
        key: completed(kinds, value, more)
        for key, value in given.items()
        if isinstance(value, Mapping) and value.get("kind") in kinds
    }
    return {key: value for key, value in more.items() if key in own} | {**given, **inner}


def plain(value: Any) -> Any:
    """A part of a definition in JSON types."""
    if isinstance(value, Schedule | Change):
        return value.to_dict()
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


def changes_in(content: Mapping[str, Any], source: str) -> tuple[Any, ...]:
    """The changes of a file, each a value or a description whose kind and fields exist."""
    given = content.get("changes") or ()
    with Naming(source, "changes"):
        given = given if isinstance(given, list | tuple) else [given]
    checked = []
    for index, change in enumerate(given):
        with Naming(source, f"changes[{index}]"):
            checked.append(described(change, Change))
    return tuple(checked)


def check_type(content: Mapping[str, Any], source: str, key: str, kind: type[Any]) -> None:
    """Refuse a mapping or a list of the wrong type; a key left out passes."""
    value = content.get(key)
    if value is not None and (not isinstance(value, kind) or isinstance(value, str)):
        wanted = "a mapping of names to values" if kind is Mapping else "a list of names"
        raise InputError(f"{source}: {key}: must be {wanted}, got {value!r}")
