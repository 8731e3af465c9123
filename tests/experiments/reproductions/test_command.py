"""The command `reproduce`: a tiny reproduction end to end, its refusals, its pages."""

import dataclasses
import re

import pandas as pd
import pytest

from neoteny.experiments.main import main
from neoteny.experiments.options.config import RunConfig
from neoteny.experiments.options_by_name import configure
from neoteny.experiments.reproductions import REPRODUCTIONS, pages, revival
from neoteny.experiments.reproductions.reproduction import Comparison, Evidence, Finding, Plan
from neoteny.experiments.run import runner

TINY = {
    "preset": "demo",
    "seeds": 2,
    "task_steps": 256,
    "steps": 768,
    "num_envs": 8,
    "num_steps": 16,
    "num_minibatches": 1,
}


@pytest.fixture
def tiny():
    """`decoupled` with tasks of two iterations, under another name."""
    arms = ("none", "adamo:isometry=0.1", "isometry_loss:weight=0.1,scale=1", "fresh")
    plan = Plan({"runs": Comparison({**TINY, "interventions": arms}, 1e4)})
    copy = dataclasses.replace(
        REPRODUCTIONS["decoupled"], name="tiny", plans={"preview": plan, "laptop": plan}
    )
    REPRODUCTIONS.add("tiny", copy, copy.claim)
    yield copy
    REPRODUCTIONS.discard("tiny")


@pytest.mark.slow
def test_one_that_was_cut_short_goes_on_and_is_analysed_again(
    tiny, tmp_path, monkeypatch, capsys, undrawn
):
    train, asked = runner.run, []

    def stopped(config, console, **options):
        asked.append(config.arm)
        if len(asked) == 3:
            raise KeyboardInterrupt
        train(config, console, **options)

    command, folder = ["reproduce", "tiny", "--out", str(tmp_path)], tmp_path / "tiny-preview"
    monkeypatch.setattr(runner, "run", stopped)
    assert main(command) == 130
    assert not (folder / "table.csv").exists()
    monkeypatch.setattr(runner, "run", train)
    assert main(command) == 0
    table = (folder / "table.csv").read_text()
    assert len(pd.read_csv(folder / "table.csv")) == 4
    assert (folder / "figure.png").read_bytes().startswith(b"\x89PNG")
    page = (folder / "index.html").read_text()
    sentence = re.search(r"<strong>(.*?)</strong>", page)[1]
    printed = capsys.readouterr().out
    assert sentence.split(" (")[0] in " ".join(printed.split())
    assert "1 minute in all" in printed
    assert tiny.claim in page
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("metrics.csv")}
    assert len(before) == 8
    assert main(command) == 0  # trains nothing again
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert (folder / "table.csv").read_text() == table


def test_a_dry_run_writes_nothing(tiny, tmp_path, capsys):
    assert main(["reproduce", "tiny", "--out", str(tmp_path / "out"), "--dry-run"]) == 0
    assert not (tmp_path / "out").exists()
    assert re.search(r"tiny +4 +2 +768 +6,144 +1 minute ", capsys.readouterr().out)


def test_a_folder_that_cannot_be_made_is_refused_before_the_work(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").touch()
    monkeypatch.setattr(revival, "curves", lambda *_: pytest.fail("worked before it was refused"))
    assert main(["reproduce", "revival", "--out", str(tmp_path / "file")]) == 1
    assert "cannot write" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["factor"], "reproduction 'factor' is unknown: did you mean 'factors'?"),
        ([], "give the names of reproductions or --all, one of them; see list reproductions"),
        (["factors", "--all"], "give the names of reproductions or --all, one of them; see list"),
        (
            ["factors", "--tier", "ful"],
            "tier is ful: it must be one of preview, laptop, full; did you mean 'full'?",
        ),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(words, message, capsys):
    assert main(["reproduce", *words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_data_set_that_is_not_there_is_refused_alone_and_left_out_of_all(
    tiny, tmp_path, capsys, monkeypatch
):
    images = Comparison({"preset": "supervised", "env": "mnist-permuted"}, 1e4)
    needing = dataclasses.replace(tiny, name="needing", plans={"preview": Plan({"r": images})})
    monkeypatch.setattr(REPRODUCTIONS, "_things", {"needing": needing, "tiny": tiny})
    where = ["--out", str(tmp_path / "out"), "--data", str(tmp_path), "--dry-run"]
    assert main(["reproduce", "needing", *where]) == 2
    error = capsys.readouterr().err
    assert "needing at tier preview needs mnist: train-images-idx3-ubyte is not in" in error
    assert "--data PATH" in error
    assert main(["reproduce", "--all", *where]) == 0
    printed = capsys.readouterr()
    assert "left out: needing at tier preview needs mnist" in printed.out
    assert "tiny" in printed.out
    assert printed.out.count("needing") == 1


def test_several_have_an_index(tiny, tmp_path, monkeypatch, capsys):
    def found(name):
        finding = Finding(pd.DataFrame({"x": [1]}), f"{name} holds.", draw)
        plans = {"preview": Plan(minutes=2)}
        return dataclasses.replace(tiny, name=name, plans=plans, analyse=lambda _: finding)

    def draw(path, *, narrow):
        path.write_bytes(b"figure")
        return "A figure."

    both = {name: found(name) for name in ("first", "second")}
    monkeypatch.setattr(REPRODUCTIONS, "_things", both)
    assert main(["reproduce", "--all", "--out", str(tmp_path), "--first-seed", "7"]) == 0
    page = (tmp_path / "preview-7.html").read_text()
    printed = capsys.readouterr().out
    assert "4 minutes in all" in printed
    for name in both:
        assert f'href="{name}-preview-7/index.html"' in page
        assert f"<strong>{name} holds.</strong>" in page
        assert f"{name} holds." in printed


def test_a_page_says_which_network_all_arms_have():
    options = {"env": "CartPole-v1", "hidden": (8, 8), "bias": False}
    runs = {
        name: configure(RunConfig, {**options, "activation": name})
        for name in ("relu", "groupsort")
    }
    shared = pages.shared(Evidence({}, runs, {}, 0))
    assert shared["hidden layers of all arms"] == "8 8"
    assert shared["biases of all arms"] == "no"
    assert "activation of all arms" not in shared
    assert pages.shared(Evidence({}, {}, {}, 0)) == {}
