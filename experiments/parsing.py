"""Reading the command line: tyro's options, our validation, and errors of one line."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import make_dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from neoteny.core.errors import InputError
from neoteny.core.names import closest, require_known
from neoteny.experiments.options.option_rules import Refused, option_rules

__all__ = ["called_as", "choose", "parse"]

ELSEWHERE = {
    "cuda": "device",
    "batch-size": "num-minibatches",
    "net-arch": "hidden",
    "layers": "hidden",
    "norm-adv": "normalize-advantage",
    "exp-name": "out",
    "log-dir": "out",
}
"""Options of other packages to the ones of ours that come nearest."""


def called_as() -> str:
    """The program as it was called: `train.py`, `neoteny` or `python -m neoteny`."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    if spec is not None:
        return f"python -m {spec.name.removesuffix('.__main__')}"
    return Path(sys.argv[0]).name or "train.py"


def choose(commands: Mapping[str, str], arguments: Sequence[str], about: str, program: str) -> None:
    """Refuse arguments that begin with no command, or print the commands and exit.

    Args:
        commands: Names to what they do.
        arguments: What follows the program's name.
        about: What the program does, for `--help`.
        program: How it was called, for `--help`.

    Raises:
        InputError: If no command is named, or an unknown one.
        SystemExit: After `--help`, with code 0.
    """
    if not arguments or arguments[0].startswith("-"):
        kinds: Any = None
        for name, does in commands.items():
            stub = make_dataclass(name.title(), [], namespace={"__doc__": does})
            kind: Any = Annotated[stub, tyro.conf.subcommand(name)]
            kinds = kind if kinds is None else kinds | kind
        _read(kinds, arguments, "", prog=program, description=about)
    require_known("command", arguments[0], commands)


def parse(kind: type[Any], default: Any, arguments: Sequence[str], program: str) -> Any:
    """Read a command's options.

    Args:
        kind: Their dataclass.
        default: An instance with the values of options that are not given; None if some must be.
        arguments: The command and its options.
        program: How it was called, for `--help`.

    Returns:
        An instance of the dataclass.

    Raises:
        InputError: If the arguments do not fit; in one line.
        SystemExit: After `--help`, with code 0.
    """
    command, *given = arguments
    usual = {} if default is None else {"default": default}
    return _read(kind, given, command, prog=f"{program} {command}", **usual)


def _read(kind: Any, arguments: Sequence[str], command: str, **options: Any) -> Any:
    framed = io.StringIO()
    try:
        with contextlib.redirect_stderr(framed):
            config, unknown = tyro.cli(
                kind,
                args=arguments,
                config=(tyro.conf.OmitArgPrefixes, tyro.conf.AvoidSubcommands),
                registry=option_rules(),
                return_unknown_args=True,
                **options,
            )
    except Refused as error:
        raise InputError(str(error)) from error
    except SystemExit as stop:
        if stop.code != 2:
            raise
        raise InputError(_one_line(framed.getvalue(), command)) from None
    sys.stderr.write(framed.getvalue())
    if unknown:
        raise InputError(_not_known(unknown[0], config))
    return config


def _one_line(frame: str, command: str) -> str:
    """The words of a framed message of tyro, without its heading and the pointer to `--help`."""
    _heading, *rest = frame.splitlines() or [""]
    words = " ".join(line.strip(" ╭╮╰╯│─+|-") for line in rest)
    words = " ".join(words.partition("For full helptext")[0].split())
    if found := re.match(r"Missing value for argument '(\S+?)[/']", words):
        return f"option {found[1]} has no value: give it one"
    if found := re.match(r"invalid choice (.+) for argument '--(\S+?)[/'].*\((.*)\)", words):
        choices = found[3].replace("'", "").rstrip(",")
        return f"{found[2].replace('-', '_')} is {found[1]}: it must be one of {choices}"
    if found := re.match(r"Missing from [^:]*: (\{[^}]*\}|\S+) (.+?)\.? \(required\)", words):
        return f"{command} needs {found[1].replace(' ', '')}: {found[2]}"
    if found := re.match(r".*xpected one of {(.*)}", words):
        return f"a command comes first: {found[1]}; see --help"
    return words or "see --help"


def _not_known(word: str, config: Any) -> str:
    """Message for a word of the command line that tyro did not take."""
    if not word.startswith("--"):
        return f"{word!r} is out of place: options begin with --, see --help"
    name = word[2:].partition("=")[0].replace("_", "-").removeprefix("no-")
    known = {option.replace("_", "-") for option in _options(config)}
    if name in known:
        return f"option {word} is unknown: give --{name} a value"
    found = ELSEWHERE[name] if ELSEWHERE.get(name) in known else closest(name, known)
    hint = f"did you mean --{found.replace('_', '-')}?" if found else "see --help"
    return f"option --{name} is unknown: {hint}"


def _options(config: Any) -> Iterator[str]:
    """Names of the options of a configuration and of those inside it."""
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from _options(value)
        else:
            yield field.name
