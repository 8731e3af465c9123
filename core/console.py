"""The console: texts are printed as they are, without markup."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from neoteny.core.text import shortened, visible

logger = logging.getLogger(__name__)

LONGEST = 1000
"""Characters of an error or a warning at most: one that names a value of any length stays a line
that can be read."""


class PlainConsole(Console):
    """A rich console without markup, emoji codes or highlighting; styles are given by `Text`.

    Names, paths and messages may hold anything: brackets stay brackets, and control characters
    are shown as escapes.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """Turn a string into text, its control characters made visible."""
        return super().render_str(visible(text, keep="\n"), **options)


class Lasting:
    """A text stream that goes silent once it cannot be written, instead of ending the program.

    A pipe or a terminal may be closed, or a disk full, while a run has hours to go. From then on
    all output goes to the null device, with what the stream still holds.

    Args:
        stream: Standard output or standard error.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write a text, or lose it."""
        try:
            self._stream.write(text)
        except (OSError, ValueError) as error:
            self._give_up(error)
        return len(text)

    def flush(self) -> None:
        """Write the buffer, or discard it."""
        try:
            self._stream.flush()
        except (OSError, ValueError) as error:
            self._give_up(error)

    def _give_up(self, error: OSError | ValueError) -> None:
        if isinstance(error, ValueError) and not self._stream.closed:
            raise error
        with suppress(OSError, ValueError):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self._stream.fileno())
            os.close(null)
        if isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
            with suppress(OSError, ValueError, AttributeError):
                sys.stderr.write(f"going on without output, which failed: {error.strerror}\n")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def lasting_output() -> Iterator[None]:
    """Go on with the block when standard output or error cannot be written (see `Lasting`)."""
    for descriptor in range(3):  # what is closed would be the next file to be opened
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    before = sys.stdout, sys.stderr
    with ExitStack() as opened:
        for name, stream in zip(("stdout", "stderr"), before, strict=True):
            if stream is None:  # it was closed before the program began
                stream = opened.enter_context(open(os.devnull, "w", encoding="utf-8"))
            setattr(sys, name, Lasting(stream))
        try:
            yield
        finally:
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            sys.stdout, sys.stderr = before


def open_console(*, stderr: bool = False) -> PlainConsole:
    """Make the console of standard output or standard error.

    Characters that the stream's encoding lacks are written as escapes instead of raising.

    Args:
        stderr: Print on standard error.
    """
    stream = sys.stderr if stderr else sys.stdout
    if reconfigure := getattr(stream, "reconfigure", None):
        reconfigure(errors="backslashreplace")
    return PlainConsole(stderr=stderr)


def print_error(message: object) -> None:
    """Print an error on standard error, in one line."""
    _print_labelled(open_console(stderr=True), "error", "red", str(message))


def print_notice(message: object) -> None:
    """Print on standard error, in one line."""
    open_console(stderr=True).print(visible(str(message)), soft_wrap=True)


def caution(console: Console, message: str) -> None:
    """Print a warning about a run, in one line; where the console is quiet, log it."""
    if console.quiet:
        logger.warning("%s", visible(message))
    _print_labelled(console, "warning", "yellow", message)


def _print_labelled(console: Console, label: str, style: str, message: str) -> None:
    text = shortened(visible(message), LONGEST)
    console.print(Text.assemble((label, style), ": ", text), soft_wrap=True)


def as_markdown(table: Table, headers: Sequence[str] | None = None) -> str:
    """A table of text in Markdown.

    Args:
        table: All columns.
        headers: Those of the columns to keep; unset, all.
    """
    kept = [c for c in table.columns if headers is None or c.header in headers]
    rows = [
        [str(column.header) for column in kept],
        ["---"] * len(kept),
        *zip(*(map(str, column.cells) for column in kept), strict=True),
    ]
    return "\n".join(f"| {' | '.join(row)} |".replace("\n", "<br>") for row in rows)
