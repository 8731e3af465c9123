"""A user's own stream from the command line: trained, written down, resumed, or refused."""

import json

import pytest

from neoteny.experiments.main import main

FAST = ["--num-envs", "8", "--num-steps", "8", "--num-epochs", "1", "--num-minibatches", "2"]
FAST += ["--hidden", "8", "--task-steps", "128", "--steps", "256", "--diagnose-every", "0"]
TEXT = """
environments: CartPole-v1
schedule: {kind: Cyclic, tasks: 2}
changes: [{kind: ObservationOffset, std: 0.5}]
"""


def test_a_stream_file_is_trained_written_down_and_resumed(tmp_path, capsys, monkeypatch):
    file = tmp_path / "mine.yaml"
    file.write_text(TEXT)
    out = str(tmp_path / "run")
    assert main(["run", "--stream", str(file), "--out", out, *FAST]) == 0
    stored = json.loads((tmp_path / "run/seed_0/config.json").read_text())
    assert stored["env"] == "mine"
    assert stored["stream_definition"]["environments"] == [{"id": "neoteny/CartPole-v1"}]
    assert stored["boundaries"] == [128]
    assert main(["run", "--resume", out, "--steps", "384", "--stream", str(file)]) == 0
    file.write_text(TEXT.replace("0.5", "0.6"))
    assert main(["run", "--resume", out, "--steps", "512", "--stream", str(file)]) == 2
    assert "is not what the run was trained on" in capsys.readouterr().err
    file.unlink()
    monkeypatch.chdir(tmp_path)
    assert main(["run", "--resume", "run", "--steps", "512"]) == 0
    stored = json.loads((tmp_path / "run/seed_0/config.json").read_text())
    assert stored["stream_definition"]["changes"][0]["std"] == 0.5
    assert main(["timeline", "run"]) == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            TEXT.replace("Cyclic", "Cylic"),
            "schedule kind 'Cylic' is unknown: did you mean 'Cy",
        ),
        (TEXT.replace("std", "sdt"), "changes[0]: key 'sdt' is unknown: did you mean 'std'?"),
        (None, "does not exist; give a .yaml or .py file"),
    ],
)
def test_a_bad_stream_file_is_one_line(text, message, tmp_path, capsys):
    file = tmp_path / "mine.yaml"
    if text:
        file.write_text(text)
    assert main(["run", "--stream", str(file), "--out", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()


DIGITS = "data: digits\nchanges: [{kind: LabelNoise, fractions: [0, 0.5]}]\noptions: {images: 64}"
TINY = ["--hidden", "8", "--batch-size", "16", "--updates-per-iteration", "4"]
TINY += ["--task-steps", "128", "--steps", "256", "--diagnose-every", "0"]


def test_a_supervised_stream_file_is_trained_and_resumed(tmp_path):
    file = tmp_path / "noisy.yaml"
    file.write_text(DIGITS)
    out = str(tmp_path / "run")
    arguments = ["run", "--agent", "classifier", "--stream", str(file), "--out", out]
    assert main([*arguments, *TINY]) == 0
    stored = json.loads((tmp_path / "run/seed_0/config.json").read_text())
    assert (stored["env"], stored["boundaries"]) == ("noisy", [128])
    assert stored["stream_definition"]["data"] == "digits"
    assert main(["run", "--resume", out, "--steps", "384"]) == 0


@pytest.mark.parametrize(
    ("agent", "text", "message"),
    [
        ("ppo", DIGITS, "mine is a supervised stream: it needs --agent classifier"),
        ("classifier", TEXT, "is a stream of environments: the classifier needs one with data:"),
    ],
)
def test_a_stream_file_goes_with_its_kind_of_agent(agent, text, message, tmp_path, capsys):
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    out = str(tmp_path / "run")
    assert main(["run", "--agent", agent, "--stream", str(file), "--out", out]) == 2
    assert message in capsys.readouterr().err
