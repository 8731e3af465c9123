"""Values fitted to types and limits, the same from the command line, files and Python."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pytest

from neoteny.core.errors import InputError
from neoteny.core.names import closest, hint
from neoteny.core.options import Text, allows, check_fields, fit, limits_of, read_text


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        (Text("1e5"), int, 100_000),
        (Text("500k"), int, 500_000),
        (Text("2M"), int, 2_000_000),
        (Text("1.1M"), int, 1_100_000),
        (Text("2_000_000"), int, 2_000_000),
        (Text("2,000,000"), int, 2_000_000),
        (Text("1k,2k"), tuple[int, ...], (1000, 2000)),
        (Text("1,200"), tuple[int, ...], (1, 200)),
        (Text("0.5k"), float, 500.0),
        (Text("2M"), str, "2M"),
        (1e5, int, 100_000),
        (np.int64(3), int, 3),
        (np.float64(0.5), float, 0.5),
        (np.array([0.5]), Sequence[float], (0.5,)),
        (3, float, 3.0),
        (Text("0.5"), float, 0.5),
        (Text("no"), bool, False),
        ("ON", bool, True),
        (Text("none"), int | None, None),
        (Text("no"), str, "no"),
        (Text("paper"), int | Literal["paper"] | None, "paper"),
        (Text("a,b"), str | Sequence[str], ("a", "b")),
        (Text("1,2"), tuple[int, ...], (1, 2)),
        (7, tuple[int, ...], (7,)),
        ("adamo", tuple[str, ...], ("adamo",)),
        ([1, 2.0], Sequence[float], (1.0, 2.0)),
        (np.arange(2), tuple[int, ...], (0, 1)),
        ("x", Path, Path("x")),
        (Text("0.1,yes"), Any, (0.1, "yes")),
        (Text("SG,"), Any, ("SG",)),
        (Text('{"a": 1, "b": 2.5}'), Any, {"a": 1, "b": 2.5}),
        (Text('{"a": 1, "b": 2.5}'), Mapping[str, Any] | None, {"a": 1, "b": 2.5}),
    ],
)
def test_values_that_fit(value, kind, expected):
    found = fit("x", value, kind)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("value", "kind", "message"),
    [
        (True, int, "x is True: it must be a whole number"),
        (1.5, int, "x is 1.5: it must be a whole number"),
        ("5", int, "x is '5': it must be a whole number"),
        (Text("1.2345k"), int, "x is 1.2345k: it must be a whole number"),
        (Text("2m"), int, "x is 2m: it must be a whole number"),
        (Text("2,00"), int, "x is 2,00: it must be a whole number"),
        (2**53 + 1, int, "at most 9,007,199,254,740,992"),
        (float("nan"), float, "x is nan: it must be a finite number"),
        (float("inf"), float, "x is inf: it must be a finite number"),
        (10**400, float, "it must be a finite number"),
        (False, float, "x is False: it must be a finite number"),
        (Text("1"), bool, "x is 1: it must be true or false"),
        (0, bool, "it must be true or false"),
        (None, int, "x is None: it must be a whole number"),
        ("Paper", Literal["paper", "native"], "must be one of paper, native; did you mean 'paper'"),
        (True, Literal[1, 2], "must be one of 1, 2"),
        ([1, [2]], tuple[int, ...], "it must be a whole number"),
        ([1], tuple[int, int], "it must be 2 values"),
        ([1], Mapping[str, Any], "a mapping of names to values"),
        (Text("[1]"), Mapping[str, Any], "a mapping of names to values"),
        (Text("{a: 1}"), Mapping[str, Any], "a mapping of names to values"),
        (Text('{"a":' * 9999), Mapping[str, Any], "a mapping of names to values"),
        ("abc\ndef" * 50, int, r"x is 'abc\\ndef"),
        (3, dict, "x is 3: it must be a dict"),
        (3, OrderedDict, "x is 3: it must be an OrderedDict"),
    ],
)
def test_values_that_do_not_fit_are_named_in_one_line(value, kind, message):
    with pytest.raises(InputError, match=message) as error:
        fit("x", value, kind)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 200


@pytest.mark.parametrize(
    ("rule", "inside", "outside"),
    [
        ("at least 1", (1, 2.5), (0.5, -1)),
        ("above 0", (1e-9,), (0, -1)),
        ("in [0, 1)", (0, 0.5), (1, -0.1)),
        ("in (0, 1]", (1,), (0,)),
        ("between 0 and 1", (0.5,), (0, 1)),
        ("from 1 to 1,000", (1, 1000), (0, 1001)),
        ("above 0, or inf", (float("inf"),), (0,)),
    ],
)
def test_limits(rule, inside, outside):
    assert all(allows(rule, value) for value in inside)
    assert not any(allows(rule, value) for value in outside)


class Weight(float):
    @classmethod
    def from_text(cls, text):
        return cls(text.removesuffix("kg")) if text.endswith("kg") else None


@dataclass(frozen=True)
class Base:
    limits: ClassVar[Mapping[str, str]] = {"size": "at least 1"}
    size: int = 1


@dataclass(frozen=True)
class Kind(Base):
    limits: ClassVar[Mapping[str, str]] = {"rates": "in [0, 1]", "reach": "above 0, or inf"}
    rates: tuple[float, ...] = ()
    reach: float | None = None
    weight: float | Weight = 0.0

    def __post_init__(self):
        check_fields(self)


def test_a_dataclass_checks_its_fields_and_those_of_its_bases():
    assert limits_of(Kind) == {
        "size": "at least 1",
        "rates": "in [0, 1]",
        "reach": "above 0, or inf",
    }
    made = Kind(2.0, [0, 0.5], float("inf"), Text("3kg"))
    assert made == Kind(2, (0.0, 0.5), float("inf"), Weight(3))
    assert type(made.weight) is Weight
    assert type(Kind(weight=Weight(2)).weight) is Weight
    for wrong, message in (
        ({"size": 0}, "size is 0: it must be at least 1"),
        ({"rates": [0.5, 2]}, r"rates is \[0.5, 2\]: it must be in \[0, 1\]"),
        ({"reach": "far"}, "reach is 'far': it must be a finite number or none"),
        ({"weight": Text("3lb")}, "weight is 3lb: it must be a finite number"),
    ):
        with pytest.raises(InputError, match=message):
            Kind(**wrong)


def test_text_is_guessed_where_no_type_is_known():
    assert [read_text(text) for text in ("3", "0.5", "True", "none", "a", "1,b")] == [
        *(3, 0.5, True, None, "a"),
        (1, "b"),
    ]


def test_names_are_found_whatever_their_case_and_namespace():
    known = ["adam", "adamo", "neoteny/CartPole-v1", "minatar-continual"]
    assert closest("AdamO", known) == "adamo"
    assert closest("cartpole-v1", known) == "neoteny/CartPole-v1"
    assert closest("minatar_contnual", known) == "minatar-continual"
    assert closest("ALE/Pong-v5", known) is None
    assert closest("cartpole", known) == "neoteny/CartPole-v1"
    assert closest("continual", known) == "minatar-continual"
    assert closest("", known) is None
    assert hint("zzz", known).startswith("use one of adam, adamo")
    assert hint("zzz", map(str, range(20))).endswith("11, ...")
