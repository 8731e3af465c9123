"""Values of options, fitted to the types and limits that dataclasses and functions declare.

All values of a user, from the command line, a file or Python, go through here: a dataclass calls
`check_fields` when it is made, and other code calls `fit`. A field's type is its annotation; the
limits of numbers are in the class's `limits`, field to rule, such as "at least 1", "above 0",
"in [0, 1)", "from 1 to 1,000" or "above 0, or inf". A user's own type may have a class method
`from_text`, which reads a `Text` or returns None, and a text `wanted` for messages.
"""

from __future__ import annotations

import inspect
import json
import math
import re
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import numpy as np

from neoteny.core.errors import InputError
from neoteny.core.limits import allows, limits_of
from neoteny.core.names import closest, with_article

__all__ = [
    "LARGEST",
    "Text",
    "allows",
    "check_fields",
    "fit",
    "fit_all",
    "keywords",
    "limits_of",
    "read_text",
    "show",
]

LARGEST = 2**53
"""Whole numbers that are options are at most this, so that floats and int64 hold them exactly."""

WORDS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
"""Words for true and false."""


THOUSANDS = {"k": 1_000, "M": 1_000_000}
"""Letters after a number to what they multiply it by."""


class Text(str):
    """A value as it was typed, to be read once the type that is wanted is known."""


def check_fields(value: Any, label: str = "{} is {}: it") -> None:
    """Fit every field of a dataclass to its type and limit, in place; call it first of all.

    Args:
        value: An instance, frozen or not.
        label: How a refusal begins: a field's name and its value come in the place of `{}`.

    Raises:
        InputError: Naming the field, its value and what is wanted.
    """
    kind: Any = type(value)
    rules = limits_of(kind)
    for name, hint in _hints(kind).items():
        given = getattr(value, name)
        found = fit(name, given, hint, rules.get(name), label)
        if found is not given:
            object.__setattr__(value, name, found)


def fit(
    name: str, value: Any, hint: Any, rule: str | None = None, label: str = "{} is {}: it"
) -> Any:
    """A value of the type that an annotation asks for, within its limit.

    A whole float is taken for an int, a list for a tuple, and one number for a tuple of one.

    Args:
        name: Of the option.
        value: As given; of a `Text`, its content.
        hint: The annotation.
        rule: The limit of a number, and of each one in a sequence; none is within all limits.
        label: How a refusal begins, see `check_fields`.

    Raises:
        InputError: If it does not fit.
    """
    try:
        found = _fit(value, hint)
        for number in found if isinstance(found, tuple) else (found,):
            _check_limit(number, rule)
    except _Misfit as misfit:
        wanted = str(misfit).removesuffix(",")  # of an example that stands before no other kind
        raise InputError(f"{label.format(name, show(value))} must be {wanted}") from None
    return found


def keywords(*functions: Callable[..., Any]) -> dict[str, Any]:
    """The keyword-only parameters of functions, name to annotation."""
    found: dict[str, Any] = {}
    for function in functions:
        hints = typing.get_type_hints(function)
        for parameter in inspect.signature(function).parameters.values():
            if parameter.kind is parameter.KEYWORD_ONLY:
                found.setdefault(parameter.name, hints.get(parameter.name, Any))
    return found


def fit_all(values: Mapping[str, Any], hints: Mapping[str, Any]) -> dict[str, Any]:
    """Values by name, each fitted to the annotation of its name where there is one.

    Raises:
        InputError: Naming the one that does not fit.
    """
    return {
        name: fit(name, value, hints[name]) if name in hints else value
        for name, value in values.items()
    }


def _check_limit(value: Any, rule: str | None) -> None:
    if not isinstance(value, int | float):
        return
    if math.isinf(value) and not (rule or "").endswith(" or inf"):
        raise _Misfit("a finite number")
    if rule is not None and not allows(rule, value):
        raise _Misfit(rule)


def show(value: Any) -> str:
    """A value as a message has it: short, in one line, numbers and typed text without quotes."""
    if isinstance(value, float):
        return f"{value:g}" if type(value) is float else str(value)
    try:
        typed = isinstance(value, Text) and value.isprintable()
        text = str(value) if typed else repr(str(value) if isinstance(value, str) else value)
    except ValueError:  # Python writes no whole numbers of more than 4,300 digits
        text = "a number too long to show"
    return text if len(text) <= 80 else text[:77] + "..."


class _Misfit(Exception):
    """Says what would have fitted, in words that follow "must be"."""


@lru_cache(maxsize=256)
def _hints(cls: type[Any]) -> dict[str, Any]:
    """The annotations of the fields that a dataclass is made with."""
    if not is_dataclass(cls):
        return {}
    hints = typing.get_type_hints(cls)
    return {field.name: hints[field.name] for field in fields(cls) if field.init}


def _fit(value: Any, hint: Any) -> Any:
    """The value as the annotation wants it; raises _Misfit."""
    origin = get_origin(hint)
    if hint in _SIMPLE:
        return _SIMPLE[hint](value)
    if origin in _GENERIC:
        return _GENERIC[origin](value, get_args(hint))
    kind = origin or hint
    if isinstance(value, Text) and hasattr(kind, "from_text"):
        value = kind.from_text(value)
    if isinstance(kind, type) and not isinstance(value, kind):
        raise _Misfit(getattr(kind, "wanted", with_article(kind.__name__)))
    return value


