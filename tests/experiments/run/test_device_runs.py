"""Whole runs on the pretended device of `rehearsal.py`: one copy to the host an iteration."""

import pandas as pd
import pytest
import torch
from rehearsal import DEVICE, rehearsal

from neoteny.agents import DQNConfig, PPOConfig
from neoteny.core.console import PlainConsole
from neoteny.experiments.options import train_config as configuration
from neoteny.experiments.options.config import RunConfig
from neoteny.experiments.options.devices import set_precision
from neoteny.experiments.options.network_options import NetworkOptions
from neoteny.experiments.run.memory import COSTS
from neoteny.experiments.run.recorder import Recorder
from neoteny.experiments.run.runner import Runner
from neoteny.experiments.run.store import Store
from neoteny.plasticity.networks import Network

PPO = PPOConfig(num_envs=4, num_steps=4, num_epochs=1, num_minibatches=2)
DQN = DQNConfig(
    num_envs=4, num_steps=4, batch_size=8, train_frequency=8, learning_starts=8, replay_size=64
)


@pytest.fixture
def dense(monkeypatch):
    """On the CPU too, observations are not listed by their ones, which the device never does."""
    monkeypatch.setattr(Network, "takes_sparse", lambda *_: False)


def run(folder, device, env, **options):
    config = RunConfig(
        env=env,
        device=device,
        out=folder,
        seeds=2,
        task_steps=32,
        steps=64,
        diagnose_every=2,
        network=NetworkOptions(hidden=(16, 8)),
        **options,
    )
    Runner(config, PlainConsole(quiet=True)).train()
    frames = [pd.read_csv(path) for path in sorted(folder.glob("seed*/metrics.csv"))]
    assert len(frames) == 2
    return [frame.drop(columns=[*COSTS]) for frame in frames]


@pytest.mark.parametrize(
    ("env", "options"),
    [
        ("minatar-permute", {"agent": "ppo", "hyper": PPO, "intervention": ("adamo",)}),
        pytest.param(
            "cartpole-drift",
            {"agent": "dqn", "hyper": DQN, "intervention": ("redo",)},
            marks=pytest.mark.slow,
        ),
    ],
)
def test_an_iteration_is_one_copy_to_the_host(tmp_path, monkeypatch, dense, env, options):
    monkeypatch.setattr(configuration, "check_device", lambda name: None)
    monkeypatch.setattr(Store, "save", lambda *_: None)  # takes torch's own tensors alone
    waits = []
    record = Recorder.record

    def noted(self, *arguments):
        result = record(self, *arguments)
        waits.append(list(notes.waits))
        notes.waits.clear()
        return result

    monkeypatch.setattr(Recorder, "record", noted)
    with rehearsal() as notes:
        there = run(tmp_path / "there", str(DEVICE), env, **options)
    monkeypatch.setattr(Recorder, "record", record)
    here = run(tmp_path / "here", "cpu", env, **options)
    for one, other in zip(there, here, strict=True):
        pd.testing.assert_frame_equal(one, other, rtol=1e-5)
    assert len(waits) == 4
    for noted_waits in waits[1:]:
        assert len(noted_waits) == 1, noted_waits
        assert noted_waits[0].startswith("tolist at recorder.py:")


def test_only_a_run_in_tf32_rounds_float32_on_a_gpu():
    def rounds():
        return torch.get_float32_matmul_precision() == "high", torch.backends.cudnn.allow_tf32

    usual = rounds()
    assert usual == (False, True)  # torch rounds factors of convolutions
    try:
        set_precision("cpu", "tf32")
        assert rounds() == usual
        set_precision("cuda:1", "tf32")
        assert rounds() == (True, True)
        for precision in ("fp32", "bf16"):
            set_precision("cuda", precision)
            assert rounds() == (False, False)
    finally:
        torch.set_float32_matmul_precision("highest")
        torch.backends.cudnn.allow_tf32 = True
