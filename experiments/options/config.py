"""Configuration of runs and comparisons, as the command line reads and `config.json` keeps it."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import tyro

from neoteny.agents.agent import AGENTS, AgentSettings
from neoteny.core.errors import InputError
from neoteny.experiments.options.arms import Arm, named_arms, setup_of
from neoteny.experiments.options.crossing import (
    CROSSED,
    LABELLED,
    VARIED,
    arm_name,
    names_of,
    read_axes,
)
from neoteny.experiments.options.network_options import NetworkOptions
from neoteny.experiments.options.presets import PRESETS, preset_values
from neoteny.experiments.options.train_config import TrainConfig
from neoteny.experiments.options.tuned import FIRST_EVALUATION_SEED, Tuned, read_tuned
from neoteny.plasticity.interventions import (
    Intervention,
    canonical,
    changes_network,
    file_of,
    make_interventions,
)

__all__ = ["PRESETS", "CompareConfig", "RunConfig", "TrainConfig", "named_apart"]


@dataclass(frozen=True)
class RunConfig(TrainConfig):
    """Train one agent with one set of interventions."""

    intervention: tuple[str, ...] = ("none",)
    """Interventions, composed left to right: names, or name:field=value,... to set strengths."""
    out: Path | None = None
    """Folder of the run; unset, results/runs/<env>/<arm>."""
    resume: Path | None = None
    """Continue the run in this folder from its checkpoint, with its configuration."""
    trust: bool = False
    """Run the code that the config.json of --resume or --config names: plugins, module, Python
    stream."""
    named: Annotated[tuple[str, ...], tyro.conf.Fixed, tyro.conf.Suppress] = ()
    """Options of the agent and the network whose values are in the arm's name."""
    purpose: Annotated[Literal["", "tuning"], tyro.conf.Fixed, tyro.conf.Suppress] = ""
    """`tuning` of the trials of `tune`, which are never reported with other runs."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.intervention:
            raise InputError("intervention is (): name at least one, such as none")
        files = [file for text in self.intervention if (file := file_of(text)) is not None]
        if files:  # which have been run by now; nothing else runs them
            object.__setattr__(self, "intervention", tuple(map(canonical, self.intervention)))
            object.__setattr__(self, "plugin", tuple(dict.fromkeys([*self.plugin, *files])))
        spec = self.network.spec
        for intervention in self.make_interventions():
            spec = intervention.spec(spec)
        spec.require_bounded()

    def make_interventions(self) -> list[Intervention]:
        """New interventions, with the agent's defaults for unset fields."""
        return make_interventions(self.intervention, AGENTS[self.agent].family)

    @property
    def agent_settings(self) -> AgentSettings:
        """Arguments of the agent's constructor."""
        return AgentSettings(
            self.hyper,
            self.network.spec,
            self.make_interventions,
            self.seed_list,
            self.steps,
            self.fast,
            self.precision,
            self.cuda_graphs,
            self.check_graphs,
        )

    @property
    def arm(self) -> str:
        """Name of the run: agent, every intervention and what else was switched in the network."""
        values = {**vars(self.network), **vars(self.hyper), **{n: getattr(self, n) for n in VARIED}}
        named = {name: values[name] for name in self.named if name in values}
        return arm_name(self.agent, self.intervention, self.network.label, named)

    @property
    def folder(self) -> Path:
        """Folder that the run is written to."""
        return self.out or Path("results/runs") / self.env.replace("/", "-") / self.arm

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, without the run's folder."""
        values = super().to_dict()
        del values["out"], values["resume"], values["trust"]
        if not self.purpose:
            del values["purpose"]
        return values


OF_ENGINES = {
    "address": ("ray",),
    "gpus": ("ray", "slurm"),
    "partition": ("slurm",),
    "time_limit": ("slurm",),
}
"""Options of `CompareConfig` that only some engines take, with these engines."""


