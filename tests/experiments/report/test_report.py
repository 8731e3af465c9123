import base64
import csv
import html
import io
import json
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from scipy import stats

from neoteny.core.console import PlainConsole
from neoteny.core.errors import InputError
from neoteny.experiments.report.report import write_report
from neoteny.experiments.report.tables import definitions, notes, per_task, print_summary, readable
from neoteny.experiments.statistics.references import REFERENCES
from neoteny.experiments.statistics.runs import read_runs
from neoteny.experiments.statistics.summary import summary

GAMES = sorted(REFERENCES)


@pytest.fixture(scope="module")
def table(frame: pd.DataFrame) -> pd.DataFrame:
    return summary(frame).set_index("arm")


def _filled(values: list[float]) -> list[float]:
    """Gaps filled by the next value, those at the end by the last."""
    known = [at for at, value in enumerate(values) if value == value]
    after = [min((k for k in known if k >= at), default=known[-1]) for at in range(len(values))]
    return [values[at] for at in after]


def _by_hand(comparison: Path, arm: str) -> np.ndarray:
    """(seeds, visits) normalised online returns, straight from the files."""
    scores = np.full((4, 8), np.nan)
    names = ("MinAtar-Breakout", "MinAtar-Asterix", "MinAtar-SpaceInvaders", "MinAtar-Freeway")
    for seed in range(4):
        carried: dict[int, list[float]] = {}
        with (comparison / arm / f"seed_{seed}" / "metrics.csv").open() as file:
            for row in csv.DictReader(file):
                values = carried.setdefault(int(row["visit"]), [])
                reference = REFERENCES[names[int(row["task"])]]
                scale = reference.trained - reference.random
                value = float(row["charts/episodic_return"] or "nan")
                values.append((value - reference.random) / scale)
        scores[seed] = [np.mean(_filled(carried[visit])) for visit in range(8)]
    return scores


def test_levels_and_changes_against_the_files(comparison: Path, table: pd.DataFrame) -> None:
    for arm in ("ppo-none", "ppo-adamo", "ppo-fresh"):
        scores = _by_hand(comparison, arm)
        row = table.loc[arm]
        assert row["score"] == pytest.approx(scores.mean())
        assert row["first_span"] == pytest.approx(scores[:, :4].mean())
        assert row["last_span"] == pytest.approx(scores[:, 4:].mean())
        assert row["change"] == pytest.approx(scores[:, 4:].mean() - scores[:, :4].mean())
        assert row["change_low"] <= row["change"] <= row["change_high"]
        assert (row["seeds"], row["visits"], row["unit"]) == (4, 8, "normalised")
        assert row["complete"]


def test_iqm_is_over_runs_within_tasks(frame: pd.DataFrame, table: pd.DataFrame) -> None:
    rows = frame[(frame["arm"] == "ppo-none") & frame["score"].notna()]
    per_visit = rows.groupby(["seed", "visit", "task_name"])["score"].mean()
    cells = per_visit.groupby(["seed", "task_name"]).mean()
    assert len(cells) == 16
    wanted = cells.groupby("task_name").apply(stats.trim_mean, 0.25).mean()
    assert table.loc["ppo-none", "iqm"] == pytest.approx(wanted)
    runs = cells.groupby("seed").mean()
    ends = stats.t.interval(0.95, 3, runs.mean(), stats.sem(runs))
    found = table.loc["ppo-none", ["score", "score_low", "score_high"]].tolist()
    assert found == pytest.approx([runs.mean(), *ends])


def test_gap_is_the_ratio_of_sums(comparison: Path, table: pd.DataFrame) -> None:
    fresh = _by_hand(comparison, "ppo-fresh")
    for arm in ("ppo-none", "ppo-adamo"):
        scores = _by_hand(comparison, arm)
        assert table.loc[arm, "gap"] == pytest.approx(1 - scores.sum() / fresh.sum())
        last = 1 - scores[:, 4:].sum() / fresh[:, 4:].sum()
        assert table.loc[arm, "gap_last_span"] == pytest.approx(last)
        assert table.loc[arm, "gap_low"] <= table.loc[arm, "gap"] <= table.loc[arm, "gap_high"]
    assert np.isnan(table.loc["ppo-fresh", "gap"])


