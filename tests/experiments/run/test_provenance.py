"""Provenance: the commit that a result is traced to."""

import subprocess
from pathlib import Path

import pytest

from neoteny.experiments.run.provenance import git_commit, versions

ROOT = Path(__file__).parents[3]


def test_a_run_of_a_checkout_names_its_commit():
    if not (ROOT / ".git").exists():
        pytest.skip("not a checkout")
    head = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()
    assert versions()["commit"].removesuffix("-dirty") == head


def test_a_folder_inside_a_checkout_has_no_commit_of_its_own():
    assert git_commit(ROOT / "tests") is None
