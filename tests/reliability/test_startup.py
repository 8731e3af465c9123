"""Start-up cost: processor time of imports and short commands."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import neoteny.core

BOUND = 30
"""Seconds: several times what is measured, so that only a new heavy import is noticed."""
MODULES = ["core.errors", "plasticity", "envs", "wrappers", "agents", "experiments.main"]
COMMANDS = ["--help", "run --help", "list envs", "list interventions", "list streams"]

PROGRAM = Path(neoteny.core.__file__).parents[1] / "train.py"


def seconds(arguments: list[str]) -> float:
    """Processor time of a Python process, in user and system mode."""
    process = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return usage.ru_utime + usage.ru_stime


@pytest.mark.slow
def test_imports_and_short_commands_are_cheap(capsys: pytest.CaptureFixture[str]) -> None:
    times = {f"import neoteny.{name}": ["-c", f"import neoteny.{name}"] for name in MODULES}
    times |= {f"train.py {text}": [PROGRAM, *text.split()] for text in COMMANDS}
    measured = {
        name: min(seconds(arguments) for _ in range(2)) for name, arguments in times.items()
    }
    with capsys.disabled():
        print()
        for name, value in measured.items():
            print(f"{value:6.2f} s  {name}")
    assert max(measured.values()) < BOUND
