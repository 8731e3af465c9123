"""Reading the command line: tyro's options, our validation, and errors of one line."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import tyro
from tyro.constructors import (
    ConstructorRegistry,
    PrimitiveConstructorSpec,
    PrimitiveTypeInfo,
    StructConstructorSpec,
    StructTypeInfo,
)

from neoteny.core.errors import InputError
from neoteny.core.names import closest, require_known
from neoteny.core.options import Text

__all__ = ["called_as", "parse"]

ELSEWHERE = {
    "lr": "learning-rate",
    "seed": "first-seed",
    "timesteps": "steps",
    "total-timesteps": "steps",
    "env-id": "env",
    "algo": "agent",
    "n-envs": "num-envs",
    "n-epochs": "num-epochs",
}
"""Options of other packages to the ones that we have for them."""


def called_as() -> str:
    """The program as it was called: `train.py`, `neoteny` or `python -m neoteny`."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    if spec is not None:
        return f"python -m {spec.name.removesuffix('.__main__')}"
    return Path(sys.argv[0]).name or "train.py"


def parse(
    kinds: Any,
    names: Sequence[str],
    arguments: Sequence[str],
    about: str,
    program: str = "train.py",
) -> Any:
    """Read a command and its options.

    Args:
        kinds: Union of the commands' dataclasses, annotated for tyro.
        names: Of the commands.
        arguments: What follows the program's name.
        about: What the program does, for `--help`.
        program: How it was called, for `--help`.

    Returns:
        An instance of a command's dataclass.

    Raises:
        InputError: If the arguments do not fit; in one line.
        SystemExit: After `--help`, with code 0.
    """
    if arguments and not arguments[0].startswith("-"):
        require_known("command", arguments[0], names)
    framed = io.StringIO()
    try:
        with contextlib.redirect_stderr(framed):
            config, unknown = tyro.cli(
                kinds,
                args=arguments,
                prog=program,
                description=about,
                config=(tyro.conf.OmitArgPrefixes, tyro.conf.AvoidSubcommands),
                registry=_registry(),
                return_unknown_args=True,
            )
    except _Refused as error:
        raise InputError(str(error)) from error
    except SystemExit as stop:
        if stop.code != 2:
            raise
        raise InputError(_one_line(framed.getvalue())) from None
    sys.stderr.write(framed.getvalue())
    if unknown:
        raise InputError(_not_known(unknown[0], config))
    return config


class _Refused(Exception):
    """Carries the InputError of a configuration past tyro, which frames every ValueError."""


def _registry() -> ConstructorRegistry:
    """Constructors of tyro's own for dataclasses, but with errors that it leaves alone."""
    registry = ConstructorRegistry()
    asking = False

    @registry.struct_rule
    def rule(info: StructTypeInfo) -> StructConstructorSpec | None:
        nonlocal asking
        if asking or not dataclasses.is_dataclass(info.type):
            return None
        asking = True
        try:
            spec = ConstructorRegistry.get_struct_spec(info)
        finally:
            asking = False
        if not isinstance(spec, StructConstructorSpec):
            return None
        construct = spec.instantiate

        def instantiate(*args: object, **values: object) -> object:
            try:
                return construct(*args, **values)
            except InputError as error:
                raise _Refused(str(error)) from error

        return dataclasses.replace(spec, instantiate=instantiate)

    registry.primitive_rule(_as_typed)
    return registry


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
        str_from_instance=lambda value: [str(value)],
    )


def _one_line(frame: str) -> str:
    """The words of a framed message of tyro, without the pointer to `--help`."""
    words = " ".join(line.strip(" ╭╮╰╯│─+|-") for line in frame.splitlines())
    return " ".join(words.partition("For full helptext")[0].split()) or "see --help"


def _not_known(word: str, config: Any) -> str:
    """Message for a word of the command line that tyro did not take."""
    if not word.startswith("--"):
        return f"{word!r} is out of place: options begin with --, see --help"
    name = word[2:].partition("=")[0].replace("_", "-").removeprefix("no-")
    known = {option.replace("_", "-") for option in _options(config)}
    if name in known:
        return f"option {word} is unknown: give --{name} a value"
    found = [ELSEWHERE[name]] if ELSEWHERE.get(name) in known else closest(name, known)
    hint = f"did you mean --{found[0].replace('_', '-')}?" if found else "see --help"
    return f"option --{name} is unknown: {hint}"


def _options(config: Any) -> Iterator[str]:
    """Names of the options of a configuration and of those inside it."""
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from _options(value)
        else:
            yield field.name
