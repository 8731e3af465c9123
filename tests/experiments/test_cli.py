"""The commands as a person gives them: bad input is one line and exit code 2."""

import json
from importlib.util import find_spec

import pytest
import torch

from neoteny.experiments.main import main
from neoteny.experiments.options.config import RunConfig
from neoteny.experiments.run.lock import FolderLock
from neoteny.experiments.run.run_streams import make_envs

FAST = ["--num-envs", "8", "--num-steps", "8", "--num-epochs", "1", "--num-minibatches", "2"]
FAST += ["--hidden", "8", "--task-steps", "128", "--steps", "256", "--diagnose-every", "2"]


SIBLINGS = [
    ("run --seeds -1", "seeds is -1"),
    ("run --preset=", "preset '' is unknown"),
    ("run --intervention adamo:half_life=0", "half_life=0"),
    ("run --steps nan", "steps is nan: it must be a whole number"),
    ("run --steps 1.2345k", "steps is 1.2345k: it must be a whole number"),
    ("run --intervention AdamO", "did you mean 'adamo'"),
    ("run --env breakout", "did you mean 'neoteny/MinAtar-Breakout-v0'"),
    ("run --env ..:CartPole-v1", "unknown stream or environment '..:CartPole-v1'"),
    ("run --env os:", "unknown stream or environment 'os:'"),
    ("run --env minatar-contnual", "did you mean 'minatar-continual'"),
    ("run --preset papr", "did you mean 'paper'"),
    ("run --env-option foo=1", "no option 'foo'"),
    ("run --env-option sticky=0 sticky=1", "env option 'sticky' is given twice"),
    ("run --task-step 3", "did you mean --task-steps?"),
    ("run --net-arch 3", "option --net-arch is unknown: did you mean --hidden?"),
    ("compare --interventions", "interventions is (): name at least one, such as none"),
    ("run --num-envs 1000000000", "environments would take at least 500 GB"),
    ("watch", "watch needs PATH: Folder of the run, which holds checkpoint.pt; or one"),
    ("run --device cpu:1", "device is 'cpu:1': use cpu"),
    ("run --env-option seed=3", "option 'seed' is none of the environment's"),
]
"""Faults of the same kinds in other words."""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("run --steps 0", "steps is 0"),
        ("run --agent=", "agent '' is unknown"),
        ("run --intervention adam0", "did you mean 'adam'"),
        ("run --intervention adamo:isometry=-1", "isometry=-1"),
        ("run --intervention adamo:isometry=600", "diverges; lower isometry below 250"),
        ("run --learning-rate -1", "learning_rate is -1"),
        ("run --steps 1.5", "steps is 1.5: it must be a whole number"),
        ("run --steps", "option --steps has no value: give it one"),
        ("run --lr", "option --learning-rate has no value: give it one"),
        ("run --threads 0", "threads is 0: it must be from 1 to 1,024"),
        ("run --device gpu", "device is 'gpu': use cpu, cuda or one GPU"),
        ("run --learning-rate inf", "learning_rate is inf: it must be a finite number"),
        ("run --checkpoint-minutes -1", "checkpoint_minutes is -1: it must be at least 0"),
        ("run --torso cnv", "must be one of mlp, conv; did you mean 'conv'?"),
        ("run --intervention adamo:isometry=nan", "isometry=nan must be a finite number"),
        ("run --intervention adamo:isometry=0.1,isometry=1", "adamo:isometry is given twice"),
        ("run --env-option permute=perhaps", "permute is perhaps: it must be true or false"),
        ("run --env-option debug=true", "has no option 'debug'"),
        ("run --env cartpole", "did you mean 'neoteny/CartPole-v1'"),
        ("run --env My/Line-v0", "as in --plugin my_envs.py or --env my_envs:My/Line-v0"),
        ("run --env [bold]x[/bold]", "unknown stream or environment '[bold]x[/bold]'"),
        ("run --intervention [red]x", "intervention '[red]x' is unknown"),
        ("run --[bold]x", "option --[bold]x is unknown"),
        ("run --batch-size 3", "option --batch-size is unknown: did you mean --num-minibatches?"),
        ("run nonsense", "'nonsense' is out of place"),
        ("rum", "command 'rum' is unknown: did you mean 'run'?"),
        ("list envz", "did you mean 'envs'"),
        ("report", "report needs PATH: Folder that holds runs, at any depth"),
        ("list", "list needs {interventions,diagnostics,changes,"),
        ("--lr 3", "a command comes first: run, compare, report, "),
        ("", "a command comes first: run, compare, report, "),
        ("compare --biases maybe", "biases is 'maybe': it must be one of True, False"),
        ("watch x --fps nan", "fps is nan: it must be a finite number"),
        ("run --trust", "--trust goes with --resume and --config alone"),
        ("run --plugin nowhere", "there is no module nowhere"),
        ("run --plugin=", "'' is no module's name"),
        ("run --hidden 1000000 1000000", "networks would take at least 16,000 GB"),
        ("run --num-steps 10000000 --num-minibatches 1", "a rollout would take at least"),
        ("run --agent dqn --replay-size 1000000000000", "the replay would take at least"),
        ("run --num-minibatches 100", "100 does not divide"),
        ("run --no-steps", "option --no-steps is unknown: give --steps a value"),
        ("run --env :CartPole-v1", "unknown stream or environment ':CartPole-v1'"),
        ("run --env CartPole-v1 --env-option backend=host render_mode=7", "cannot be made: 'int'"),
        ("run --intervention", "intervention is (): name at least one, such as none"),
        ("run --env neoteny/MinAtar-Brekout-v0", "did you mean 'neoteny/MinAtar-Breakout-v0'"),
        ("run --env-option sticky", "has no value"),
        ("run --env-option sticky=2", "sticky is 2"),
        ("run --activation relo", "'relo' is unknown"),
        ("run --hidden 63 --activation groupsort", "multiples of 2"),
        ("run --resume nowhere", "nowhere holds no run"),
        ("compare --interventions none none", "given twice"),
        ("compare --interventions none adamo+bogus", "'bogus' is unknown"),
        ("report nowhere", "nowhere"),
        *(pytest.param(*each, marks=pytest.mark.slow) for each in SIBLINGS),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(
    arguments, message, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert main(arguments.split()) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.startswith("error: ")
    assert len(captured.err.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_a_whole_number_may_be_written_as_a_float(tmp_path):
    out = tmp_path / "run"
    assert main(["run", *FAST, "--steps", "2.56e2", "--out", str(out)]) == 0
    assert json.loads((out / "seed_0/config.json").read_text())["steps"] == 256


@pytest.mark.skipif(find_spec("mujoco") is not None, reason="for those who lack MuJoCo")
def test_brackets_of_a_remedy_are_shown(capsys):
    assert main(["run", "--env", "HalfCheetah-v5"]) == 2
    said = "HalfCheetah-v5 cannot be made: MuJoCo is not installed, run `pip install "
    assert f'error: {said}"gymnasium[mujoco]"`\n' in capsys.readouterr().err


def test_names_of_other_packages_are_understood(monkeypatch):
    """Those of Stable-Baselines3 and CleanRL, for the agent that has such an option."""
    given = []
    monkeypatch.setattr("neoteny.experiments.cli.run", lambda config, _: given.append(config))
    arguments = "run --env-id CartPole-v1 --total-timesteps 5e3 --seed 3 --lr 0.5 --n-envs 8"
    assert main([*arguments.split(), "--n-steps", "16", "--update-epochs", "2"]) == 0
    arguments = "run --algo dqn --n-steps 3 --buffer-size 50k --tau 0.5 --target-update-interval 1k"
    assert main(arguments.split()) == 0
    ppo, dqn = given
    assert (ppo.env, ppo.steps, ppo.seed_list) == ("CartPole-v1", 5000, [3])
    assert (ppo.hyper.learning_rate, ppo.hyper.num_envs) == (0.5, 8)
    assert (ppo.hyper.num_steps, ppo.hyper.num_epochs) == (16, 2)
    assert (dqn.hyper.n_steps, dqn.hyper.num_steps, dqn.hyper.replay_size) == (3, 64, 50_000)
    assert (dqn.hyper.target_rate, dqn.hyper.target_frequency) == (0.5, 1000)


def test_words_for_no_turn_an_option_off():
    """Channels that the game has not are the last ones, unless they are shuffled."""
    for permute, shuffled in (("no", False), ("yes", True)):
        config = RunConfig(env_option=(f"permute={permute}", "cycles=2"), seeds=1)
        envs = make_envs(config)
        obs = torch.cat([envs.reset()[0] for _ in range(2)])
        assert obs[..., 7:].any() == shuffled


def test_a_gpu_that_is_not_there_is_refused(capsys, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert main(["run", "--device", "cuda:2"]) == 2
    assert "device is cuda:2, but the last one is cuda:1: use that" in capsys.readouterr().err


def test_cuda_without_cuda_is_refused(capsys, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert main(["run", "--device", "cuda"]) == 2
    assert "use --device cpu" in capsys.readouterr().err


def test_a_folder_that_holds_a_run_is_not_overwritten(tmp_path, capsys):
    out = str(tmp_path / "run")
    assert main(["run", *FAST, "--out", out]) == 0
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()}
    assert main(["run", *FAST, "--out", out]) == 2
    assert "already holds a run" in capsys.readouterr().err
    assert main(["run", "--resume", out, "--learning-rate", "0.1"]) == 2
    assert "ppo.learning_rate: stored 0.001, given 0.1" in capsys.readouterr().err
    after = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()}
    assert before == after


def test_a_run_is_trained_again_where_that_is_asked_for(tmp_path, capsys):
    out = tmp_path / "run"
    assert main(["run", *FAST, "--out", str(out)]) == 0
    first = (out / "seed_0" / "metrics.csv").read_text()
    (out / "checkpoint.pt").write_bytes(b"broken")
    (out / "notes.txt").write_text("mine")
    arguments = ["run", *FAST, "--steps", "128", "--overwrite", "--out", str(out)]
    with FolderLock(out):
        assert main(arguments) == 2
    assert "is in use by process" in capsys.readouterr().err
    assert (out / "seed_0" / "metrics.csv").read_text() == first
    assert main(arguments) == 0
    assert len((out / "seed_0" / "metrics.csv").read_text().splitlines()) == 1 + 128 // 64
    assert len(list((out / "seed_0").glob("events*"))) == 1
    assert "overwrite" not in json.loads((out / "seed_0" / "config.json").read_text())
    assert (out / "notes.txt").read_text() == "mine"
    assert main(["run", "--resume", str(out), "--overwrite"]) == 2
    assert "exclude each other" in capsys.readouterr().err


def test_rounding_of_steps_is_said(tmp_path, capsys):
    arguments = [
        "run",
        *FAST,
        "--steps",
        "200",
        "--task-steps",
        "100",
        "--out",
        str(tmp_path / "x"),
    ]
    assert main(arguments) == 0
    said = capsys.readouterr().out
    assert "ppo-none: --steps 200 is rounded up to 256, iterations of 64\n" in said
    assert "ppo-none: --task-steps 100 is rounded up to 128, iterations of 64\n" in said
    stored = json.loads((tmp_path / "x" / "seed_0" / "config.json").read_text())
    assert stored["boundaries"] == [128]


def test_a_corrupt_checkpoint_is_named(tmp_path, capsys):
    out = tmp_path / "run"
    assert main(["run", *FAST, "--out", str(out)]) == 0
    path = out / "checkpoint.pt"
    path.write_bytes(path.read_bytes()[:-100])
    assert main(["run", "--resume", str(out), "--steps", "512"]) == 2
    assert str(path) in capsys.readouterr().err


def test_resuming_with_more_steps_goes_on(tmp_path, capsys):
    out = tmp_path / "run"
    assert main(["run", *FAST, "--out", str(out)]) == 0
    assert main(["run", "--resume", str(out), "--steps", "384"]) == 0
    rows = (out / "seed_0" / "metrics.csv").read_text().splitlines()
    assert len(rows) == 1 + 384 // 64


def test_compare_writes_a_report_and_finishes_what_was_cut_short(tmp_path, capsys, undrawn):
    arguments = ["compare", "--interventions", "none", "fresh", "--seeds", "2", *FAST]
    arguments += ["--steps", "128", "--task-steps", "64", "--out", str(tmp_path)]
    assert main(arguments) == 0
    for name in ("summary.csv", "report.html"):
        assert (tmp_path / name).stat().st_size > 0
    assert "tensorboard --logdir" in capsys.readouterr().out
    before = sorted(tmp_path.glob("*/seed_*/*"))
    assert main(arguments) == 0
    assert sorted(tmp_path.glob("*/seed_*/*")) == before
    saved = (tmp_path / "ppo-none" / "checkpoint.pt").stat().st_mtime_ns
    assert main([*arguments, "--overwrite"]) == 0
    assert (tmp_path / "ppo-none" / "checkpoint.pt").stat().st_mtime_ns > saved


@pytest.mark.parametrize("what", ["interventions", "streams", "presets"])
def test_lists_name_what_can_be_chosen(what, capsys):
    assert main(["list", what]) == 0
    known = {
        "interventions": "l2_init",
        "streams": "minatar-continual",
        "presets": "paper",
    }
    assert known[what] in capsys.readouterr().out


@pytest.mark.parametrize(
    ("agent", "text", "expected"),
    [
        ("dqn", "redo", {"tau": 0.1, "period": "0.1tasks"}),
        ("dqn", "redo:period=4000", {"tau": 0.1, "period": 4000.0}),
        ("sb3-dqn", "optimizer_reset", {"period": "1targets"}),
        ("ppo", "redo", {"tau": 0.025, "period": "0.1tasks"}),
        ("classifier", "redo:tau=0.2", {"tau": 0.2, "period": "0.1tasks"}),
    ],
)
def test_strengths_start_from_the_agents_defaults(agent, text, expected):
    env = "digits-random-labels" if agent == "classifier" else "minatar-continual"
    config = RunConfig(agent=agent, env=env, intervention=(text,))
    assert expected.items() <= config.make_interventions()[0].settings.items()


def test_a_run_keeps_the_strengths_that_it_had(tmp_path):
    arguments = "run --agent dqn --env CartPole-v1 --intervention redo:tau=0.3 --num-envs 8"
    arguments += " --num-steps 8 --steps 64 --hidden 8 --learning-starts 16 --batch-size 8"
    assert main([*arguments.split(), "--out", str(tmp_path / "run")]) == 0
    stored = json.loads((tmp_path / "run" / "seed_0" / "config.json").read_text())
    assert stored["intervention"] == ["redo:tau=0.3"]
    assert stored["intervention_settings"] == {"redo": {"period": "0.1tasks", "tau": 0.3}}


def test_a_run_stays_out_of_a_comparison_that_is_under_way(tmp_path, capsys):
    arguments = f"run --env CartPole-v1 --steps 64 --out {tmp_path / 'compared' / 'ppo-adamo'}"
    with FolderLock(tmp_path / "compared"):
        assert main(arguments.split()) == 2
    assert f"{tmp_path / 'compared'} is in use by process" in capsys.readouterr().err
    assert not (tmp_path / "compared" / "ppo-adamo").exists()
