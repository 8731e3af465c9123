"""Network options, from the command line to the name of the arm and config.json."""

import json

import pytest

from neoteny.experiments.main import main
from neoteny.experiments.options.config import CompareConfig, RunConfig
from neoteny.experiments.options.network_options import NetworkOptions
from neoteny.experiments.run.stored import from_dict
from neoteny.plasticity.network_spec import PAPER_GAIN, NetworkSpec

CONV = {"torso": "conv", "channels": (16, 32), "kernel": (4, 3), "stride": (2, 1)}


@pytest.mark.parametrize(
    ("options", "arm", "spec"),
    [
        ({}, "ppo-none", NetworkSpec()),
        ({"hidden": (64,), "depth": 48}, "ppo-none-depth48", NetworkSpec((64,) * 48)),
        ({"depth": 2}, "ppo-none-depth2", NetworkSpec((64, 64))),
        ({"hidden": (9,), "depth": 2}, "ppo-none-depth2-width9", NetworkSpec((9, 9))),
        ({"torso": "conv"}, "ppo-none-conv16", NetworkSpec(torso="conv")),
        (
            CONV | {"padding": (1,), "residual": True, "shared": True},
            "ppo-none-conv16x32-kernel4x3-stride2x1-padding1-residual-shared",
            NetworkSpec(**CONV, padding=(1,), residual=True, shared=True),
        ),
        (
            {"activation": "groupsort", "gain": "activation", "depth": 64, "bias": False},
            "ppo-none-groupsort-nobias-depth64-activationgain",
            NetworkSpec((64,) * 64, "groupsort", bias=False, hidden_gain=None),
        ),
    ],
)
def test_options_make_the_spec_name_the_arm_and_come_back(options, arm, spec):
    config = RunConfig(network=NetworkOptions(**options))
    assert config.network.spec == spec
    assert config.arm == arm
    stored = json.loads(json.dumps(config.to_dict()))
    assert from_dict(stored) == config
    old = {name: value for name, value in stored.items() if name not in options}
    assert from_dict(old) == RunConfig()  # a run from before there was a choice


def test_arms_are_crossed_with_torsos_depths_and_skips():
    config = CompareConfig(
        interventions=("none", "adamo"),
        torsos=("mlp", "conv"),
        depths=(2, 4),
        residuals=(False, True),
    )
    arms = config.arms()
    assert len({arm.arm for arm in arms}) == len(arms) == 16
    assert arms[0].arm == "ppo-none-depth2"
    assert arms[-1].arm == "ppo-adamo-conv16-depth4-residual"
    assert [a.network.residual for a in arms[:2]] == [False, True]
    assert arms[-1].folder == config.folder / arms[-1].arm


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--torso conv --env CartPole-v1", "use torso mlp"),
        ("--torso conv --kernel 11", "kernel 11 is larger than the 10 x 10 grid"),
        ("--depth 0", "depth is 0: it must be from 1 to 1,000"),
        ("--depth 1001", "depth is 1001: it must be from 1 to 1,000"),
        ("--depth 3 --hidden 8 16", "with a depth, give one width"),
        ("--hidden 8 16 --residual", "give all hidden layers one width"),
        ("--depth 64 --activation groupsort", "use the activation's own gain (--gain activation)"),
        (
            "--depth 64 --intervention groupsort",
            "use the activation's own gain (--gain activation)",
        ),
        ("--residual --intervention redo", "leave residual or redo out"),
        ("--agent sb3-ppo --residual", "separate plain MLPs"),
    ],
)
def test_what_cannot_work_is_one_line(arguments, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["run", "--env", "neoteny/MinAtar-Breakout-v1", *arguments.split()]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_a_norm_or_the_activations_gain_lets_interventions_be_deep():
    for names in (("groupsort", "layer_norm"), ("nap", "groupsort")):
        RunConfig(network=NetworkOptions(depth=64), intervention=names)
    deep = NetworkOptions(depth=64, gain="activation")
    RunConfig(network=deep, intervention=("groupsort",))
    assert NetworkSpec().gain == PAPER_GAIN


def test_a_convolutional_run_writes_its_curves_and_goes_on(tmp_path, capsys):
    out = tmp_path / "run"
    arguments = ["run", "--env", "neoteny/MinAtar-Breakout-v1", "--torso", "conv", "--shared"]
    arguments += ["--hidden", "8", "--depth", "2", "--channels", "4", "--num-envs", "8"]
    arguments += ["--num-steps", "8", "--num-epochs", "1", "--num-minibatches", "2"]
    arguments += ["--task-steps", "128", "--steps", "128", "--diagnose-every", "1"]
    assert main([*arguments, "--out", str(out)]) == 0
    assert main(["run", "--resume", str(out), "--steps", "256"]) == 0
    header, *rows = (out / "seed_0" / "metrics.csv").read_text().splitlines()
    assert len(rows) == 4
    assert "plasticity/shared/layer2/feature_effective_rank" in header
    assert "losses/gradient_norm/shared" in header


def test_help_shows_the_options(capsys):
    with pytest.raises(SystemExit):
        main(["run", "--help"])
    out = capsys.readouterr().out
    for option in ("--torso", "--channels", "--kernel", "--stride", "--padding", "--depth"):
        assert option in out
    for option in ("--residual", "--shared", "--gain"):
        assert option in out
