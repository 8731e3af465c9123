"""Runs in Weights & Biases, which follows TensorBoard's events while they are written."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tensorboard.summary.writer import event_file_writer

from neoteny.core.errors import InputError

__all__ = ["require_wandb", "wandb_run"]

PROJECT = "neoteny"


def require_wandb() -> None:
    """Refuse to go on where Weights & Biases is not installed.

    Raises:
        InputError: naming what to install.
    """
    try:
        from wandb import init  # noqa: F401 (a folder wandb/ of its runs is no module)
    except ImportError:
        raise InputError(
            'wandb is not installed: run pip install "neoteny[wandb]", or leave --wandb out'
        ) from None


@contextmanager
def wandb_run(folder: Path, members: list[Path], config: Mapping[str, Any]) -> Iterator[None]:
    """Have Weights & Biases follow the events of a run for the time of the block.

    It is offline unless the environment variable WANDB_MODE says otherwise; `wandb sync` uploads
    what was kept in the run's folder.
    """
    import wandb

    wandb.tensorboard.patch(save=False, root_logdir=str(folder))
    run = wandb.init(
        project=os.environ.get("WANDB_PROJECT", PROJECT),
        name=f"{config['env']} {config['arm']}",
        group=str(config["env"]),
        config=dict(config),
        dir=str(folder),
        mode=os.environ.get("WANDB_MODE", "offline"),
        sync_tensorboard=True,
    )
    try:
        for member in members:  # the writer that wandb patched tells it of the folder
            event_file_writer.EventFileWriter(str(member)).close()
        yield
    finally:
        run.finish()
        wandb.tensorboard.unpatch()
