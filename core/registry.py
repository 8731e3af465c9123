"""Everything that has a name: one registry a kind, and how names and settings are read from text.

A registry is filled where its things are defined, by a call, a decorator or the definition of a
subclass: by this package, by a file or module that a command names (`--plugin`), and by installed
packages whose entry points are in the group `neoteny.plugins`. Entry points are loaded when a name
is not known without them, or all names are asked for.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from inspect import get_annotations, getdoc
from os.path import realpath
from typing import Any, Generic, TypeVar

from neoteny.core.errors import InputError
from neoteny.core.names import hint, require_known
from neoteny.core.options import Text

T = TypeVar("T")
D = TypeVar("D")

GROUP = "neoteny.plugins"
"""Group of the entry points of packages that register things."""

REGISTRIES: dict[str, Registry[Any]] = {}
"""Every registry by its kind."""


class Registry(Mapping[str, T], Generic[T]):
    """The things of one kind by name, in the order in which they were registered.

    Args:
        kind: Noun that messages use, such as "intervention".
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._things: dict[str, T] = {}
        self._places: dict[str, str] = {}
        self._lines: dict[str, str] = {}
        REGISTRIES[kind] = self

    def add(
        self, name: str, thing: T, line: str | None = None, *, origin: object | None = None
    ) -> T:
        """Register a thing.

        Args:
            name: Its name.
            thing: Class, function or value.
            line: One line about it; unset, the first of its documentation.
            origin: Class or function that the thing is made of, if it is neither itself.

        Returns:
            The thing.

        Raises:
            InputError: If the name is taken by another thing; naming both places. A thing that is
                defined again where it was before, as by a module that is imported again, replaces
                the old one.
        """
        origin = thing if origin is None else origin
        place = _place(origin)
        if name in self._things and self._places[name] != place:
            raise InputError(
                f"{self.kind} {name!r} is there already: {self._places[name]} and {place} both "
                "have the name; rename yours"
            )
        self._things[name] = thing
        self._places[name] = place
        self._lines[name] = first_line(origin) if line is None else line
        return thing

    def register(self, name: str, line: str | None = None) -> Callable[[D], D]:
        """Register the class or function that is decorated."""

        def decorate(thing: D) -> D:
            self.add(name, thing, line)  # type: ignore[arg-type]
            return thing

        return decorate

    def find(self, name: object) -> T:
        """The thing of a name.

        Raises:
            InputError: If there is none, with the nearest name.
        """
        self.require(name)
        return self._things[str(name)]

    def require(self, name: object) -> None:
        """Refuse a name that is not known.

        Raises:
            InputError: With the nearest name.
        """
        if not isinstance(name, str) or name not in self:
            require_known(self.kind, name, self._things)

    def discard(self, name: str) -> None:
        """Forget a thing, so that its name is free."""
        for known in (self._things, self._places, self._lines):
            known.pop(name, None)

    def line(self, name: str) -> str:
        """One line about a thing."""
        return self._lines[name]

    def place(self, name: str) -> str:
        """File and line, or module, that defines a thing."""
        return self._places[name]

    def defined_in(self, file: str, name: str) -> str:
        """The name under which a file that has been run registered its class or function.

        Args:
            file: Its path.
            name: Of the class or function.

        Raises:
            InputError: If it has registered none.
        """
        places = {place: registered for registered, place in self._places.items()}
        if (wanted := f"{name} of {realpath(file)}") not in places:
            ending = f" of {realpath(file)}"
            there = [place.removesuffix(ending) for place in places if place.endswith(ending)]
            way = hint(name, there) if there else f"{self.kind} classes are those with a `name`"
            raise InputError(f"{file} has no {self.kind} {name!r}: {way}")
        return places[wanted]

    def __getitem__(self, name: str) -> T:
        if name not in self._things:
            load_entry_points()
        return self._things[name]

    def __contains__(self, name: object) -> bool:
        if name not in self._things:
            load_entry_points()
        return name in self._things

    def __iter__(self) -> Iterator[str]:
        load_entry_points()
        return iter(list(self._things))

    def __len__(self) -> int:
        load_entry_points()
        return len(self._things)


_loaded: set[EntryPoint] = set()


@cache
def _entry_points() -> tuple[EntryPoint, ...]:
    return tuple(entry_points(group=GROUP))


def load_entry_points() -> None:
    """Import what installed packages name in the group `neoteny.plugins`, once a process.

    Raises:
        InputError: If one of them raises; in one line that names it.
    """
    for point in _entry_points():
        if point in _loaded:
            continue
        _loaded.add(point)  # first of all, as it may ask a registry for names
        try:
            point.load()
        except Exception as error:
            _loaded.discard(point)
            package = "" if point.dist is None else f" of the package {point.dist.name}"
            raise InputError(
                f"plugin {point.name!r} ({point.value}){package} raises "
                f"{type(error).__name__}: {error}; mend or uninstall it"
            ) from error


def first_line(thing: object) -> str:
    """The first line of a documentation."""
    return (getdoc(thing) or "").split("\n")[0]


def _place(thing: object) -> str:
    """Definition of a class or function; of a value, the file that registers it."""
    module, name = getattr(thing, "__module__", None), getattr(thing, "__qualname__", None)
    if isinstance(module, str) and name is not None:
        file = getattr(sys.modules.get(module), "__file__", None)
        return f"{name} of {realpath(file) if file else module}"
    frame = sys._getframe()
    while frame.f_back is not None and frame.f_globals.get("__name__") == __name__:
        frame = frame.f_back
    return frame.f_code.co_filename


def read_settings(label: str, cls: type[Any], text: str) -> dict[str, Text]:
    """Read `field=value,...`, each value to be fitted to its field by the class.

    Args:
        label: What messages call the thing, such as `adamo`.
        cls: Its dataclass.
        text: As it was typed; nothing gives no settings.

    Raises:
        InputError: If a field is unknown, lacks a value or comes twice.
    """
    values: dict[str, Text] = {}
    for part in filter(None, text.split(",")):
        key, equals, value = part.partition("=")
        check_fields_given(label, cls, [key])
        if not equals:
            raise InputError(f"{label}:{key} has no value: write {label}:{key}=...")
        if key in values:
            raise InputError(f"{label}:{key} is given twice: give it once")
        values[key] = Text(value)
    return values


def check_fields_given(
    label: str, cls: type[Any], given: Mapping[str, Any] | list[str], *, complete: bool = False
) -> None:
    """Refuse names that are no fields of a dataclass.

    Args:
        label: What messages call the thing.
        cls: Its dataclass; any other class has no fields.
        given: The names.
        complete: Refuse a field without a default that is not given, too.

    Raises:
        InputError: With the nearest field.
    """
    found: tuple[Field[Any], ...] = fields(cls) if is_dataclass(cls) else ()
    known = {field.name: field for field in found if field.init}
    for name in given:
        if name not in known:
            bare = "__dataclass_fields__" not in vars(cls) and name in get_annotations(cls)
            fix = "put @dataclass above its class" if bare else hint(name, known)
            raise InputError(f"{label} has no field {name!r}: {fix}")
    for name, field in known.items():
        missing = field.default is field.default_factory is MISSING
        if complete and missing and name not in given:
            raise InputError(f"{label} lacks its field {name!r}; add it")
