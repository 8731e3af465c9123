"""YAML for stream files: a strict subset of YAML 1.2.

A key that comes twice, an anchor, a tag and deep nesting are refused. `yes`, `no`, `on` and `off`
are words, `1e-1` is a number, `010` is ten, and a date is a word.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from neoteny.core.errors import InputError
from neoteny.core.text import read_text

MOST_BYTES = 100_000  # which take a second or two
DEEPEST = 20


def read_yaml(path: Path) -> Any:
    """Read a YAML file.

    Args:
        path: the file, in UTF-8.

    Returns:
        Mappings, lists, texts, numbers, booleans and None.

    Raises:
        InputError: it cannot be read, is too large, or is not such YAML; in one line.
    """
    if path.stat().st_size > MOST_BYTES:
        raise InputError(f"{path}: has more than {MOST_BYTES:,} bytes; give a shorter file")
    try:
        return yaml.load(read_text(path), _Loader)
    except _Refused as error:
        raise InputError(f"{path}: {error}") from None
    except yaml.YAMLError as error:
        words = " ".join(str(error).split()).replace('"<unicode string>", ', "")
        raise InputError(f"{path}: is not valid YAML: {words}") from None


class _Refused(Exception):
    """The reason and place of a refusal, in one line."""


class _Loader(yaml.SafeLoader):
    """YAML 1.2's core, without anchors, tags and repeated keys."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Compose a node unless it lies too deep or stands for another one."""
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        line = event.start_mark.line + 1
        if getattr(event, "anchor", None):
            raise _Refused(f"line {line} has an anchor (& or *); write it out instead")
        if tag := getattr(event, "tag", None):
            raise _Refused(f"line {line} has the tag {tag}; leave it out")
        if self.depth == DEEPEST:
            raise _Refused(f"line {line} is nested more than {DEEPEST} deep; make it flat")
        self.depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        """A mapping in which no key comes twice."""
        found: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            key = self.construct_object(key_node, deep=True)
            line = key_node.start_mark.line + 1
            if not isinstance(key, str):
                raise _Refused(f"line {line} has the key {key!r}; keys are texts")
            if key in found:
                raise _Refused(f"line {line} has the key {key!r} for a second time; keep one")
            found[key] = self.construct_object(value_node, deep=True)
        return found

    def construct_whole(self, node: Any) -> Any:
        """A whole number."""
        return _number(node, int)

    def construct_real(self, node: Any) -> Any:
        """A number that need not be whole."""
        word = node.value.lower().lstrip("+")
        return float(word.replace(".", "")) if "n" in word else _number(node, float)


def _number(node: Any, kind: type[int] | type[float]) -> Any:
    try:
        return kind(node.value)
    except ValueError:
        line = node.start_mark.line + 1
        raise _Refused(f"line {line} has a number that cannot be read; mend it") from None


_TAG = "tag:yaml.org,2002:"
_READ: dict[str | None, Callable[[_Loader, Any], Any]] = {
    f"{_TAG}null": yaml.SafeLoader.construct_yaml_null,
    f"{_TAG}bool": yaml.SafeLoader.construct_yaml_bool,
    f"{_TAG}int": _Loader.construct_whole,
    f"{_TAG}float": _Loader.construct_real,
    f"{_TAG}str": yaml.SafeLoader.construct_yaml_str,
    f"{_TAG}seq": yaml.SafeLoader.construct_yaml_seq,
    f"{_TAG}map": _Loader.construct_mapping,
}
_WORDS = (
    ("null", r"~|null|Null|NULL|", "~nN\0"),
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]+(_[0-9]+)*", "-+0123456789"),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(_[0-9]+)*(\.[0-9]*)?)([eE][-+]?[0-9]+)?"
        r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+.0123456789",
    ),
)
_Loader.yaml_constructors = _READ
_Loader.yaml_multi_constructors = {}
_Loader.yaml_implicit_resolvers = {}
for _name, _pattern, _first in _WORDS:
    _Loader.add_implicit_resolver(
        _TAG + _name,
        re.compile(f"^(?:{_pattern})$"),
        [letter.replace("\0", "") for letter in _first],
    )
