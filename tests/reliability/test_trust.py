"""Nothing that was written by a stranger is executed: checkpoints, tables, configurations."""

import json
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from reliability.processes import Make

from neoteny.core.errors import InputError
from neoteny.experiments.main import main
from neoteny.experiments.run import checkpoint


class Evil:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.trace,)


def hidden_in_state(path: Path, evil: Evil) -> None:
    torch.save({"format": checkpoint.FORMAT, "version": checkpoint.VERSION, "state": evil}, path)


def plain_pickle(path: Path, evil: Evil) -> None:
    path.write_bytes(pickle.dumps(evil))


def old_format(path: Path, evil: Evil) -> None:
    torch.save(evil, path, _use_new_zipfile_serialization=False)


def put_into_archive(path: Path, evil: Evil) -> None:
    checkpoint.save(path, {"weight": torch.ones(3)})
    with zipfile.ZipFile(path) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in records.items():
            archive.writestr(
                name, pickle.dumps(evil, protocol=2) if name.endswith("data.pkl") else content
            )


WAYS = [hidden_in_state, plain_pickle, old_format, put_into_archive]


@pytest.mark.parametrize("write", WAYS)
def test_no_pickle_runs(tmp_path: Path, write: Callable[[Path, Evil], None]) -> None:
    trace, path = tmp_path / "trace", tmp_path / "checkpoint.pt"
    write(path, Evil(trace))
    with pytest.raises(InputError):
        checkpoint.load(path)
    assert not trace.exists()
    pickle.loads(pickle.dumps(Evil(trace)))
    assert trace.exists(), "the trap works"


COMMANDS = (["run", "--resume"], ["watch"], ["timeline"], ["report"])
CODE = "from pathlib import Path\nPath({trace!r}).touch()\ndef stream(): return {{}}\n"


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("write", WAYS)
def test_no_command_runs_a_pickle(
    whole: Make,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: list[str],
    write: Callable[[Path, Evil], None],
) -> None:
    run, trace = tmp_path / "run", tmp_path / "trace"
    shutil.copytree(whole("ppo").folder, run)
    write(run / "checkpoint.pt", Evil(trace))
    monkeypatch.chdir(tmp_path)
    assert main([*command, str(run)]) == (0 if command == ["report"] else 2)
    assert not trace.exists()


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("field", ["stream", "env", "plugin", "intervention", "agent", "trust"])
def test_no_configuration_runs_code(
    whole: Make,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: list[str],
    field: str,
) -> None:
    """A module and a stream file of a stranger lie where the command is given."""
    run, trace = tmp_path / "run", tmp_path / "trace"
    shutil.copytree(whole("ppo").folder, run)
    (tmp_path / "evil.py").write_text(CODE.format(trace=str(trace)))
    values = {
        "stream": "evil.py",
        "env": "evil:Evil-v0",
        "plugin": ["evil", "evil.py"],
        "intervention": ["evil:Evil"],
        "agent": "evil:Agent",
        "trust": True,
    }
    for path in run.glob("seed_*/config.json"):
        content = json.loads(path.read_text())
        added = values if field == "trust" else {field: values[field]}
        path.write_text(json.dumps(content | added))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    code = main([*command, str(run)])
    assert not trace.exists()
    assert code in (0, 2)
