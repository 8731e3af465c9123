"""The run loop: collect, learn, record; switch tasks, checkpoint and resume."""

from __future__ import annotations

import math
import time
from contextlib import ExitStack
from typing import Any

import torch
from rich.console import Console
from torch import Tensor

from neoteny.agents.agent import AGENTS
from neoteny.core.console import caution
from neoteny.core.errors import FrozenError, InputError
from neoteny.core.ranks import ALONE, Ranks
from neoteny.core.registry import load_entry_points
from neoteny.core.text import visible
from neoteny.experiments.options.config import RunConfig
from neoteny.experiments.options.devices import set_precision
from neoteny.experiments.run.announcements import announce, strengths
from neoteny.experiments.run.costly_diagnostics import CostlyDiagnostics
from neoteny.experiments.run.folders import seed_folder
from neoteny.experiments.run.interrupt import Stopped, StopRequest
from neoteny.experiments.run.memory import MEMORY, SPEED, forget_peak_memory, peak_memory
from neoteny.experiments.run.progress import Progress
from neoteny.experiments.run.recorder import Recorder
from neoteny.experiments.run.run_streams import make_run_stream
from neoteny.experiments.run.sharding import agree
from neoteny.experiments.run.sizes import memory_errors
from neoteny.experiments.run.store import Store, check_startable
from neoteny.experiments.run.task_evaluation import TaskEvaluation
from neoteny.experiments.run.tracking import require_wandb, wandb_run
from neoteny.plasticity.diagnostics import change_between, diagnose, weight_spectra

__all__ = ["Runner", "run"]

PROBE = 512
"""Observations per member that diagnostics are measured on."""


def run(
    config: RunConfig, console: Console, *, resume: bool = False, ranks: Ranks = ALONE
) -> Runner:
    """Train one arm to its last step, from the beginning or from its checkpoint.

    Returns:
        The runner, with its agent trained.

    Raises:
        ValueError: If the folder holds another run, the checkpoint is damaged, or an option does
            not fit.
    """
    if config.wandb:
        require_wandb()
    load_entry_points()  # whose diagnostics are measured, too
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    set_precision(config.device, config.precision)
    torch.set_flush_denormal(True)  # second moments of dead units decay below 1e-38
    if ranks.first:
        check_startable(config, resume=resume)
    with memory_errors(config), ranks.connected(torch.device(config.device)):
        runner = Runner(config, console, ranks)
        try:
            runner.train(resumed=resume)
        finally:
            runner.envs.close()
    return runner


