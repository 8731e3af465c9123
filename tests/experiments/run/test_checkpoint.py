import os
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from neoteny.core.errors import RunError
from neoteny.experiments.run import checkpoint


def _state() -> dict[str, Any]:
    generator = torch.Generator().manual_seed(3)
    layer = torch.nn.Linear(4, 3)
    optimizer = torch.optim.Adam(layer.parameters(), lr=1e-3)
    layer(torch.randn(2, 4, generator=generator)).sum().backward()
    optimizer.step()
    return {
        "agent": {"network": layer.state_dict(), "optimizer": optimizer.state_dict()},
        "torch_rng": generator.get_state(),
        "numpy_rng": np.random.default_rng(5).bit_generator.state,
        "iteration": 7,
        "step": 2**40,
        "lr": 0.1 + 0.2,
        "alive": [True, False],
        "shape": (3, 4),
        "none": None,
        "bools": torch.tensor([True, False]),
        "ordered": OrderedDict(a=1),
    }


def _equal(left: object, right: object) -> bool:
    if isinstance(left, torch.Tensor):
        return isinstance(right, torch.Tensor) and left.dtype == right.dtype and left.equal(right)
    if isinstance(left, dict):
        return (
            isinstance(right, dict)
            and left.keys() == right.keys()
            and all(_equal(left[key], right[key]) for key in left)
        )
    if isinstance(left, list | tuple):
        return type(left) is type(right) and all(map(_equal, left, right))
    return type(left) is type(right) and left == right


def test_everything_comes_back_bit_for_bit(tmp_path: Path) -> None:
    state = _state()
    checkpoint.save(tmp_path / "checkpoint.pt", state)
    assert _equal(checkpoint.load(tmp_path / "checkpoint.pt"), state)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_restored_generator_continues(tmp_path: Path) -> None:
    generator = np.random.default_rng(5)
    generator.random(3)
    checkpoint.save(tmp_path / "c.pt", {"rng": generator.bit_generator.state})
    other = np.random.default_rng(0)
    other.bit_generator.state = checkpoint.load(tmp_path / "c.pt")["rng"]
    assert (other.random(4) == generator.random(4)).all()


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_truncated_file(tmp_path: Path, share: float) -> None:
    path = tmp_path / "checkpoint.pt"
    checkpoint.save(path, _state())
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(ValueError, match="cut short") as caught:
        checkpoint.load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_random_bytes(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(np.random.default_rng(0).bytes(5000))
    with pytest.raises(ValueError, match="no checkpoint at all"):
        checkpoint.load(path)


def test_every_flipped_weight_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    weight = torch.full((64,), 1.2345)
    checkpoint.save(path, {"weight": weight})
    whole = path.read_bytes()
    at = whole.index(weight.numpy().tobytes())
    for offset in range(0, 256, 37):
        path.write_bytes(
            whole[: at + offset] + bytes([whole[at + offset] ^ 1]) + whole[at + offset + 1 :]
        )
        with pytest.raises(ValueError, match="damaged"):
            checkpoint.load(path)


def test_a_changed_number_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    state = _state()
    checkpoint.save(path, state)
    content = torch.load(path, weights_only=True)
    for place, value in (("lr", 0.3), ("iteration", True), ("bools", torch.tensor([1, 0]))):
        torch.save(content | {"state": content["state"] | {place: value}}, path)
        with pytest.raises(ValueError, match="was changed after it was written"):
            checkpoint.load(path)
    torch.save(content, path)
    assert _equal(checkpoint.load(path), state)


def test_foreign_files(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    for foreign in ({"weight": torch.zeros(2)}, torch.zeros(2), torch.nn.Linear(1, 1)):
        torch.save(foreign, path)
        with pytest.raises(ValueError, match="not a checkpoint of neoteny"):
            checkpoint.load(path)


def test_other_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "checkpoint.pt"
    monkeypatch.setattr(checkpoint, "VERSION", 99)
    checkpoint.save(path, {})
    monkeypatch.undo()
    with pytest.raises(ValueError, match=r"version 99, this neoteny reads version 2"):
        checkpoint.load(path)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no checkpoint"):
        checkpoint.load(tmp_path / "checkpoint.pt")


def test_failure_before_the_rename_keeps_the_old_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "checkpoint.pt"
    checkpoint.save(path, {"step": 1})

    def fail(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(RunError, match=r"cannot write .*checkpoint.pt \(no space"):
        checkpoint.save(path, {"step": 2})
    monkeypatch.undo()
    assert checkpoint.load(path) == {"step": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["checkpoint.pt"]


@pytest.mark.slow
def test_kill_in_mid_write_keeps_the_old_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    checkpoint.save(path, {"step": 1})
    script = (
        "import os, signal, sys\n"
        "from neoteny.experiments import checkpoint\n"
        "os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "checkpoint.save(sys.argv[1], {'step': 2})\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(path)], check=False)
    assert done.returncode == -9
    assert checkpoint.load(path) == {"step": 1}
    checkpoint.save(path, {"step": 3})
    assert checkpoint.load(path) == {"step": 3}


@pytest.mark.parametrize(
    ("value", "place"),
    [
        (np.float64(1.0), "numpy.float64"),
        (np.zeros(2), "numpy.ndarray"),
        (Path("x"), "Path"),
        ({1.5: 2}, "the key 1.5"),
        (torch.Generator(), "Generator"),
    ],
)
def test_values_that_could_not_be_read_back_are_refused(
    tmp_path: Path, value: object, place: str
) -> None:
    with pytest.raises(ValueError, match=place) as caught:
        checkpoint.save(tmp_path / "c.pt", {"envs": [0, value]})
    assert "state['envs'][1]" in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.gpu
def test_load_onto_a_gpu(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "c.pt", {"w": torch.arange(3.0)})
    assert checkpoint.load(tmp_path / "c.pt", "cuda")["w"].is_cuda
