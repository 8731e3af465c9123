"""A claim of the paper as a plan: the comparisons to train, and how they are judged."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, get_args

from neoteny.core.registry import Registry
from neoteny.experiments.options.config import CompareConfig, RunConfig
from neoteny.experiments.options_by_name import configure

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "REPRODUCTIONS",
    "TIERS",
    "Comparison",
    "Draw",
    "Evidence",
    "Finding",
    "Plan",
    "Reproduction",
    "duration",
    "imported_on_use",
]

Tier = Literal["preview", "laptop", "full"]
TIERS: tuple[str, ...] = get_args(Tier)
"""Sizes of a plan: minutes, hours on two cores, and the paper's own."""


DIAGNOSIS, COSTLY_DIAGNOSIS = 0.02, 0.3
"""Seconds that diagnostics of a member take once, and those of `diagnose_switches` a task, of
networks of four layers and 64 units, on one core."""


@dataclass(frozen=True)
class Comparison:
    """Options of one `compare` and its cost."""

    options: Mapping[str, Any]
    """Options of `compare` by name, without seeds' start and folder."""
    rate: float
    """Steps a second of all members together on one core, as was measured once."""

    def config(self, folder: Path, first_seed: int, data: Path | None = None) -> CompareConfig:
        """The comparison in a folder.

        Raises:
            InputError: If an option does not fit.
        """
        options = {**self.options, "out": folder, "first_seed": first_seed}
        if data is not None and self.data_set is not None:
            options["env_option"] = {**options.get("env_option", {}), "data": data}
        return configure(CompareConfig, options)

    def seconds(self, config: CompareConfig) -> float:
        """Seconds that training takes on one core, with diagnostics at both ends of each task."""
        found = 0.0
        for arm in config.arms():
            switch = 2 * DIAGNOSIS if arm.diagnose_every else 0.0
            if arm.diagnose_switches:
                switch += COSTLY_DIAGNOSIS
            tasks = arm.steps / (arm.task_steps or arm.steps)
            found += arm.seeds * (arm.steps / self.rate + tasks * switch)
        return found

    @property
    def data_set(self) -> str | None:
        """The data set that has to be there, if one has to."""
        source = str(self.options.get("env", "")).partition("-")[0]
        return source if source in ("mnist", "cifar10", "cifar100") else None


@dataclass(frozen=True)
class Plan:
    """The work of one tier."""

    comparisons: Mapping[str, Comparison] = field(default_factory=dict)
    """By the names of their folders."""
    first_seed: int = 0
    """Seed of the first member, unless another is asked for."""
    minutes: float = 0.0
    """Of what is computed besides training, on one core."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Settings of the analysis."""


@dataclass(frozen=True)
class Evidence:
    """Runs that were trained for a reproduction, and their measurements."""

    frames: Mapping[str, pd.DataFrame]
    """Rows of `statistics.runs.read_runs` by comparison."""
    runs: Mapping[str, RunConfig]
    """Configurations by the names of their arms."""
    settings: Mapping[str, Any]
    """As in `Plan`."""
    first_seed: int
    """Seed of the first member."""

    @property
    def frame(self) -> pd.DataFrame:
        """The rows of all comparisons, which are of one stream."""
        import pandas as pd  # on use, as a list of reproductions needs none

        return pd.concat(list(self.frames.values()), ignore_index=True)


class Draw(Protocol):
    """Writes a figure into a PNG file, for a page or a narrow screen, and returns its caption."""

    def __call__(self, path: Path, *, narrow: bool) -> str:
        """Write the file."""


@dataclass(frozen=True)
class Finding:
    """Results of an analysis: table, sentence and figure."""

    table: pd.DataFrame
    """The numbers that the sentence is read off, texts and numbers alike."""
    sentence: str
    """The claim, its contrary, or that the data leave it open."""
    draw: Draw
    """Writes the figure into a PNG file and returns its caption."""


Analysis = Callable[[Evidence], Finding]


def imported_on_use(module: str) -> Analysis:
    """The analysis of a module of this package, which needs pandas and figures."""

    def analyse(evidence: Evidence) -> Finding:
        found: Finding = import_module(f"{__package__}.{module}").analyse(evidence)
        return found

    return analyse


@dataclass(frozen=True, eq=False)
class Reproduction:
    """A claim of the paper and the way to test it."""

    name: str
    claim: str
    """In one sentence."""
    source: str
    """Place in the paper that makes it."""
    plans: Mapping[str, Plan]
    """By tier."""
    analyse: Analysis
    """Reads the finding off what was trained."""
    version: int = 1
    """Grows whenever the plan or its analysis changes, so that pages can be told apart."""

    def configs(
        self, tier: str, folder: Path, first_seed: int | None = None, data: Path | None = None
    ) -> dict[str, CompareConfig]:
        """The comparisons of a tier, by name.

        Args:
            tier: One of `TIERS`.
            folder: Folder that theirs are in.
            first_seed: Seed of the first member; unset, the plan's.
            data: Folder of data sets' files.

        Raises:
            InputError: If an option does not fit.
        """
        plan = self.plans[tier]
        seed = plan.first_seed if first_seed is None else first_seed
        return {
            name: each.config(folder / name, seed, data) for name, each in plan.comparisons.items()
        }

    def minutes(self, tier: str, configs: Mapping[str, CompareConfig]) -> float:
        """Minutes that a tier takes on one core, by the rates of its comparisons."""
        plan = self.plans[tier]
        seconds = (plan.comparisons[name].seconds(config) for name, config in configs.items())
        return plan.minutes + sum(seconds) / 60

    def cost(self, tier: str) -> str:
        """Time that a tier takes on one core, in words."""
        return duration(self.minutes(tier, self.configs(tier, Path())))

    def missing(self, tier: str) -> Sequence[str]:
        """The data sets that a tier needs files of."""
        found = (each.data_set for each in self.plans[tier].comparisons.values())
        return sorted({name for name in found if name is not None})


def duration(minutes: float) -> str:
    """Minutes in the unit that people would use."""
    for limit, divisor, unit in ((120, 1, "minutes"), (48 * 60, 60, "hours")):
        if minutes < limit:
            number = f"{max(minutes / divisor, 1):.0f}"
            return f"{number} {unit.removesuffix('s') if number == '1' else unit}"
    return f"{minutes / 60 / 24:,.0f} days"


REPRODUCTIONS: Registry[Reproduction] = Registry("reproduction")
"""Every reproduction by its name."""
