"""Results as files: written, checked, read back, merged and ranked."""

import copy
import io
import json
import math
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from neoteny.core.errors import InputError
from neoteny.experiments.exchange import result_format
from neoteny.experiments.exchange.export import ExportConfig, export
from neoteny.experiments.exchange.leaderboard import (
    LeaderboardConfig,
    leaderboard,
    leaderboard_page,
    read_folder,
)
from neoteny.experiments.exchange.ranking import rank
from neoteny.experiments.exchange.result_format import check_results, read_results, schema
from neoteny.experiments.main import main
from neoteny.experiments.statistics.summary import summary

FOREIGN: dict[str, Any] = {
    "format": "neoteny-results",
    "version": 1,
    "name": "ours",
    "suite": {"name": "their suite", "version": "3", "source": "https://example.org"},
    "protocol": {
        "environment": "stream",
        "steps": 200,
        "visits": 2,
        "measure": "return",
        "unit": "return",
    },
    "tasks": [{"name": "a", "untrained": 1.0}, {"name": "b", "untrained": 0.0}],
    "arms": [
        {"name": "sgd", "oracle": "new", "settings": {"lr": 0.1}},
        {"name": "new", "role": "fresh"},
    ],
    "runs": [
        {
            "arm": arm,
            "seed": seed,
            "visits": [{"task": "a", "score": first}, {"task": "b", "score": first + seed}],
        }
        for arm, first in (("sgd", 2.0), ("new", 3.0))
        for seed in (0, 1, 2)
    ],
}
"""Gains of sgd 1 and 2 + seed, of new 2 and 3 + seed: a gap of 2 / (5 + mean seed) = 1 / 3."""


def _quiet() -> Console:
    return Console(file=io.StringIO(), width=200)


