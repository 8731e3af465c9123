"""Rules by which tyro makes options of our dataclasses: their groups, other names and errors."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import UnionType
from typing import Annotated, Any, Literal, get_args, get_origin

import tyro
from tyro.constructors import (
    ConstructorRegistry,
    PrimitiveConstructorSpec,
    PrimitiveTypeInfo,
    StructConstructorSpec,
    StructFieldSpec,
    StructTypeInfo,
)

from neoteny.core.errors import InputError
from neoteny.core.options import Text

__all__ = ["ALIASES", "Refused", "option_rules"]

ALIASES = {
    "agent": ("algo",),
    "env": ("env_id",),
    "steps": ("total_timesteps",),
    "first_seed": ("seed",),
    "learning_rate": ("lr",),
    "num_envs": ("n_envs",),
    "num_steps": ("n_steps",),
    "num_epochs": ("n_epochs", "update_epochs"),
    "clip_range": ("clip_coef",),
    "replay_size": ("buffer_size",),
    "train_frequency": ("train_freq",),
    "target_frequency": ("target_update_interval", "target_network_frequency"),
    "target_rate": ("tau",),
}
"""Options to their names in Stable-Baselines3 and CleanRL, which are understood as well."""


class Refused(Exception):
    """Carries the InputError of a configuration past tyro, which frames every ValueError."""


def option_rules() -> ConstructorRegistry:
    """Constructors for dataclasses with `groups`, other names and errors that tyro leaves alone.

    A dataclass may have a class variable `groups`: the heading of a group to what it is about and
    its fields. In `--help` the first group, whose heading is empty, comes first; then the fields of
    no group, then the other groups.
    """
    registry = ConstructorRegistry()
    asking = False

    @registry.struct_rule
    def rule(info: StructTypeInfo) -> StructConstructorSpec | None:
        nonlocal asking
        if isinstance(info.type, type) and issubclass(info.type, _Group):
            return StructConstructorSpec(dict, info.type.fields)
        if asking or not dataclasses.is_dataclass(info.type):
            return None
        asking = True
        try:
            spec = ConstructorRegistry.get_struct_spec(info)
        finally:
            asking = False
        if not isinstance(spec, StructConstructorSpec):
            return None
        groups = getattr(info.type, "groups", {})
        construct = spec.instantiate

        def instantiate(**values: Any) -> object:
            for name in groups:
                values |= values.pop(name, {})
            try:
                return construct(**values)
            except InputError as error:
                raise Refused(str(error)) from error

        return StructConstructorSpec(instantiate, _grouped(_named(spec.fields), groups))

    registry.primitive_rule(_as_typed)
    return registry


class _Group:
    """Stands for some fields of a dataclass; tyro frames the options of a type of its own."""

    fields: tuple[StructFieldSpec, ...]


def _grouped(
    fields: Sequence[StructFieldSpec], groups: Mapping[str, tuple[str, Sequence[str]]]
) -> tuple[StructFieldSpec, ...]:
    """The fields of the first group, those of no group, and a field for each other group."""
    rest = {field.name: field for field in fields}
    first: tuple[StructFieldSpec, ...] = ()
    found = []
    for heading, (about, names) in groups.items():
        inside = tuple(rest.pop(name) for name in names if name in rest)
        if heading:
            kind = type(heading, (_Group,), {"fields": inside})
            found.append(StructFieldSpec(heading, kind, tyro.MISSING_NONPROP, about))
        else:
            first = inside
    return (*first, *rest.values(), *found)


def _named(fields: Sequence[StructFieldSpec]) -> list[StructFieldSpec]:
    """The fields with their other names, as far as those are not of fields, and with plain help."""
    own = {field.name for field in fields}
    found = []
    for field in fields:
        names = [field.name, *(name for name in ALIASES.get(field.name, ()) if name not in own)]
        *first, last = [name.replace("_", "-") for name in names]
        shown = tyro.conf.arg(  # in help, names come in the order of `names`
            name=None if not first else last,
            aliases=[f"--{name}" for name in first],
            metavar=_without_none(field.type),
            help_behavior_hint="" if field.default in (None, ()) else None,
        )
        kind: Any = Annotated[field.type, shown]
        found.append(
            dataclasses.replace(field, type=kind, helptext=partial(_one_line, field.helptext))
        )
    return found


def _one_line(helptext: str | Callable[[], str | None] | None) -> str | None:
    """A help text whose lines tyro breaks."""
    text = helptext() if callable(helptext) else helptext
    return None if text is None else " ".join(text.split())


def _without_none(kind: Any) -> str | None:
    """The placeholder of a type or none; None for other types, whose placeholders are tyro's."""
    if get_origin(kind) is Annotated:  # as positional ones are
        inside = _without_none(get_args(kind)[0])
        return None if inside is None else f"[{inside}]"
    kinds = [one for one in get_args(kind) if one is not type(None)]
    if get_origin(kind) is UnionType and len(kinds) == 1 and isinstance(kinds[0], type):
        return {"str": "NAME"}.get(kinds[0].__name__, kinds[0].__name__.upper())
    return None


def _as_typed(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    """Numbers and choices as they were typed; the dataclasses fit them to their fields."""
    kind = info.type
    choices = get_args(kind) if get_origin(kind) is Literal else None
    if choices is None and kind not in (int, float):
        return None
    shown = "{" + ",".join(map(str, choices)) + "}" if choices else kind.__name__.upper()
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar=shown,
        instance_from_str=lambda texts: Text(texts[0]),
        is_instance=lambda value: (
            value in choices
            if choices
            else isinstance(value, int | kind) and not isinstance(value, bool)
        ),
        str_from_instance=lambda value: [
            f"{value:_}" if isinstance(value, int) and value >= 10_000 else str(value)
        ],
    )
