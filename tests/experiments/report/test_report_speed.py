"""A report of many runs."""

import time
from pathlib import Path

import pandas as pd
import pytest
from synthetic_runs import write_runs

from neoteny.experiments.report.report import write_report


@pytest.mark.slow
def test_two_hundred_runs_are_reported_in_a_minute(tmp_path: Path) -> None:
    folder = write_runs(tmp_path / "out")
    started = time.process_time()
    made = write_report(folder)
    assert time.process_time() - started < 60
    table = made.summary.set_index("arm")
    assert (table["seeds"].sum(), len(table)) == (200, 10)
    assert len(pd.read_csv(folder / "visits.csv")) == 200 * 40
    assert table.loc["ppo-none", "gap_slope"] > 0.02
    assert "none loses its ability to learn" in made.answer