def _changed(change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    content = copy.deepcopy(FOREIGN)
    change(content)
    return content


def test_the_schema_is_a_schema_and_the_examples_are_of_it() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.Draft202012Validator.check_schema(schema())
    check_results(FOREIGN, "foreign.json")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda c: c.pop("runs"), "the whole file: 'runs' is a required property"),
        (lambda c: c.update(version=2), "version: is 2, but must be 1"),
        (
            lambda c: c["protocol"].update(steps="2M"),
            'protocol.steps: is "2M", but must be integer',
        ),
        (
            lambda c: c["runs"][3]["visits"][1].update(score="high"),
            'runs[3].visits[1].score: is "high", but must be number or null',
        ),
        (lambda c: c["runs"][1].update(seed=-1), "runs[1].seed: is -1, but must be at least 0"),
        (
            lambda c: c["runs"][2].update(arm="x"),
            "runs[2].arm: is 'x', which is not among the arms",
        ),
        (
            lambda c: c["runs"][0]["visits"][0].update(task="z"),
            "runs[0].visits[0].task: is 'z', which is not among the tasks",
        ),
        (lambda c: c["runs"][2].update(seed=1), "runs[2]: 'sgd, seed 1' is there 2 times"),
        (
            lambda c: c["arms"][0].update(oracle="sgd"),
            "arms[0].oracle: is 'sgd', but must be an arm with the role 'fresh'",
        ),
        (
            lambda c: c["protocol"].update(visits=1),
            "runs[0].visits: are 2, but protocol.visits is 1",
        ),
        (lambda c: c["arms"][0].update(name=" "), 'arms[0].name: is " ", but must not be blank'),
        (
            lambda c: c["arms"][0].update(oracel="new"),
            "arms[0]: Additional properties are not allowed ('oracel' was unexpected)",
        ),
        (
            lambda c: c["runs"][0]["visits"].reverse(),
            "runs[0].visits[0].task: is 'b', but the same visit of the oracle, with seed 0, is of",
        ),
        *(
            (
                lambda c, number=number: c["runs"][0]["visits"][1].update(score=number),
                "runs[0].visits[1].score: is ",
            )
            for number in (math.nan, -math.inf, 10**400)
        ),
    ],
)
def test_a_malformed_file_is_refused_with_the_name_of_the_field(
    change: Callable[[dict[str, Any]], object],
    field: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "bad.json"
    path.write_text(json.dumps(_changed(change)))
    assert main(["leaderboard", str(tmp_path), "--out", str(tmp_path / "page.html")]) == 2
    assert f"{path}, {field}" in capsys.readouterr().err.replace("\n", "")
    assert not (tmp_path / "page.html").exists()


def test_files_that_are_no_json_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "bad.json"
    for text, reason in (("{", "is no JSON"), ("1" * 5000, "is no JSON"), ("\0", "is no JSON")):
        path.write_text(text)
        with pytest.raises(InputError, match=reason):
            read_results(path)
    path.unlink()
    with pytest.raises(InputError, match="write result files there by export"):
        read_folder(tmp_path)


def test_a_byte_order_mark_is_read_over_and_names_come_once(tmp_path: Path) -> None:
    path = tmp_path / "theirs.json"
    text = json.dumps(FOREIGN)
    path.write_text(text, encoding="utf-8-sig")
    assert read_results(path) == FOREIGN
    path.write_text(text.replace('"version": 1,', '"version": 1, "version": 2,', 1))
    with pytest.raises(InputError, match=r'the name "version" comes twice.*keep one') as error:
        read_results(path)
    assert "\n" not in str(error.value)


def test_scores_gaps_and_places_by_hand() -> None:
    (board,) = rank({"a.json": FOREIGN})
    sgd, new = board.standings
    assert (sgd.arm, sgd.places, new.places) == ("sgd", (1, 1), None)
    assert sgd.score.value == pytest.approx(2.5)  # of 2 and 2 + mean seed
    assert sgd.gap.value == pytest.approx(2 / (2 + 3 + 1))
    assert (sgd.gap.low, sgd.gap.high) != (sgd.gap.value, sgd.gap.value)
    assert np.isnan(new.gap.value)


def test_runs_that_ended_in_their_first_visit_are_counted() -> None:
    cut = _changed(lambda c: c["runs"][0].update(visits=[]))
    sgd = rank({"a.json": cut})[0].standings[0]
    assert (sgd.seeds, sgd.unfinished) == ((0, 1, 2), 1)
    none = _changed(lambda c: [run.update(visits=[]) for run in c["runs"]])
    (board,) = rank({"a.json": none})
    assert [one.unfinished for one in board.standings] == [3, 3]
    assert "unfinished" in leaderboard_page([board], {"a.json": none})


def test_steps_as_floats_are_of_the_same_protocol() -> None:
    floats = _changed(lambda c: c["protocol"].update(steps=200.0, visits=2.0))
    (board,) = rank({"a.json": FOREIGN, "b.json": floats})
    assert len(board.standings) == 4


def test_names_of_others_are_text_on_the_page(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>"
    content = _changed(lambda c: c["suite"].update(name=evil, source="javascript:alert(2)"))
    content["name"] = content["arms"][0]["name"] = evil
    for run in content["runs"]:
        run["arm"] = evil if run["arm"] == "sgd" else run["arm"]
    (tmp_path / "a.json").write_text(json.dumps(content))
    leaderboard(LeaderboardConfig(tmp_path, tmp_path / "page.html"), _quiet())
    page = (tmp_path / "page.html").read_text()
    _Sources().feed(page)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


def test_a_page_does_not_replace_a_result_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"ours\.json: the ending of the page must be \.html"):
        LeaderboardConfig(tmp_path, tmp_path / "ours.json")


def test_runs_of_one_arm_with_other_seeds_are_merged() -> None:
    other = _changed(lambda c: [run.update(seed=run["seed"] + 3) for run in c["runs"]])
    (board,) = rank({"a.json": FOREIGN, "b.json": other})
    assert [standing.arm for standing in board.standings] == ["sgd", "new", "new"]
    assert board.standings[0].seeds == (0, 1, 2, 3, 4, 5)
    assert board.standings[0].sources == ("a.json", "b.json")
    assert board.standings[0].gap.value == pytest.approx(2 / (2 + 3 + 1))
    assert board.standings[1].seeds == (0, 1, 2)  # without settings nothing says that it is one
    twice = rank({"a.json": FOREIGN, "b.json": FOREIGN})[0].standings
    assert [standing.seeds for standing in twice if standing.arm == "sgd"] == [(0, 1, 2)] * 2


def test_other_protocols_are_not_mixed(tmp_path: Path) -> None:
    longer = _changed(lambda c: c["protocol"].update(steps=400))
    for name, content in (("a", FOREIGN), ("b", longer)):
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    boards = leaderboard(LeaderboardConfig(tmp_path, tmp_path / "page.html"), _quiet())
    assert [board.protocol["steps"] for board in boards] == [200, 400]
    page = (tmp_path / "page.html").read_text()
    assert "Not mixed with another protocol: steps 200 here, 400 there." in page
    assert "https://example.org" in page


class _Sources(HTMLParser):
    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert not {"src", "srcset"} & {name for name, _ in attrs}
        assert tag not in ("script", "link")


def test_a_comparison_beside_foreign_results(
    frame: pd.DataFrame, comparison: Path, tmp_path: Path
) -> None:
    console = _quiet()
    export(ExportConfig(comparison, tmp_path / "ours.json"), console)
    ours = read_results(tmp_path / "ours.json")
    assert [arm["role"] for arm in ours["arms"]] == ["none", "", "fresh"]
    theirs = copy.deepcopy(ours)
    theirs["suite"] = {"name": "their suite", "version": "3"}
    for run in theirs["runs"]:
        for visit in run["visits"]:
            visit["score"] = None if visit["score"] is None else 2 * visit["score"]
    (tmp_path / "theirs.json").write_text(json.dumps(theirs))
    (board,) = leaderboard(LeaderboardConfig(tmp_path, tmp_path / "page.html"), console)
    table = summary(frame).set_index("arm")
    mine = {one.arm: one for one in board.standings if one.suite.startswith("neoteny")}
    for arm in ("ppo-none", "ppo-adamo"):
        row = table.loc[arm]
        assert mine[arm].score == pytest.approx(row[["score", "score_low", "score_high"]].tolist())
        assert mine[arm].gap == pytest.approx(row[["gap", "gap_low", "gap_high"]].tolist())
    first = board.standings[0]
    assert (first.arm, first.suite, first.places) == ("ppo-adamo", "their suite 3", (1, 1))
    page = (tmp_path / "page.html").read_text()
    _Sources().feed(page)
    assert "their suite 3" in page
    by_gap = leaderboard(LeaderboardConfig(tmp_path, tmp_path / "page.html", "gap"), console)[0]
    gaps = [one.gap.value for one in by_gap.standings if one.places]
    assert gaps == sorted(gaps)


def test_a_long_table_has_every_number_of_a_visit(comparison: Path, tmp_path: Path) -> None:
    export(ExportConfig(comparison, tmp_path / "long.csv"), _quiet())
    table = pd.read_csv(tmp_path / "long.csv")
    assert {"arm", "seed", "visit", "task", "metric", "value", "config/intervention"} <= set(table)
    assert "config/ppo/learning_rate" not in table  # the same in all runs
    run = (table["arm"] == "ppo-adamo") & (table["seed"] == 1) & (table["visit"] == 3)
    found = table[run].set_index("metric")["value"]
    assert found.index.is_unique
    rows = pd.read_csv(comparison / "ppo-adamo" / "seed_1" / "metrics.csv")
    rows = rows[rows["visit"] == 3]
    for column in ("charts/episodic_return", "plasticity/policy/layer0/gram_deviation"):
        assert found[column] == pytest.approx(rows[column].mean())
    returns = rows["charts/episodic_return"].bfill().ffill()
    assert found["auc"] == pytest.approx(returns.mean())
    assert set(table.loc[run, "config/intervention"]) == {"adamo"}


def test_arrays_are_runs_by_tasks(comparison: Path, frame: pd.DataFrame, tmp_path: Path) -> None:
    export(ExportConfig(comparison, tmp_path / "scores.npz"), _quiet())
    with np.load(tmp_path / "scores.npz") as arrays:
        found = dict(arrays)
    assert {name: values.shape for name, values in found.items()} == dict.fromkeys(
        ("ppo-none", "ppo-adamo", "ppo-fresh"), (4, 4)
    )
    table = summary(frame).set_index("arm")
    for name, values in found.items():
        assert values.mean() == pytest.approx(table.loc[name, "score"])


def test_parquet_is_the_same_table(comparison: Path, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    for ending in ("csv", "parquet"):
        export(ExportConfig(comparison, tmp_path / f"long.{ending}"), _quiet())
    stored = pd.read_parquet(tmp_path / "long.parquet")
    written = pd.read_csv(tmp_path / "long.csv")
    pd.testing.assert_frame_equal(stored, written, check_dtype=False)


def test_a_missing_package_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    result_format._validator.cache_clear()
    (tmp_path / "a.json").write_text(json.dumps(FOREIGN))
    for package, command, out in (
        ("pyarrow", "export", "x.parquet"),
        ("jsonschema", "leaderboard", "x.html"),
    ):
        monkeypatch.setitem(sys.modules, package, None)
        assert main([command, str(tmp_path), "--out", str(tmp_path / out)]) == 2
        said = capsys.readouterr().err
        assert f"{package}, which is not installed" in said
        assert 'pip install "neoteny[share]"' in said


def test_an_ending_that_is_not_known_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--out is x\.txt: its ending must be one of \.csv"):
        ExportConfig(tmp_path, Path("x.txt"))