@dataclass(frozen=True)
class CompareConfig(TrainConfig):
    """Train every intervention on the same seeds and streams, then report."""

    interventions: tuple[str, ...] = ("none", "adamo")
    """Arms; join interventions with + to compose them, as in layer_norm+adamo."""
    activations: tuple[str, ...] = ()
    """Cross every arm with these activations; empty, only `activation`."""
    biases: tuple[bool, ...] = ()
    """Cross every arm with these choices of bias; empty, only `bias`."""
    torsos: tuple[Literal["mlp", "conv"], ...] = ()
    """Cross every arm with these torsos; empty, only `torso`."""
    depths: tuple[int, ...] = ()
    """Cross every arm with these numbers of layers; empty, only `depth`."""
    residuals: tuple[bool, ...] = ()
    """Cross every arm with these choices of skips; empty, only `residual`."""
    vary: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """Cross every arm with values of an option of the agent or the network, of task-steps or
    reset-optimizer, as in learning-rate=1e-4,3e-4 or hidden=64x64,256x256; may be repeated."""
    tuned: Path | None = None
    """The tuned.yaml of `tune`: its arms at their best strengths, and `fresh` with the layers of
    each, in place of `interventions`. Seeds that they were tuned on are refused."""
    tuned_arms: Annotated[Tuned | None, tyro.conf.Fixed, tyro.conf.Suppress] = None
    """Content of `tuned`, which is read once."""
    versus: str = ""
    """Arm to compare all others with, such as adamo, in addition to none and the best arm."""
    engine: Literal["local", "ray", "slurm"] = "local"
    """Place where units are trained: processes of this machine, tasks of Ray (`pip install
    'neoteny[ray]'`), or a job array of SLURM (`pip install 'neoteny[slurm]'`)."""
    jobs: int = 1
    """Units that are trained at a time; with `local`, each is a process with its share of the cores
    as threads, unless `threads` are given. A unit that fails is reported and stops no other."""
    address: str = ""
    """Ray cluster, such as auto or 10.0.0.1:6379; unset, a new one on this machine."""
    gpus: float = 0.0
    """GPUs of a unit of `ray` or `slurm`; of Ray a share as well, such as 0.25."""
    partition: str = ""
    """SLURM's partition; unset, the cluster's own."""
    time_limit: int = 720
    """Minutes of a job of SLURM; two minutes before the end it saves and is queued again."""
    block: int | None = None
    """Seeds that a process trains together at most; unset, all seeds of an arm."""
    dry_run: bool = False
    """Print the plan with estimates of its time and memory, and stop."""
    out: Path | None = None
    """Folder of the comparison; unset, results/runs/<env>-comparison."""

    limits: ClassVar[Mapping[str, str]] = {
        "jobs": "from 1 to 1,024",
        "gpus": "at least 0",
        "time_limit": "at least 5",
        "block": "at least 1",
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, engines in OF_ENGINES.items():
            value = getattr(self, name)
            if self.engine not in engines and value != getattr(CompareConfig, name):
                raise InputError(
                    f"{name} is {value}, which engine {self.engine} does not take: leave it out, "
                    f"or give --engine {' or '.join(engines)}"
                )
        if not self.interventions:
            raise InputError("interventions is (): name at least one, such as none")
        if self.tuned is not None:
            object.__setattr__(self, "tuned_arms", self._read_tuned(self.tuned))
        arms = self.arms()
        names = [run.arm for run in arms]
        for name in names:
            if names.count(name) > 1:
                raise InputError(f"arm {name} is given twice: name each arm once")
        if self.versus:
            known = [Arm(run.arm, run.intervention, setup_of(run.to_dict())) for run in arms]
            named_arms(self.versus, known)

    @property
    def folder(self) -> Path:
        """Folder that the comparison is written to."""
        return self.out or Path("results/runs") / f"{self.env.replace('/', '-')}-comparison"

    def arms(self) -> list[RunConfig]:
        """One run for every combination of interventions and crossed fields."""
        shared = self.shared
        owned = {part: set(names_of(shared[part])) for part in ("network", "hyper")}
        axes = {name: getattr(self, axis) for name, axis in CROSSED.items() if getattr(self, axis)}
        varied = read_axes(self.vary, {**owned, "": set(VARIED)}, axes)
        runs = []
        for (text, own), *values in itertools.product(self._texts(), *(axes | varied).values()):
            crossed: dict[str, Any] = dict(zip([*axes, *varied], values, strict=True)) | own
            tuned = [name for name in own if name in owned["hyper"]]
            parts = {
                part: dataclasses.replace(
                    shared[part], **{name: crossed.pop(name) for name in mine & crossed.keys()}
                )
                for part, mine in owned.items()
            }
            run = RunConfig(
                **shared | parts | crossed,
                intervention=tuple(text.split("+")),
                named=tuple(name for name in (*varied, *tuned) if name not in LABELLED),
            )
            runs.append(dataclasses.replace(run, out=self.folder / run.arm))
        return runs

    def _texts(self) -> list[tuple[str, Mapping[str, Any]]]:
        """Interventions of each arm with options of its own.

        Beside tuned ones there are fresh networks with their layers and options.
        """
        if self.tuned_arms is None:
            return [(text, {}) for text in self.interventions]
        found = list(self.tuned_arms.arms)
        for text, own in self.tuned_arms.arms:
            layers = [part for part in text.split("+") if changes_network(part)]
            fresh = "+".join(["fresh", *layers]), own
            if fresh not in found:
                found.append(fresh)
        return found

    def _read_tuned(self, path: Path) -> Tuned:
        """The tuned arms, if they go with the other options."""
        found = read_tuned(path)
        if found.agent != self.agent:
            raise InputError(f"tuned {path} is of agent {found.agent}, not of {self.agent}")
        if self.interventions != ("none", "adamo"):
            raise InputError("tuned has arms of its own: leave out --tuned or --interventions")
        if common := sorted(set(found.seeds) & set(self.seed_list)):
            raise InputError(
                f"seeds {', '.join(map(str, common))} were used in tuning ({path}), where tuned "
                f"strengths flatter: give --first-seed {FIRST_EVALUATION_SEED}"
            )
        return found


def named_apart(config: RunConfig) -> RunConfig:
    """A run named after the options that differ from its preset's, unless it has a folder.

    Runs that differ in them get folders of their own by default.
    """
    if config.out is not None:
        return config
    usual = preset_values(config.preset, config.agent)
    hyper, network = usual["hyper"], usual.get("network", NetworkOptions())
    differing = [
        *(n for n in names_of(hyper) if getattr(config.hyper, n) != getattr(hyper, n)),
        *(n for n in ("hidden",) if config.network.hidden != network.hidden),
    ]
    return dataclasses.replace(config, named=tuple(dict.fromkeys([*config.named, *differing])))