def test_summary_finds_what_was_put_in(table: pd.DataFrame) -> None:
    assert table.index.tolist() == ["ppo-none", "ppo-adamo", "ppo-fresh"]
    assert table.loc["ppo-none", "change_high"] < -0.1
    assert table.loc["ppo-adamo", "change_low"] > -0.1
    assert table.loc["ppo-none", "gap_low"] > table.loc["ppo-adamo", "gap_high"]
    assert table.loc["ppo-adamo", "improvement"] > 0.9
    assert table.loc["ppo-adamo", "baseline"] == "ppo-none"
    assert table.loc["ppo-none", "gap_slope_low"] > 0.1
    assert table.loc["ppo-adamo", "oracle"] == "ppo-fresh"
    assert not table.loc["ppo-adamo", "like_for_like"]
    assert table.loc["ppo-none", "like_for_like"]
    assert np.isnan(table.loc["ppo-none", "improvement"])
    assert {f"final/{name}" for name in GAMES} <= set(table.columns)


def test_only_finished_visits_count(tmp_path: Path, write_comparison: Callable[..., Path]) -> None:
    table = summary(read_runs(write_comparison(tmp_path / "a", seeds=2, until=0.3)))
    assert table["visits"].tolist() == [2, 2, 2]
    assert not table["complete"].any()
    assert table["change"].isna().all()
    early = summary(read_runs(write_comparison(tmp_path / "b", seeds=2, until=0.05)))
    assert early["visits"].tolist() == [1, 1, 1]
    assert np.isfinite(early["score"]).all()


def test_games_without_reference_are_summarised_by_return(tmp_path: Path) -> None:
    folder = tmp_path / "seed_0"
    folder.mkdir()
    (folder / "metrics.csv").write_text("step,charts/episodic_return\n10,\n20,30.0\n30,50.0\n")
    (folder / "config.json").write_text('{"task_names": ["CartPole-v1"], "steps": 30}')
    made = write_report(tmp_path)
    row = made.summary.iloc[0]
    assert (row["unit"], row["score"], row["final/CartPole-v1"]) == (
        "return",
        pytest.approx((30 + 30 + 50) / 3),
        50.0,
    )
    assert [path.name for path in made.files] == [
        "summary.csv",
        "visits.csv",
        "continual.csv",
        "returns.png",
        "report.html",
    ]


def test_evaluations_are_summarised_by_task(tmp_path: Path) -> None:
    folder = tmp_path / "seed_0"
    folder.mkdir()
    rows = ["10,0,0,1.0,", "20,0,0,2.0,4.0", "30,1,1,1.0,", "40,1,1,1.0,7.0"]
    header = "step,task,visit,charts/episodic_return,eval/episodic_return"
    (folder / "metrics.csv").write_text("\n".join([header, *rows, ""]))
    (folder / "config.json").write_text('{"task_names": ["a", "b"], "steps": 40}')
    table = summary(read_runs(tmp_path))
    assert table["evaluation/a"].tolist() == [4.0]
    assert table["evaluation/b"].tolist() == [7.0]


def test_visits_without_an_episode_are_counted(tmp_path: Path) -> None:
    folder = tmp_path / "seed_0"
    folder.mkdir()
    rows = ["10,0,0,1.0", "20,1,1,", "30,0,2,3.0", "40,1,3,"]
    header = "step,task,visit,charts/episodic_return"
    (folder / "metrics.csv").write_text("\n".join([header, *rows, ""]))
    (folder / "config.json").write_text('{"task_names": ["Breakout", "Freeway"], "steps": 40}')
    table = summary(read_runs(tmp_path))
    assert table["blank"].tolist() == [2]
    assert table["unit"].tolist() == ["normalised"]
    assert "In 2 visits no episode ended" in " ".join(notes(table))


