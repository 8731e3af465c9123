"""Commands in processes of their own, which a test has stopped at a chosen moment.

The processes are forked from one that has imported everything, so that a case costs the training
alone. A moment is an operation on the file system: opening for writing, fsync, rename, remove and
making a folder, counted within the folder that a command writes to. The files of TensorBoard, which
are opened for every value, do not count.
"""

import multiprocessing
import os
import resource
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from neoteny.experiments.main import main

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    ["neoteny.experiments.api", "torch._dynamo", "torch.utils.tensorboard"]
)
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
PATIENCE = 240
"""Seconds after which a command counts as hanging; the machine may be busy."""


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong in a process.

    Args:
        at: the operation in front of which `signal` is sent, counted from 0; None: never.
        signal: its number.
        size: bytes beyond which no file can grow.
        dies: whether a process that writes more is ended on the spot, in the middle of the write;
            else the write fails, as on a full disk.
    """

    at: int | None = None
    signal: int = signal.SIGKILL
    size: int | None = None
    dies: bool = False


NOTHING = Fault()


@dataclass(frozen=True)
class Finished:
    """Result of a command: its exit code, or minus the signal, and all its output."""

    code: int
    said: str

    @property
    def operations(self) -> list[str]:
        """The operations that were counted, in order."""
        lines = self.said.splitlines()
        return [line.removeprefix("OPERATION ") for line in lines if line.startswith("OPERATION ")]


class Command:
    """A command that is running.

    Args:
        arguments: of train.py.
        said: the file that takes its output.
        root: the folder whose operations count.
        fault: what goes wrong.
        count: print every operation.
        variables: of its environment, besides those of this process.
    """

    def __init__(
        self,
        arguments: Sequence[object],
        said: Path,
        root: Path,
        fault: Fault = NOTHING,
        count: bool = False,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        self.said = said
        words = [str(argument) for argument in arguments]
        self.process: BaseProcess = CONTEXT.Process(
            target=_main, args=(words, said, root.resolve(), fault, count, dict(variables or {}))
        )
        self.process.start()

    def wait(self) -> Finished:
        """Let it finish."""
        self.process.join(PATIENCE)
        if self.process.exitcode is None:
            self.process.kill()
            self.process.join()
            raise AssertionError(f"hangs: {self.said.read_text()}")
        return Finished(self.process.exitcode, self.said.read_text(errors="replace"))

    def wait_until_halted(self) -> None:
        """Wait for a process that halts itself by SIGSTOP."""
        assert self.process.pid is not None
        stat = Path(f"/proc/{self.process.pid}/stat")
        until = time.monotonic() + PATIENCE
        while stat.read_text().rpartition(")")[2].split()[0] != "T":
            assert self.process.is_alive(), self.said.read_text()
            assert time.monotonic() < until
            time.sleep(0.01)

    def send(self, number: int) -> None:
        """Send a signal."""
        assert self.process.pid is not None
        os.kill(self.process.pid, number)


def _main(
    arguments: list[str],
    said: Path,
    root: Path,
    fault: Fault,
    count: bool,
    variables: Mapping[str, str],
) -> None:
    """In the new process: run the command."""
    os.environ.update(variables)
    descriptor = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    sys.stdout = open(1, "w", buffering=1, closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
    if fault.size is not None:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (fault.size, fault.size))
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL if fault.dies else signal.SIG_IGN)
    if fault.at is not None or count:
        operations = Operations(root, fault, count)
        sys.addaudithook(operations.hook)
        os.fsync = operations.fsync
    sys.exit(main(arguments))


class Operations:
    """Calls out each operation below a folder, before it is done, and sends the signal."""

    def __init__(self, root: Path, fault: Fault, show: bool) -> None:
        self.root, self.fault, self.show = str(root), fault, show
        self.seen = 0
        self._fsync = os.fsync

    def hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Audit hook for `sys.addaudithook`."""
        if event == "open":
            path, _, flags = arguments
            if isinstance(path, str | bytes | os.PathLike) and flags & WRITING:
                self._operation(event, path)
        elif event in ("os.rename", "os.remove", "os.mkdir"):
            self._operation(event, arguments[0])

    def fsync(self, descriptor: int) -> None:
        """Stands in for `os.fsync`, which is not audited."""
        self._operation("fsync", os.readlink(f"/proc/self/fd/{descriptor}"))
        self._fsync(descriptor)

    def _operation(self, name: str, path: Any) -> None:
        path = os.path.abspath(os.fsdecode(path))
        if not path.startswith(self.root) or os.path.basename(path).startswith("events."):
            return
        if self.show:
            os.write(1, f"OPERATION {name} {path.removeprefix(self.root)}\n".encode())
        if self.seen == self.fault.at:
            os.kill(os.getpid(), self.fault.signal)
        self.seen += 1
