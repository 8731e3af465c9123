"""A unit's process on this machine: every engine trains by one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from neoteny.experiments.engines.engine import LOG, Order
from neoteny.experiments.run.folders import storing

__all__ = ["UnitProcess"]

WORKER = "neoteny.experiments.engines.worker"


class UnitProcess:
    """Starts the process of a unit, whose output goes to the log in the unit's folder.

    It is in a session of its own, so that a terminal's Ctrl-C reaches its owner alone, who passes
    it on once.

    Raises:
        RunError: If its folder or log cannot be written.
    """

    def __init__(self, order: Order) -> None:
        log = Path(order.folder) / LOG
        with storing(log):
            log.parent.mkdir(parents=True, exist_ok=True)
            output = log.open("ab")
        path = os.pathsep.join(os.path.abspath(place) for place in sys.path)
        threads = str(order.threads)
        with output:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", WORKER],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": threads},
                cwd=order.place if os.path.isdir(order.place) else None,
                start_new_session=True,
            )
        assert self._process.stdin is not None
        self._input = self._process.stdin
        with suppress(BrokenPipeError):  # it died already, and its log says of what
            self._input.write(order.to_json().encode() + b"\n")
            self._input.flush()

    @property
    def pid(self) -> int:
        """Number of the process."""
        return self._process.pid

    def code(self) -> int | None:
        """The exit code as in `Exit`, once it has ended."""
        code = self._process.poll()
        if code is not None:
            with suppress(BrokenPipeError):
                self._input.close()
        return code

    def wait(self) -> int:
        """Wait until it has ended, and return its exit code.

        Unlike `Popen.wait` it may be called by a signal's handler while it waits already.
        """
        while (code := self.code()) is None:
            with suppress(ChildProcessError):
                os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
        return code

    def stop(self) -> None:
        """Ask it to save and end."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it and its children at once."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self.wait()
