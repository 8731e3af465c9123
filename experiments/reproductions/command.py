"""The command `reproduce`: plan, train what is missing, analyse, write the pages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pandas as pd
import tyro
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from neoteny.core.console import caution
from neoteny.core.errors import InputError
from neoteny.core.options import check_fields
from neoteny.envs.datasets import load_dataset
from neoteny.experiments.cli import train_arms
from neoteny.experiments.options.config import CompareConfig, RunConfig
from neoteny.experiments.reproductions.pages import Outcome, write_index, write_page
from neoteny.experiments.reproductions.reproduction import (
    REPRODUCTIONS,
    Evidence,
    Reproduction,
    Tier,
    duration,
)
from neoteny.experiments.run.folders import storing

__all__ = ["ReproduceConfig", "reproduce"]


@dataclass(frozen=True)
class ReproduceConfig:
    """Test claims of the paper: train what one needs, and answer in one sentence."""

    names: tyro.conf.Positional[tuple[str, ...]] = ()
    """Reproductions; see `list reproductions`."""
    tier: Tier = "preview"
    """Size: `preview` takes minutes on two cores, `laptop` hours, `full` is the paper's."""
    all: bool = False
    """Every reproduction; those whose data sets are not there are left out."""
    out: Path = Path("results/runs/reproduce")
    """Folder; each goes into a folder NAME-TIER of it, with another first seed NAME-TIER-SEED."""
    first_seed: int | None = None
    """Seed of the first member; unset, the plan's, 0 or the paper's."""
    data: Path | None = None
    """Folder of the files of MNIST and CIFAR, for the plans that need them; unset, data."""
    dry_run: bool = False
    """Print the plan and its cost, and stop."""

    limits: ClassVar[Mapping[str, str]] = {"first_seed": "at least 0"}

    def __post_init__(self) -> None:
        check_fields(self)
        for name in self.names:
            REPRODUCTIONS.require(name)
        if bool(self.names) == self.all:
            raise InputError(
                "give the names of reproductions or --all, one of them; see list reproductions"
            )

    @property
    def chosen(self) -> list[Reproduction]:
        """The reproductions, each once."""
        return [REPRODUCTIONS[name] for name in dict.fromkeys(self.names or REPRODUCTIONS)]

    def folder(self, reproduction: Reproduction) -> Path:
        """Folder of one of them."""
        return self.out / f"{reproduction.name}-{self.variant}"

    @property
    def variant(self) -> str:
        """Tier and, where one is given, the first seed."""
        return self.tier if self.first_seed is None else f"{self.tier}-{self.first_seed}"

    def comparisons(self, reproduction: Reproduction) -> dict[str, CompareConfig]:
        """The comparisons of one of them, by name."""
        folder = self.folder(reproduction) / "runs"
        return reproduction.configs(self.tier, folder, self.first_seed, self.data)


def reproduce(config: ReproduceConfig, console: Console) -> list[Outcome]:
    """Print plan and cost, train what is missing, and write a page for each reproduction.

    Returns:
        What came out, in order.

    Raises:
        InputError: If a data set of one that was named is not there, or a folder holds other runs.
        RunError: If a folder cannot be made, before anything is trained.
        Stopped: After a signal; the same command goes on.
    """
    chosen = [each for each in config.chosen if _has_data(each, config, console)]
    work = {each: config.comparisons(each) for each in chosen}
    _print_plan(config, work, console)
    if config.dry_run:
        return []
    for each in chosen:
        with storing(config.folder(each)):
            config.folder(each).mkdir(parents=True, exist_ok=True)
    outcomes = []
    for each, comparisons in work.items():
        outcome = _carry_out(each, comparisons, config, console)
        outcomes.append(outcome)
        console.print(Text(f"\n{each.name}: ", style="bold").append(outcome.finding.sentence))
        for path in outcome.files:
            console.print(f"written {path}", soft_wrap=True)
    if len(outcomes) > 1:
        console.print(
            f"written {write_index(config.out, config.variant, outcomes)}", soft_wrap=True
        )
        _print_sentences(outcomes, console)
    return outcomes


def _has_data(each: Reproduction, config: ReproduceConfig, console: Console) -> bool:
    """True if the data sets are there.

    Raises:
        InputError: If one is not, unless all reproductions were asked for.
    """
    for name in each.missing(config.tier):
        try:
            load_dataset(name, config.data)
        except InputError as error:
            text = f"{each.name} at tier {config.tier} needs {name}: {error}"
            text = text.replace("--env-option data=", "--data ")
            if not config.all:
                raise InputError(text) from None
            caution(console, f"left out: {text}")
            return False
    return True


def _carry_out(
    each: Reproduction,
    comparisons: dict[str, CompareConfig],
    config: ReproduceConfig,
    console: Console,
) -> Outcome:
    """Train, analyse and write the page of one."""
    from neoteny.experiments.statistics.runs import read_runs

    plan = each.plans[config.tier]
    frames: dict[str, pd.DataFrame] = {}
    runs: dict[str, RunConfig] = {}
    for name, comparison in comparisons.items():
        with train_arms(comparison, console):
            frame = read_runs(comparison.folder)
        arms = {arm.arm: arm for arm in comparison.arms()}
        planned = frame["arm"].isin(list(arms)) & frame["seed"].isin(comparison.seed_list)
        frames[name] = frame[planned]  # others may lie there, as of an earlier version
        runs |= arms
    seed = plan.first_seed if config.first_seed is None else config.first_seed
    evidence = Evidence(frames, runs, plan.settings, seed)
    return write_page(config.folder(each), each, config.tier, evidence, each.analyse(evidence))


def _print_plan(
    config: ReproduceConfig,
    work: dict[Reproduction, dict[str, CompareConfig]],
    console: Console,
) -> None:
    """A row for each reproduction: what is trained, and how long it takes."""
    table = Table("name", "arms", "seeds", "steps a seed", "in all", "time", box=box.SIMPLE)
    whole = 0.0
    for each, comparisons in work.items():
        arms = [arm for one in comparisons.values() for arm in one.arms()]
        minutes = each.minutes(config.tier, comparisons)
        whole += minutes
        table.add_row(
            each.name,
            str(len(arms)),
            _range(arm.seeds for arm in arms),
            _range(arm.steps for arm in arms),
            f"{sum(arm.steps * arm.seeds for arm in arms):,}",
            duration(minutes),
        )
    console.print(table)
    console.print(
        f"{duration(whole)} in all on one core of a Xeon with AVX-512, by rates that were measured "
        "there once and not here; what is trained already takes no time again.\n",
        style="dim",
    )


def _range(values: Iterable[int]) -> str:
    """One number, or the least and the greatest."""
    found = sorted(set(values))
    if not found:
        return "-"
    ends = f"{found[0]:,}", f"{found[-1]:,}"
    return " to ".join(dict.fromkeys(ends))


def _print_sentences(outcomes: list[Outcome], console: Console) -> None:
    table = Table("name", "answer", box=box.SIMPLE)
    for each in outcomes:
        table.add_row(Text(each.reproduction.name), Text(each.finding.sentence))
    console.print(table)
