"""Environments in processes of their own, which end whenever the process that asks them ends."""

import multiprocessing
import os
import queue
import signal
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

from gymnasium.vector import AsyncVectorEnv, AutoresetMode
from gymnasium.vector.async_vector_env import AsyncState

from neoteny.core.errors import InputError
from neoteny.envs.host_single import AnyEnv

#: Seconds that environments have to close by themselves.
PATIENCE = 10.0


class Workers(AsyncVectorEnv):
    """Gymnasium's AsyncVectorEnv (SAME_STEP) that names what fails and leaves no process behind.

    A worker's error is raised here with the worker's traceback. After any error, and after an
    interrupt in the middle of a step, the processes are ended, since their answers no longer
    belong to the questions. They ignore SIGINT, SIGTERM and SIGHUP, which terminals and batch
    systems send to all processes of a job: the main process decides, and if it dies, so do they.

    Args:
        build: makes one environment; called in each worker.
        count: number of workers.
        id: the environment's name in messages.
        timeout: seconds that `reset`, `step` and a call of a method may take; None for no limit.

    Raises:
        TimeoutError: an answer took longer.
        RuntimeError: an environment raised an error, or its process ended.
        ValueError: an environment broke Gymnasium's interface.
    """

    def __init__(
        self, build: Callable[[], AnyEnv], count: int, id: str, timeout: float | None = None
    ) -> None:
        self._id, self._timeout = id, timeout
        self.processes = []
        with self._watched("the start"):
            super().__init__(
                [partial(_in_worker, build, os.getpid())] * count,
                autoreset_mode=AutoresetMode.SAME_STEP,
            )
            self._finalizer = weakref.finalize(self, _kill, self.processes)

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> Any:
        """Starts new episodes in all environments."""
        with self._watched("reset"):
            self.reset_async(seed=seed, options=options)
            return self.reset_wait(self._timeout)

    def step(self, actions: Any) -> Any:
        """Plays one step in all environments."""
        with self._watched("step"):
            self.step_async(actions)
            return self.step_wait(self._timeout)

    def call(self, name: str, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        """Calls a method of every environment, or reads an attribute."""
        with self._watched(name):
            self.call_async(name, *args, **kwargs)
            return self.call_wait(self._timeout)

    def set_attr(self, name: str, values: Any) -> None:
        """Sets an attribute of every environment."""
        with self._watched(f"setting {name}"):
            super().set_attr(name, values)

    @contextmanager
    def _watched(self, task: str) -> Iterator[None]:
        """Ends the processes on any error, and says whose it was."""
        try:
            yield
        except multiprocessing.TimeoutError:
            late = [lane for lane, pipe in enumerate(self.parent_pipes) if not pipe.poll()]
            self.close(terminate=True)
            raise TimeoutError(
                f"{self._id}: {task} took longer than env_timeout, {self._timeout:g} seconds, in"
                f" {_lanes(late)}"
            ) from None
        except (EOFError, ConnectionError) as error:
            dead = [lane for lane, process in enumerate(self.processes) if _ended(process)]
            codes = [self.processes[lane].exitcode for lane in dead]
            _kill(self.processes)
            self.closed = True
            raise RuntimeError(
                f"{self._id}: the process of {_lanes(dead)} ended during {task}, with exit code"
                f" {codes}"
            ) from error
        except BaseException:
            _kill(self.processes)
            self.closed = True
            raise

    def _raise_if_errors(self, successes: Iterable[bool]) -> None:
        """Raises the first error of a worker."""
        if all(successes):
            return
        try:
            lane, kind, value, trace = self.error_queue.get(timeout=PATIENCE)
        except queue.Empty:
            raise RuntimeError(f"{self._id}: a process failed; it says why above") from None
        if kind in (InputError, RuntimeError):
            raise kind(f"{value} (lane {lane})" if kind is InputError else str(value))
        raise RuntimeError(f"{self._id}, lane {lane}, in a process of its own:\n{trace}")

    def close_extras(self, timeout: float | None = None, terminate: bool = False) -> None:
        """Lets the environments close, for at most `timeout` seconds, and ends the processes."""
        if not terminate and self._state is AsyncState.DEFAULT:
            for pipe in self.parent_pipes:
                with suppress(OSError):
                    pipe.send(("close", None))
            deadline = time.monotonic() + (PATIENCE if timeout is None else timeout)
            for process in self.processes:
                process.join(max(0.0, deadline - time.monotonic()))
        _kill(self.processes)
        for pipe in self.parent_pipes:
            pipe.close()


def _in_worker(build: Callable[[], AnyEnv], owner: int) -> AnyEnv:
    """Makes the environment; in a worker, leaves signals to its owner and follows it to the end."""
    if os.getpid() != owner:
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), signal.SIG_IGN)
        threading.Thread(target=_follow_owner, daemon=True).start()
    return build()


def _follow_owner() -> None:
    owner = multiprocessing.parent_process()
    assert owner is not None
    owner.join()
    os._exit(1)


def _ended(process: Any) -> bool:
    process.join(1.0)  # a closed pipe is seen before the exit code
    return not process.is_alive()


def _kill(processes: Sequence[Any]) -> None:
    for process in processes:
        process.kill()
    for process in processes:
        process.join()


def _lanes(lanes: Sequence[int]) -> str:
    return f"lane{'s' * (len(lanes) != 1)} {', '.join(map(str, lanes))}"
