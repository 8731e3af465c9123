"""JSON as other programs read it: a name that comes twice in an object is refused."""

from __future__ import annotations

import json
from typing import Any


def parse_json(text: str) -> Any:
    """The content of a JSON text.

    Raises:
        ValueError: If it is no JSON, or a name comes twice, of which readers keep either.
        RecursionError: If it is nested too deep.
    """
    return json.loads(text, object_pairs_hook=_once)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the name {json.dumps(twice)} comes twice in an object: keep one")
    return found
