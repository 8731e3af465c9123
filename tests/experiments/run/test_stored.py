"""Code that only a run's files name is never run unless the command names it."""

import json
import shutil

import pandas as pd
import pytest

from neoteny.experiments.early import read_early
from neoteny.experiments.main import main
from neoteny.experiments.options.config import CompareConfig, RunConfig
from neoteny.experiments.run import checkpoint
from neoteny.experiments.run.memory import COSTS
from neoteny.experiments.run.run_streams import make_envs
from neoteny.experiments.run.stored import completed, from_dict
from neoteny.experiments.statistics.runs import read_runs
from neoteny.wrappers import Change

FAST = "--num-envs 4 --num-steps 8 --num-epochs 1 --num-minibatches 2 --hidden 8 --threads 1"
FAST = f"{FAST} --task-steps 64 --steps 64 --diagnose-every 0".split()

OWN = """
import pathlib, random
from neoteny.wrappers import Change
pathlib.Path("ran").write_text(str(random.random()))

class Tenfold(Change):
    def reward(self, reward, task, step=0):
        return reward * 10

def stream():
    return {"environments": "CartPole-v1", "changes": [%s]}
"""
DATA = '{"kind": "Dynamics", "parameter": "gravity", "values": [random.uniform(5, 15)]}'

MODULE = """
import gymnasium, numpy as np, pathlib
pathlib.Path("ran").write_text("")

class Box(gymnasium.Env):
    metadata = {"render_modes": ["rgb_array"], "render_fps": 4}
    observation_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)
    def __init__(self, render_mode=None):
        self.render_mode = render_mode
    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(2, np.float32), {}
    def step(self, action):
        return np.zeros(2, np.float32), 1.0, True, False, {}
    def render(self):
        return np.zeros((64, 64, 3), np.uint8)

gymnasium.register("Own-v0", Box)
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working folder with files of a user's own, which leave `ran` behind when they are run."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(OWN % "Tenfold()")
    (tmp_path / "data.py").write_text(OWN % DATA)
    (tmp_path / "module_of_ones_own.py").write_text(MODULE)
    return tmp_path


def forget(folder):
    (folder / "ran").unlink(missing_ok=True)


def ran(folder):
    return (folder / "ran").exists()


def look(run, *options):
    """Exit codes of resuming, watching and drawing the timeline of a run."""
    return [
        main(["run", "--resume", run, "--steps", "128", *options]),
        main(["watch", run, "--episodes", "1", *options]),
        main(["timeline", run, *options]),
    ]


def test_a_python_stream_that_is_data_is_run_once_and_never_again(here):
    assert main(["run", "--stream", "data.py", "--out", "run", *FAST]) == 0
    stored = json.loads((here / "run/seed_0/config.json").read_text())
    assert ran(here)
    forget(here)
    assert look("run") == [0, 0, 0]
    again = json.loads((here / "run/seed_0/config.json").read_text())
    assert again["stream_definition"] == stored["stream_definition"]
    assert not ran(here)


@pytest.mark.slow
def test_a_python_stream_with_code_of_its_own_has_to_be_named(here, capsys):
    assert main(["run", "--stream", "own.py", "--out", "run", *FAST]) == 0
    forget(here)
    Change.kinds.discard("Tenfold")  # as in a process of its own
    capsys.readouterr()
    assert look("run") == [2, 2, 2]
    assert not ran(here)
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 3
    for error in errors:
        assert "change kind 'Tenfold' is unknown" in error
        assert error.endswith(f"allow that to be run with --stream {here / 'own.py'} or --trust")
    assert look("run", "--stream", "own.py") == [0, 0, 0]
    assert look("run", "--trust") == [0, 0, 0]
    assert ran(here)


def test_a_run_can_move_and_is_looked_at_without_its_file(
    here, tmp_path_factory, monkeypatch, capsys, undrawn
):
    """From another folder, by another path, its stream's file gone; figures land beside the run."""
    file = here / "mine.yaml"
    file.write_text("environments: CartPole-v1\nchanges: [{kind: ObservationOffset, std: 0.5}]\n")
    assert main(["run", "--stream", "mine.yaml", "--out", "run", *FAST]) == 0
    file.unlink()
    moved = tmp_path_factory.mktemp("elsewhere") / "moved"
    shutil.move(here / "run", moved)
    monkeypatch.chdir(cwd := tmp_path_factory.mktemp("cwd"))
    capsys.readouterr()
    assert look(str(moved)) == [0, 0, 0]
    assert main(["report", str(moved)]) == 0
    told = capsys.readouterr().out
    for name in ("timeline.png", "watch-CartPole-v1-seed_0.gif"):
        assert (moved / name).is_file()
        assert f"written {moved / name}\n" in told
    assert not list(cwd.iterdir())


