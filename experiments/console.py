"""The console: texts are printed as they are, never read as markup."""

from __future__ import annotations

import io
import sys
from typing import Any

from rich.console import Console
from rich.text import Text

from neoteny.core.text import visible

__all__ = ["PlainConsole", "caution", "open_console", "print_error"]


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


def open_console(*, stderr: bool = False) -> PlainConsole:
    """Make the console of standard output or standard error.

    Characters that the stream's encoding lacks are written as escapes instead of raising.

    Args:
        stderr: Print on standard error.
    """
    stream = sys.stderr if stderr else sys.stdout
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")
    return PlainConsole(stderr=stderr)


def print_error(message: object) -> None:
    """Print an error on standard error, in one line."""
    _print_labelled(open_console(stderr=True), "error", "red", str(message))


def caution(console: Console, message: str) -> None:
    """Print a warning about a run, in one line."""
    _print_labelled(console, "warning", "yellow", message)


def _print_labelled(console: Console, label: str, style: str, message: str) -> None:
    console.print(Text.assemble((label, style), ": ", visible(message)), soft_wrap=True)
