"""Reading runs back: every metrics.csv below a folder as one tidy table."""

from __future__ import annotations

import csv
import io
import re
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from neoteny.core.errors import InputError, error_context
from neoteny.core.options import LARGEST, Text, fit, fit_all
from neoteny.core.text import distinct, read_text, shortened, visible
from neoteny.experiments.options.arms import interventions_of, setup_of
from neoteny.experiments.run.folders import CONFIG, MEASURES, METRICS, difference, read_json
from neoteny.experiments.run.purposes import require_one_purpose
from neoteny.experiments.run.stored import completed
from neoteny.experiments.statistics.references import normalise

TEXT_COLUMNS = ("task_name",)
COUNT_COLUMNS = ("step", "task", "visit")
FIELDS: Mapping[str, Any] = {
    **dict.fromkeys(("arm", "env", "command", "device", "purpose"), str),
    **dict.fromkeys(("seed", "seeds", "steps"), int),
    **dict.fromkeys(("task_names", "env_option", "intervention"), tuple[str, ...]),
    "boundaries": tuple[int, ...],
    **dict.fromkeys(("versions", "hardware"), Mapping[str, Any]),
    "resumed": tuple[Mapping[str, Any], ...],
}
"""Types of what reports read in a config.json, where each field may be missing."""
OF_ONE_ARM = (
    *("seeds", "first_seed", "threads", "device", "checkpoint_minutes", "wandb", "env_timeout"),
    *("cuda_graphs", "check_graphs", "plugin", "stream"),
)
"""Fields in which runs of one arm may differ, as they do between machines."""
LONGEST = 40
"""Characters of a task's name in tables and figures."""


@dataclass(frozen=True)
class Run:
    """One member's folder: one seed of one arm."""

    folder: Path
    """``…/seed_<s>``."""
    arm: str
    """The arm's name, or the run's path below the folder read where unlike runs share the name."""
    seed: int
    config: Mapping[str, Any]
    """The content of config.json, its `FIELDS` fitted to their types, see `completed`."""


def find_runs(folder: Path | str) -> list[Run]:
    """Find the members of all runs in and below a folder.

    Args:
        folder: a run, a comparison, or a folder of them.

    Returns:
        One entry per seed folder with a metrics.csv, ordered by path and seed.

    Raises:
        ValueError: there is none, or a config.json or a folder's seed does not fit.
    """
    root = Path(folder)
    found = sorted(path.parent for path in root.glob(f"**/seed_*/{METRICS}"))
    if root.name.startswith("seed_") and (root / METRICS).is_file():
        found = [root]
    if not found:
        raise InputError(f"no metrics.csv below {root}; give the --out folder of a run")
    configs = {path: _config(path) for path in found}
    arms = {path: visible(configs[path].get("arm", path.parent.name)) for path in found}
    seeds = {path: _seed(path, configs[path]) for path in found}
    runs = []
    for path in found:
        alike = [other for other in found if arms[other] == arms[path]]
        one = _one_arm([(seeds[other], configs[other]) for other in alike])
        arm = arms[path] if one else visible(path.parent.relative_to(root).as_posix())
        runs.append(Run(path, arm, seeds[path], configs[path]))
    return sorted(runs, key=lambda run: (run.arm, run.folder.parent, run.seed))


def _one_arm(members: list[tuple[int, dict[str, Any]]]) -> bool:
    """True if runs of one name differ in their seeds and machines alone, as when run apart."""
    seeds = [seed for seed, _ in members]
    first = members[0][1]
    return len(set(seeds)) == len(seeds) and not any(
        difference(first, config, ignore=OF_ONE_ARM) for _, config in members[1:]
    )


def read_runs(folder: Path | str) -> pd.DataFrame:
    """Read all runs in and below a folder; runs in progress are read as far as they are.

    Args:
        folder: a run, a comparison, or a folder of them.

    Returns:
        One row per arm, seed and recorded step, in order, with every column of metrics.csv and

        - ``arm``, ``seed``, ``task_name`` (str, int, str); ``family``: the environment that the
          task is a variant of; ``interventions``, joined by ``+``; ``setup``: what stands for the
          rest of the configuration;
        - ``task_step``: steps since the visit began; ``game_step``: steps spent in this task
          over all visits so far; ``width``: steps since the row before;
        - ``cycle``: how many times the run went through all its tasks before this visit;
        - ``complete``: True if the visit was finished;
        - ``measure``: the quantity that runs are judged by, ``"return"`` or ``"accuracy"``;
        - ``return``: its value as recorded, NaN in iterations in which no episode ended;
          ``online_return``: the same with gaps filled, within a visit, by the next value, that of
          the episodes which were running, and after the last by that one; ``score``: the value,
          normalised (NaN for tasks without reference).

    Raises:
        ValueError: there is no run, a file is not a table of a run, or a value does not fit.

    Warns:
        UserWarning: a broken row was left out; names file and line.
    """
    return frame_of(find_runs(folder))


