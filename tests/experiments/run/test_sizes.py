"""The end of the memory is one line with the options to lower."""

import pytest
import torch
from rich.console import Console

from neoteny.agents import PPO
from neoteny.agents.ppo_loss import PPOConfig
from neoteny.core.errors import RunError
from neoteny.experiments.options.config import RunConfig
from neoteny.experiments.options.network_options import NetworkOptions
from neoteny.experiments.run.runner import run

CONSOLE = Console(quiet=True)


def config(tmp_path, steps=128):
    return RunConfig(
        env="MinAtar-Breakout",
        steps=steps,
        hyper=PPOConfig(num_envs=16, num_steps=8, num_epochs=1, num_minibatches=2),
        network=NetworkOptions(hidden=(8,)),
        out=tmp_path / "run",
    )


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        MemoryError("Unable to allocate 9. TiB"),
    ],
)
def test_memory_that_ends_in_mid_run_is_said_with_what_is_left(tmp_path, monkeypatch, error):
    run(config(tmp_path), CONSOLE)

    def fail(*_):
        raise error

    monkeypatch.setattr(PPO, "collect", fail)
    longer = config(tmp_path, steps=512)
    wanted = (
        r"out of memory on cpu: lower seeds, hidden, num_envs or num_steps; the last checkpoint"
    )
    with pytest.raises(RunError, match=wanted):
        run(longer, CONSOLE, resume=True)
    monkeypatch.undo()
    assert run(longer, CONSOLE, resume=True).step == 512


def test_another_fault_keeps_its_traceback(tmp_path, monkeypatch):
    def fail(*_):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(PPO, "collect", fail)
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        run(config(tmp_path), CONSOLE)