def test_report_writes_everything_and_only_that(reported: SimpleNamespace) -> None:
    root, made = reported.folder, reported.report
    assert [path.name for path in made.files] == [
        "summary.csv",
        "visits.csv",
        "continual.csv",
        "comparisons.csv",
        "abilities.csv",
        "answer.png",
        "gap.png",
        "returns.png",
        "cycles.png",
        "plasticity.png",
        "profile.png",
        "report.html",
    ]
    after = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    for path in root.glob("arms/**/events*"):
        del after[path]
    assert after == reported.before | {path: path.read_bytes() for path in made.files}
    assert len(pd.read_csv(root / "visits.csv")) == 3 * 4 * 8
    stored = pd.read_csv(root / "summary.csv")
    pd.testing.assert_frame_equal(stored, made.summary, check_dtype=False)
    pd.testing.assert_frame_equal(summary(read_runs(root)), made.summary)  # its files are no runs


SOURCES = ("src", "srcset", "href")


class _Checker(HTMLParser):
    """Notes what an HTML page holds and whether its tags are balanced."""

    void = frozenset({"meta", "img", "br", "source"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []
        self.ids: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.sources += [value or "" for name, value in attrs if name in SOURCES]
        self.ids += [value or "" for name, value in attrs if name == "id"]
        if tag not in self.void:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_page_is_whole_and_needs_nothing_else(reported: SimpleNamespace) -> None:
    checker = _Checker()
    checker.feed((reported.folder / "report.html").read_text())
    assert checker.open == []
    images = [source for source in checker.sources if not source.startswith("#")]
    assert len(images) == 6 * 2  # each figure for wide and for narrow screens
    assert all(source.startswith("data:image/png;base64,") for source in images)
    assert {source[1:] for source in checker.sources if source.startswith("#")} == set(checker.ids)
    text = " ".join(checker.text)
    for wanted in (
        "minatar-continual",
        "python train.py run --intervention adamo",
        "Space Invaders",
        "learning_rate=0.00025",
        "2.13.0",
        "95 %",
    ):
        assert wanted in text


def test_page_begins_with_who_keeps_the_ability_to_learn(reported: SimpleNamespace) -> None:
    sentence = reported.report.answer
    assert "beside networks that start each task afresh" in sentence
    page = (reported.folder / "report.html").read_text()
    start = page.index(f'<p class="answer">{html.escape(sentence)}</p>\n<figure>')
    assert start < page.index("<figcaption>Gain of each arm as a share") < page.index("<h2")


def test_the_page_has_the_sweep_of_a_folder_that_was_tuned(
    tmp_path: Path, write_comparison: Callable[..., Path], undrawn: None
) -> None:
    folder = write_comparison(tmp_path / "out", ("ppo-none",), seeds=1, visits=2)
    write_report(folder)
    assert "Sweep" not in (folder / "report.html").read_text()
    (folder / "sweep.png").write_bytes(b"picture")
    write_report(folder)
    page = (folder / "report.html").read_text()
    assert '<h2 id="sweep">Sweep</h2>' in page
    assert base64.b64encode(b"picture").decode() in page


def test_columns_are_explained_below_the_table_if_they_are_there(
    reported: SimpleNamespace, tmp_path: Path, write_comparison: Callable[..., Path]
) -> None:
    shown = definitions(reported.report.summary)
    assert set(shown) <= set(readable(reported.report.summary))
    assert {"gap to fresh", "gap growth a cycle", "P(> none)", "IQM score"} <= set(shown)
    page = (reported.folder / "report.html").read_text()
    for name, meaning in shown.items():
        assert f"<dt>{html.escape(name)}</dt><dd>{html.escape(meaning)}</dd>" in page
    lone = summary(read_runs(write_comparison(tmp_path / "a", ("ppo-none",), seeds=2, visits=2)))
    assert set(definitions(lone)) == {"mean score", "IQM score"}


def test_runs_of_several_environments_are_not_mixed(
    tmp_path: Path, write_comparison: Callable[..., Path], undrawn: None
) -> None:
    for env in ("a", "b"):
        folder = write_comparison(tmp_path / env, ("ppo-none",), seeds=1, visits=2)
        path = folder / "ppo-none" / "seed_0" / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"env": f"env-{env}"}))
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError) as refused:
        write_report(tmp_path)
    assert str(refused.value) == (
        f"{tmp_path} holds runs of 2 environments (env-a, env-b), which do not go on one axis: "
        f"give the folder of one, such as {tmp_path / 'a'}"
    )
    assert sorted(tmp_path.rglob("*")) == before
    assert write_report(tmp_path / "a").summary["arm"].tolist() == ["ppo-none"]


