"""Fixtures of the tests of reliability."""

import os
from pathlib import Path

import pytest
from hypothesis import settings
from reliability.children import Command
from reliability.processes import RUNS, Make, Whole

CASES = int(os.environ.get("FUZZ_CASES", "6"))
"""Fuzzed inputs a test; always the same ones for the same number."""

settings.register_profile(
    "reliability", max_examples=CASES, derandomize=True, database=None, deadline=None
)
settings.load_profile("reliability")


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """The undisturbed run of an agent."""
    runs: dict[str, Whole] = {}

    def make(agent: str) -> Whole:
        if agent not in runs:
            folder: Path = tmp_path_factory.mktemp("whole") / agent
            arguments = [*RUNS[agent].split(), "--out"]
            said = folder.with_suffix(".txt")
            finished = Command([*arguments, folder], said, folder, count=True).wait()
            assert finished.code == 0, finished.said
            runs[agent] = Whole(arguments, folder, finished)
        return runs[agent]

    return make
