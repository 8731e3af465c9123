"""Provenance of a result: versions, hardware and the command line."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from neoteny.core.ranks import Ranks

PACKAGES = ("torch", "numpy", "gymnasium", "neoteny")


@cache
def versions() -> dict[str, str | None]:
    """The versions that a result depends on, as they are when a process first asks for them.

    Returns:
        python, the packages of `PACKAGES` (None if not installed) and the git commit of the
        checkout, with ``-dirty`` if it has changes (None outside a checkout).
    """
    found: dict[str, str | None] = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = None
    found["commit"] = git_commit(Path(__file__).resolve().parents[2])
    return found


def git_commit(root: Path) -> str | None:
    """The commit that a folder is a checkout of.

    Args:
        root: the folder; it must be the top of the checkout, not something inside another one.

    Returns:
        The hash, with ``-dirty`` if tracked files were changed; None if there is none.
    """
    top = _git(root, "rev-parse", "--show-toplevel")
    if top is None or Path(top) != root:
        return None
    return _git(root, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")


def hardware() -> dict[str, Any]:
    """The machine: CPU model, cores that this process may use, torch's threads, GPU name.

    Of several processes that torchrun has started, it has their number too.
    """
    ranks = Ranks.here()
    return {
        "cpu": _cpu_model(),
        "cores": cores(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        **({} if ranks.alone else {"processes": ranks.size}),
    }


def cores() -> int:
    """Cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def command() -> str:
    """The command line of this process, quoted for a shell, without the machine's paths."""
    program = Path(sys.argv[0]).name
    start = f"python {program}" if program.endswith(".py") else program
    return " ".join([start, *(shlex.quote(argument) for argument in sys.argv[1:])])


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments],
            capture_output=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return os.fsdecode(done.stdout).strip() or None


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
