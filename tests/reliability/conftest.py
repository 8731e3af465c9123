"""What the tests of reliability share."""

from pathlib import Path

import pytest
from hypothesis import settings
from reliability.children import Command
from reliability.runs import RUNS, Make, Whole

settings.register_profile(
    "default", max_examples=25, derandomize=True, database=None, deadline=None
)
settings.register_profile("full", max_examples=1500, derandomize=True, database=None, deadline=None)
settings.load_profile("default")


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
