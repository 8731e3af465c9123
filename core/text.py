"""Text that comes from outside: read as UTF-8 whatever the locale, and shown as it is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from neoteny.core.errors import InputError


def read_text(path: Path) -> str:
    """Read a text file as UTF-8, with a byte order mark or without.

    Args:
        path: The file.

    Returns:
        Its content.

    Raises:
        InputError: The file cannot be read, or is in another encoding.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        raise InputError(
            f"{path} is not UTF-8 text (byte 0x{byte:02x} at position {error.start:,}): save it in "
            "UTF-8, or restore it"
        ) from None


def visible(text: str, keep: str = "") -> str:
    r"""Replace characters that a terminal, browser or font would not show by escapes.

    Args:
        text: Any text, such as a name that a user or another package gave.
        keep: Characters that stay as they are, such as line ends of a text of our own.

    Returns:
        The text with control characters, invisible ones and undecodable bytes as ``\n``,
        ``\x1b``, ``\u202e``, ``\udcff``; one line unless `keep` has line ends.
    """
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() or char in keep else char.encode("unicode_escape").decode()
        for char in text
    )


def shortened(text: str, limit: int) -> str:
    """Shorten a text in its middle, where names differ least.

    Args:
        text: Any text.
        limit: Most characters of the result, at least 3.

    Returns:
        The text, or its two ends around ``…``.
    """
    if len(text) <= limit:
        return text
    tail = (limit - 1) // 2
    return f"{text[: limit - 1 - tail]}…{text[-tail:]}"


def distinct(texts: Sequence[str]) -> list[str]:
    """Number the texts that are alike: ``["a", "b", "a"]`` → ``["a (1)", "b", "a (2)"]``."""
    numbers = [list(texts[: at + 1]).count(text) for at, text in enumerate(texts)]
    return [
        text if texts.count(text) == 1 else f"{text} ({number})"
        for text, number in zip(texts, numbers, strict=True)
    ]
