"""Watching trained agents: the episodes of an evaluation, as a GIF or MP4."""

import csv

import gymnasium
import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from neoteny.core import rng
from neoteny.envs import make
from neoteny.experiments.film import BAR, Film, write_film
from neoteny.experiments.main import main
from neoteny.experiments.run import checkpoint
from neoteny.experiments.run.run_streams import make_envs
from neoteny.experiments.run.runner import Runner
from neoteny.experiments.run.stored import Allowed, load_run
from neoteny.experiments.watch import WatchConfig, find_step, watch

PPO = "--num-envs 8 --num-steps 8 --num-epochs 1 --num-minibatches 2 --hidden 8 --diagnose-every 0"
DQN = "--agent dqn --num-envs 8 --hidden 8 --learning-starts 16 --replay-size 256"
QUIET = Console(quiet=True)


def train(out, arguments):
    assert main(["run", *arguments.split(), "--out", str(out)]) == 0
    return out


class Blind(gymnasium.Env):
    """Has nothing to show."""

    observation_space = gymnasium.spaces.Box(0, 1, (2,))
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        return np.zeros(2, np.float32), {}

    def step(self, action):
        return np.zeros(2, np.float32), 0.0, True, False, {}


@pytest.fixture(scope="module")
def cartpole(tmp_path_factory):
    """Two members, evaluated at the end on two episodes."""
    arguments = f"--env CartPole-v1 --steps 128 --seeds 2 --first-seed 4 --eval-episodes 2 {PPO}"
    return train(tmp_path_factory.mktemp("cartpole") / "run", arguments)


@pytest.fixture(scope="module")
def games(tmp_path_factory):
    """A stream of two games, each member in an order of its own, cut short in the third visit."""
    arguments = f"--env minatar-continual --task-steps 64 --steps 192 --seeds 2 {PPO}"
    return train(tmp_path_factory.mktemp("games") / "run", arguments)


def test_the_returns_are_those_of_the_evaluation(cartpole, tmp_path, capsys):
    out = tmp_path / "agent.gif"
    words = ["watch", str(cartpole), "--seed", "5", "--episodes", "2", "--out", str(out)]
    assert main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    with (cartpole / "seed_5" / "metrics.csv").open() as file:
        evaluated = float(list(csv.DictReader(file))[-1]["eval/episodic_return"])
    told = [line.split() for line in lines if line.startswith("episode ")]
    returns = [float(words[3]) for words in told]
    assert len(returns) == 2
    assert np.mean(returns) == pytest.approx(evaluated)
    assert f"written {out}" in lines
    # CartPole pays 1 a step.
    assert [int(words[5]) for words in told] == returns
    with Image.open(out) as film:
        pause = round(0.8 * 12)
        assert film.n_frames == sum(returns) + 2 * pause
        assert film.size == (600, 400 + BAR)
        assert film.info["duration"] == 80


@pytest.mark.slow
def test_frames_and_returns_are_those_of_a_plain_loop(games, tmp_path):
    out = tmp_path / "games.gif"
    config = WatchConfig(games, seed=1, episodes=2, out=out, fps=20)
    returns = watch(config, QUIET)
    runner = Runner(load_run(games, Allowed()), QUIET)
    runner.load(checkpoint.load(games / "checkpoint.pt"))
    envs = make_envs(runner.config, 2, render_mode="rgb_array")
    step = 192 - 64
    envs.seek(step)
    assert len(set(envs.tasks_at(step))) == 2
    keys = rng.lane_keys([0, 1], 2, f"evaluation {step}", "cpu")
    obs, expected, frames, playing = envs.reset()[0], [0.0, 0.0], ([], []), [True, True]
    for t in range(30):  # the stream switches afterwards
        pictures = envs.render()
        with torch.no_grad():
            action = runner.agent.play(obs.view(2, 2, 10, 10, 10), keys, t)
        obs, reward, terminated, truncated, _ = envs.step(action)
        for lane in (0, 1):
            if playing[lane]:
                frames[lane].append(pictures[2 + lane])
                expected[lane] += float(reward[2 + lane])
                playing[lane] = not (terminated | truncated)[2 + lane]
    with Image.open(out) as film:
        for number, frame in enumerate(frames[0]):
            film.seek(number)
            shown = np.asarray(film.convert("RGB"))
            assert np.array_equal(shown[:320], frame)
            assert shown[320:].std() > 5
        assert film.info["duration"] == 50
    assert [value for value, on in zip(returns, playing, strict=True) if not on] == [
        value for value, on in zip(expected, playing, strict=True) if not on
    ]
    assert any(not np.array_equal(frames[0][0], frame) for frame in frames[0])