def _fit_anything(value: Any) -> Any:
    return read_text(value) if isinstance(value, Text) else value


def _fit_none(value: Any) -> None:
    if value is not None and not (isinstance(value, Text) and value.lower() == "none"):
        raise _Misfit("none")


def _fit_bool(value: Any) -> bool:
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, str) and value.lower() in WORDS:
        return WORDS[value.lower()]
    raise _Misfit("true or false")


def _fit_int(value: Any) -> int:
    number = _number(value)
    if number is None or not float(number).is_integer():
        raise _Misfit("a whole number")
    if abs(number) > LARGEST:
        raise _Misfit(f"at most {LARGEST:,}")
    return int(number)


def _fit_float(value: Any) -> float:
    number = _number(value)
    if number is None or math.isnan(number):
        raise _Misfit("a finite number")
    own = isinstance(value, float) and not isinstance(value, np.floating)  # or one with a unit
    return value if own else float(number)


def _number(value: Any) -> int | float | None:
    """A value as a number, or None if it is not one; too large an int is infinite."""
    if isinstance(value, Text):
        value = _read_number(value)
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        return None
    whole = isinstance(value, int | np.integer)
    if whole and abs(int(value)) > 10**300:
        return math.inf
    return int(value) if whole else float(value)


def _read_number(text: str) -> Any:
    """A number as people write it, such as 1e5, 500k, 2M or 2,000,000; else another value."""
    if re.fullmatch(r"\d{1,3}(,\d{3})+", text):
        return int(text.replace(",", ""))
    if found := re.fullmatch(r"([\d_]*\.?\d+)([kM])", text):
        return float(Decimal(found[1]) * THOUSANDS[found[2]])
    return read_text(text)


def _fit_str(value: Any) -> str:
    if not isinstance(value, str):
        raise _Misfit("a text")
    return str(value)


def _fit_path(value: Any) -> Path:
    if not isinstance(value, str | Path) or "\0" in str(value):
        raise _Misfit("a path")
    return Path(value)


def _fit_union(value: Any, choices: tuple[Any, ...]) -> Any:
    if isinstance(value, Text) and "," in value:  # a list rather than a text with commas
        choices = tuple(sorted(choices, key=lambda hint: get_origin(hint) not in _SEQUENCES))
    wanted = []
    for hint in choices:
        try:
            return _fit(value, hint)
        except _Misfit as misfit:
            wanted.append(str(misfit))
    raise _Misfit(" or ".join(dict.fromkeys(wanted)))


def _fit_choice(value: Any, choices: tuple[Any, ...]) -> Any:
    for choice in choices:
        if value == choice and isinstance(value, bool) == isinstance(choice, bool):
            return choice
    near = closest(value, [choice for choice in choices if isinstance(choice, str)])
    listed = ", ".join(map(str, choices))
    raise _Misfit(f"one of {listed}" + (f"; did you mean {near!r}?" if near else ""))


def _fit_sequence(value: Any, kinds: tuple[Any, ...]) -> tuple[Any, ...]:
    if isinstance(value, Text):
        value = [Text(part) for part in value.split(",") if part] if "," in value else value
    if isinstance(value, np.ndarray):
        value = value.tolist()
    items = list(value) if isinstance(value, list | tuple | range) else [value]
    if len(kinds) == 1 or (len(kinds) == 2 and kinds[1] is Ellipsis):
        return tuple(_fit(item, kinds[0]) for item in items)
    if len(items) != len(kinds):
        raise _Misfit(f"{len(kinds)} values")
    return tuple(_fit(item, kind) for item, kind in zip(items, kinds, strict=True))


def _fit_mapping(value: Any, kinds: tuple[Any, ...]) -> Any:
    if isinstance(value, Text):
        value = _read_mapping(value)
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise _Misfit("a mapping of names to values")
    return value


_SIMPLE: dict[Any, Callable[[Any], Any]] = {
    Any: _fit_anything,
    None: _fit_none,
    type(None): _fit_none,
    bool: _fit_bool,
    int: _fit_int,
    float: _fit_float,
    str: _fit_str,
    Path: _fit_path,
}
_SEQUENCES: tuple[Any, ...] = (tuple, list, Sequence)
_GENERIC: dict[Any, Callable[[Any, tuple[Any, ...]], Any]] = {
    Annotated: lambda value, args: _fit(value, args[0]),
    Union: _fit_union,
    types.UnionType: _fit_union,
    Literal: _fit_choice,
    Mapping: _fit_mapping,
    dict: _fit_mapping,
    **dict.fromkeys(_SEQUENCES, _fit_sequence),
}


def _read_mapping(text: str) -> Any:
    """A mapping from JSON; another text as it is."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return str(text)
    return found if isinstance(found, dict) else str(text)


def read_text(text: str) -> Any:
    """Read true, false, none, a number, a mapping in JSON, a list by commas, or else the text."""
    if text.startswith("{"):
        return _read_mapping(text)
    if "," in text:
        return tuple(read_text(part) for part in text.split(",") if part)
    if text.lower() in ("true", "false", "none"):
        return {"true": True, "false": False, "none": None}[text.lower()]
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return str(text)
