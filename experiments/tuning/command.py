"""The command `tune`: trials in rounds, each an ordinary run in a folder of its own."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pandas as pd
from rich.console import Console

from neoteny.core.console import caution
from neoteny.core.errors import InputError, RunError
from neoteny.experiments.engines import grid
from neoteny.experiments.engines.training import require_all_trained, train_plan
from neoteny.experiments.options.config import RunConfig
from neoteny.experiments.options.tuned import FIRST_EVALUATION_SEED, TUNED
from neoteny.experiments.run.folders import write_atomically
from neoteny.experiments.run.lock import FolderLock
from neoteny.experiments.run.plan import Unit
from neoteny.experiments.run.purposes import require_purpose
from neoteny.experiments.run.run_streams import make_run_stream
from neoteny.experiments.run.store import check_startable
from neoteny.experiments.statistics.runs import read_runs
from neoteny.experiments.tuning.config import TuneConfig
from neoteny.experiments.tuning.drawing import draw_sweeps
from neoteny.experiments.tuning.outcome import (
    ArmTrials,
    Trial,
    peaks_table,
    print_peaks,
    trials_table,
    tuned_text,
)
from neoteny.experiments.tuning.scores import (
    FEW_EPISODES,
    REFUSED,
    check_reference,
    failed,
    score,
)
from neoteny.experiments.tuning.search import (
    Dimension,
    Search,
    check_ends,
    dimensions,
    require_optuna,
    with_values,
)

__all__ = ["tune"]


def tune(config: TuneConfig, console: Console) -> pd.DataFrame:
    """Train the trials that are not finished yet, and write every arm at its peak.

    Trials come in rounds, one of every arm, so that budgets are equal whenever it stops. The same
    command goes on where it was stopped: values follow from the scores of the trials before.

    Returns:
        A row for each arm, see `peaks_table`.

    Raises:
        InputError: If the folder is in use or holds other runs, a range is wrong, or Optuna is not
            installed.
        RunError: If every trial of every arm failed.
        Stopped: After a signal.
    """
    require_optuna()
    FolderLock.require_free(config.folder)
    require_purpose(config.folder, "tuning")
    arms = _arms(config, console)
    reference = config.reference()
    for run in (reference, *(_trial_run(arm, 0, {}) for arm in arms)):
        check_startable(run, resume=Unit(run).goes_on)
    with FolderLock(config.folder):
        require_all_trained(_train([reference], 0, config, console))
        fresh = read_runs(reference.folder)
        check_reference(fresh)
        _search(arms, config, fresh, console)
        return _write(arms, config, console)


def _arms(config: TuneConfig, console: Console) -> list[ArmTrials]:
    """The arms with what is searched in each, none of them trained yet."""
    reference = config.reference()
    stream = make_run_stream(reference)
    try:
        task_steps = reference.agent_settings.task_steps(stream)
        size = config.hyper.steps_per_iteration
        visits = 1 + len(list(stream.boundaries(-(-config.steps // size) * size)))
    finally:
        stream.close()
    if visits < 3:
        raise InputError(
            f"steps {config.steps:,} are {visits} tasks, but what an arm keeps shows from the "
            "third on: give more --steps or a shorter --task-steps"
        )
    found = []
    for run in config.arms():
        settings = run.hyper.optimizer_settings(task_steps)
        searched = dimensions(run, config.ranges, settings)
        check_ends(run, searched)
        found.append(ArmTrials(dataclasses.replace(run, purpose="tuning"), searched, []))
        if not searched:
            console.print(
                f"{run.arm} has no setting with a range, so its default is its one trial; "
                "--tune learning-rate=1e-4..1e-2 gives every arm one",
                soft_wrap=True,
            )
        for dimension in searched:
            at = "" if dimension.default is None else f", default {dimension.default:.3g}"
            console.print(f"{run.arm}: {dimension.name} in {dimension.range}{at}", soft_wrap=True)
    return found


def _search(
    arms: list[ArmTrials], config: TuneConfig, fresh: pd.DataFrame, console: Console
) -> None:
    searches = {
        arm.run.arm: Search(arm.dimensions, config.sampler, config.sampler_seed)
        for arm in arms
        if arm.dimensions
    }
    for number in range(config.trials):
        trials = []
        for arm in arms:
            search = searches.get(arm.run.arm)
            if number == 0:
                known = {d: d.default for d in arm.dimensions if d.default is not None}
                trials.append((arm, _trial_run(arm, 0, {}), known))
            elif search is not None:
                values = search.ask()
                trials.append((arm, _trial_run(arm, number, values), values))
        failures = _train([run for _, run, _ in trials], number, config, console)
        for arm, run, values in trials:
            found = (
                failed(failures[run.arm])
                if run.arm in failures
                else score(run.folder, fresh, config.objective)
            )
            arm.trials.append(Trial(number, run, values, found))
            if (search := searches.get(arm.run.arm)) is not None:
                (search.tell if number else search.tell_default)(found.objective.value)


def _trial_run(arm: ArmTrials, number: int, values: dict[Dimension, float]) -> RunConfig:
    """The run of a trial; its folder has the number, its configuration the values."""
    folder = arm.run.folder / f"trial_{number:02d}"
    return dataclasses.replace(with_values(arm.run, values), out=folder)


def _train(
    runs: list[RunConfig], number: int, config: TuneConfig, console: Console
) -> dict[str, str]:
    """Train what is missing of the trials of a round, beside each other where there are jobs.

    Returns:
        The failures that give an arm's trial the worst score: it diverged, or the optimiser refused
        values of the search.

    Raises:
        InputError: If the defaults are refused, which were typed, or a stored trial's files.
        RunError: If a trial failed in a way that says nothing about its values.
    """
    units = [Unit(run) for run in runs]
    for unit in units:
        check_startable(unit.run, resume=unit.goes_on)
    searched = {unit.name for unit in units if number and not unit.goes_on}
    reasons: dict[str, str] = {}
    here = config.engine == "local" and config.jobs == 1
    for part in [[unit] for unit in units] if here else [units]:
        try:
            reasons |= train_plan(part, config, console)
        except InputError as error:
            if not here or part[0].name not in searched:
                raise
            arm = part[0].run.arm
            caution(console, f"trial {number} of {arm} cannot be trained: {error}")
            reasons[part[0].name] = grid.REFUSED
    kinds = {grid.FROZEN: "non-finite gradients in all seeds"}
    kinds |= {grid.REFUSED: REFUSED} if searched else {}
    require_all_trained({name: why for name, why in reasons.items() if why not in kinds})
    return {unit.run.arm: kinds[reasons[unit.name]] for unit in units if unit.name in reasons}


def _write(arms: list[ArmTrials], config: TuneConfig, console: Console) -> pd.DataFrame:
    """Write trials.csv, tuned.csv, the figure and tuned.yaml, and print the peaks."""
    for arm in arms:
        for name, end in arm.at_edge.items():
            values = next(d.range for d in arm.dimensions if d.name == name)
            caution(
                console,
                f"{arm.run.arm} is best at the {end} edge of {name} in {values}, so its peak may "
                f"lie beyond: widen the range by --tune {name}=LOW..HIGH, in another --out",
            )
    peaks, trials = peaks_table(arms), trials_table(arms)
    texts = {
        "trials.csv": trials.to_csv(index=False),
        "tuned.csv": peaks.to_csv(index=False),
        TUNED: tuned_text(arms, config),
    }
    paths = [config.folder / name for name in texts]
    for path, text in zip(paths, texts.values(), strict=True):
        write_atomically(path, text)
    paths += _draw(arms, config)
    print_peaks(arms, config, console)
    for path in paths:
        console.print(f"written {path}", soft_wrap=True)
    if all(arm.best.score.failed for arm in arms):
        raise RunError(_all_failed(arms))
    console.print(
        f"a best of {config.trials} on its own seeds flatters: neoteny compare --tuned "
        f"{config.folder / TUNED} --first-seed {FIRST_EVALUATION_SEED} with the same options "
        "compares the arms on seeds that tuning has not seen",
        soft_wrap=True,
    )
    return peaks


def _all_failed(arms: list[ArmTrials]) -> str:
    """The message if no trial is left, with the failures' kinds and what to change for them."""
    failures = sorted({trial.score.failure for arm in arms for trial in arm.trials})
    fix = (
        "give longer tasks by --task-steps"
        if failures == [FEW_EPISODES]
        else "lower --learning-rate or the strengths"
    )
    return f"every trial of every arm failed ({'; '.join(failures)}): {fix}"


def _draw(arms: list[ArmTrials], config: TuneConfig) -> list[Path]:
    if not any(arm.dimensions for arm in arms):
        return []
    paths = [config.folder / name for name in ("sweep.png", "sweep-narrow.png")]
    for path, narrow in zip(paths, (False, True), strict=True):
        draw_sweeps(arms, path, config.objective, narrow=narrow)
    return paths
