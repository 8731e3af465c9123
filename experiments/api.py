"""Training, comparing and reading runs from Python, by the rules of the command line."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from neoteny.agents.agent import AGENTS
from neoteny.core.console import PlainConsole
from neoteny.core.errors import InputError
from neoteny.core.options import fit
from neoteny.experiments import cli
from neoteny.experiments.options.config import CompareConfig, RunConfig, named_apart
from neoteny.experiments.options_by_name import configure, one_or_more
from neoteny.experiments.run.evaluation import episode_returns
from neoteny.experiments.run.runner import Runner
from neoteny.experiments.run.store import read_checkpoint
from neoteny.experiments.run.stored import Allowed, find_run, load_plugins
from neoteny.experiments.statistics.runs import read_runs
from neoteny.experiments.statistics.visits import visit_values

__all__ = ["TrainedRun", "compare", "load", "results", "scores", "train", "tune"]

TIDY = ("arm", "seed", "step", "task", "visit")
"""Columns that identify a recorded value."""


class TrainedRun:
    """A trained run: its records, and its agent as of the last checkpoint.

    `train` and `load` make one.

    Attributes:
        folder: The run's folder.
        config: Its configuration.
    """

    def __init__(self, folder: Path, config: RunConfig) -> None:
        self.folder = folder
        self.config = config
        self._runner: Runner | None = None

    def __repr__(self) -> str:
        return f"TrainedRun({str(self.folder)!r})"

    @property
    def seeds(self) -> list[int]:
        """The seed of each member."""
        return self.config.seed_list

    @property
    def metrics(self) -> pd.DataFrame:
        """All records so far, in the columns of `results`."""
        return results(self.folder)

    @property
    def agent(self) -> Any:
        """The agent, of all members, as of the checkpoint."""
        return self._loaded.agent

    @property
    def _loaded(self) -> Runner:
        if self._runner is None:
            if not AGENTS[self.config.agent].plays:
                raise InputError(
                    f"{self.folder} is of the agent {self.config.agent}, which cannot be loaded to "
                    "play: train one of ppo or dqn"
                )
            runner = Runner(self.config, PlainConsole(quiet=True))
            runner.load(read_checkpoint(self.folder, runner.description()))
            runner.envs.close()
            self._runner = runner
        return self._runner

    def predict(
        self,
        observation: NDArray[Any],
        state: tuple[NDArray[Any], ...] | None = None,
        episode_start: NDArray[Any] | None = None,
        deterministic: bool = True,
        *,
        seed: int | None = None,
    ) -> tuple[NDArray[Any], tuple[NDArray[Any], ...] | None]:
        """Actions of one member, by the protocol of Stable-Baselines3's models.

        Args:
            observation: (*shape), or (N, *shape) for N environments, as the agent's environment
                gives them: with the changes of the task, if the stream makes any.
            state: Handed back; our agents have none.
            episode_start: Not used.
            deterministic: Take the most probable or most valuable action; else draw one, with
                torch's generator.
            seed: The member; unset, the first.

        Returns:
            Actions (*action) or (N, *action), and `state`.

        Raises:
            InputError: If the run has no such seed, or the observations have another shape.
        """
        agent, member = self.agent, self._member(seed)
        envs: Any = self._loaded.envs  # of agents that play
        shape = tuple(envs.single_observation_space.shape)
        given = _numbers(observation)
        if given.shape[given.ndim - len(shape) :] != shape or given.ndim > len(shape) + 1:
            raise InputError(
                f"observations have the shape {given.shape}: the agent takes {shape}, or (N, "
                "...) of them"
            )
        lanes = torch.as_tensor(given.reshape(-1, *shape), device=agent.device)
        obs = lanes.expand(len(self.seeds), *lanes.shape)
        with torch.no_grad():
            if deterministic:
                actions = agent.play_best(obs)
            else:
                keys = torch.randint(2**62, (len(self.seeds) * len(lanes),), device=agent.device)
                actions = agent.play(obs, keys, 0)
        own = actions.view(len(self.seeds), len(lanes), *actions.shape[1:])[member].cpu().numpy()
        return (own[0] if given.ndim == len(shape) else own), state

    def evaluate(self, episodes: int = 10) -> NDArray[np.float32]:
        """Play whole episodes on the task that the run ended with, as evaluations in training do.

        Args:
            episodes: Of each member.

        Returns:
            (seeds, episodes) returns.

        Raises:
            InputError: If the agent does not play, or the number is out of range.
        """
        runner = self._loaded
        episodes = fit("episodes", episodes, int, "at least 1")
        config = dataclasses.replace(self.config, eval_episodes=episodes)
        step = max(runner.step - runner.per_iteration, 0)
        returns = episode_returns(config, runner.agent, step, runner.envs.schedule)
        return returns.cpu().numpy()

    def _member(self, seed: int | None) -> int:
        if seed is not None and seed not in self.seeds:
            raise InputError(f"seed is {seed}: the run has the seeds {self.seeds}")
        return 0 if seed is None else self.seeds.index(seed)


def train(
    env: str | None = None,
    *,
    intervention: str | Sequence[str] | None = None,
    out: Path | str | None = None,
    progress: bool = False,
    **options: Any,
) -> TrainedRun:
    """Train one agent, as `neoteny run` does.

    Args:
        env: Stream or environment id; unset, the preset's.
        intervention: One or several, composed left to right, as `"adamo:half_life=50000"`; unset,
            none.
        out: Folder of the run; unset, results/runs/<env>/<arm>.
        progress: Print progress and notices.
        **options: Any option of the command line by its name with underscores: of the run (`seeds`,
            `steps`, `preset`, `agent`, `plugin`, ...), its network (`hidden`, ...) or its agent
            (`learning_rate`, ...). `env_option` may be a dictionary. With `resume` what is not
            given is as the run in that folder was trained.

    Returns:
        The run.

    Raises:
        InputError: If an option is unknown or does not fit, or the folder holds a run.
        RunError: If the run could not go on; what it has is kept.
    """
    given = {"env": env, "intervention": intervention, "out": out, **options}
    config = named_apart(configure(RunConfig, given))
    cli.run(config, PlainConsole(quiet=not progress))
    return TrainedRun(config.folder, config)


def compare(
    env: str | None = None,
    *,
    interventions: Sequence[str] = ("none", "adamo"),
    out: Path | str | None = None,
    progress: bool = False,
    **options: Any,
) -> pd.DataFrame:
    """Train every intervention on the same seeds and stream, then report, as `neoteny compare`.

    Arms that are finished are not trained again, and one that was cut short goes on.

    Args:
        env: Stream or environment id; unset, the preset's.
        interventions: Arms; `"layer_norm+adamo"` composes two.
        out: Folder of the comparison; unset, results/runs/<env>-comparison.
        progress: Print progress and the table.
        **options: As of `train`, and what arms are crossed with (`activations`, ...).

    Returns:
        The summary, a row for each arm (see `neoteny.experiments.statistics.summary.summary`). The
        folder has it as summary.csv, beside report.html, figures and each run.

    Raises:
        InputError: If an option is unknown or does not fit.
        RunError: If an arm could not go on.
    """
    given = {"env": env, "interventions": interventions, "out": out, **options}
    config = configure(CompareConfig, given)
    return cli.compare(config, PlainConsole(quiet=not progress))


def tune(
    env: str | None = None,
    *,
    interventions: Sequence[str] = ("none", "adamo"),
    out: Path | str | None = None,
    progress: bool = False,
    **options: Any,
) -> pd.DataFrame:
    """Find every arm's best strength with equal budgets, as `neoteny tune` does.

    What is trained is not trained again. The best options are in tuned.yaml of the folder, which
    `compare(tuned=folder, first_seed=1000)` compares on other seeds.

    Args:
        env: Stream or environment id; unset, the preset's.
        interventions: Arms, of which `fresh` is none: it is trained anyway.
        out: Folder of the search; unset, results/runs/<env>-tuning.
        progress: Print progress and the table.
        **options: As of `compare`, but `tuning_seeds` in place of `seeds`, and those of the search:
            `trials`, `tune=["learning-rate=1e-4..1e-2"]`, `objective`, `sampler`, `sampler_seed`.

    Returns:
        A row for each arm: its default and its best trial
        (see `neoteny.experiments.tuning.outcome.peaks_table`).

    Raises:
        InputError: If an option is unknown or does not fit, or Optuna is not installed.
        RunError: If every trial of every arm failed.
    """
    from neoteny.experiments.tuning.command import tune as search  # on use, as it draws
    from neoteny.experiments.tuning.config import TuneConfig

    given = {"env": env, "interventions": interventions, "out": out, **options}
    return search(configure(TuneConfig, given), PlainConsole(quiet=not progress))


def load(
    folder: Path | str, *, plugin: Path | str | Sequence[Path | str] = (), trust: bool = False
) -> TrainedRun:
    """Read a stored run; code that only its files name is not run.

    Args:
        folder: The run's folder, which holds checkpoint.pt, or one of its seeds' folders.
        plugin: Python files or modules to run first.
        trust: Run the code that the run's config.json names: plugins, module, Python stream.

    Raises:
        InputError: If there is no such run, or it needs code that is not allowed.
    """
    plugins = one_or_more("plugin", plugin)
    load_plugins(plugins)
    return TrainedRun(*find_run(Path(folder), Allowed(everything=trust, plugins=tuple(plugins))))


def results(folder: Path | str) -> pd.DataFrame:
    """Records of all runs in and below a folder, a row for each value.

    Args:
        folder: A run, a comparison, or a folder of them.

    Returns:
        Columns ``arm``, ``seed``, ``step``, ``task``, ``visit``, ``name`` and ``value``; names are
        the columns of metrics.csv, as ``charts/episodic_return``. Values that were not recorded in
        a step have no row. `neoteny.experiments.statistics.runs.read_runs` has a column for each
        name.

    Raises:
        InputError: If there is no run, or a file is not that of a run.
    """
    frame = read_runs(folder)
    names = [name for name in frame.columns if "/" in name]
    tidy = frame.melt(list(TIDY), names, "name", "value").dropna(subset="value")
    return tidy.sort_values([*TIDY[:3], "name"], kind="stable", ignore_index=True)


def scores(folder: Path | str) -> dict[str, NDArray[np.float64]]:
    """Scores of each arm's seeds in each task, as the arrays that `rliable` takes.

    Args:
        folder: A comparison, or a folder of runs.

    Returns:
        Arm to (seeds, tasks): the mean value over a task's finished visits (see
        `neoteny.experiments.statistics.visits.visit_values`; normalised where all tasks have
        references), NaN where there is none. Tasks are in the order of their names, seeds ascend.

    Raises:
        InputError: If there is no run.
    """
    visits = visit_values(read_runs(folder))
    finished = visits[visits["complete"]]
    tasks = sorted(visits["task_name"].unique())
    found = {}
    for arm, rows in visits.groupby("arm"):
        own = finished[finished["arm"] == arm]
        table = own.pivot_table("value", "seed", "task_name", "mean", dropna=False)
        seeds = sorted(rows["seed"].unique())
        found[str(arm)] = table.reindex(index=seeds, columns=tasks).to_numpy(np.float64)
    return found


def _numbers(observation: Any) -> NDArray[Any]:
    """Observations as an array of numbers.

    Raises:
        InputError: If they are none.
    """
    try:
        given = np.asarray(observation)
    except ValueError as error:
        raise InputError(f"observations are no array ({error}): give rows of one length") from None
    if given.dtype.kind not in "biuf":
        raise InputError(f"observations are of the type {given.dtype}: give numbers")
    return given
