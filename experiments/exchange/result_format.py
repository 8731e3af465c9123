"""The result format: one JSON file a comparison, checked field by field.

`schema.json` says what a file holds. What a schema cannot say is checked here: that runs name arms
and tasks that are there, once each, and arms oracles that start afresh.
"""

from __future__ import annotations

import json
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neoteny.core.errors import InputError
from neoteny.core.json_files import parse_json
from neoteny.core.text import read_text, shortened, visible
from neoteny.experiments.options.arms import ORACLE
from neoteny.experiments.options.extras import imported

if TYPE_CHECKING:
    from jsonschema import Draft202012Validator, ValidationError

__all__ = ["FORMAT", "VERSION", "check_results", "read_results", "schema"]

FORMAT, VERSION = "neoteny-results", 1
_LARGEST = 1e100


def schema() -> dict[str, Any]:
    """The JSON schema of a result file."""
    text = files(__package__).joinpath("schema.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    return found


def read_results(path: Path) -> dict[str, Any]:
    """Read a result file.

    Returns:
        Its content, which `check_results` has nothing against.

    Raises:
        InputError: It is no result file, or a field of it is wrong: names the field.
    """
    text = read_text(path)
    try:
        content = parse_json(text)
    except (ValueError, RecursionError) as error:  # ValueError: 4,300 digits and more, too
        raise InputError(
            f"{path} is no JSON ({visible(shortened(str(error), 200))}); write it by a JSON library"
        ) from None
    check_results(content, str(path))
    found: dict[str, Any] = content
    return found


def check_results(content: Any, where: str) -> None:
    """Refuse what is not of the format.

    Args:
        content: Content of a result file.
        where: Name of the file, for the refusal.

    Raises:
        InputError: Naming the first field that is wrong, and what is wrong with it.
    """
    for path, number in _too_large(content):
        raise InputError(
            f"{where}, {_field(path)}: is {shortened(str(number), 20)}, but must be a finite "
            "number; write null for what is missing"
        )
    error = next(iter(sorted(_validator().iter_errors(content), key=_depth)), None)
    if error is not None:
        raise InputError(f"{where}, {_field(error.absolute_path)}: {_reason(error)}")
    for field, reason in _inconsistent(content):
        raise InputError(f"{where}, {field}: {reason}")


def _too_large(content: Any) -> Iterator[tuple[tuple[str | int, ...], int | float]]:
    """Places of numbers that are NaN, infinite, or too large to square."""
    left: deque[tuple[tuple[str | int, ...], Any]] = deque([((), content)])
    while left:
        path, found = left.popleft()
        if isinstance(found, dict):
            left.extend(((*path, name), inner) for name, inner in found.items())
        elif isinstance(found, list):
            left.extend(((*path, place), inner) for place, inner in enumerate(found))
        elif isinstance(found, int | float) and not abs(found) < _LARGEST:
            yield path, found


@cache
def _validator() -> Draft202012Validator:
    jsonschema = imported(
        "jsonschema",
        'results are checked by jsonschema, which is not installed: run pip install "neoteny'
        '[share]"',
    )
    validator: Draft202012Validator = jsonschema.Draft202012Validator(schema())
    return validator


def _depth(error: ValidationError) -> tuple[int, list[str]]:
    return len(error.absolute_path), list(map(str, error.absolute_path))


def _field(path: Iterable[str | int]) -> str:
    """A field's place, as in ``runs[3].visits[0].score``."""
    parts = [f"[{part}]" if isinstance(part, int) else f".{part}" for part in path]
    return visible("".join(parts).removeprefix(".")) or "the whole file"


def _reason(error: ValidationError) -> str:
    wanted = {
        "type": "must be {0}",
        "const": "must be {0!r}",
        "enum": "must be one of {0}",
        "minimum": "must be at least {0}",
        "minItems": "must not be empty",
        "minLength": "must not be empty",
        "pattern": "must not be blank",
    }
    rule, value = str(error.validator), error.validator_value
    if rule not in wanted:  # such as a missing field, which the message names
        return visible(shortened(error.message, 200))
    kinds = " or ".join(value) if rule == "type" and isinstance(value, list) else value
    shown = visible(shortened(json.dumps(error.instance), 80))
    return f"is {shown}, but {wanted[rule].format(kinds)}"


def _inconsistent(content: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Fields that do not go with others, and why."""
    tasks = [task["name"] for task in content["tasks"]]
    arms = {arm["name"]: arm for arm in content["arms"]}
    yield from _twice("tasks", tasks)
    yield from _twice("arms", [arm["name"] for arm in content["arms"]])
    for place, arm in enumerate(content["arms"]):
        oracle = arm.get("oracle")
        if oracle is not None and arms.get(oracle, {}).get("role") != ORACLE:
            yield (
                f"arms[{place}].oracle",
                f"is {_quoted(oracle)}, but must be an arm with the role {ORACLE!r}",
            )
    for place, run in enumerate(content["runs"]):
        if run["arm"] not in arms:
            yield f"runs[{place}].arm", f"is {_quoted(run['arm'])}, which is not among the arms"
        if len(run["visits"]) > content["protocol"]["visits"]:
            yield (
                f"runs[{place}].visits",
                f"are {len(run['visits'])}, but protocol.visits is {content['protocol']['visits']}",
            )
        for number, visit in enumerate(run["visits"]):
            if visit["task"] not in tasks:
                name = f"runs[{place}].visits[{number}].task"
                yield name, f"is {_quoted(visit['task'])}, which is not among the tasks"
    yield from _misaligned(content["runs"], arms)
    yield from _twice("runs", [f"{run['arm']}, seed {run['seed']}" for run in content["runs"]])


def _misaligned(
    runs: list[dict[str, Any]], arms: dict[str, dict[str, Any]]
) -> Iterator[tuple[str, str]]:
    """Visits of another task than the oracle's of the same seed, with which they are paired."""
    played = {(run["arm"], run["seed"]): [visit["task"] for visit in run["visits"]] for run in runs}
    for place, run in enumerate(runs):
        oracle = arms.get(run["arm"], {}).get("oracle")
        fresh = played.get((oracle, run["seed"]), [])
        for number, (visit, task) in enumerate(zip(run["visits"], fresh, strict=False)):
            if visit["task"] != task:
                yield (
                    f"runs[{place}].visits[{number}].task",
                    f"is {_quoted(visit['task'])}, but the same visit of the oracle, with seed "
                    f"{run['seed']}, is of {_quoted(task)}",
                )


def _twice(field: str, names: list[str]) -> Iterator[tuple[str, str]]:
    for name, count in Counter(names).items():
        if count > 1:
            places = [place for place, other in enumerate(names) if other == name]
            yield f"{field}[{places[1]}]", f"{_quoted(name)} is there {count} times"


def _quoted(name: str) -> str:
    return repr(visible(shortened(name, 80)))
