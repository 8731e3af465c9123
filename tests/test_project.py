"""Promises of the checkout itself: what ships, who imports whom."""

import ast
import configparser
import graphlib
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest

import neoteny.envs
from neoteny.agents import DQN, PPO, DQNConfig, NetworkSpec, PPOConfig
from neoteny.plasticity.interventions import make_interventions

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
EXPERIMENTS = ("options", "run", "statistics", "report", "engines")
"""Packages of experiments/ from the lowest; above them the others, and the command line."""


def sources(package):
    return sorted((ROOT / package).rglob("*.py"))


@cache
def statements(path):
    """The import statements of a file."""
    nodes = ast.walk(ast.parse(path.read_text()))
    return [node for node in nodes if isinstance(node, ast.Import | ast.ImportFrom)]


def imports(path):
    """Modules that a file imports anywhere, for type checkers included."""
    for node in statements(path):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


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
        for node in statements(path):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            else:
                taken = [f"{node.module}.{alias.name}" for alias in node.names]
                found |= {part if part in modules else node.module for part in taken}
        found &= set(modules) - {name}
    return graph


def test_no_two_modules_import_each_other_in_a_circle():
    order = graphlib.TopologicalSorter(import_graph())
    order.prepare()  # raises CycleError, which names the circle


@pytest.mark.parametrize("package", FLOORS)
def test_lower_floors_never_import_upper_ones(package):
    for path in sources(package):
        for module in imports(path):
            name = module.split(".")
            if name[0] == "neoteny" and len(name) > 1:
                assert name[1] in FLOORS[package], f"{path} imports {module}"


@pytest.mark.parametrize("package", EXPERIMENTS)
def test_lower_packages_of_experiments_never_import_upper_ones(package):
    known = EXPERIMENTS[: EXPERIMENTS.index(package) + 1]
    for path in sources(f"experiments/{package}"):
        for module in imports(path):
            name = module.split(".")
            if name[:2] == ["neoteny", "experiments"] and len(name) > 2:
                assert name[2] in known, f"{path} imports {module}"


def test_the_gpl_oracle_is_imported_by_tests_alone():
    for package in FLOORS:
        for path in sources(package):
            assert "minatar" not in set(imports(path)), path


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


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("kind", ["ppo", "dqn"])
def test_one_update_can_be_followed_in_few_files(kind, fast):
    """An update runs in the files that docs/architecture.md names, and in no others."""
    spec, interventions = NetworkSpec((8, 8)), make_interventions(["none"])
    envs = neoteny.envs.make("MinAtar-Breakout", 8)
    if kind == "ppo":
        config = PPOConfig(num_envs=8, num_steps=4, num_minibatches=1, num_epochs=1)
        agent = PPO(envs, config, spec, interventions, [0], fast=fast)
    else:
        config = DQNConfig(num_envs=8, num_steps=4, train_frequency=8, learning_starts=8)
        agent = DQN(envs, config, spec, interventions, [0], fast=fast)
    update, ran = agent._update, set()

    def note(frame, event, _):
        if event == "call":
            ran.add(Path(frame.f_code.co_filename))

    def watched(*arguments):
        sys.setprofile(note)
        try:
            return update(*arguments)
        finally:
            sys.setprofile(None)

    agent._update = watched
    agent.iterate(envs)
    assert agent.learner.updates > 0
    ours = {path.resolve() for path in ran} & {p.resolve() for f in FLOORS for p in sources(f)}
    assert 6 <= len(ours) <= (8 if fast else 9), sorted(map(str, ours))


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
