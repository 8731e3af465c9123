"""The folder of a run while a process trains it: held, checked, and written to."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from neoteny.core.errors import FrozenError, InputError, RunError, error_context
from neoteny.experiments.options.config import RunConfig
from neoteny.experiments.run import checkpoint
from neoteny.experiments.run.folders import (
    CHECKPOINT,
    CONFIG,
    difference,
    has_checkpoint,
    holds_run,
    read_json,
    remove_leftovers,
)
from neoteny.experiments.run.lock import FolderLock
from neoteny.experiments.run.recorder import Recorder
from neoteny.experiments.run.replacing import check_replaceable, remove_run
from neoteny.experiments.run.stored import completed

__all__ = ["Store", "check_run_folder", "check_startable", "read_checkpoint"]

RESUMABLE_WITH = (
    *("steps", "device", "threads", "checkpoint_minutes", "wandb"),
    *("fast", "cuda_graphs", "check_graphs", "env_timeout"),
    *("diagnose_every", "eval_episodes", "evaluate_tasks", "evaluate_every", "plugin", "stream"),
    *("dense", "compile"),  # what `fast` was in files of earlier runs
)
"""Fields that may change between a run and its continuation."""

IGNORED = (*RESUMABLE_WITH, "boundaries")
"""Fields of a description that are not compared on resume."""


def check_startable(config: RunConfig, *, resume: bool = False) -> None:
    """Check what can be checked of a run's folder before anything is built or written.

    Raises:
        InputError: If another process writes there, or the folder does not fit the configuration.
    """
    FolderLock.require_free(config.folder)
    if config.overwrite and not resume:
        check_replaceable(config.folder)
    else:
        check_run_folder(config.folder, config.to_dict(), resume, RESUMABLE_WITH)


def check_run_folder(
    folder: Path,
    config: Mapping[str, Any],
    resume: bool = False,
    ignore: Collection[str] = (),
) -> None:
    """Refuse a folder in which a run may not be started, or the one there not be continued.

    An option that the run was trained before is taken to have its default, see `completed`.

    Args:
        folder: the run's folder; on starting it need not exist.
        config: the run's configuration, or a part of what is stored in every config.json.
        resume: continue the run that lies there.
        ignore: fields of the configuration that may differ on resume.

    Raises:
        InputError: a run lies there and ``resume`` is off; nothing lies there and it is on; the
            stored configuration differs; the name cannot be one of a folder.
    """
    try:
        if folder.exists() and not folder.is_dir():
            raise InputError(f"{folder} is a file; choose another --out")
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"cannot use {folder} ({reason}); choose another --out") from None
    if resume:
        _check_resumable(folder, config, ignore)
    elif holds_run(folder):
        raise InputError(
            f"{folder} already holds a run; choose another --out, replace it with --overwrite or "
            + (
                f"continue it with --resume {folder}"
                if has_checkpoint(folder)
                else f"restore its {CHECKPOINT}, without which it cannot go on"
            )
        )


def _check_resumable(folder: Path, config: Mapping[str, Any], ignore: Collection[str]) -> None:
    stored = sorted(folder.glob(f"seed_*/{CONFIG}"))
    if not stored:
        raise InputError(f"{folder} holds no run to resume; check the path or drop --resume")
    if not has_checkpoint(folder):
        raise InputError(
            f"{folder} has no {CHECKPOINT}; restore it or start again with another --out"
        )
    for path in stored:
        with error_context(str(path)):
            content = completed(read_json(path))
        differing = difference(content, content | dict(config), ignore)
        if differing:
            raise InputError(
                f"cannot resume {folder}: its config differs ({'; '.join(differing)}); "
                "leave these options out, or train another run in another --out"
            )


def read_checkpoint(
    folder: Path, description: Mapping[str, Any], device: str = "cpu"
) -> dict[str, Any]:
    """Read a run's checkpoint, if it goes with the configuration.

    Args:
        folder: The run's folder.
        description: The configuration and what follows from it.
        device: Where tensors go.

    Returns:
        The state that was saved.

    Raises:
        InputError: If it is damaged, or was saved with another configuration.
    """
    path = folder / CHECKPOINT
    state = checkpoint.load(path, device)
    if not isinstance(state, dict) or not {"config", "records"} <= state.keys():
        raise InputError(f"checkpoint {path} is of no run; restore a copy of it")
    if differing := difference(completed(json.loads(state["config"])), description, IGNORED):
        raise InputError(
            f"checkpoint {path} is of another configuration ({'; '.join(differing)}); "
            "give the stored values or restore the file"
        )
    return state


class Store:
    """Holds a run's folder and writes its records and checkpoints.

    Use it as a context manager.

    Args:
        config: Configuration, with the run's folder.
        description: The configuration and what follows from it, for config.json.
        writes: False in a process for which another one writes: nothing is held or written.

    Raises:
        InputError: On entering, if another process writes there.
        RunError: On leaving with one: what is left of the run is added to its message.
    """

    def __init__(
        self, config: RunConfig, description: dict[str, Any], *, writes: bool = True
    ) -> None:
        self.folder = config.folder
        self.recorder = Recorder(None, config.seed_list, description)
        self._writes = writes
        self._config = config
        self._description = description
        self._lock = FolderLock(config.folder)
        self._saved: int | None = None
        self._stack = ExitStack()

    def __enter__(self) -> Store:
        if self._writes:
            self._stack.enter_context(self._lock)
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        with self._stack:
            if self._writes and isinstance(error, RunError) and not isinstance(error, FrozenError):
                raise RunError(f"{error}; {self._what_is_left()}") from error

    def read(self, *, resumed: bool) -> dict[str, Any] | None:
        """Check the folder, tidy it and read the checkpoint.

        Returns:
            The state that was saved, or None for a new run.

        Raises:
            InputError: If the folder, the checkpoint or the rows do not fit.
        """
        if self._config.overwrite and not resumed:
            check_replaceable(self.folder)
            remove_run(self.folder)
        check_run_folder(self.folder, self._description, resumed, IGNORED)
        remove_leftovers(self.folder)
        state = records = None
        if resumed:
            state = read_checkpoint(self.folder, self._description, self._config.device)
            records = state["records"]
            self._saved = records["step"]
        self.recorder = Recorder(self.folder, self._config.seed_list, self._description, records)
        return state

    def open(self) -> None:
        """Begin to write the records; rows after the checkpoint are dropped.

        Raises:
            RunError: If a file cannot be written.
        """
        self._stack.enter_context(self.recorder)

    def save(self, state: dict[str, Any]) -> None:
        """Write a checkpoint, bound to the configuration and the rows that it goes with.

        Raises:
            RunError: If it cannot be written; the previous checkpoint stays.
        """
        if not self._writes:
            return
        if not self._lock.holds:
            raise RunError(f"{self.folder} was moved or removed while its run wrote there")
        self.recorder.flush()
        records = self.recorder.state_dict()
        config = json.dumps(self._description, default=str)
        checkpoint.save(self.folder / CHECKPOINT, state | {"config": config, "records": records})
        self._saved = records["step"]

    def _what_is_left(self) -> str:
        if self._saved is None:
            return "nothing was measured: once that is mended, give the same command again"
        if not self._lock.holds:
            return f"its checkpoint of step {self._saved:,} went with it: --resume where it is now"
        return (
            f"the checkpoint of step {self._saved:,} is kept: once that is mended, go on with "
            f"--resume {self.folder}"
        )
