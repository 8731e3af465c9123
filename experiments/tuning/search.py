"""The settings of an arm that are searched, and which values come next."""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from neoteny.core.errors import InputError, error_context
from neoteny.core.names import hint
from neoteny.core.registry import read_settings
from neoteny.experiments.options.config import RunConfig
from neoteny.experiments.options.crossing import names_of
from neoteny.experiments.options.extras import imported
from neoteny.plasticity.interventions import Intervention, OptimizerSettings, Tasks
from neoteny.plasticity.interventions.ranges import Range

__all__ = [
    "Dimension",
    "Sampler",
    "Search",
    "check_ends",
    "check_names",
    "dimensions",
    "require_optuna",
    "with_values",
]

Sampler = Literal["qmc", "tpe"]


@dataclass(frozen=True)
class Dimension:
    """A setting that is searched."""

    owner: str
    """Its intervention; empty for an option of the agent."""
    field: str
    range: Range
    default: float | None
    """Value that the arm has without tuning, in the range's unit; None if it has none."""

    @property
    def name(self) -> str:
        """As `--tune` has it, such as `adamo:half_life` or `learning_rate`."""
        return f"{self.owner}:{self.field}" if self.owner else self.field


def dimensions(
    run: RunConfig, changed: Mapping[str, Range], settings: OptimizerSettings
) -> list[Dimension]:
    """The settings of an arm that are searched: those with a range that its text leaves open.

    Args:
        run: The arm.
        changed: Ranges by name, in place of those that interventions declare or beside them.
        settings: The agent's, for the values of settings that are unset.
    """
    found = []
    for text, intervention in zip(run.intervention, run.make_interventions(), strict=True):
        name, _, typed = text.partition(":")
        fixed = set(read_settings(name, type(intervention), typed))
        for pair in intervention.exclusive:
            fixed |= set(pair) if fixed & set(pair) else set()
        start = f"{name}:"
        mine = {key.removeprefix(start): r for key, r in changed.items() if key.startswith(start)}
        own = {
            field: values
            for field, values in intervention.ranges.items()
            if not any(field in pair and set(pair) & mine.keys() for pair in intervention.exclusive)
        }  # a half-life is not searched beside the strength that stands for the same
        for field, values in (own | mine).items():
            if field not in fixed:
                default = _default(intervention, field, values, settings)
                found.append(Dimension(name, field, values, default))
    agent = {key: value for key, value in changed.items() if ":" not in key}
    found += [Dimension("", key, agent[key], getattr(run.hyper, key)) for key in agent]
    return found


def check_names(changed: Mapping[str, Range], runs: list[RunConfig]) -> None:
    """Refuse ranges of settings that no arm has, or that are no numbers.

    Raises:
        InputError: Naming the setting.
    """
    hyper = runs[0].hyper
    owners = {i.name: i for run in runs for i in run.make_interventions()}
    for key in changed:
        owner, colon, field = key.rpartition(":")
        if colon and owner not in owners:
            raise InputError(f"tune names {key}, but no arm has {owner!r}: {hint(owner, owners)}")
        thing = owners[owner] if colon else hyper
        floats = [n for n in names_of(thing) if _is_number(thing, n)]
        if field not in floats:
            raise InputError(f"tune cannot search {key!r}: {hint(field, floats)}")


def check_ends(run: RunConfig, searched: list[Dimension]) -> None:
    """Refuse ranges with values that a setting cannot have, or of settings that exclude others.

    Raises:
        InputError: Naming the range and the limit.
    """
    for dimension in searched:
        for end in (dimension.range.low, dimension.range.high):
            with error_context(f"range {dimension.name}={dimension.range}"):
                with_values(run, {dimension: end})
    with_values(run, {dimension: dimension.range.low for dimension in searched})


def with_values(run: RunConfig, values: Mapping[Dimension, float]) -> RunConfig:
    """An arm with values of its settings; agent options are in its name."""
    texts = list(run.intervention)
    names = [text.partition(":")[0] for text in texts]
    for dimension, value in values.items():
        if dimension.owner:
            place = names.index(dimension.owner)
            shown = str(value) if isinstance(value, Tasks) else f"{value:g}"
            texts[place] += f"{',' if ':' in texts[place] else ':'}{dimension.field}={shown}"
    agent = {d.field: value for d, value in values.items() if not d.owner}
    return dataclasses.replace(
        run,
        intervention=tuple(texts),
        hyper=dataclasses.replace(run.hyper, **agent),
        named=tuple(dict.fromkeys([*run.named, *agent])),
    )


class Search:
    """Values to try, one trial after another, by a seeded sampler of Optuna.

    The same scores in the same order give the same values, so that a search which was cut short is
    taken up by telling it again what is known.

    Args:
        dimensions: The settings; at least one.
        sampler: `qmc` or `tpe`.
        seed: Of the sampler.
    """

    def __init__(self, dimensions: list[Dimension], sampler: Sampler, seed: int) -> None:
        optuna = require_optuna()
        self.dimensions = dimensions
        self._spaces = {
            d.name: optuna.distributions.FloatDistribution(
                float(d.range.low), float(d.range.high), log=d.range.log
            )
            for d in dimensions
        }
        samplers = optuna.samplers
        kinds = {"qmc": partial(samplers.QMCSampler, scramble=True), "tpe": samplers.TPESampler}
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            self._study = optuna.create_study(
                sampler=kinds[sampler](seed=seed), direction="maximize"
            )
        self._asked: Any = None

    def tell_default(self, score: float) -> None:
        """The score of the defaults; of one beyond its range, as if it lay at its end."""
        values = {}
        for dimension in self.dimensions:
            if dimension.default is None:
                return
            values[dimension.name] = float(dimension.range.typed(dimension.default))
        optuna = require_optuna()
        self._study.add_trial(
            optuna.trial.create_trial(params=values, distributions=self._spaces, value=score)
        )

    def ask(self) -> dict[Dimension, float]:
        """The next values."""
        self._asked = self._study.ask(self._spaces)
        found = self._asked.params
        return {d: d.range.typed(found[d.name]) for d in self.dimensions}

    def tell(self, score: float) -> None:
        """The score of the values that were asked for last; minus infinity for a failure."""
        self._study.tell(self._asked, score)


def require_optuna() -> Any:
    """Optuna, imported on use.

    Raises:
        InputError: If it is not installed.
    """
    return imported("optuna", "tune needs Optuna: pip install 'neoteny[tune]'")


def _is_number(thing: object, name: str) -> bool:
    value = getattr(thing, name)
    ranges = thing.ranges if isinstance(thing, Intervention) else {}
    return isinstance(value, float) or name in ranges


def _default(
    intervention: Intervention, field: str, values: Range, settings: OptimizerSettings
) -> float | None:
    """The value of a setting before tuning, of a time in tasks."""
    value = getattr(intervention, field)
    if type(values.low) is not Tasks:
        return None if value is None else float(value)
    if value is None:
        return _unset(intervention, field, settings)
    updates = settings.exact_updates(value)
    return Tasks(updates / settings.updates_per_task if math.isfinite(updates) else 1)


def _unset(intervention: Intervention, field: str, settings: OptimizerSettings) -> float | None:
    """The time of an unset setting: a task between switches, or the half-life that others give."""
    rate = intervention.strength(settings).get("decay_rate")
    if field == "half_life" and rate:
        return Tasks(math.log(2) / rate / settings.updates_per_task)
    return Tasks(1) if field == "period" else None
