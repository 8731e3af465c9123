"""Fixtures and limits shared by the tests of all packages."""

import gc
import os
import signal

# Before torch is imported: what runs side by side has one thread each
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"

import gymnasium
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import neoteny.experiments.cli
import neoteny.experiments.listing  # noqa: F401 (all register themselves before a test)
from neoteny.core.registry import REGISTRIES, restored

# A shell that runs tests in the background has them ignore what some send
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

HOST = ("_local_scalar_dense", "nonzero", "masked_select", "unique", "lift_fresh", "_to_copy.cpu")


class HostCalls(TorchDispatchMode):
    """Notes every operator that makes the host wait for the device, or copies from the host."""

    def __init__(self):
        super().__init__()
        self.host = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = str(func)
        masks = name.startswith("aten.index") and any(
            isinstance(index, torch.Tensor) and index.dtype == torch.bool
            for argument in args
            if isinstance(argument, list | tuple)
            for index in argument
        )
        if masks or any(word in name for word in HOST):
            self.host.append(name)
        return func(*args, **(kwargs or {}))


def pytest_collection():
    """Collecting makes millions of objects, none of them garbage."""
    gc.disable()


def pytest_collection_finish():
    """From here on, garbage is looked for among what the tests leave."""
    gc.freeze()
    gc.enable()


def pytest_collection_modifyitems(items):
    """Skip what needs a CUDA device where there is none."""
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


@pytest.fixture(autouse=True)
def registries():
    """Forget the registrations of a test after it, those with Gymnasium included."""
    before = set(gymnasium.registry)
    with restored():
        yield
    for name in gymnasium.registry.keys() - before:
        # Packages that a test was the first to import name their classes by text, and stay
        if not isinstance(gymnasium.registry[name].entry_point, str):
            del gymnasium.registry[name]


@pytest.fixture
def undrawn(monkeypatch):
    """Reports come without figures, which take most of their time."""
    monkeypatch.setattr("neoteny.experiments.report.illustrate", lambda *_: [])
    monkeypatch.setattr("neoteny.experiments.report.illustrated_profiles", lambda *_: None)


@pytest.fixture
def host_calls():
    """A context manager class whose `host` lists what made the host wait."""
    return HostCalls


@pytest.fixture
def own_names(monkeypatch):
    """Names that the test registers are forgotten after it."""
    for registry in REGISTRIES.values():
        for attribute in ("_things", "_places", "_lines"):
            monkeypatch.setattr(registry, attribute, dict(getattr(registry, attribute)))
