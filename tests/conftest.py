"""Fixtures and limits shared by the tests of all packages."""

import gc
import importlib
import os
import signal

# Before torch is imported: tests run side by side, and alone they find the same numbers
os.environ["OMP_NUM_THREADS"] = "1"

import gymnasium
import pytest

from neoteny.core.registry import REGISTRIES

# A shell that runs tests in the background has them ignore what some send
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_collection(session):
    """Registration of everything first; no garbage collection, as collected tests are kept."""
    gc.disable()
    if session.config.getoption("dist", "no") == "no":  # else others collect, and this one waits
        importlib.import_module("neoteny.experiments.cli")
        importlib.import_module("neoteny.experiments.listing")


def pytest_collection_finish():
    """Garbage collection of the objects that tests make, less often than usual."""
    gc.freeze()
    gc.enable()
    gc.set_threshold(50_000, 10, 10)  # as often as usual, it took a twentieth of the time


def pytest_collection_modifyitems(items):
    """Order: tests of the drawn report first, so that one process draws it. GPU tests may skip."""
    items.sort(key=lambda item: not {"comparison", "reported"} & set(item.fixturenames))
    import torch  # on use, as the process that distributes tests needs none of it

    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


@pytest.fixture(autouse=True)
def registries():
    """Forget the registrations of a test after it, those with Gymnasium included."""
    before = set(gymnasium.registry)
    ours = [(registry, set(registry._things)) for registry in REGISTRIES.values()]
    yield
    for registry, names in ours:
        for name in registry._things.keys() - names:
            registry.discard(name)
    for name in gymnasium.registry.keys() - before:
        # Packages that a test was the first to import name their classes by text, and stay
        if not isinstance(gymnasium.registry[name].entry_point, str):
            del gymnasium.registry[name]


@pytest.fixture
def undrawn(monkeypatch):
    """Reports come without figures, which take most of their time."""
    monkeypatch.setattr("neoteny.experiments.report.report.illustrate", lambda *_: [])
    monkeypatch.setattr("neoteny.experiments.report.report.illustrated_profiles", lambda *_: None)


@pytest.fixture
def host_calls():
    """A context manager class whose `host` lists what made the host wait."""
    from host_calls import HostCalls

    return HostCalls


@pytest.fixture
def own_names(monkeypatch):
    """Names that the test registers are forgotten after it."""
    for registry in REGISTRIES.values():
        for attribute in ("_things", "_places", "_lines"):
            monkeypatch.setattr(registry, attribute, dict(getattr(registry, attribute)))
