"""Names that were not found, and those that may have been meant."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches

from neoteny.core.errors import InputError

MOST = 12
"""Names that a hint lists; of more it says that there are more."""


def closest(name: object, known: Iterable[str]) -> str | None:
    """The known name that is most like another one, whatever their case and namespace.

    Args:
        name: As it was given.
        known: Names that there are.

    Returns:
        The best; if none is alike, the shortest that begins or goes on with it; None if none does.
    """
    plain: dict[str, str] = {}
    for one in known:
        plain.setdefault(_plain(one), one)
    wanted = _plain(str(name)[:200])
    if wanted in plain:
        return plain[wanted]
    if alike := get_close_matches(wanted, plain, 1, cutoff=0.65):
        return plain[alike[0]]
    longer = [one for one in plain if re.search(rf"(^|_){re.escape(wanted)}", one)]
    return plain[min(longer, key=len)] if wanted and longer else None


def hint(name: object, known: Iterable[str]) -> str:
    """Hint for an unknown name: the nearest known one, or all known names."""
    known = list(known)
    if near := closest(name, known):
        return f"did you mean {near!r}?"
    listed = ", ".join(known[:MOST]) + (", ..." if len(known) > MOST else "")
    return f"use one of {listed}" if known else "there is none"


def require_known(what: str, name: object, known: Mapping[str, object] | Iterable[str]) -> None:
    """Refuse a name that is not known.

    Raises:
        InputError: Naming the nearest one.
    """
    known = list(known)
    if not isinstance(name, str) or name not in known:
        raise InputError(f"{what} {name!r} is unknown: {hint(name, known)}")


def with_article(noun: str) -> str:
    """A noun with "a", or "an" where it begins with a vowel."""
    return f"{'an' if noun[:1].lower() in 'aeiou' else 'a'} {noun}"


def _plain(name: str) -> str:
    return name.removeprefix("neoteny/").replace("-", "_").lower()
