"""Help of the commands: its order, its names, and the time that it takes."""

import inspect
import re
import subprocess
import sys
import types
from dataclasses import fields
from importlib.machinery import ModuleSpec

import pytest
import torch

import neoteny
from neoteny.agents.ppo_loss import PPOConfig
from neoteny.experiments.main import COMMANDS, _find, main


def test_help_explains_fields_with_units(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["run", "--help"])
    assert stop.value.code == 0
    out = capsys.readouterr().out
    assert "--task-steps" in out
    assert "Environment steps" in out


@pytest.mark.parametrize(
    ("command", "first", "groups"),
    [
        (
            "run",
            "env agent intervention steps task-steps seeds first-seed out preset",
            "options, network, agent, stream, measuring, device, code",
        ),
        (
            "compare",
            "env agent interventions steps task-steps seeds first-seed out preset",
            "options, network, agent, comparison, engine, stream, measuring, device, code",
        ),
    ],
)
def test_help_begins_with_what_most_people_set(command, first, groups, capsys):
    with pytest.raises(SystemExit):
        main([command, "--help"])
    out = capsys.readouterr().out
    headings = re.findall(r"^(?:╭─)? (\w+)(?: options)? [ ─]*╮?$", out, re.MULTILINE)
    assert headings == groups.split(", ")
    words = re.findall(r"^│?  ?--([a-z][a-z-]*)", out, re.MULTILINE)
    assert words[: len(first.split())] == first.split()
    names = {field.name.replace("_", "-") for field in fields(PPOConfig)}
    assert names <= set(words)


@pytest.mark.parametrize(
    ("spec", "called", "shown"),
    [
        (None, "train.py", "train.py"),
        (None, "/usr/bin/neoteny", "neoteny"),
        ("neoteny.__main__", "/some/where/train.py", "python -m neoteny"),
        ("package.__main__", "/some/package/__main__.py", "python -m package"),
    ],
)
def test_help_names_the_program_as_it_was_called(spec, called, shown, monkeypatch, capsys):
    main_module = types.ModuleType("__main__")
    main_module.__spec__ = None if spec is None else ModuleSpec(spec, None)
    monkeypatch.setitem(sys.modules, "__main__", main_module)
    monkeypatch.setattr("sys.argv", [called, "report", "--help"])
    with pytest.raises(SystemExit):
        main()
    assert capsys.readouterr().out.startswith(f"usage: {shown} report ")


def test_the_version_is_that_of_the_package_and_of_torch(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"neoteny {neoteny.__version__} (torch {torch.__version__})\n"


def test_help_says_of_each_command_what_its_own_help_says():
    for kind, act, about in COMMANDS.values():
        assert " ".join(inspect.getdoc(_find(kind)).split("\n\n")[0].split()) == about
        assert callable(_find(act))


@pytest.mark.parametrize(
    ("arguments", "left_out"),
    [
        ("--help", {"torch", "gymnasium", "pandas", "scipy", "matplotlib", "tensorboard"}),
        pytest.param(  # test_api.py has a shorter one
            "list presets",
            {"pandas", "matplotlib", "tensorboard", "stable_baselines3"},
            marks=pytest.mark.slow,
        ),
    ],
)
def test_modules_are_imported_on_use(arguments, left_out):
    """As torch takes a second, and the others one together."""
    code = "import atexit, sys; atexit.register(lambda: print(*sys.modules)); "
    code += f"from neoteny.experiments.main import main; main({arguments.split()})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not left_out & set(done.stdout.split("\n")[-2].split())
