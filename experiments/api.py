"""Training, comparing and reading runs from Python, by the rules of the command line."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from neoteny.agents.agent import AGENTS
from neoteny.core.errors import InputError
from neoteny.core.names import hint
from neoteny.experiments import cli
from neoteny.experiments.config import CompareConfig, RunConfig, TrainConfig
from neoteny.experiments.console import PlainConsole
from neoteny.experiments.evaluation import episode_returns
from neoteny.experiments.network_options import NetworkOptions
from neoteny.experiments.presets import preset_values
from neoteny.experiments.runner import Runner
from neoteny.experiments.runs import read_runs
from neoteny.experiments.store import read_checkpoint
from neoteny.experiments.stored import Allowed, find_run, load_plugins
from neoteny.experiments.visits import visit_values

__all__ = ["TrainedRun", "compare", "load", "results", "scores", "train"]

C = TypeVar("C", bound=TrainConfig)

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
            self._require_playing()
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
        given = np.asarray(observation)
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
        if episodes < 1:
            raise InputError(f"episodes is {episodes!r}: it must be at least 1")
        config = dataclasses.replace(self.config, eval_episodes=episodes)
        step = max(runner.step - runner.per_iteration, 0)
        returns = episode_returns(config, runner.agent, step, runner.envs.schedule)
        return returns.cpu().numpy()

    def _member(self, seed: int | None) -> int:
        if seed is not None and seed not in self.seeds:
            raise InputError(f"seed is {seed}: the run has the seeds {self.seeds}")
        return 0 if seed is None else self.seeds.index(seed)

    def _require_playing(self) -> None:
        if not AGENTS[self.config.agent].plays:
            raise InputError(
                f"{self.folder} is of the agent {self.config.agent}, which cannot be loaded to "
                "play: train one of ppo or dqn"
            )


def train(
    env: str | None = None,
    *,
    intervention: str | Sequence[str] = "none",
    out: Path | str | None = None,
    progress: bool = False,
    **options: Any,
) -> TrainedRun:
    """Train one agent, as `neoteny run` does.

    Args:
        env: Stream or environment id; unset, the preset's.
        intervention: One or several, composed left to right, as `"adamo:half_life=50000"`.
        out: Folder of the run; unset, results/runs/<env>/<arm>.
        progress: Print progress and notices.
        **options: Any option of the command line by its name with underscores: of the run (`seeds`,
            `steps`, `preset`, `agent`, `plugin`, ...), its network (`hidden`, ...) or its agent
            (`learning_rate`, ...). `env_option` may be a dictionary.

    Returns:
        The run.

    Raises:
        InputError: If an option is unknown or does not fit, or the folder holds a run.
        RunError: If the run could not go on; what it has is kept.
    """
    given = _one_or_more(intervention)
    config = configure(RunConfig, {"env": env, "intervention": given, "out": out, **options})
    cli.run(config, _console(progress))
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
        The summary, a row for each arm (see `neoteny.experiments.summary.summary`). The folder has
        it as summary.csv, beside report.html, figures and each run.

    Raises:
        InputError: If an option is unknown or does not fit.
        RunError: If an arm could not go on.
    """
    arms = _one_or_more(interventions)
    config = configure(CompareConfig, {"env": env, "interventions": arms, "out": out, **options})
    return cli.compare(config, _console(progress))


def load(
    folder: Path | str, *, plugin: str | Sequence[str] = (), trust: bool = False
) -> TrainedRun:
    """Read a stored run; code that only its files name is not run.

    Args:
        folder: The run's folder, which holds checkpoint.pt, or one of its seeds' folders.
        plugin: Python files or modules to run first.
        trust: Run the code that the run's config.json names: plugins, module, Python stream.

    Raises:
        InputError: If there is no such run, or it needs code that is not allowed.
    """
    plugins = _one_or_more(plugin)
    load_plugins(plugins)
    return TrainedRun(*find_run(Path(folder), Allowed(everything=trust, plugins=tuple(plugins))))


def results(folder: Path | str) -> pd.DataFrame:
    """Records of all runs in and below a folder, a row for each value.

    Args:
        folder: A run, a comparison, or a folder of them.

    Returns:
        Columns ``arm``, ``seed``, ``step``, ``task``, ``visit``, ``name`` and ``value``; names are
        those of TensorBoard's tags, as ``charts/episodic_return``. Values that were not recorded in
        a step have no row. `neoteny.experiments.runs.read_runs` has a column for each name.

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
        `neoteny.experiments.visits.visit_values`; normalised where all tasks have references), NaN
        where there is none. Tasks are in the order of their names, seeds ascend.

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


def configure(kind: type[C], given: Mapping[str, Any]) -> C:
    """A configuration from options by name, over the defaults of the preset and agent.

    Args:
        kind: `RunConfig` or `CompareConfig`.
        given: Options by name; those of the network and the agent stand beside the others. None
            stands for an option that is not given.

    Raises:
        InputError: If one is unknown or does not fit.
    """
    options = {name: value for name, value in given.items() if value is not None}
    options["plugin"] = tuple(_one_or_more(options.get("plugin", ())))
    load_plugins(options["plugin"])
    if isinstance(options.get("env_option"), Mapping):
        pairs = options["env_option"].items()
        options["env_option"] = tuple(f"{name}={value}" for name, value in pairs)
    agent = options.get("agent")
    values = preset_values(options.get("preset") or AGENTS.find(agent or "ppo").preset, agent)
    nested = {"network": values.pop("network", NetworkOptions()), "hyper": values.pop("hyper")}
    parts: dict[str, dict[str, Any]] = {name: {} for name in nested}
    known = [field.name for field in dataclasses.fields(kind)]
    for name, value in options.items():
        owner = next((part for part, base in nested.items() if name in _names(base)), None)
        if owner is not None:
            parts[owner][name] = value
        elif name in known:
            values[name] = value
        else:
            every = [*known, *_names(nested["network"]), *_names(nested["hyper"])]
            raise InputError(f"option {name!r} is unknown: {hint(name, every)}")
    for part, base in nested.items():
        values.setdefault(part, dataclasses.replace(base, **parts[part]))
    return kind(**values)


def _names(part: Any) -> list[str]:
    return [field.name for field in dataclasses.fields(part)]


def _one_or_more(texts: str | Iterable[str]) -> list[str]:
    return [texts] if isinstance(texts, str) else list(texts)


def _console(progress: bool) -> PlainConsole:
    return PlainConsole() if progress else PlainConsole(quiet=True)