@pytest.mark.slow
def test_arms_of_unequal_length_are_said(
    tmp_path: Path, write_comparison: Callable[..., Path]
) -> None:
    folder = write_comparison(tmp_path / "out", ("ppo-none", "ppo-fresh"), seeds=2, visits=4)
    write_comparison(folder, ("ppo-adamo",), seeds=2, visits=2)
    table = write_report(folder).summary.set_index("arm")
    assert table["visits"].to_dict() == {"ppo-none": 4, "ppo-adamo": 2, "ppo-fresh": 4}
    said = notes(table.reset_index())[0]
    assert "different numbers of finished visits (none 4, adamo 2, fresh 4)" in said
    visits = pd.read_csv(folder / "visits.csv")
    gains = visits[visits["visit"] < 2].groupby("arm")["gain"].sum()
    wanted = 1 - gains["ppo-adamo"] / gains["ppo-fresh"]
    assert table.loc["ppo-adamo", "gap"] == pytest.approx(wanted)  # over what both have


@pytest.mark.parametrize("width", [60, 80, 100, 160])
def test_terminal_table_fits_with_whole_numbers(reported: SimpleNamespace, width: int) -> None:
    console = Console(width=width, file=io.StringIO())
    table = reported.report.summary
    print_summary(console, table)
    lines = console.file.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    words = " ".join(lines).replace("[ ", "[").split()
    for column in (readable(table), per_task(table, "final")):
        for text in column.to_numpy().ravel():
            assert all(word in words for word in text.split())
    assert "Fewer than 10 seeds" in " ".join(lines)


LONG = "long " * 200
STRANGE = ("$x_1$", "_hidden", "<b>bold</b>", "a\nb\x1b[31m", "[red]c[/]", LONG, LONG + "long")


@pytest.mark.filterwarnings("error")
def test_strange_names_are_shown_as_they_are(tmp_path: Path) -> None:
    for arm in STRANGE:
        for seed in (0, 1):
            folder = tmp_path / str(STRANGE.index(arm)) / f"seed_{seed}"
            folder.mkdir(parents=True)
            rows = ["10,0,0,1.0", "20,1,1,2.0"]
            header = "step,task,visit,charts/episodic_return"
            (folder / "metrics.csv").write_text("\n".join([header, *rows, ""]))
            names = [STRANGE[0], STRANGE[3]]
            config = {"arm": arm, "task_names": names, "steps": 20, "seed": seed, "env": STRANGE[2]}
            (folder / "config.json").write_text(json.dumps(config))
    made = write_report(tmp_path)
    assert LONG in made.summary["arm"].tolist()
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<b>" not in page
    assert "\x1b" not in page
    for shown in ("$x_1$", "&lt;b&gt;bold&lt;/b&gt;", r"a\nb\x1b[31m", "[red]c[/]", "_hidden"):
        assert f'<th scope="row">{shown}</th>' in page
    assert "final/$x_1$" in made.summary
    console = PlainConsole(width=300, file=io.StringIO())
    print_summary(console, made.summary)
    assert "[red]c[/]" in console.file.getvalue()
    assert max(map(len, console.file.getvalue().splitlines())) <= 300
    cells = readable(made.summary)["arm"].tolist()
    assert len(set(cells)) == len(STRANGE)
    assert max(map(len, cells)) < 60
