"""Strategies of broken input, and what must become of it: one line, or something sensible."""

import copy
import math
import signal
import typing
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar

import numpy as np
from hypothesis import strategies as st

from neoteny.core.errors import InputError

T = TypeVar("T")
LIMIT = 10
"""Seconds of processor time after which reading an input counts as hanging."""
SIGNED = {"factors", "values", "goals", "threshold", "log_std_init", "level", "penalty", "entropy"}
"""Fields in which a negative number means something."""

WORDS = [
    "",
    " ",
    "none",
    "null",
    "nan",
    "inf",
    "-inf",
    "true",
    "no",
    "Yes",
    "off",
    "1e-1",
    "1_0",
    "-1",
]
WORDS += [
    "0",
    "1.5",
    "1e400",
    "0x10",
    "٣",
    "[red]",
    "a\nb",
    "\x00",
    "\x1b[2J",
    "'",
    "{",
    "a" * 5000,
]
words = st.sampled_from(WORDS) | st.text(max_size=8)
numbers = st.sampled_from(
    [-1, 0, 1, 2, 3, 10**9, 10**30, -1.0, 0.5, 2.5, 1e300, math.nan, math.inf]
)
scalars = st.none() | st.booleans() | numbers | words
junk = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=2),
    max_leaves=4,
)


@contextmanager
def in_time() -> Iterator[None]:
    """Raise in a block that hangs."""

    def stop(*_: object) -> None:
        raise TimeoutError(f"hangs for more than {LIMIT} s")

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, LIMIT)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def attempt(call: Callable[[], T]) -> T | None:
    """The result, or None if the input was refused; every other error is a bug."""
    try:
        with in_time():
            return call()
    except InputError:
        return None


def assert_sensible(value: Any, name: str = "") -> None:
    """No accepted number is nan, infinite, or negative where that means nothing."""
    if is_dataclass(value) and not isinstance(value, type):
        hints = typing.get_type_hints(type(value))
        for field in fields(value):
            assert_kind(field.name, getattr(value, field.name), hints[field.name])
        value = {field.name: getattr(value, field.name) for field in fields(value)}
    if isinstance(value, Mapping):
        for key, item in value.items():
            assert_sensible(item, str(key))
    elif isinstance(value, list | tuple):
        for item in value:
            assert_sensible(item, name)
    elif isinstance(value, int | float | np.number) and not isinstance(value, bool):
        assert math.isfinite(value), f"{name} is {value}"
        assert value >= 0 or name in SIGNED, f"{name} is {value}"


def assert_kind(name: str, value: Any, hint: Any) -> None:
    """A field of numbers holds no truth value, one of whole numbers no fraction."""
    kinds = {hint, *typing.get_args(hint)}
    if bool not in kinds and kinds & {int, float, tuple[int, ...], tuple[float, ...]}:
        items = value if isinstance(value, tuple | list) else (value,)
        assert not any(isinstance(item, bool) for item in items), f"{name} is {value!r}"
    if int in kinds and float not in kinds:
        assert not isinstance(value, float | str), f"{name} is {value!r}"
    if bool in kinds and len(kinds) == 1:
        assert isinstance(value, bool), f"{name} is {value!r}"


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths to all items of nested mappings and lists."""
    if path:
        yield path
    items: Any = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    for key, item in items:
        yield from places(item, (*path, key))


@st.composite
def mutated(draw: st.DrawFn, base: Any, values: st.SearchStrategy[Any] = junk) -> Any:
    """A nested value with one to three parts replaced, removed, doubled or added."""
    value = copy.deepcopy(base)
    for _ in range(draw(st.integers(1, 3))):
        found = list(places(value))
        if not found:
            return draw(values)
        *above, last = draw(st.sampled_from(found))
        inside = value
        for key in above:
            inside = inside[key]
        what = draw(st.sampled_from(["replace", "replace", "replace", "remove", "add"]))
        if what == "replace":
            inside[last] = draw(values)
        elif what == "remove":
            del inside[last]
        elif isinstance(inside, dict):
            inside[draw(words)] = draw(values)
        else:
            inside.insert(last, copy.deepcopy(inside[last]))
    return value


@st.composite
def damaged(draw: st.DrawFn, base: bytes) -> bytes:
    """Bytes with one to four flipped, cut out, doubled or put in, or cut short."""
    value = bytearray(base)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(len(value) - 1, 0)))
        length = draw(st.integers(1, 40))
        what = draw(st.sampled_from(["flip", "flip", "cut", "double", "put", "short"]))
        if what == "flip" and value:
            value[at] ^= 1 << draw(st.integers(0, 7))
        elif what == "cut":
            del value[at : at + length]
        elif what == "double":
            value[at:at] = value[at : at + length]
        elif what == "put":
            value[at:at] = draw(st.binary(max_size=8) | words.map(str.encode))
        else:
            del value[at:]
    return bytes(value)