def test_stored_paths_hold_in_every_folder(here, tmp_path_factory, monkeypatch):
    """Of a Python stream and a plugin; see test_supervised_runs for a data set."""
    (here / "plug.py").write_text("")
    extra = ["--plugin", "plug.py"]
    assert main(["run", "--stream", "own.py", "--out", "run", *extra, *FAST]) == 0
    stored = json.loads((here / "run/seed_0/config.json").read_text())
    assert stored["stream"] == str(here / "own.py")
    assert stored["plugin"] == [str(here / "plug.py")]
    Change.kinds.discard("Tenfold")
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    resumed = ["run", "--resume", str(here / "run"), "--steps", "128"]
    assert main([*resumed, "--trust"]) == 0


def test_a_module_in_a_stored_configuration_has_to_be_named(here, capsys):
    assert main(["run", "--env", "CartPole-v1", "--out", "run", *FAST]) == 0
    path = here / "run/seed_0/config.json"
    stored = json.loads(path.read_text()) | {"env": "module_of_ones_own:Own-v0"}
    path.write_text(json.dumps(stored))
    capsys.readouterr()
    assert look("run") == [2, 2, 2]
    assert not ran(here)
    for error in capsys.readouterr().err.splitlines():
        assert "would run the module module_of_ones_own: allow it with --plugin" in error


@pytest.mark.parametrize("tasks", ["evil:X-v0", {"id": "evil:X-v0"}, ["evil:X-v0"]])
def test_a_module_in_a_stored_definition_has_to_be_named(tasks):
    values = RunConfig(env="CartPole-v1").to_dict()
    values |= {"stream": "a.yaml", "stream_definition": {"environments": tasks}}
    with pytest.raises(ValueError, match="would run the module evil: allow it with --plugin evil"):
        from_dict(values)


def test_a_plugin_is_run_when_it_is_named(here, capsys):
    plugin = ["--plugin", "module_of_ones_own.py"]
    assert main(["run", "--env", "Own-v0", "--out", "run", *plugin, *FAST]) == 0
    forget(here)
    capsys.readouterr()
    assert look("run") == [2, 2, 2]
    assert not ran(here)
    allow = f"allow it with --plugin {here / 'module_of_ones_own.py'}"
    assert allow in capsys.readouterr().err
    with pytest.warns(UserWarning, match="Overriding environment"):
        assert look("run", *plugin) == [0, 0, 0]


def test_a_stream_file_is_read_once_by_a_comparison(here):
    config = CompareConfig(stream=here / "data.py", interventions=("none", "l2"))
    (here / "data.py").unlink()
    values = [make_envs(arm).env.changes[0].values for arm in config.arms()]
    assert values[0] == values[1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--agent dqn", "agent: stored"),
        ("--seeds 2", "seeds: stored 1, given 2"),
        ("--first-seed 1", "first_seed: stored 0, given 1"),
        ("--intervention adamo", "intervention: stored"),
        ("--learning-rate 0.5", "ppo.learning_rate: stored 0.001, given 0.5"),
        ("--hidden 16", "hidden: stored [8], given [16]"),
        ("--task-steps 32", "task_steps: stored 64, given 32"),
        ("--preset paper", "preset: stored"),
        ("--env Acrobot-v1", "env: stored"),
        ("--env-option max_steps=3", "env_option: stored [], given"),
        ("--out elsewhere", "--out elsewhere does not go with --resume"),
        ("--no-reset-optimizer", "reset_optimizer: stored true, given false"),
    ],
)
def test_a_resume_refuses_what_it_cannot_change(here, capsys, options, message):
    assert main(["run", "--env", "CartPole-v1", "--out", "run", *FAST]) == 0
    capsys.readouterr()
    assert main(["run", "--resume", "run", "--steps", "128", *options.split()]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_resume_obeys_what_it_can_change(here, capsys):
    assert main(["run", "--env", "CartPole-v1", "--out", "run", *FAST]) == 0
    options = "--steps 128 --diagnose-every 1 --eval-episodes 1 --threads 1 --checkpoint-minutes 1"
    assert main(["run", "--resume", "run", *options.split()]) == 0
    header, *rows = (here / "run/seed_0/metrics.csv").read_text().splitlines()
    assert len(rows) == 4
    assert "eval/episodic_return" in header
    assert "plasticity/update_norm" in header


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"agent": None}, "agent None is unknown here"),
        ({"agent": ["ppo"]}, r"agent \['ppo'\] is unknown here"),
        ({"seeds": "1"}, "seeds is '1': it must be a whole number"),
        ({"steps": True}, "steps is True"),
        ({"hidden": [64, None]}, "hidden is .* must be a whole number"),
        ({"ppo": {"num_envs": 0}}, "num_envs is 0"),
        ({"ppo": {"numenvs": 1}}, "ppo: key 'numenvs' is unknown: did you mean 'num_envs'"),
        ({"ppo": 3}, "lacks 'ppo'"),
        ({"stream": 3, "stream_definition": None}, "stream_definition: .*holds None"),
        ({"stream_definition": {"environments": 3}}, "3 is no environment"),
        ({"plugin": {"a": 1}}, "plugin is .* it must be a text"),
        ({"env": 7}, "env is 7: it must be a text"),
        ({"checkpoint_minutes": float("nan")}, "checkpoint_minutes is nan"),
        ({"device": "gpu"}, "device is 'gpu': use cpu, cuda"),
    ],
)
def test_an_edited_config_is_refused_in_one_line(change, message):
    values = json.loads(json.dumps(RunConfig().to_dict() | change))
    with pytest.raises(ValueError, match=message) as error:
        from_dict(values)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("old", "fast"),
    [
        ({}, True),
        ({"compile": True, "dense": False}, True),
        ({"compile": False, "dense": False}, False),
        ({"compile": True, "dense": True}, False),
    ],
)
def test_the_two_switches_of_earlier_runs_are_read_as_one(old, fast):
    values = RunConfig().to_dict()
    del values["fast"]
    assert from_dict(values | old).fast == fast
    assert from_dict(values | old | {"fast": not fast}).fast == (not fast)


