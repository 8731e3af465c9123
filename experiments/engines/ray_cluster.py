"""The engine of a Ray cluster: a task for each unit, taken up again where a node is lost."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from neoteny.core.errors import InputError, RunError
from neoteny.experiments.engines.engine import Exit, Order, Outcome
from neoteny.experiments.engines.process import UnitProcess
from neoteny.experiments.options.extras import imported
from neoteny.experiments.run.lock import FolderLock

__all__ = ["RayEngine"]

RETRIES = 3
"""Times that a unit is taken up again whose node or worker was lost."""
PATIENCE = 120.0
"""Seconds that a unit waits for the process of a lost node to leave its folder."""


class RayEngine:
    """Trains units as tasks of Ray, all of which read and write one shared folder.

    Args:
        address: Of the cluster, as `auto` or `HOST:PORT`; empty for a new one on this machine.
        cpus: Cores of a unit.
        gpus: Share of a GPU of a unit; 0 for none.

    Raises:
        InputError: If Ray is not installed or there is no such cluster.
        RunError: If a new cluster does not start on this machine.
    """

    def __init__(self, address: str, cpus: int, gpus: float) -> None:
        self._ray = imported("ray", "engine ray needs Ray: pip install 'neoteny[ray]'")
        self._owns = not self._ray.is_initialized()
        if self._owns:
            try:
                self._ray.init(
                    address=address or None,
                    include_dashboard=False if not address else None,
                    log_to_driver=False,
                    logging_level="error",
                )
            except Exception as error:  # Ray has no class of its own for some
                raise _not_there(address, error) from None
        self._needs = {"CPU": cpus, "GPU": gpus}
        options = {"num_cpus": cpus, "num_gpus": gpus, "max_retries": RETRIES}
        self._task = self._ray.remote(**options)(_train)
        self._running: dict[Any, int] = {}

    @property
    def has_room(self) -> bool:
        """True if one node at least has the cores and GPUs of a unit, in use or not."""
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        return any(
            all(node.get(name, 0) >= count for name, count in self._needs.items()) for node in nodes
        )

    def submit(self, orders: Sequence[Order]) -> None:
        """Take the work."""
        for index, order in enumerate(orders):
            self._running[self._task.remote(order.to_json())] = index

    def ended(self) -> list[Outcome]:
        """The units that have ended since the last call."""
        if not self._running:
            return []
        found = []
        known = list(self._running)
        for reference in self._ray.wait(known, num_returns=len(known), timeout=0)[0]:
            index = self._running.pop(reference)
            try:
                found.append(Outcome(index, self._ray.get(reference)))
            except self._ray.exceptions.RayTaskError as error:  # raised by the task
                found.append(Outcome(index, Exit.FAILED, _first_line(error.cause)))
            except self._ray.exceptions.RayError as error:
                found.append(Outcome(index, Exit.FAILED, f"lost by Ray: {_first_line(error)}"))
        return found

    def stop(self) -> None:
        """Have all units save and end, and wait for them."""
        for reference in self._running:
            self._ray.cancel(reference, force=False)
        self._ray.wait(list(self._running), num_returns=len(self._running), timeout=PATIENCE)
        self._running = {}

    def kill(self) -> None:
        """End what is left at once, and leave the cluster."""
        for reference in self._running:
            self._ray.cancel(reference, force=True)
        self._running = {}
        if self._owns:
            self._ray.shutdown()


def _not_there(address: str, error: Exception) -> Exception:
    """The error of a command that finds no cluster."""
    reason = _first_line(error)
    if address:
        return InputError(
            f"address {address!r} is of no Ray cluster ({reason}): start one with "
            "ray start --head, or leave it out"
        )
    return RunError(
        f"Ray does not start on this machine ({reason}): start it with ray start --head and give "
        "--address auto, or use --engine local"
    )


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _train(line: str) -> int:
    """On a node: train a unit in a process of its own, and return its exit code.

    A task that is cancelled has its process save and end. The process of a node that was lost may
    hold the folder a while longer, until it has noticed.
    """
    order = Order.from_json(line)
    until = time.monotonic() + PATIENCE
    while True:
        process = UnitProcess(order)
        try:
            while (code := process.code()) is None:
                time.sleep(0.2)
        except BaseException:  # Ray's own of a cancelled task, among others
            process.stop()
            process.wait()
            raise
        if code != Exit.REFUSED or time.monotonic() > until or not _held(order):
            return code
        time.sleep(1.0)


def _held(order: Order) -> bool:
    """True if another process writes to the unit's folder."""
    try:
        FolderLock.require_free(Path(order.folder))
    except InputError:
        return True
    return False
