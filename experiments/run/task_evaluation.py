"""Evaluation of a stream's tasks during training: those that were played, and those to come."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from neoteny.experiments.options.config import RunConfig
from neoteny.experiments.run.evaluation import evaluate
from neoteny.experiments.run.folders import EVALUATED
from neoteny.experiments.run.recorder import Recorder
from neoteny.experiments.run.table import Cell
from neoteny.wrappers.schedules import Schedule
from neoteny.wrappers.supervised import SupervisedStream

__all__ = ["SAMPLES", "Target", "TaskEvaluation", "targets"]

SAMPLES = 2048
"""Samples of a task that a classifier is evaluated on, the same every time."""
BATCH = 512
LOOK_AHEAD = 8
"""Visits that are searched for tasks which are still to come, as a multiple of the tasks."""


@dataclass(frozen=True)
class Target:
    """A task to be evaluated, as it is in one of its visits."""

    task: int
    visit: int
    step: int
    """A step of that visit, in its last iteration."""


def targets(schedule: Schedule, step: int, iteration: int, most: int, tasks: int) -> list[Target]:
    """The tasks to evaluate after a number of steps.

    Args:
        schedule: of one member.
        step: steps trained.
        iteration: steps of an iteration.
        most: tasks at most.
        tasks: number of tasks that the stream goes through again and again; 1 if they are not
            known, but variants without end.

    Returns:
        The tasks played so far in their last visits, the last one first; then those that were not
        played, in their first visits: of a known number all, else the next one.
    """
    starts = [0, *schedule.boundaries(step + 1)]
    found: dict[int, Target] = {}
    for begin, end in reversed([*pairwise([*starts, step])]):
        if begin < step:
            _add(found, schedule, begin, max(begin, end - iteration), most)
    looked = 0
    start: int | None = step if starts[-1] == step else schedule.next_boundary(step)
    while start is not None and looked < (LOOK_AHEAD * tasks if tasks > 1 else 1):
        following = schedule.next_boundary(start)
        last = start if following is None else max(start, following - iteration)
        _add(found, schedule, start, last, most)
        start, looked = following, looked + 1
    return list(found.values())


def _add(found: dict[int, Target], schedule: Schedule, start: int, step: int, most: int) -> None:
    """Add the task of the visit that begins at a step, unless it is there."""
    task = schedule.task(start)
    if len(found) < most and task not in found:
        found[task] = Target(task, schedule.visit(start), step)


class TaskEvaluation:
    """Evaluates an agent on the tasks of its stream, which training does not notice.

    Args:
        config: The run's configuration.
        agent: The agent; its training state is left as it is.
        stream: The stream that it trains in.
    """

    def __init__(self, config: RunConfig, agent: Any, stream: Any) -> None:
        self.config = config
        self.agent = agent
        self.stream = stream

    def begin(self, recorder: Recorder) -> None:
        """Evaluate the tasks before training, if tasks are evaluated."""
        if self.config.evaluate_tasks:
            recorder.record_tasks(0, self._rows(0, {}))

    def measure(
        self, recorder: Recorder, step: int, iteration: int, at_end: bool
    ) -> dict[str, Tensor]:
        """Evaluate what is to be evaluated after an iteration.

        Args:
            recorder: What takes the rows of the tasks.
            step: Steps trained.
            iteration: Iterations trained.
            at_end: A member's task ends here.

        Returns:
            ``eval/episodic_return`` (M,) of the task that was played, at its end.
        """
        every = self.config.evaluate_every
        last = step - self.config.hyper.steps_per_iteration
        known = {}
        if at_end and self.config.eval_episodes:
            known[last] = self._evaluate(last)
        if self.config.evaluate_tasks and (at_end or (every and iteration % every == 0)):
            recorder.record_tasks(step, self._rows(step, known))
        return {"eval/episodic_return": known[last]} if known else {}

    def _rows(self, step: int, known: dict[int, Tensor]) -> list[list[dict[str, Cell]]]:
        """The rows of each member's matrix.csv, with values of some steps that are known."""
        names = self.stream.task_names
        each = self.config.hyper.steps_per_iteration
        schedules = self.stream.schedule.members
        wanted = [
            targets(schedule, step, each, self.config.evaluate_tasks, len(names))
            for schedule in schedules
        ]
        steps = dict.fromkeys(target.step for member in wanted for target in member)
        values = {at: (known[at] if at in known else self._evaluate(at)).tolist() for at in steps}
        return [
            [
                {
                    "task": target.task,
                    "visit": schedule.visit(step - 1) if step else math.nan,
                    "task_name": names[target.task] if len(names) > 1 else names[0],
                    "task_visit": target.visit,
                    EVALUATED: values[target.step][member],
                }
                for target in wanted[member]
            ]
            for member, schedule in enumerate(schedules)
        ]

    def _evaluate(self, step: int) -> Tensor:
        """Mean return, or accuracy, of each member under its task at a step: (M,)."""
        if isinstance(self.stream, SupervisedStream):
            return self._accuracy(self.stream, step)
        return evaluate(self.config, self.agent, step, self.stream.schedule)

    @torch.no_grad()
    def _accuracy(self, stream: SupervisedStream, step: int) -> Tensor:
        task = stream.task_at(step)
        rows = stream.rows(0, min(SAMPLES, len(stream.data)))
        correct = torch.zeros(len(rows), dtype=torch.float64, device=stream.device)
        for part in [rows[:, at : at + BATCH] for at in range(0, rows.shape[1], BATCH)]:
            logits = self.agent.network(stream.observations(part, task))["logits"]
            correct += (logits.argmax(-1) == stream.labels(part, task)).sum(1)
        return correct / rows.shape[1]
