"""Peers that live in another interpreter, asked for one window at a time."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from _measure import Window

WORKER = Path(__file__).parent / "peers" / "worker.py"


class Peer:
    """A worker process that times its own windows; it waits idly between requests.

    Args:
        python: Interpreter that has the peers installed; see `benchmarks/peers/worker.py`.
        threads: Cores that the worker may use; unset, all.
    """

    def __init__(self, python: Path, threads: int | None = None) -> None:
        arguments = [] if threads is None else ["--threads", str(threads)]
        self._process = subprocess.Popen(
            [str(python), "-W", "ignore", str(WORKER), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            # On a GPU, JAX would reserve most of the memory that both sides need.
            env={**os.environ, "XLA_PYTHON_CLIENT_PREALLOCATE": "false"},
        )
        self.versions: dict[str, str] = self._answer()

    def __enter__(self) -> Peer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def window(self, work: str, seconds: float = 0.0, **options: Any) -> Callable[[], Window]:
        """Windows of a work.

        Args:
            work: A module in `benchmarks/peers`.
            seconds: The work is done again until they have passed.
            **options: What the module's `prepare` takes.
        """
        request = {"work": work, "options": options, "seconds": seconds}
        return lambda: Window(**self._ask(request))

    def forget(self) -> None:
        """Let go of what was built for the windows so far."""
        self._ask({})

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the peer ended with status {self._process.wait()}; see above")
        answer: dict[str, Any] = json.loads(line)
        return answer
