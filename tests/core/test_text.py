from pathlib import Path

import pytest

from neoteny.core.errors import InputError
from neoteny.core.text import distinct, read_text, shortened, visible


def test_what_a_terminal_would_act_on_is_shown_as_an_escape() -> None:
    assert visible("Ärger $x$ [red] 漢字 😀") == "Ärger $x$ [red] 漢字 😀"
    assert visible("a\nb\r\x1b[31mc\x00") == r"a\nb\r\x1b[31mc\x00"
    assert visible("left\u202eright\u200b") == r"left\u202eright\u200b"
    assert visible(b"caf\xe9".decode("utf-8", "surrogateescape")) == r"caf\udce9"
    assert visible("a\nb\tc", keep="\n") == "a\nb\\tc"


def test_long_texts_keep_both_ends() -> None:
    assert shortened("abcdef", 6) == "abcdef"
    assert shortened("abcdefg", 6) == "abc…fg"
    assert len(shortened("x" * 5000, 40)) == 40


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"caf\xe9: 1", "byte 0xe9 at position 3"),
        (b"\xff\xfea\0", "byte 0xff at position 0"),
    ],
)
def test_files_in_another_encoding_are_named(tmp_path: Path, content: bytes, found: str) -> None:
    path = tmp_path / "stream.yaml"
    path.write_bytes(content)
    with pytest.raises(InputError, match=f"stream.yaml is not UTF-8 text .{found}") as caught:
        read_text(path)
    assert "\n" not in str(caught.value)


def test_files_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot read .*missing: No such file"):
        read_text(tmp_path / "missing")


def test_alike_texts_are_numbered() -> None:
    assert distinct(["a", "b", "a"]) == ["a (1)", "b", "a (2)"]


def test_a_byte_order_mark_is_no_part_of_a_text(tmp_path):
    path = tmp_path / "marked"
    path.write_bytes("ä".encode("utf-8-sig"))
    assert read_text(path) == "ä"
