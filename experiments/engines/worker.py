"""The process of a unit: `python -m neoteny.experiments.engines.worker`, with its order as input.

Its standard input stays open as long as the one who ordered the unit lives. When it closes, the
process saves and ends as after SIGTERM, so that nothing goes on training that nobody waits for.
"""

from __future__ import annotations

import dataclasses
import os
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from neoteny.experiments.engines.engine import Order

__all__ = ["main", "train"]

SCHEDULERS = ("SIGUSR1", "SIGUSR2")
"""Signals that SLURM sends to all processes of a job, to which the one above this answers."""


def main() -> int:
    """Read the order, train, and say by the exit code how it ended (see `Exit`)."""
    for name in SCHEDULERS:
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    from neoteny.core.console import lasting_output, print_error, print_notice
    from neoteny.core.errors import FrozenError, InputError, RunError  # torch takes seconds
    from neoteny.experiments.engines.engine import Exit, Order
    from neoteny.experiments.run.interrupt import interruptible

    order = Order.from_json(_first_line())
    threading.Thread(target=_end_with_owner, daemon=True).start()
    sys.argv = list(order.command)  # config.json says what the user typed
    with lasting_output(), interruptible():
        try:
            train(order)
        except FrozenError as error:
            print_error(error)
            return Exit.FROZEN
        except (InputError, RunError) as error:
            print_error(error)
            return Exit.FAILED if isinstance(error, RunError) else Exit.REFUSED
        except KeyboardInterrupt as stop:
            print_notice(str(stop) or "interrupted")
            return Exit.STOPPED
    return Exit.DONE


def train(order: Order) -> None:
    """Train a unit in this process, from its last checkpoint if it has one.

    Raises:
        InputError: If the folder is in use or does not fit, or code that it needs is not there.
        RunError: If it cannot go on.
        Stopped: After a signal.
    """
    from neoteny.core.console import open_console
    from neoteny.experiments.run.folders import has_checkpoint
    from neoteny.experiments.run.runner import run
    from neoteny.experiments.run.stored import Allowed, from_dict

    folder = Path(order.folder)
    config = from_dict(order.values, Allowed(everything=True))  # the command has run it already
    config = dataclasses.replace(config, out=folder)
    run(config, open_console(), resume=has_checkpoint(folder))


def _first_line() -> bytes:
    """A line from standard input, read without a buffer that a thread could be caught in."""
    line = bytearray()
    while not line.endswith(b"\n"):
        got = os.read(0, 1 << 16)
        if not got:
            raise EOFError("no order came")
        line += got
    return bytes(line)


def _end_with_owner() -> None:
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
