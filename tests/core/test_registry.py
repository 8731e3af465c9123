"""One registry a kind: names, hints, places, and packages that register things when asked."""

import sys
import types
from dataclasses import dataclass
from importlib.metadata import EntryPoint

import pytest

from neoteny.core import registry
from neoteny.core.errors import InputError
from neoteny.core.own_code import run_file
from neoteny.core.registry import REGISTRIES, Registry, read_settings


@pytest.fixture
def things():
    made = Registry("thing")
    yield made
    del REGISTRIES["thing"]


def test_things_are_listed_in_order_with_one_line_each(things):
    @things.register("double")
    def double(x):
        """Two of it.

        And more.
        """
        return 2 * x

    things.add("pi", 3.14, "The number.")
    assert list(things) == ["double", "pi"]
    assert [things.line(name) for name in things] == ["Two of it.", "The number."]
    assert things.find("double")(2) == 4
    assert REGISTRIES["thing"] is things


def test_an_unknown_name_is_refused_with_the_nearest(things):
    things.add("half_life", 1, "")
    with pytest.raises(InputError, match=r"^thing 'half-lives' is unknown: did you mean 'half_lif"):
        things.find("half-lives")
    with pytest.raises(KeyError):
        things["other"]
    assert 3 not in things


def write(path, words):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        "from neoteny.core.registry import REGISTRIES\n"
        "@REGISTRIES['thing'].register('mine')\n"
        f"class Mine:\n    '''{words}'''\n"
    )
    return path


def test_a_name_is_taken_once_but_the_same_class_may_come_again(things, tmp_path):
    one, two = write(tmp_path / "a" / "own.py", "One."), write(tmp_path / "b" / "own.py", "Two.")
    run_file(one)
    write(one, "One, edited.")
    run_file(one)
    assert things.line("mine") == "One, edited."
    with pytest.raises(InputError) as caught:
        run_file(two)
    message = str(caught.value)
    assert f"thing 'mine' is there already: Mine of {one} and Mine of {two}" in message
    assert things.line("mine") == "One, edited."


def entry_points(monkeypatch, *points):
    monkeypatch.setattr(registry, "_entry_points", lambda: points)
    monkeypatch.setattr(registry, "_loaded", set())


def test_packages_are_asked_only_for_names_that_nobody_else_has(things, monkeypatch):
    module = types.ModuleType("a_package")
    calls = []

    def attribute(name):
        calls.append(name)
        return things.add("theirs", 2, "Of a package.")

    module.__getattr__ = attribute
    monkeypatch.setitem(sys.modules, "a_package", module)
    entry_points(monkeypatch, EntryPoint("theirs", "a_package:thing", registry.GROUP))
    things.add("ours", 1, "Ours.")
    assert things["ours"] == things.find("ours") == 1
    assert not calls
    assert things.find("theirs") == 2
    assert list(things) == ["ours", "theirs"]
    assert calls == ["thing"]


def test_a_package_that_raises_is_named_in_one_line(things, monkeypatch, tmp_path):
    (tmp_path / "broken_package.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(tmp_path)
    entry_points(monkeypatch, EntryPoint("broken", "broken_package", registry.GROUP))
    things.add("ours", 1, "Ours.")
    assert things["ours"] == 1
    for ask in (things.find, lambda _: list(things)):
        with pytest.raises(InputError) as caught:
            ask("other")
        assert str(caught.value) == (
            "plugin 'broken' (broken_package) raises ZeroDivisionError: division by zero; mend or "
            "uninstall it"
        )


def test_an_installed_package_is_found_by_its_metadata(things, monkeypatch, tmp_path):
    info = tmp_path / "their_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[neoteny.plugins]\ntheirs = their_package\n")
    write(tmp_path / "their_package.py", "Of a package.")
    monkeypatch.syspath_prepend(tmp_path)
    registry._entry_points.cache_clear()
    try:
        assert things.line(next(iter(things))) == "Of a package."
    finally:
        registry._entry_points.cache_clear()


@dataclass
class Settings:
    size: int = 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sise=2", "it has no field 'sise': did you mean 'size'"),
        ("size", "it:size has no value: write it:size=..."),
        ("size=1,size=2", "it:size is given twice"),
    ],
)
def test_settings_that_do_not_fit_are_refused(text, message):
    with pytest.raises(InputError, match=message):
        read_settings("it", Settings, text)
    assert read_settings("it", Settings, "size=2,") == {"size": "2"}


def test_a_subclass_that_is_no_dataclass_is_told_so():
    class Forgotten(Settings):
        factor: float = 1.0

    with pytest.raises(InputError, match="no field 'factor': put @dataclass above its class"):
        read_settings("it", Forgotten, "factor=2")
