"""Schedules and changes as plain values: written to JSON or YAML and read back."""

from collections.abc import Mapping
from dataclasses import Field, fields, is_dataclass
from typing import Any, ClassVar, Self

import numpy as np

from neoteny.core.options import check_fields
from neoteny.core.registry import Registry, check_fields_given


class Serializable:
    """Base of a family of frozen dataclasses that are described by their fields.

    A direct subclass is the root of a family; the classes below it that do not begin with an
    underscore are its kinds. Fields are checked by their types and the `limits` of the class, see
    `neoteny.core.options`; a `__post_init__` of a class's own calls this one first.
    """

    kinds: ClassVar[Registry[type[Any]]]
    limits: ClassVar[Mapping[str, str]] = {}

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if Serializable in cls.__bases__:
            cls.kinds = Registry(f"{cls.__name__.lower()} kind")
        elif not cls.__name__.startswith("_"):
            cls.kinds.add(cls.__name__, cls)

    def __post_init__(self) -> None:
        check_fields(self)

    @classmethod
    def described_by(cls) -> tuple[Field[Any], ...]:
        """The fields that describe a kind; none for a class that is no dataclass."""
        return fields(cls) if is_dataclass(cls) else ()

    def to_dict(self) -> dict[str, Any]:
        """A description made of JSON types, read back by `from_dict`."""
        names = [field.name for field in self.described_by()]
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
        chosen = cls.kinds.find(kind)
        check_fields_given(str(kind), chosen, values, complete=True)
        found: Self = chosen(**{name: _rich(cls, value) for name, value in values.items()})
        return found


def _plain(value: Any) -> Any:
    if isinstance(value, Serializable):
        return value.to_dict()
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    return [_plain(item) for item in value] if isinstance(value, tuple | list) else value


def _rich(cls: type[Serializable], value: Any) -> Any:
    if isinstance(value, Mapping) and "kind" in value:
        return cls.from_dict(value)
    return tuple(_rich(cls, item) for item in value) if isinstance(value, list) else value