@pytest.mark.parametrize("name", ["agent", "env", "intervention", "seeds", "steps", "ppo"])
def test_a_config_that_lacks_what_a_run_is_is_refused(name):
    values = RunConfig().to_dict()
    del values[name]
    with pytest.raises(ValueError, match=f"lacks '{name}'"):
        from_dict(values)


def test_what_a_command_line_allows():
    words = "run --resume x --plugin a.py b --stream=s.py --trust --env m:X-v0 --plugin=c"
    allowed = read_early(words.split()).allowed
    assert (allowed.plugins, allowed.everything) == (("a.py", "b", "c"), True)
    assert (str(allowed.stream), allowed.env) == ("s.py", "m:X-v0")


def forget_options(run):
    """Make a run that of a version without some of the options it was trained with."""
    state = checkpoint.load(run / "checkpoint.pt")
    description = json.loads(state["config"])
    for path in run.glob("seed_*/config.json"):
        stored = json.loads(path.read_text())
        for config in (stored, description):
            config.pop("reset_optimizer", None)  # of the run
            config.pop("residual", None)  # of its network
            for name in ("value_loss", "value_bins"):
                config["ppo"].pop(name, None)
            config["intervention_settings"]["adamo"].pop("scale", None)
        path.write_text(json.dumps(stored))
    checkpoint.save(run / "checkpoint.pt", state | {"config": json.dumps(description)})


def test_a_run_older_than_an_option_goes_on_bit_for_bit(here, capsys):
    arm = ["--env", "CartPole-v1", "--intervention", "adamo"]
    assert main(["run", *arm, "--out", "new", *FAST]) == 0
    shutil.copytree("new", "old")
    forget_options(here / "old")
    assert json.loads((here / "old/seed_0/config.json").read_text()).keys().isdisjoint(["residual"])
    for option, message in {
        "--value-bins 7": "ppo.value_bins: stored 51, given 7",
        "--residual": "residual: stored false, given true",
        "--no-reset-optimizer": "reset_optimizer: stored true, given false",
    }.items():
        capsys.readouterr()
        assert main(["run", "--resume", "old", "--steps", "128", *option.split()]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
    runs = "old", "new"
    for run in runs:
        assert main(["run", "--resume", run, "--steps", "128"]) == 0
    old, new = (checkpoint.load(here / run / "checkpoint.pt") for run in runs)
    for part in ("agent", "envs", "step"):
        assert checkpoint._seal(old[part]) == checkpoint._seal(new[part])
    assert old["config"] == new["config"]
    rows = [pd.read_csv(f"{run}/seed_0/metrics.csv").drop(columns=[*COSTS]) for run in runs]
    pd.testing.assert_frame_equal(*rows, check_exact=True)


def test_runs_before_and_after_an_option_are_of_one_arm(here):
    """Reported, merged and exported together."""
    arm = ["--env", "CartPole-v1", "--intervention", "adamo"]
    for seed, out in enumerate(("old", "new")):
        assert main(["run", *arm, "--first-seed", f"{seed}", "--out", out, *FAST]) == 0
    forget_options(here / "old")
    assert main(["merge", "old", "new", "--out", "both"]) == 0
    assert list(pd.read_csv("both/summary.csv")["seeds"]) == [2]
    assert main(["export", "both", "--out", "both.json"]) == 0
    table = read_runs("both")
    assert table["setup"].nunique() == table["arm"].nunique() == 1


def test_a_config_is_completed_without_what_is_unknown_here():
    stored = json.loads(json.dumps(RunConfig(intervention=("l2",)).to_dict()))
    stored["intervention_settings"] = {"l2": {"weight": 0.5}, "gone": {"x": 1}}
    del stored["ppo"]["value_bins"], stored["residual"], stored["env"]
    found = completed(stored)
    assert (found["ppo"]["value_bins"], found["residual"]) == (51, False)
    assert "env" not in found  # which no run lacks
    assert found["intervention_settings"]["l2"]["weight"] == 0.5
    assert found["intervention_settings"]["gone"] == {"x": 1}
    assert completed({"agent": "gone", "x": 1}) == {"agent": "gone", "x": 1}
    assert completed({"x": 1}) == {"x": 1}
