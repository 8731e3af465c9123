"""JSON in which no name comes twice."""

import pytest

from neoteny.core.json_files import parse_json


def test_json_is_read_as_it_is():
    assert parse_json('{"a": [1, {"b": null}], "c": {"a": 2}}') == {
        "a": [1, {"b": None}],
        "c": {"a": 2},
    }


@pytest.mark.parametrize("text", ['{"a": 1, "b": 2, "a": 1}', '[{"c": {"a": 1, "a": 2}}]'])
def test_a_name_that_comes_twice_is_refused(text):
    with pytest.raises(ValueError, match='the name "a" comes twice in an object: keep one'):
        parse_json(text)
