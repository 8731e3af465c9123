"""The engine of a SLURM cluster: a job array through submitit, requeued before its time is up."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from neoteny.core.errors import InputError
from neoteny.experiments.engines.engine import Exit, Order, Outcome
from neoteny.experiments.engines.process import UnitProcess
from neoteny.experiments.options.extras import imported
from neoteny.experiments.run.folders import storing

__all__ = ["SlurmEngine", "Task"]

FOLDER = "slurm"
"""Folder of a comparison that has submitit's scripts and logs."""
TIMEOUTS = 1000
"""Times that a unit may use up its time and be queued again."""


class SlurmEngine:
    """Trains units as the jobs of an array, all of which read and write one shared folder.

    Args:
        folder: The comparison's.
        jobs: Jobs of the array that run at a time.
        cpus: Cores of a unit.
        gpus: GPUs of a unit; 0 for none.
        partition: Partition; empty for the cluster's own.
        minutes: Time limit of a job.
        warning: Seconds before the limit at which a unit saves and is queued again.
        cluster: `slurm`, or submitit's `local` for tests.

    Raises:
        InputError: If submitit or SLURM is not there.
    """

    def __init__(
        self,
        folder: Path,
        *,
        jobs: int,
        cpus: int,
        gpus: int,
        partition: str,
        minutes: int,
        warning: int = 120,
        cluster: str = "slurm",
    ) -> None:
        submitit = _require_submitit()
        self._folder = folder / FOLDER
        try:
            self._executor = submitit.AutoExecutor(
                self._folder, cluster, slurm_max_num_timeout=TIMEOUTS
            )
        except RuntimeError as error:  # submitit's word for a machine without srun
            raise InputError(
                f"engine slurm needs SLURM on this machine ({error}): give the command on a login "
                "node, or use --engine local"
            ) from None
        options: dict[str, Any] = {
            "name": "neoteny",
            "timeout_min": minutes,
            "cpus_per_task": cpus,
            "gpus_per_node": gpus,
            "slurm_signal_delay_s": warning,
            "slurm_array_parallelism": jobs,
        }
        if partition:
            options["slurm_partition"] = partition
        self._executor.update_parameters(**options)
        self._jobs: dict[int, Any] = {}

    def submit(self, orders: Sequence[Order]) -> None:
        """Queue the work.

        Raises:
            InputError: If SLURM does not take it.
            RunError: If its files cannot be written.
        """
        try:
            with storing(self._folder), self._executor.batch():
                jobs = [self._executor.submit(Task(order.to_json())) for order in orders]
        except RuntimeError as error:  # sbatch's words, such as of an unknown partition
            lines = [line for line in str(error).splitlines() if line.strip()]
            raise InputError(
                f"SLURM refuses the jobs ({'; '.join(lines)}): see --partition, --time-limit, "
                "--gpus and --threads"
            ) from None
        self._jobs = dict(enumerate(jobs))

    def ended(self) -> list[Outcome]:
        """The units that have ended since the last call."""
        over = [index for index, job in self._jobs.items() if job.done()]
        return [self._outcome(index, self._jobs.pop(index)) for index in over]

    def stop(self) -> None:
        """Cancel all jobs, whose units save and end."""
        for job in self._jobs.values():
            job.cancel()

    def kill(self) -> None:
        """Forget the jobs: those that are left were cancelled."""
        self._jobs = {}

    def _outcome(self, index: int, job: Any) -> Outcome:
        error = job.exception()
        if error is None:
            return Outcome(index, job.result())
        lines = [line for line in str(error).splitlines() if line.strip()]
        return Outcome(index, Exit.FAILED, f"lost by SLURM: {lines[-1] if lines else error!r}")


class Task:
    """A unit as submitit calls it on its node; its process saves before it is queued again.

    Args:
        line: The order, as JSON.
    """

    def __init__(self, line: str) -> None:
        self._line = line
        self._process: UnitProcess | None = None

    def __call__(self) -> int:
        """Train in a process of its own, and return its exit code."""
        self._process = UnitProcess(Order.from_json(self._line))
        return self._process.wait()

    def checkpoint(self) -> Any:
        """At the signal: have the process save and end, and say what is to be queued."""
        if self._process is not None:
            self._process.stop()
            self._process.wait()
        return _require_submitit().helpers.DelayedSubmission(Task(self._line))


def _require_submitit() -> Any:
    return imported("submitit", "engine slurm needs submitit: pip install 'neoteny[slurm]'")