def frame_of(runs: list[Run]) -> pd.DataFrame:
    """The table of `read_runs` for runs already found."""
    require_one_purpose((run.folder, run.config) for run in runs)
    tables = [(read_table(run.folder / METRICS), run) for run in runs]
    frames = [_describe(table, run) for table, run in tables if len(table)]
    if not frames:
        raise InputError(f"{runs[0].folder.parent} has recorded nothing yet; wait for a first row")
    return pd.concat(frames, ignore_index=True)


def read_table(path: Path) -> pd.DataFrame:
    """Read one metrics.csv.

    Returns:
        Its whole rows; numbers as float64, blanks as NaN.

    Raises:
        ValueError: the header is not that of a run, or a step, task or visit is no count.

    Warns:
        UserWarning: a row is broken; an unfinished last line is left out without a word.
    """
    text = read_text(path)
    lines = text[: text.rfind("\n") + 1].splitlines()
    columns = next(csv.reader(lines[:1]), [])
    if "step" not in columns:
        raise InputError(f"{path}, line 1: no column 'step'; not a table of a run, remove it")
    counted = [(number, line) for number, line in enumerate(lines[1:], start=2)]
    whole = [(number, line) for number, line in counted if _cells(line) == len(columns)]
    _warn_of(path, sorted({number for number, _ in counted} - {number for number, _ in whole}))
    body = "\n".join([lines[0], *(line for _, line in whole)])
    table = pd.read_csv(
        io.StringIO(body),
        dtype=dict.fromkeys(TEXT_COLUMNS, "str"),
        low_memory=False,
    )
    texts = table[table.columns.difference([*TEXT_COLUMNS, *table.select_dtypes("number")])]
    numbers = texts.apply(pd.to_numeric, errors="coerce")
    bad = (numbers.isna() & texts.notna()).any(axis=1)
    table[texts.columns] = numbers
    bad |= table["step"].isna()
    _warn_of(path, [whole[row][0] for row in np.flatnonzero(bad)])
    others = table.columns.difference([*TEXT_COLUMNS, *table.select_dtypes(np.float64)])
    table = table.astype(dict.fromkeys(others, np.float64))
    kept: pd.DataFrame = table.loc[~bad]
    for column in kept.columns.intersection(list(COUNT_COLUMNS)):
        values = kept[column].dropna()
        wrong = values[(values < 0) | (values > LARGEST) | (values % 1 != 0)]
        if len(wrong):
            with error_context(f"{path}, line {whole[wrong.index[0]][0]}"):
                fit(column, float(wrong.iloc[0]), int, "at least 0")
    return kept.reset_index(drop=True)


def display_name(task: str) -> str:
    """A task's name for people: ``"neoteny/MinAtar-SpaceInvaders-v0"`` → ``"Space Invaders"``.

    Long ones are cut in the middle.
    """
    short = re.sub(r"-v\d+$", "", task.rpartition("/")[2]).removeprefix("MinAtar-")
    return shortened(visible(re.sub(r"(?<=[a-z])(?=[A-Z])", " ", short)), LONGEST)


def display_names(tasks: Iterable[str]) -> dict[str, str]:
    """Names for people, all different: tasks that would share one keep their whole names."""
    shown = {task: display_name(task) for task in sorted(set(tasks))}
    alike = [task for task in shown if list(shown.values()).count(shown[task]) > 1]
    whole = distinct([shortened(visible(task), LONGEST) for task in alike])
    return shown | dict(zip(alike, whole, strict=True))


def _cells(line: str) -> int:
    return len(next(csv.reader([line]))) if '"' in line else line.count(",") + 1


def _warn_of(path: Path, lines: list[int]) -> None:
    if lines:
        shown = ", ".join(map(str, lines[:5])) + (", …" if len(lines) > 5 else "")
        warnings.warn(f"{path}, line {shown}: broken row left out", stacklevel=4)


def _config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG
    content = read_json(path) if path.exists() else {}
    with error_context(str(path)):
        found = completed(fit_all(content, FIELDS))
        with error_context("resumed"):
            parts = tuple(fit_all(part, FIELDS) for part in found.get("resumed", ()))
    return found | {"resumed": parts}


def _seed(folder: Path, config: Mapping[str, Any]) -> int:
    """The seed that the configuration names, else the folder's name."""
    with error_context(str(folder)):
        seed = config.get("seed", Text(folder.name.removeprefix("seed_")))
        return int(fit("seed", seed, int))


