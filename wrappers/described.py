"""Schedules and changes as plain values: written to JSON or YAML and read back."""

import difflib
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, ClassVar, Self

from neoteny.core.errors import InputError


class Described:
    """Base of a family of frozen dataclasses that are described by their fields.

    A direct subclass is the root of a family; the classes below it that do not begin with an
    underscore are its kinds.
    """

    kinds: ClassVar[dict[str, type[Any]]]

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if Described in cls.__bases__:
            cls.kinds = {}
        elif not cls.__name__.startswith("_"):
            cls.kinds[cls.__name__] = cls

    def to_dict(self) -> dict[str, Any]:
        """A description made of JSON types, read back by `from_dict`."""
        names: list[str] = [field.name for field in fields(self)] if is_dataclass(self) else []
        values = {name: _plain(getattr(self, name)) for name in names}
        return {"kind": type(self).__name__, **values}

    @classmethod
    def from_dict(cls, description: Mapping[str, Any]) -> Self:
        """Rebuild a member of the family from what `to_dict` returned.

        Args:
            description: its `kind` and its fields; fields that have defaults may be left out.

        Returns:
            A value equal to the described one.

        Raises:
            ValueError: the kind is unknown, a field is unknown or missing, or a value is refused.
        """
        values = dict(description)
        kind = values.pop("kind", None)
        if kind not in cls.kinds:
            raise InputError(f"unknown {_family(cls)} kind {kind!r}; {_nearest(kind, cls.kinds)}")
        chosen = cls.kinds[kind]
        own = {field.name: field for field in fields(chosen) if field.init}
        for name in values:
            if name not in own:
                raise InputError(f"{kind} has no field {name!r}; {_nearest(name, own)}")
        for name, field in own.items():
            if name not in values and field.default is field.default_factory is MISSING:
                raise InputError(f"{kind} lacks its field {name!r}; add it")
        try:
            found: Self = chosen(**{name: _rich(cls, value) for name, value in values.items()})
        except TypeError as error:
            raise InputError(f"{kind} does not take these values: {values} ({error})") from error
        return found


def _plain(value: Any) -> Any:
    if isinstance(value, Described):
        return value.to_dict()
    return [_plain(item) for item in value] if isinstance(value, tuple | list) else value


def _rich(cls: type[Described], value: Any) -> Any:
    if isinstance(value, Mapping) and "kind" in value:
        return cls.from_dict(value)
    return tuple(_rich(cls, item) for item in value) if isinstance(value, list) else value


def _family(cls: type[Described]) -> str:
    return next(base for base in cls.__mro__ if Described in base.__bases__).__name__.lower()


def _nearest(name: Any, known: Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(str(name), known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"use one of {', '.join(known)}"
