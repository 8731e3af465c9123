"""Options of `tune`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import tyro

from neoteny.core.errors import InputError
from neoteny.experiments.options.arms import ORACLE
from neoteny.experiments.options.config import CompareConfig, RunConfig
from neoteny.experiments.options.option_rules import ALIASES
from neoteny.experiments.options.tuned import FIRST_EVALUATION_SEED, LAST_TUNING_SEED
from neoteny.experiments.tuning.scores import Objective
from neoteny.experiments.tuning.search import Sampler, check_names
from neoteny.plasticity.interventions.ranges import Range

__all__ = ["TuneConfig"]


@dataclass(frozen=True)
class TuneConfig(CompareConfig):
    """Find every arm's best strength with equal budgets, on seeds kept for tuning.

    Takes the options of `compare`; the arms are tuned within the ranges that `list interventions
    NAME` shows, and scored beside `fresh` networks, which are trained once.
    """

    trials: int = 8
    """Trials an arm, the first of which is its default."""
    tuning_seeds: int = 3
    """Seeds of every trial, from first-seed on; 0 to 99 are for tuning."""
    tune: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """Range of an option of the agent, for every arm, or in place of an intervention's own, as in
    learning-rate=1e-4..1e-2 or adamo:half_life=0.1tasks..40tasks; may be repeated."""
    objective: Objective = "share"
    """`share` of the fresh networks' gain over the last third of the tasks, or mean `online` return
    over all tasks."""
    sampler: Sampler = "qmc"
    """`qmc` covers every range evenly, whatever the scores are, so that sweeps can be read; `tpe`
    follows the scores, for budgets of dozens of trials."""
    sampler_seed: int = 0
    """Seed of the sampler."""
    out: Path | None = None
    """Folder; unset, results/runs/<env>-tuning."""
    seeds: Annotated[int, tyro.conf.Fixed, tyro.conf.Suppress] = 1
    """Set by `tuning_seeds`."""
    block: Annotated[int | None, tyro.conf.Fixed, tyro.conf.Suppress] = None
    """Of `compare` alone."""
    dry_run: Annotated[bool, tyro.conf.Fixed, tyro.conf.Suppress] = False
    """Of `compare` alone."""
    tuned: Annotated[Path | None, tyro.conf.Fixed, tyro.conf.Suppress] = None
    """Of `compare` alone."""

    limits: ClassVar[Mapping[str, str]] = {
        "trials": "from 1 to 1,000",
        "tuning_seeds": f"from 1 to {LAST_TUNING_SEED + 1}",
        "sampler_seed": "from 0 to 4,294,967,295",
    }
    groups: ClassVar[Mapping[str, tuple[str, tuple[str, ...]]]] = {
        "": ("", (*CompareConfig.groups[""][1], "trials", "tuning_seeds", "tune", "objective")),
        **{name: group for name, group in CompareConfig.groups.items() if name},
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "seeds", self.tuning_seeds)
        if self.seed_list[-1] > LAST_TUNING_SEED:
            raise InputError(
                f"tuning seeds are {self.first_seed} to {self.seed_list[-1]}, but those of tuning "
                f"are 0 to {LAST_TUNING_SEED} and those of evaluations {FIRST_EVALUATION_SEED} and "
                "up: lower --first-seed or --tuning-seeds"
            )
        runs = self.arms()
        for run in runs:
            if any(i.name == ORACLE for i in run.make_interventions()):
                raise InputError(
                    f"{ORACLE} is what arms are scored by, and is trained anyway: leave it out"
                )
        check_names(self.ranges, runs)

    @property
    def folder(self) -> Path:
        """Folder that everything is written to."""
        return self.out or Path("results/runs") / f"{self.env.replace('/', '-')}-tuning"

    @property
    def ranges(self) -> dict[str, Range]:
        """The ranges of `tune` by the names of their settings.

        Raises:
            InputError: If one is given twice, or is no range.
        """
        found: dict[str, Range] = {}
        for text in self.tune:
            given, equals, values = text.partition("=")
            key = given.strip().removeprefix("--").replace("-", "_")
            key = next((ours for ours, others in ALIASES.items() if key in others), key)
            if not equals or key in found:
                why = "is given twice" if equals else "has no range"
                raise InputError(f"tune {text!r} {why}: write NAME=LOW..HIGH once")
            found[key] = Range.from_text(values)
        return found

    def reference(self) -> RunConfig:
        """The run of fresh networks, whose gain all arms are measured by."""
        out = self.folder / "reference"
        return RunConfig(**self.shared, intervention=(ORACLE,), purpose="tuning", out=out)