def test_another_task_can_be_watched(games, capsys):
    runner = Runner(load_run(games, Allowed()), QUIET)
    runner.load(checkpoint.load(games / "checkpoint.pt"))
    names = runner.envs.task_names
    order = [names[runner.envs.tasks_at(step)[1]] for step in (0, 64, 128)]
    for text, step in (
        (None, 128),
        (order[0].lower(), 0),
        (order[1], 64),
        (order[2].upper(), 128),
        ("64", 64),
        ("1_00", 100),
    ):
        assert find_step(text, runner, 1) == (step, order[step // 64])
    (unseen,) = set(names) - set(order)
    with pytest.raises(ValueError, match="does not come in this run"):
        find_step(unseen, runner, 1)
    chosen = ["--task", order[1], "--episodes", "1", "--fps", "50"]
    assert main(["watch", str(games / "seed_1"), *chosen]) == 0
    assert f"seed 1, after 192 steps, plays {order[1]}" in capsys.readouterr().out
    assert (games / f"watch-{order[1]}-seed_1.gif").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        f"--env minatar-reward-flip --task-steps 64 --steps 128 {DQN}",
        *(
            pytest.param(f"--env {env} --steps 64 {PPO}", marks=pytest.mark.slow)
            for env in (
                "Pendulum-v1 --env-option max_steps=20",
                "FrozenLake-v1",
                "MiniGrid-DoorKey-5x5-v0 --env-option max_steps=9",
            )
        ),
    ],
)
def test_every_kind_of_agent_and_world(arguments, tmp_path):
    folder = train(tmp_path / "run", arguments)
    returns = watch(WatchConfig(folder, episodes=2, fps=30), QUIET)
    assert len(returns) == 2
    (out,) = folder.glob("watch-*.gif")
    with Image.open(out) as film:
        assert film.n_frames >= 4
        assert min(film.size) >= 200
        first = np.asarray(film.convert("RGB"))
        changed = False
        for number in range(1, film.n_frames):
            film.seek(number)
            changed |= not np.array_equal(np.asarray(film.convert("RGB")), first)
        assert changed


@pytest.mark.slow
def test_an_mp4(cartpole, tmp_path):
    encoder = pytest.importorskip("imageio_ffmpeg")
    out = tmp_path / "agent.mp4"
    (value,) = watch(WatchConfig(cartpole, episodes=1, out=out, fps=24), QUIET)
    told = next(encoder.read_frames(str(out)))
    assert told["size"] == (600, 400 + BAR)
    assert told["fps"] == 24
    assert encoder.count_frames_and_secs(str(out))[0] == value + round(0.8 * 24)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["agent.mp4"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--seed 3", "the run has the seeds [4, 5]"),
        ("--task Breakout", "task 'Breakout' is unknown: the run's tasks are CartPole-v1"),
        ("--task cartpol", "did you mean 'CartPole-v1'"),
        ("--out a.avi", "use .gif or .mp4"),
        ("--out a", "ends in nothing"),
        ("--out missing/a.gif", "missing is no folder"),
        ("--episodes 0", "episodes is 0"),
        ("--fps 101", "fps is 101"),
    ],
)
def test_bad_options_are_one_line(cartpole, options, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["watch", str(cartpole), *options.split()]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_an_mp4_without_its_package(cartpole, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(["watch", str(cartpole), "--out", str(tmp_path / "a.mp4")]) == 2
    assert "pip install imageio-ffmpeg" in capsys.readouterr().err


def test_what_cannot_be_watched(cartpole, tmp_path, capsys):
    pytest.importorskip("sklearn")
    assert main(["watch", str(tmp_path)]) == 2
    assert "holds no checkpoint.pt" in capsys.readouterr().err
    assert main(["watch", str(cartpole.parent)]) == 2
    assert "name one of its runs: run" in capsys.readouterr().err
    classifier = "--preset supervised --steps 512 --task-steps 512 --hidden 8"
    gymnasium.register("Blind-v0", Blind)
    for name, arguments, message in (
        ("classifier", classifier, "plays nothing"),
        ("sb3", f"--agent sb3-ppo --env CartPole-v1 --steps 64 {PPO}", "cannot be loaded"),
        ("blind", f"--env Blind-v0 --steps 64 {PPO}", "Blind-v0 draws no frames"),
    ):
        folder = train(tmp_path / name, arguments)
        capsys.readouterr()
        assert main(["watch", str(folder)]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert len(error.splitlines()) == 1


def test_small_frames_are_enlarged_and_equal_frames_kept(tmp_path):
    frame = make("MiniGrid-Empty-5x5-v0", 1, render_mode="rgb_array")
    frame.reset()
    (picture,) = frame.render()
    assert picture.shape == (160, 160, 3)
    film = Film("title")
    film.add(picture[:, :159], "text")
    film.linger("text", 3)
    assert len(film) == 4
    write_film(tmp_path / "a.gif", [film], 10)
    with Image.open(tmp_path / "a.gif") as gif:
        assert gif.n_frames == 4
        assert gif.size == (3 * 159 + 1, 3 * 160 + BAR)
        assert np.array_equal(
            np.asarray(gif.convert("RGB"))[: 3 * 160 : 3, : 3 * 159 : 3], picture[:, :159]
        )