class Runner:
    """One arm of M members: its environment, agent and position in the stream.

    Args:
        config: Configuration, with the run's folder.
        console: Where progress and notices are printed.
        ranks: The processes that train it together.
    """

    def __init__(self, config: RunConfig, console: Console, ranks: Ranks = ALONE) -> None:
        self.config = config
        self.console = console
        self.ranks = ranks
        self.envs = make_run_stream(config, ranks)
        self.agent = AGENTS[config.agent].build(config.agent_settings, self.envs)
        if not ranks.alone:
            self.agent.learner.ranks = ranks
        self.costly = CostlyDiagnostics(config.diagnose_switches)
        self.evaluation = TaskEvaluation(config, self.agent, self.envs)
        self.iteration = 0
        self.step = 0
        self.per_iteration = config.hyper.steps_per_iteration
        self.iterations = math.ceil(config.steps / self.per_iteration)
        self.total = self.iterations * self.per_iteration
        self.boundaries = set(self.envs.boundaries(self.total))
        self._alive = [True] * config.seeds

    @property
    def task_aware(self) -> bool:
        """True if an intervention is told of task switches."""
        return any(i.needs_boundaries for i in self.agent.learner.interventions)

    def description(self) -> dict[str, Any]:
        """Content of `config.json`: the configuration and values that follow from it."""
        return self.config.to_dict() | {
            "arm": self.config.arm,
            "task_names": list(self.envs.task_names),
            "boundaries": sorted(self.boundaries),
            "steps_per_iteration": self.per_iteration,
            "task_aware": self.task_aware,
            "intervention_settings": {
                intervention.name: intervention.settings
                for intervention in self.agent.learner.interventions
            },
            "strengths": strengths(self.config, self.agent),
        }

    def train(self, *, resumed: bool = False) -> None:
        """Run to the last step, recording each iteration and checkpointing from time to time.

        Raises:
            InputError: If the folder is another process's or does not fit, or the checkpoint is
                damaged.
            RunError: If a file cannot be written, or all members are frozen; the last checkpoint
                stays whole.
            Stopped: After a signal, once the iteration is over and saved.
        """
        forget_peak_memory(self.agent.device)
        with Store(self.config, self.description(), writes=self.ranks.first) as store:
            state = self.ranks.agreed(lambda: store.read(resumed=resumed))
            if state is not None:
                self.load(state)
            self._require_alive()
            if self.iteration > self.iterations:
                raise InputError(
                    f"steps is {self.config.steps:,}, but the run in {self.config.folder} has "
                    f"{self.step:,} already: give as many or more"
                )
            if self.iteration == self.iterations:
                self.console.print(f"{self.config.arm}: all {self.total:,} steps are done")
                return
            announce(self.config, self.agent, self.console)
            store.open()
            with ExitStack() as following:
                if self.config.wandb and self.ranks.first:
                    members = [seed_folder(store.folder, seed) for seed in self.config.seed_list]
                    following.enter_context(wandb_run(store.folder, members, self.description()))
                self._train(store)

    def _train(self, store: Store) -> None:
        """The remaining iterations, in a folder that is this process's."""
        saved, stops = time.monotonic(), False
        with (
            Progress(self.console, self.config.arm, self.total, self.step) as progress,
            StopRequest() as stop,
        ):
            store.save(self.state_dict())  # a run that is killed at once can be resumed as well
            while self.iteration < self.iterations and not stops and any(self._alive):
                host = self._iterate(store.recorder)
                progress.update(self.step, host, self._task_names())
                due = time.monotonic() - saved > 60 * self.config.checkpoint_minutes
                parameters = self.agent.network.parameters()
                stops, due = agree(self.ranks, stop.requested, due, parameters, self.step)
                if due:
                    store.save(self.state_dict())
                    saved = time.monotonic()
            store.save(self.state_dict())
        self._require_alive()
        if stops:
            raise Stopped(f"stopped at step {self.step:,}: continue with --resume {store.folder}")

    def _require_alive(self) -> None:
        """Stop a run that learns nothing any more."""
        if not any(self._alive):
            raise FrozenError(
                f"{self.config.arm} stopped at step {self.step:,}: all its members have "
                "non-finite gradients; lower its learning rate or its interventions' strengths"
            )

    def _iterate(self, recorder: Recorder) -> dict[str, list[float]]:
        """One iteration: pass on a task switch that the last one ended with, learn and record."""
        started = time.perf_counter()
        if self.iteration == 0:
            self.evaluation.begin(recorder)
        if self._switched():
            self._switch()
        tasks = self.envs.tasks_at(self.step)
        visit = self.envs.schedule.visits(self.step)
        before = self._parameters() if self._measures else []
        begins = self._begins_task
        metrics = dict(self.agent.iterate(self.envs))
        self.iteration += 1
        self.step += self.per_iteration
        ends_task = self._switched() or self.step == self.total
        histograms = {}
        if before or (ends_task and self.config.diagnose_every):
            spectra = weight_spectra(self.agent.network)
            metrics |= self._diagnose(before, spectra, begins=begins, ends=ends_task)
            histograms = {f"singular_values/{key}": sigma for key, sigma in spectra.items()}
        metrics |= self.evaluation.measure(recorder, self.step, self.iteration, ends_task)
        statistics = self.envs.collect()
        metrics |= {f"charts/{name}": value for name, value in statistics.items()}
        metrics |= self._by_task(statistics, tasks)
        metrics["charts/alive"] = self.agent.learner.alive.float()
        elapsed = time.perf_counter() - started
        host = recorder.record(
            self.step,
            {
                "iteration": self.iteration,
                "task": tasks,
                "visit": visit,
                SPEED: self.config.seeds * self.per_iteration / elapsed,
                MEMORY: peak_memory(self.agent.device),
                **metrics,
            },
            {"task_name": self._names(tasks)},
            histograms,
        )
        self._freeze(host["charts/alive"])
        return host

    def _switched(self) -> bool:
        """True if a member's task changed with the last step of the last iteration.

        The schedule is asked, since some schedules wait for returns and so are not known
        beforehand.
        """
        visits = self.envs.schedule.visits
        switched: bool = visits(self.step) != visits(max(self.step - self.per_iteration, 0))
        return switched

    @property
    def _begins_task(self) -> bool:
        """True if the iteration to come is a task's first."""
        return self.step == 0 or self._switched()

    @property
    def _measures(self) -> bool:
        """True if the iteration to come is followed by diagnostics.

        They are measured every `diagnose_every` iterations and at both ends of every task.
        """
        end = self.step + self.per_iteration
        every = self.config.diagnose_every
        ends = self._begins_task or end in self.boundaries or end == self.total
        return bool(every) and (ends or self.iteration % every == 0)

    def _parameters(self) -> list[Tensor]:
        return [parameter.detach().clone() for parameter in self.agent.network.parameters()]

    def _diagnose(
        self, before: list[Tensor], spectra: dict[str, Tensor], *, begins: bool, ends: bool
    ) -> dict[str, Tensor]:
        """Diagnostics of the network, and its distance from the parameters `before`, if known.

        Those of `diagnose_switches` are measured where the iteration begins or ends a task.
        """
        network, observations = self.agent.network, self.agent.recent(PROBE)
        metrics = diagnose(network, observations, spectra=spectra)
        if self.costly.groups and (begins or ends):
            targets = self.agent.recent_targets(PROBE)
            metrics |= self.costly.measure(network, observations, targets, begins=begins)
        if before:
            metrics["plasticity/update_norm"] = change_between(before, list(network.parameters()))
        for intervention in self.agent.learner.interventions:
            for name, value in intervention.measured().items():
                metrics[f"interventions/{intervention.name}/{name}"] = value
        return metrics

    def _by_task(self, statistics: dict[str, Tensor], tasks: list[int]) -> dict[str, Tensor]:
        """Return and length under each task's own name, NaN for the members that play another."""
        if len(self.envs.task_names) == 1:
            return {}
        metrics = {}
        playing = torch.tensor(tasks, device=self.agent.device)
        for task in dict.fromkeys(tasks):
            name = visible(self.envs.task_names[task]).replace(" ", "_")
            for statistic in ("episodic_return", "episodic_length"):
                value = statistics[statistic]
                metrics[f"tasks/{name}/{statistic}"] = value.where(playing == task, torch.nan)
        return metrics

    def _freeze(self, alive: list[float]) -> None:
        """Report members that went non-finite, once each, and have the learner hold them still."""
        now = [bool(value) for value in alive]
        for seed, was, still in zip(self.config.seed_list, self._alive, now, strict=True):
            if was and not still:
                caution(
                    self.console,
                    f"seed {seed} has a non-finite gradient at step "
                    f"{self.step:,} and is frozen" + "; the other members go on" * any(now),
                )
        self._alive = now
        self.agent.learner.freeze(now)

    def _switch(self) -> None:
        """Reset the optimiser if asked, and tell agent and interventions that need to know."""
        learner = self.agent.learner
        self.agent.switch()
        if self.config.reset_optimizer:
            learner.reset_optimizer()
        if self.task_aware:
            learner.boundary(torch.tensor(self.envs.tasks_at(self.step), device=self.agent.device))

    def _task_names(self) -> list[str]:
        return self._names(self.envs.tasks_at(max(self.step - 1, 0)))

    def _names(self, tasks: list[int]) -> list[str]:
        """A name for each task; where there is but one, it stands for all variants."""
        names = self.envs.task_names
        return [names[task] if len(names) > 1 else names[0] for task in tasks]

    def state_dict(self) -> dict[str, Any]:
        """Position, environment and agent."""
        return {
            "iteration": self.iteration,
            "step": self.step,
            "alive": self._alive,
            "agent": self.agent.state_dict(),
            "envs": self.envs.state_dict(),
            "costly": self.costly.state_dict(),
        }

    def load(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
        self.iteration, self.step = state["iteration"], state["step"]
        self._alive = state["alive"]
        self.agent.load_state_dict(state["agent"])
        self.envs.load_state_dict(state["envs"])
        if "costly" in state:
            self.costly.load_state_dict(state["costly"])
