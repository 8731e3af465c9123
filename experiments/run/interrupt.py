"""Stopping a run between two iterations, where its state is whole."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

__all__ = ["StopRequest", "Stopped", "interruptible"]

SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]


class Stopped(KeyboardInterrupt):
    """A run has stopped as a signal asked it to; the message says how to continue."""


@contextmanager
def interruptible() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the block as SIGINT does, by a KeyboardInterrupt.

    What was to be cleaned up on the way out is. A signal that this process was started to ignore,
    as by ``nohup``, stays ignored. Outside the main thread it does nothing.

    Python only prints an exception that is raised in a finalizer or while it forks: such an
    interrupt is sent once more.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ended = [s for s in SIGNALS if signal.getsignal(s) == signal.SIG_DFL]
    came = int(signal.SIGINT)  # which may be ignored where another signal is not
    timers: list[threading.Timer] = []
    hook = sys.unraisablehook

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal came
        came = number
        raise KeyboardInterrupt

    def send_again(lost: sys.UnraisableHookArgs) -> None:
        if not issubclass(lost.exc_type, KeyboardInterrupt):
            hook(lost)
            return
        timers.append(threading.Timer(0.1, os.kill, (os.getpid(), came)))
        timers[-1].daemon = True
        timers[-1].start()

    sys.unraisablehook = send_again
    before: dict[int, Any] = {s: signal.signal(s, interrupt) for s in ended}
    try:
        yield
    finally:
        sys.unraisablehook = hook
        for timer in timers:
            timer.cancel()
        for number, handler in before.items():
            signal.signal(number, handler)


class StopRequest:
    """Turns the first SIGINT, SIGTERM or SIGHUP into a request; a second acts as it always did.

    A signal that this process was started to ignore, as by ``nohup``, stays ignored.

    In the middle of an iteration the environments are ahead of the network, so a checkpoint taken
    there could not be continued bit for bit. Outside the main thread it does nothing.
    """

    def __init__(self) -> None:
        self.requested = False
        self._before: dict[int, signal.Handlers] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            heeded = [s for s in SIGNALS if signal.getsignal(s) != signal.SIG_IGN]
            self._before = {s: signal.signal(s, self._request) for s in heeded}  # type: ignore[misc]
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    def _request(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