def _describe(table: pd.DataFrame, run: Run) -> pd.DataFrame:
    """Add the columns of the report to one member's rows."""
    frame = table.drop_duplicates("step", keep="last").sort_values("step", ignore_index=True)
    added: dict[str, Any] = {"arm": run.arm, "seed": run.seed}
    for column in ("task", "visit"):
        added[column] = frame.get(column, pd.Series(0.0, frame.index)).fillna(0).astype(int)
    step = frame["step"].astype(int)
    visit = added["visit"]
    added["step"] = step
    added["task_name"] = _task_names(frame, added["task"], run.config)
    added["family"] = families_of(added["task_name"], run.config)
    added["interventions"], added["setup"] = interventions_of(run.config), setup_of(run.config)
    start = _visit_starts(step, visit, _boundaries(run.config))
    added["width"] = step - np.maximum(step.shift(fill_value=0), start)
    added["task_step"] = step - start
    added["game_step"] = added["width"].groupby(added["task_name"]).cumsum()
    added["cycle"] = visit // _cycle_length(added["task_name"], run.config)
    added["complete"] = _complete(step, visit, start, run.config)
    column = next((key for key in MEASURES if key in frame), next(iter(MEASURES)))
    added["measure"] = MEASURES[column]
    returns = frame.get(column, pd.Series(np.nan, frame.index)).astype(np.float64)
    added["return"] = returns
    added["online_return"] = returns.groupby(visit).bfill().groupby(visit).ffill()
    added["score"] = scores_of(
        added["online_return"], added["task_name"], episode_limit(run.config)
    )
    rest = frame.drop(columns=[column for column in added if column in frame])
    return pd.concat([pd.DataFrame(added, index=frame.index), rest], axis=1)


def _boundaries(config: Mapping[str, Any]) -> list[int]:
    return sorted(config.get("boundaries", ()))


def _task_names(frame: pd.DataFrame, task: pd.Series, config: Mapping[str, Any]) -> pd.Series:
    """Recorded names, else the config's; one name stands for all variants of that task."""
    names = [visible(name) for name in config.get("task_names", ())]

    def named(index: int) -> str:
        if index < len(names):
            return names[index]
        return names[0] if len(names) == 1 else f"task {index}"

    given = task.map(named)
    if "task_name" in frame:
        return frame["task_name"].where(frame["task_name"].notna(), given).astype(str)
    return given.astype(str)


def _visit_starts(step: pd.Series, visit: pd.Series, boundaries: list[int]) -> pd.Series:
    """The step at which each row's visit began: the switch that the config names just before.

    Without one, the last row of the visit before marks it.
    """
    ends = step.groupby(visit, sort=False).agg(["first", "last"])
    before = ends["last"].shift(fill_value=0).to_numpy()
    switches = np.array([0, *boundaries])
    place = np.searchsorted(switches, ends["first"].to_numpy()) - 1
    known = switches[np.maximum(place, 0)]
    starts = pd.Series(np.maximum(known, before), ends.index)
    return visit.map(starts).astype(int)


def _cycle_length(names: pd.Series, config: Mapping[str, Any]) -> int:
    """Visits in which a run goes once through its tasks."""
    distinct = set(config.get("task_names", ())) or set(names.unique())
    return max(1, len(distinct))


def _complete(
    step: pd.Series, visit: pd.Series, start: pd.Series, config: Mapping[str, Any]
) -> pd.Series:
    """True where the row's visit is finished, to within one row."""
    last = visit.iloc[-1]
    ends = [*_boundaries(config), config.get("steps", 0)]
    ends = [end for end in ends if end > start.iloc[-1]]
    row = step.iloc[-1] - (step.iloc[-2] if len(step) > 1 else 0)
    finished = bool(ends) and step.iloc[-1] > min(ends) - row
    complete: pd.Series = (visit != last) | finished
    return complete


def families_of(names: pd.Series, config: Mapping[str, Any]) -> pd.Series:
    """The environment of each task: one for all if a stream names the variants of a single one."""
    known = [visible(name) for name in config.get("task_names", ())]
    known = known or list(names.unique())
    definition = config.get("stream_definition")
    environments = definition.get("environments") if isinstance(definition, Mapping) else None
    single = isinstance(environments, list) and len(environments) == 1
    if single or all(f"{name} ".startswith(f"{known[0]} ") for name in known):
        return pd.Series(known[0], names.index)
    return names


def episode_limit(config: Mapping[str, Any]) -> int | None:
    """Steps that an option limits episodes to."""
    options = [text.partition("=") for text in config.get("env_option", ())]
    values = [value for name, _, value in options if name.replace("-", "_") == "max_steps"]
    return int(values[-1]) if values and re.fullmatch("[0-9]{1,15}", values[-1]) else None


def scores_of(returns: pd.Series, names: pd.Series, limit: int | None) -> pd.Series:
    """Returns of tasks, normalised; NaN for tasks without reference."""
    scores = pd.Series(np.nan, returns.index)
    for name, group in returns.groupby(names):
        scores[group.index] = normalise(group.to_numpy(), str(name), limit)
    return scores
