"""Supervised streams from the command line to the report."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from neoteny.agents.classifier import ClassifierConfig
from neoteny.agents.ppo_loss import PPOConfig
from neoteny.experiments.main import main
from neoteny.experiments.options.config import RunConfig
from neoteny.experiments.options.network_options import NetworkOptions
from neoteny.experiments.report.report import write_report
from neoteny.experiments.run.folders import read_json
from neoteny.experiments.run.memory import COSTS
from neoteny.experiments.run.runner import run
from neoteny.experiments.run.stored import from_dict

CONSOLE = Console(quiet=True)
TINY = ClassifierConfig(batch_size=16, updates_per_iteration=4)  # 64 samples an iteration
FAST = ["--agent", "classifier", "--batch-size", "16", "--updates-per-iteration", "4"]
FAST += ["--hidden", "8", "--task-steps", "64", "--steps", "1280", "--diagnose-every", "10"]


def numbers(folder, seed):
    return pd.read_csv(folder / f"seed_{seed}" / "metrics.csv").drop(columns=[*COSTS])


@pytest.mark.parametrize("cut", [2, 3])
def test_resume_is_bit_exact(tmp_path, cut):
    """Cut in the middle of a task, and exactly at a switch."""
    whole = RunConfig(
        agent="classifier",
        env="digits-random-labels",
        intervention=("adamo", "l2_init"),
        seeds=2,
        hyper=TINY,
        network=NetworkOptions(hidden=(8, 8)),
        task_steps=192,
        steps=64 * 8,
        diagnose_every=2,
        out=tmp_path / "whole",
    )
    run(whole, CONSOLE)
    part = dataclasses.replace(whole, out=tmp_path / "part", steps=64 * cut)
    run(part, CONSOLE)
    run(dataclasses.replace(part, steps=64 * 8), CONSOLE, resume=True)
    for seed in (0, 1):
        one, two = numbers(tmp_path / "whole", seed), numbers(tmp_path / "part", seed)
        measured_at_end = one["plasticity/update_norm"].isna() & (one["step"] == 64 * cut)
        extra = [name for name in two if name.startswith(("plasticity/", "interventions/"))]
        two.loc[measured_at_end, extra] = np.nan
        pd.testing.assert_frame_equal(one, two, check_exact=True)
    frame = numbers(tmp_path / "whole", 0)
    assert frame["step"].tolist() == [64 * (i + 1) for i in range(8)]
    assert frame["visit"].tolist() == [0, 0, 0, 1, 1, 1, 2, 2]
    online, task = frame["charts/online_accuracy"], frame["charts/task_accuracy"]
    for visit in range(3):
        mine = frame["visit"] == visit
        means = online[mine].expanding().mean()
        pd.testing.assert_series_equal(task[mine], means, check_names=False)


def test_the_folder_of_a_data_set_holds_in_every_folder(tmp_path, monkeypatch):
    """On the command line, and in a stream file."""
    (tmp_path / "images").mkdir()
    (tmp_path / "mine.yaml").write_text("data: digits\noptions: {data: images}\n")
    monkeypatch.chdir(tmp_path)
    named = ["run", "--env", "digits-permuted", "--env-option", "data=images", *FAST]
    filed = ["run", "--stream", "mine.yaml", *FAST]
    for out, arguments in (("named", named), ("filed", filed)):
        assert main([*arguments, "--out", out]) == 0
    stored = {out: read_json(tmp_path / out / "seed_0/config.json") for out in ("named", "filed")}
    folder = str(tmp_path / "images")
    assert stored["named"]["env_option"] == [f"data={folder}"]
    assert stored["filed"]["stream_definition"]["options"] == {"data": folder}
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    for out in stored:
        assert main(["run", "--resume", f"../{out}", "--steps", "1344"]) == 0


@pytest.mark.slow
def test_a_comparison_reports_accuracy_of_the_first_and_last_tenth_of_tasks(
    tmp_path, capsys, undrawn
):
    out = tmp_path / "out"
    arguments = ["compare", *FAST, "--seeds", "2", "--interventions", "none", "fresh"]
    assert main([*arguments, "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "last tenth minus first" in said
    table = pd.read_csv(out / "summary.csv").set_index("arm")
    assert set(table["unit"]) == {"accuracy"}
    assert set(table["span"]) == {"tenth"}
    for arm in ("classifier-none", "classifier-fresh"):
        frames = [numbers(out / arm, seed)["charts/online_accuracy"] for seed in (0, 1)]
        tenths = [[f[:2].mean(), f[-2:].mean()] for f in frames]  # 20 tasks of one row each
        first, last = pd.DataFrame(tenths).mean()
        assert table.loc[arm, "first_span"] == pytest.approx(first)
        assert table.loc[arm, "last_span"] == pytest.approx(last)
        assert table.loc[arm, "iqm"] == pytest.approx(pd.concat(frames).mean())
    assert table["gap"].isna().all()  # in one row nothing rises above the first
    assert "fresh networks do not clearly rise above the first" in " ".join(said.split())
    assert write_report(out).summary["visits"].tolist() == [20, 20]


def test_each_agent_has_its_own_hyper_parameters():
    with pytest.raises(ValueError, match="agent classifier takes a ClassifierConfig"):
        RunConfig(agent="classifier", env="digits-permuted", hyper=PPOConfig())
    classifier = RunConfig(agent="classifier", env="digits-permuted")
    assert classifier.hyper == ClassifierConfig()
    assert "ppo" not in classifier.to_dict()
    assert from_dict(classifier.to_dict()) == classifier
    assert RunConfig().hyper == PPOConfig()
    assert from_dict(RunConfig().to_dict()) == RunConfig()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("run --env digits-permuted", "needs --agent classifier"),
        ("run --agent classifier --env minatar-continual", "use one of digits-permuted"),
        ("run --agent classifier --env-option sticky=1", "they have data, images, tasks, share"),
        ("run --agent classifier --eval-episodes 3", "the classifier has none"),
        ("run --agent ppo --preset supervised", "try --preset cpu"),
        ("run --agent clasifier", "did you mean 'classifier'"),
        ("run --agent classifier --batch-size 0", "batch_size is 0"),
        ("run --preset paper-supervised", "--env-option data=PATH"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(
    arguments, message, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert main(arguments.split()) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert len(captured.err.splitlines()) == 1
    assert not list(tmp_path.iterdir())
