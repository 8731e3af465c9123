"""The arms of a comparison, as TensorBoard's own backend reads them."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from oracles.board_reader import Reader, smoothed
from scipy import stats
from tensorboard.context import RequestContext

from neoteny.experiments.report.report import write_report


@pytest.fixture(scope="module")
def reader(reported: SimpleNamespace) -> Reader:
    return Reader(reported.folder)


FIGURES = ("answer", "gap", "returns", "cycles", "plasticity", "profile")


def test_an_arm_is_the_mean_over_its_seeds_with_its_interval(
    reader: Reader, frame: pd.DataFrame
) -> None:
    rows = frame[frame["arm"] == "ppo-none"]
    seeds = rows.pivot_table(index="step", columns="seed", values="online_return").dropna()
    at = seeds.index[40]  # a bin is a row wide
    low, high = stats.t.interval(0.95, 3, seeds.loc[at].mean(), stats.sem(seeds.loc[at]))
    wanted = {
        "continual/return": seeds.loc[at].mean(),
        "run/return_low": low,
        "run/return_high": high,
    }
    for tag, value in wanted.items():
        found = dict(reader.scalars("arms/none", tag))
        assert found[at - 4096] == pytest.approx(value, rel=1e-6), tag
    layers = [f"plasticity/policy/layer{index}/dormant_fraction" for index in range(4)]
    measured = rows.dropna(subset=layers)
    first = measured[measured["step"] == measured["step"].min()]
    found = reader.scalars("arms/none", "plasticity/policy/dormant_fraction")
    assert found[0][1] == pytest.approx(first[layers].to_numpy().mean(), rel=1e-6)


def test_gaps_to_fresh_are_steps_of_whole_visits(reader: Reader, reported: SimpleNamespace) -> None:
    visits = (
        pd.read_csv(reported.folder / "visits.csv").set_index(["arm", "visit", "seed"]).sort_index()
    )
    points = reader.scalars("arms/adamo", "continual/gap_to_fresh")
    bent = smoothed(points)
    ends = [30 * 8192 * visit for visit in range(1, 9)]
    for visit, end in enumerate(ends):
        gain, fresh = (visits.loc[(arm, visit), "gain"].sum() for arm in ("ppo-adamo", "ppo-fresh"))
        assert dict(points)[end] == pytest.approx(1 - gain / fresh, rel=1e-5)
        assert bent[end] == pytest.approx(1 - gain / fresh, abs=0.005)
    assert max(dict(points)) == ends[-1]
    table = reported.report.summary.set_index("arm")
    assert reader.scalars("arms/adamo", "run/gap_to_fresh") == [
        (ends[-1], pytest.approx(table.loc["ppo-adamo", "gap"], rel=1e-5))
    ]
    assert "continual/gap_to_fresh" not in reader.tags("arms/fresh")


def test_custom_scalars_shows_arms_with_intervals(reader: Reader) -> None:
    charts = reader.charts()["arms"]
    assert list(charts) == ["return: mean and 95 % interval", "gap to fresh"]
    (series,) = charts["return: mean and 95 % interval"]["margin"]["series"]
    assert set(series.values()) <= set(reader.tags("arms/none"))
    assert re.match(charts["gap to fresh"]["multiline"]["tag"][0], "continual/gap_to_fresh")


def test_figures_are_images(reader: Reader, reported: SimpleNamespace) -> None:
    found = reader.provider.read_blob_sequences(
        RequestContext(), experiment_id="", plugin_name="images", downsample=10
    )["arms"]
    assert set(found) == {f"report/{name}" for name in FIGURES}
    for tag, (point,) in found.items():
        key = point.values[-1].blob_key
        content = reader.provider.read_blob(RequestContext(), blob_key=key)
        path = reported.folder / f"{tag.partition('/')[2]}.png"
        assert content == path.read_bytes()


@pytest.mark.slow
def test_few_seeds_have_no_interval_and_a_new_report_replaces_the_old(
    tmp_path: Path, write_comparison: Callable[..., Path]
) -> None:
    folder = write_comparison(tmp_path / "out", seeds=3, visits=2)
    write_report(folder)
    before = Reader(folder)
    assert not any(tag.startswith("run/return") for tag in before.tags("arms/none"))
    assert list(before.charts()["arms"]) == ["gap to fresh"]
    shutil.rmtree(folder / "ppo-adamo")
    write_report(folder)
    after = Reader(folder)
    assert after.scalars("arms/none", "continual/return") == before.scalars(
        "arms/none", "continual/return"
    )
    assert len(list(folder.glob("arms/**/events*"))) == 3
    before.multiplexer.Reload()  # one that has been open all the time
    assert before.scalars("arms/none", "continual/return") == after.scalars(
        "arms/none", "continual/return"
    )


@pytest.mark.slow
def test_events_of_a_run_that_lies_in_a_folder_of_that_name_stay(
    tmp_path: Path, write_comparison: Callable[..., Path]
) -> None:
    folder = write_comparison(tmp_path / "out" / "arms", ("ppo-none",), seeds=2, visits=2)
    kept = folder / "ppo-none" / "seed_0" / "events.out.tfevents.1"
    kept.write_bytes(b"")
    write_report(tmp_path / "out")
    write_report(tmp_path / "out" / "arms" / "ppo-none")
    write_report(tmp_path / "out")
    assert kept.exists()


def test_means_are_finite(reader: Reader) -> None:
    for run in ("arms/none", "arms/adamo", "arms/fresh"):
        for tag in reader.tags(run):
            assert np.isfinite([value for _, value in reader.scalars(run, tag)]).all()
