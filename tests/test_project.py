"""Promises of the checkout itself: what ships, who imports whom."""

import ast
import configparser
import graphlib
import tomllib
from pathlib import Path

import pytest

import neoteny.envs

ROOT = Path(neoteny.envs.__file__).parents[1]
FLOORS = {
    "core": {"core"},
    "plasticity": {"core", "plasticity"},
    "envs": {"core", "envs"},
    "wrappers": {"core", "envs", "wrappers"},
    "agents": {"core", "plasticity", "envs", "agents"},
    "sb3": {"core", "plasticity", "envs", "agents", "sb3"},
    "experiments": {"core", "plasticity", "envs", "wrappers", "agents", "sb3", "experiments"},
}


def sources(package):
    return sorted((ROOT / package).rglob("*.py"))


def imports(node):
    """Modules that a file imports anywhere, for type checkers included."""
    for child in ast.walk(node):
        if isinstance(child, ast.ImportFrom) and child.module:
            yield child.module
            yield from (f"{child.module}.{alias.name}" for alias in child.names)
        elif isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)


def import_graph():
    """Module to the modules of the project that it imports; a package is its `__init__.py`."""
    modules = {
        "neoteny." + ".".join(path.relative_to(ROOT).with_suffix("").parts): path
        for package in FLOORS
        for path in sources(package)
    }
    modules = {name.removesuffix(".__init__"): path for name, path in modules.items()}
    graph = {}
    for name, path in modules.items():
        graph[name] = found = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                taken = [f"{node.module}.{alias.name}" for alias in node.names]
                found |= {part if part in modules else node.module for part in taken}
            elif isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
        found &= set(modules) - {name}
    return graph


def test_no_two_modules_import_each_other_in_a_circle():
    order = graphlib.TopologicalSorter(import_graph())
    order.prepare()  # raises CycleError, which names the circle


@pytest.mark.parametrize("package", FLOORS)
def test_lower_floors_never_import_upper_ones(package):
    for path in sources(package):
        for module in imports(ast.parse(path.read_text())):
            name = module.split(".")
            if name[0] == "neoteny" and len(name) > 1:
                assert name[1] in FLOORS[package], f"{path} imports {module}"


def test_the_gpl_oracle_is_imported_by_tests_alone():
    for package in FLOORS:
        for path in sources(package):
            assert "minatar" not in set(imports(ast.parse(path.read_text()))), path


def test_every_package_is_listed_and_little_lies_at_the_root():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    listed = set(config["options"]["packages"].split())
    found = {
        "neoteny." + ".".join(path.parent.relative_to(ROOT).parts)
        for package in FLOORS
        for path in (ROOT / package).rglob("__init__.py")
    }
    assert listed == found | {"neoteny"}
    assert {path.name for path in ROOT.glob("*.py")} == {"__init__.py", "__main__.py", "train.py"}


def test_settings_have_one_home():
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert set(pyproject["tool"]) == {"ruff"}
    assert "torch==2.13.0" in (ROOT / "constraints.txt").read_text()


def test_one_place_takes_gradients_and_steps():
    places = {"backward": [], "step": []}
    for package in FLOORS:
        for path in sources(package):
            text = path.read_text()
            places["backward"] += [path.name] * text.count(".backward()")
            places["step"] += [path.name] * text.count("self.optimizer.step()")
    assert places == {"backward": ["learner.py"], "step": ["learner.py"]}
