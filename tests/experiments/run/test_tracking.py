"""`--wandb`, with a stand-in for the package that notes what it is told."""

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from tensorboard.summary.writer import event_file_writer

from neoteny.experiments.main import main

FAST = "run --env cartpole-permute --num-envs 8 --num-steps 8 --num-minibatches 2 --hidden 8"
WORDS = f"{FAST} --task-steps 64 --steps 128 --seeds 2 --wandb --out".split()


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Calls of the stand-in: arguments of `init`, folders followed, and the order of calls."""
    seen = SimpleNamespace(init={}, folders=[], calls=[])

    class Patched(event_file_writer.EventFileWriter):
        def __init__(self, logdir: str, *args: object) -> None:
            seen.folders.append(Path(logdir).name)
            super().__init__(logdir, *args)

    def patch(*, save: bool, root_logdir: str) -> None:
        seen.calls.append(("patch", save, Path(root_logdir).name))
        monkeypatch.setattr(event_file_writer, "EventFileWriter", Patched)

    def init(**arguments: object) -> SimpleNamespace:
        seen.calls.append("init")
        seen.init = arguments
        return SimpleNamespace(finish=lambda: seen.calls.append("finish"))

    module = ModuleType("wandb")
    module.init = init
    module.tensorboard = SimpleNamespace(patch=patch, unpatch=lambda: seen.calls.append("unpatch"))
    monkeypatch.setitem(sys.modules, "wandb", module)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    return seen


def test_wandb_follows_the_events_of_all_members_offline(
    tmp_path: Path, told: SimpleNamespace
) -> None:
    assert main([*WORDS, str(tmp_path / "run")]) == 0
    assert told.calls == [("patch", False, "run"), "init", "finish", "unpatch"]
    assert told.folders == ["seed_0", "seed_1"]
    assert told.init["mode"] == "offline"
    assert told.init["sync_tensorboard"] is True
    assert told.init["name"] == "cartpole-permute ppo-none"
    assert told.init["config"]["ppo"]["num_envs"] == 8
    assert told.init["dir"] == str(tmp_path / "run")


def test_the_environment_decides_where_wandb_writes(
    tmp_path: Path, told: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setenv("WANDB_PROJECT", "mine")
    assert main([*WORDS, str(tmp_path / "run")]) == 0
    assert (told.init["mode"], told.init["project"]) == ("disabled", "mine")


def test_a_missing_wandb_is_said_in_one_line_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    assert main([*WORDS, str(tmp_path / "run")]) == 2
    assert capsys.readouterr().err == (
        'error: wandb is not installed: run pip install "neoteny[wandb]", or leave --wandb out\n'
    )
    assert not (tmp_path / "run").exists()
