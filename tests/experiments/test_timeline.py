"""The command that prints and draws what a run plays when."""

import pytest

from neoteny.experiments.main import main

SMALL = "--num-envs 8 --num-steps 8 --num-epochs 1 --num-minibatches 2 --hidden 8"
STREAM = """
environments: CartPole-v1
schedule: {kind: OnReturn, threshold: 1.0, every: 64, tasks: 2, episodes: 1}
changes:
  - {kind: RewardScale, factors: [1.0, 2.0]}
task_names: [plain, double]
"""


def test_a_stream_before_it_is_played(tmp_path, capsys):
    out = tmp_path / "figure.png"
    options = "--env minatar-continual --task-steps 100 --steps 600 --seeds 2 --first-seed 3"
    assert main(["timeline", *options.split(), *SMALL.split(), "--out", str(out)]) == 0
    told = capsys.readouterr().out
    assert "seed 3: RandomOrder(period=128, tasks=4, seed=3" in told
    assert "seed 4: RandomOrder(period=128, tasks=4, seed=4" in told
    assert "512            640" in told
    assert told.endswith(f"written {out}\n")
    assert out.read_bytes().startswith(b"\x89PNG")


def test_a_run_shows_the_switches_that_waited_for_returns(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.yaml").write_text(STREAM)
    assert main(["timeline", "--stream", "own.yaml", *SMALL.split()]) == 0
    told = capsys.readouterr().out
    assert "further switches wait for returns" in told
    (drawn,) = tmp_path.glob("results/runs/own/ppo-none-*/timeline.png")
    folder = drawn.parent.relative_to(tmp_path).as_posix()
    assert told.endswith(f"written {folder}/timeline.png\n")
    run = "run --stream own.yaml --steps 640"
    assert main([*run.split(), *SMALL.split()]) == 0
    capsys.readouterr()
    assert main(["timeline", folder, "--out", "run.svg"]) == 0
    told = capsys.readouterr().out
    assert "double" in told
    assert not (tmp_path / "timeline.png").exists()
    assert "<svg" in (tmp_path / "run.svg").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("nowhere", "nowhere holds no run"),
        ("--env minatar-contnual", "did you mean 'minatar-continual'"),
        ("--env cartpole-drift --out a.xyz", "a.xyz ends in xyz"),
        ("--env cartpole-drift --out no/a.png", "cannot write no/a.png (No such file"),
    ],
)
def test_bad_input_is_one_line(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["timeline", *arguments.split()]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_a_supervised_stream(tmp_path, capsys):
    pytest.importorskip("sklearn")
    out = tmp_path / "a.png"
    assert main(["timeline", "--preset", "supervised", "--steps", "90000", "--out", str(out)]) == 0
    assert "Periodic(period=38400" in capsys.readouterr().out
    assert out.exists()


def test_a_comparison_names_its_runs(tmp_path, capsys):
    (tmp_path / "ppo-none").mkdir()
    (tmp_path / "ppo-none" / "checkpoint.pt").touch()
    for arguments in (["timeline", str(tmp_path)], ["run", "--resume", str(tmp_path)]):
        assert main(arguments) == 2
        assert "holds no run: name one of its runs: ppo-none" in capsys.readouterr().err
