"""Sittings: what a part that fails, hangs or dies costs the others, and how long they may take."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"
PLANTED = """
import os, subprocess, sys, time
from pathlib import Path
sys.path.insert(0, {folder!r})
from _sitting import Part, sit

def good():
    yield "first", 1.0, "s"
    yield "second", 2.0, "s"

def fails():
    yield "before", 1.0, ""
    raise ValueError("planted")

def hangs():
    yield "before", 1.0, ""
    child = subprocess.Popen(["sleep", "1000"])
    yield "child", float(child.pid), ""
    time.sleep(1000)

def dies():
    os._exit(7)
    yield

if __name__ == "__main__":
    parts = {{"fails": Part(60, fails), "hangs": Part({hangs}, hangs), "dies": Part(60, dies)}}
    sit({{**parts, "good": Part(60, good)}}, Path("rows"), {seconds})
"""


def sat(folder, hangs, seconds):
    """The rows of a sitting with planted faults, by their parts."""
    (folder / "planted.py").write_text(
        PLANTED.format(folder=str(FOLDER), hangs=hangs, seconds=seconds)
    )
    subprocess.run([sys.executable, "planted.py"], check=True, cwd=folder)
    rows = {}
    for line in (folder / "rows").read_text().splitlines():
        row = json.loads(line)
        rows.setdefault(row["part"], []).append((row["what"], row["value"], row["unit"]))
    return rows


@pytest.mark.slow
def test_a_part_that_fails_hangs_or_dies_costs_no_other(tmp_path):
    rows = sat(tmp_path, hangs=20, seconds=600)
    assert list(rows) == ["fails", "hangs", "dies", "good"]
    before, (what, value, remark), (end, status, _) = rows["fails"]
    assert before == ("before", 1, "")
    assert (what, np.isnan(value), remark) == ("failed", True, "ValueError: planted")
    assert (end, status) == ("ended with status", 1)
    *begun, (what, seconds, _) = rows["hangs"]
    assert what == "stopped"
    assert 20 <= seconds < 60
    for _, child, _ in begun[1:]:
        with pytest.raises(ProcessLookupError):
            os.kill(int(child), 0)
    assert rows["dies"] == [("ended with status", 7, "")]
    assert rows["good"][:2] == [("first", 1, "s"), ("second", 2, "s")]
    assert rows["good"][2][0] == "the part's time"


def test_no_part_is_begun_once_the_sitting_is_over(tmp_path):
    rows = sat(tmp_path, hangs=20, seconds=0)
    assert list(rows) == ["fails", "hangs", "dies", "good"]
    assert {what for found in rows.values() for what, _, _ in found} == {"not begun"}
